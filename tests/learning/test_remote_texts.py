"""Texts by address are fetched once, kept with their reasons, and forgotten with the tasks that named them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from learning import remote_texts
from learning.database import Project, RemoteText, now
from learning.remote_texts import AT_ONCE, BATCH, TRY_AGAIN, fetch_missing, keep_only, look_up


class Web:
    """What lies at addresses: a text, or the error that comes instead."""

    def __init__(self, **there: str | Exception) -> None:
        self.there = there
        self.asked: list[str] = []

    def __call__(self, address: str) -> str:
        self.asked.append(address)
        found = self.there.get(address, address.upper())
        if isinstance(found, Exception):
            raise found
        return found


def kept(workspace, project, *addresses):
    with workspace.db.read() as session:
        found = look_up(session, project, addresses)
    return found.texts, found.problems


def age(workspace, by: timedelta) -> None:
    with workspace.db.write() as session:
        session.execute(update(RemoteText).values(fetched_at=RemoteText.fetched_at))
        for row in session.scalars(select(RemoteText)):
            row.fetched_at -= by


def test_each_is_fetched_once(workspace, project):
    web = Web()
    assert fetch_missing(workspace.db, project, ["a", "b", "a"], web) == {}
    assert sorted(web.asked) == ["a", "b"]
    fetch_missing(workspace.db, project, ["b", "c"], web)
    assert sorted(web.asked) == ["a", "b", "c"]
    assert kept(workspace, project, "a", "c", "d") == ({"a": "A", "c": "C"}, {})


def test_an_empty_text_is_a_text(workspace, project):
    web = Web(a="")
    for _ in range(2):
        fetch_missing(workspace.db, project, ["a"], web)
    assert web.asked == ["a"] and kept(workspace, project, "a") == ({"a": ""}, {})


def test_what_has_no_text_is_asked_again_after_a_while(workspace, project):
    web = Web(a=ValueError("is answered with 404"))
    for _ in range(3):
        fetch_missing(workspace.db, project, ["a"], web)
    assert web.asked == ["a"] and kept(workspace, project, "a") == ({}, {"a": "is answered with 404"})
    web.there["a"] = "there now"
    age(workspace, TRY_AGAIN + timedelta(seconds=1))
    fetch_missing(workspace.db, project, ["a"], web)
    assert kept(workspace, project, "a") == ({"a": "there now"}, {})
    age(workspace, 100 * TRY_AGAIN)
    fetch_missing(workspace.db, project, ["a"], web)
    assert len(web.asked) == 2


def test_a_clock_set_back_stalls_nothing(workspace, project):
    web = Web(a=ValueError("404"))
    fetch_missing(workspace.db, project, ["a"], web)
    age(workspace, timedelta(days=-300))
    fetch_missing(workspace.db, project, ["a"], web)
    assert len(web.asked) == 2


def test_what_could_not_be_asked_is_told_and_not_kept(workspace, project):
    web = Web(a=ConnectionError("its host does not answer"))
    assert fetch_missing(workspace.db, project, ["a", "b"], web) == {"a": "its host does not answer"}
    assert kept(workspace, project, "a", "b") == ({"b": "B"}, {})
    with workspace.db.read() as session:
        found = look_up(session, project, ["a", "b"], {"a": "its host does not answer"})
    assert found.problems == {"a": "its host does not answer"}
    web.there.clear()
    assert fetch_missing(workspace.db, project, ["a", "b"], web) == {}
    assert web.asked.count("a") == 2 and kept(workspace, project, "a") == ({"a": "A"}, {})


def test_no_more_than_stated_at_once_and_written_as_they_come(workspace, project):
    busy, most, seen, lock = 0, 0, [], threading.Lock()

    def fetch(address: str) -> str:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.005)
        with lock:
            busy -= 1
        return address

    def on_progress(done: int, of: int) -> None:
        seen.append((done, of, len(kept(workspace, project, *wanted)[0])))

    wanted = [f"a{i}" for i in range(BATCH + 10)]
    fetch_missing(workspace.db, project, wanted, fetch, on_progress=on_progress)
    assert 1 < most <= AT_ONCE
    assert seen == [(0, BATCH + 10, 0), (BATCH, BATCH + 10, BATCH)]
    assert len(kept(workspace, project, *wanted)[0]) == BATCH + 10


def test_who_waits_is_not_kept_waiting(workspace, project):
    hold = threading.Event()

    def fetch(address: str) -> str:
        if address != "quick":
            hold.wait(30)
        return address

    began = time.monotonic()
    slow = [f"slow{i}" for i in range(3 * BATCH)]
    try:
        reasons = fetch_missing(workspace.db, project, ["quick", *slow], fetch, seconds=0.3)
    finally:
        hold.set()
    assert time.monotonic() - began < 10
    assert reasons == dict.fromkeys(slow, remote_texts.TOO_LATE)
    assert kept(workspace, project, "quick", *slow) == ({"quick": "quick"}, {})


def test_two_processes_may_fetch_the_same(workspace, project):
    def fetch(address: str) -> str:
        with workspace.db.write() as session:  # another one was quicker
            session.merge(RemoteText(project_id=project, address=address, text="theirs", fetched_at=now()))
        return "ours"

    fetch_missing(workspace.db, project, ["a"], fetch)
    assert kept(workspace, project, "a") == ({"a": "ours"}, {})


def test_what_nobody_names_is_forgotten(workspace, project):
    with workspace.db.write() as session:
        other = Project(key="3.1700000000", external_id=3, label_config="<View/>")
        session.add(other)
        session.flush()
        second = other.id
    for id in (project, second):
        fetch_missing(workspace.db, id, ["a", "b"], Web())
    keep_only(workspace.db, project, ["b", "c"])
    assert kept(workspace, project, "a", "b") == ({"b": "B"}, {})
    assert kept(workspace, second, "a", "b") == ({"a": "A", "b": "B"}, {})
    keep_only(workspace.db, project, [])
    assert kept(workspace, project, "a", "b") == ({}, {})


def test_an_error_of_ours_is_not_hidden(workspace, project):
    with pytest.raises(KeyError):
        fetch_missing(workspace.db, project, ["a"], Web(a=KeyError("ours")))
