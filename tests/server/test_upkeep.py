"""Each project is compared with Label Studio at start and every few minutes, whatever webhooks were missed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from labelstudio.client import Unreachable
from labelstudio.records import TaskRecord
from learning.database import Annotation, Project, Round, Task, now
from learning.intake import put_tasks
from server import upkeep
from server.reconcile import reconcile
from server.upkeep import MEANWHILE, Upkeep
from tests.server.conftest import BORN, KEY
from tests.server.test_reconcile import Studio, in_step, known

ROOT = Path(__file__).parents[2]


class Connected(Studio):
    """A Label Studio as `connect` gives it: it may be away, and holds one project, number 4."""

    def __init__(self, tasks: int) -> None:
        super().__init__(tasks)
        self.away = False
        self.asked = 0
        self.born = BORN

    def project(self, project_id: int):
        self.asked += 1
        if self.away:
            raise Unreachable("Label Studio cannot be reached.")
        return replace(super().project(project_id), id=4, created_at=self.born)

    def close(self) -> None:
        pass


@pytest.fixture
def studio(monkeypatch) -> Connected:
    made = Connected(30)
    monkeypatch.setattr(upkeep, "connect", lambda settings, connection: made)
    return made


@pytest.fixture
def project(workspace) -> int:
    with workspace.db.write() as session:
        session.add(made := Project(key=KEY, external_id=4, label_config="<View/>"))
        session.flush()
        return made.id


def get(workspace, project) -> Project:
    with workspace.db.read() as session:
        return session.get_one(Project, project)


def ranked(workspace, project) -> None:
    """A round has seen everything that is known, and nothing is due."""
    with workspace.db.write() as session:
        mine = session.get_one(Project, project)
        mine.due = None
        number = 1 + len(session.scalars(select(Round)).all())
        session.add(
            Round(
                project_id=project,
                number=number,
                version=f"v{number}",
                kind="rank",
                state="done",
                reason="",
                owner="",
                revision=mine.revision,
            )
        )


def test_missed_annotations_are_taken_over_and_start_a_round(workspace, project, studio):
    keep = Upkeep(workspace)
    assert keep.compare_all()
    ranked(workspace, project)
    for task in range(1, 10):
        studio.annotate(task, 100 + task)
    assert keep.compare_all()
    assert in_step(workspace, project, studio)
    assert get(workspace, project).due is None  # nine of ten
    studio.annotate(10, 110)
    assert keep.compare_all()
    assert get(workspace, project).due_reason == "10 newly annotated tasks"
    assert len(studio.listed[-1]) < 30, "only what has changed is read"


def test_missed_tasks_are_ranked_once(workspace, project, studio):
    keep = Upkeep(workspace)
    keep.compare_all()
    ranked(workspace, project)
    keep.compare_all()
    assert get(workspace, project).due is None
    studio.put(TaskRecord(31, {"text": "new"}, BORN))
    keep.compare_all()
    assert (get(workspace, project).due, get(workspace, project).due_reason) == ("rank", "new or changed tasks")
    ranked(workspace, project)
    keep.compare_all()
    assert get(workspace, project).due is None


def test_a_missed_label_config_is_learned_anew(workspace, project, studio):
    keep = Upkeep(workspace)
    keep.compare_all()
    ranked(workspace, project)
    studio.config = "<View><!-- other --></View>"
    keep.compare_all()
    mine = get(workspace, project)
    assert (mine.label_config, mine.due, mine.due_reason) == (studio.config, "fit", "the label config has changed")


def test_what_came_counts_as_work_and_nothing_does_not(workspace, project, studio):
    keep = Upkeep(workspace)
    keep.compare_all()
    long_ago = now() - timedelta(hours=3)
    with workspace.db.write() as session:
        session.get_one(Project, project).touched_at = long_ago
    keep.compare_all()
    assert get(workspace, project).touched_at == long_ago
    studio.annotate(1, 1)
    keep.compare_all()
    assert now() - get(workspace, project).touched_at < timedelta(minutes=1)


def test_a_label_studio_that_is_down_is_a_notice_until_it_is_back(workspace, project, studio, caplog):
    keep = Upkeep(workspace)
    studio.away = True
    assert not keep.compare_all()
    assert not keep.compare_all()
    assert get(workspace, project).notice == f"Label Studio cannot be reached. {MEANWHILE}"
    assert [record.exc_info for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == [None, None]
    studio.away = False
    assert keep.compare_all()
    assert get(workspace, project).notice is None
    assert in_step(workspace, project, studio)


def test_other_notices_stay(workspace, project, studio):
    with workspace.db.write() as session:
        session.get_one(Project, project).notice = "the model's files are damaged"
    assert Upkeep(workspace).compare_all()
    assert get(workspace, project).notice == "the model's files are damaged"


def test_one_projects_trouble_does_not_keep_the_others_waiting(workspace, project, studio, monkeypatch):
    with workspace.db.write() as session:
        broken = Project(
            key="5.1767225600", external_id=5, label_config="<View/>", touched_at=now() + timedelta(hours=1)
        )
        session.add(broken)
    right = studio.project
    studio.project = lambda id: right(id) if id == 4 else {}.popitem()
    assert not Upkeep(workspace).compare_all()
    assert in_step(workspace, project, studio)


def test_a_project_that_took_the_number_of_a_deleted_one_is_not_mixed_with_it(workspace, project, studio):
    studio.born = "2026-03-01T00:00:00.000000Z"
    assert Upkeep(workspace).compare_all()
    assert known(workspace, project) == ({}, {})


def test_without_a_token_nothing_is_asked(workspace, project, studio, monkeypatch):
    monkeypatch.setattr(upkeep, "connect", lambda settings, connection: None)
    assert Upkeep(workspace).compare_all()
    assert studio.asked == 0
    assert get(workspace, project).notice is None


def test_the_webhook_is_given_its_secret_after_each_comparison(workspace, project, studio, monkeypatch):
    secured = []
    monkeypatch.setattr(upkeep, "secure", lambda *told: secured.append(told))
    keep = Upkeep(workspace)
    assert keep.compare_all()
    assert keep.compare_all()
    assert secured == [(studio, 4, workspace.settings)] * 2


def wait_until(condition) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_looking_returns_at_once_and_never_works_twice_at_a_time(workspace, project, studio, monkeypatch):
    monkeypatch.setattr(workspace.settings, "reconcile_every", 0)
    let_go, at_work = threading.Event(), []

    def slow() -> None:
        at_work.append(threading.current_thread().name)
        assert let_go.wait(20)

    studio.while_listing = slow
    keep = Upkeep(workspace)
    for _ in range(20):
        keep.look()
    wait_until(lambda: at_work)
    assert at_work == ["upkeep"]
    let_go.set()
    wait_until(lambda: in_step(workspace, project, studio))
    wait_until(lambda: keep.look() or len(at_work) > 1)


def test_it_comes_every_so_often_and_sooner_after_a_failure(workspace, project, studio, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr(upkeep.time, "monotonic", lambda: clock)
    keep = Upkeep(workspace)

    def asked_at(second: float) -> int:
        nonlocal clock
        clock = 1000.0 + second
        keep.look()
        if keep._thread:
            keep._thread.join()
        return studio.asked

    once = asked_at(0)
    assert once > 0
    assert asked_at(299) == once
    assert asked_at(301) > once
    studio.away = True
    asked_at(602)
    failed = studio.asked
    assert asked_at(602 + upkeep.AGAIN - 1) == failed
    assert asked_at(602 + upkeep.AGAIN + 1) > failed


# -- two at once ---------------------------------------------------------------------------------------------


CHANGES = {
    "a task deleted": lambda s: s.delete(5),
    "an annotation deleted": lambda s: s.unannotate(1),
    "an annotation made": lambda s: s.annotate(7, 70),
    "an annotation changed": lambda s: s.annotate(1, 1, ground_truth=True),
    "a task added": lambda s: s.put(TaskRecord(31, {"text": "new"}, BORN)),
    "a text changed": lambda s: s.put(replace(s.kept[9], data={"text": "another"})),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("incremental", [False, True])
def test_an_older_list_that_is_written_last_undoes_nothing(workspace, project, studio, change, incremental):
    """A round's comparison, in another process, begins and ends while this one has its list already."""
    studio.annotate(1, 1)
    since = reconcile(workspace.db, studio, project, 0)

    def meanwhile() -> None:
        studio.while_listing = lambda: None
        CHANGES[change](studio)
        reconcile(workspace.db, studio, project, 0, since if incremental else None)
        assert in_step(workspace, project, studio)

    studio.while_listing = meanwhile
    latest = reconcile(workspace.db, studio, project, 0, since if incremental else None)
    if change == "a text changed":  # texts carry no time: set back, and right again with the next comparison
        latest = reconcile(workspace.db, studio, project, 0, latest)
    assert in_step(workspace, project, studio)


def test_nobody_waits_long_for_the_lock(workspace, project, studio):
    """Webhooks are written down while a large project is compared for the first time."""
    for id in range(31, 4_001):
        studio.kept[id] = TaskRecord(id, {"text": f"text {id}"}, BORN)
        studio.changed[id] = studio.now
    done = threading.Event()

    def compare() -> None:
        reconcile(workspace.db, studio, project, 0)
        done.set()

    worker = threading.Thread(target=compare)
    worker.start()
    waits = []
    while not done.is_set():
        asked = time.monotonic()
        with workspace.db.write() as session:
            put_tasks(session, session.get_one(Project, project), [TaskRecord(9_000, {"text": "x"}, BORN)], 0)
        waits.append(time.monotonic() - asked)
        time.sleep(0.005)
    worker.join()
    with workspace.db.read() as session:
        assert len(session.scalars(select(Task.id)).all()) == 4_001
        assert session.scalars(select(Annotation)).all() == []
    assert len(waits) >= 4, "others had their turn in between"


@pytest.mark.slow
def test_the_trainer_loads_neither_torch_nor_the_sdk():
    heavy = {"torch", "label_studio_sdk", "label_studio_ml", "transformers", "flair"}
    script = (
        f"import json, sys, server.trainer, server.webhooks; print(json.dumps(sorted({heavy!r} & set(sys.modules))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(ran.stdout) == []
