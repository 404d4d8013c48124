"""A project whose tasks name their texts by address: a whole round, and answers, from a real web server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

import labelstudio.remote
import model
from corpus import Sentence
from learning.database import RemoteText, Round, Task
from server import child
from tests.labelstudio.web import Server
from tests.learning.texts import texts
from tests.server.conftest import CONFIG, Sender
from tests.server.test_app import the_project, train

REMOTE = CONFIG.replace('value="$text"', 'value="$text" valueType="url"')
GONE = 3
"""The text of this task is not there."""


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What a process remembers of an earlier test's project and hosts."""
    labelstudio.remote._library.cache_clear()
    child.memory.cache_clear()


@pytest.fixture
def web(workspace) -> Iterator[Server]:
    with Server() as server:
        workspace.settings.label_studio_url = server.url
        server.pages["/api/current-user/whoami"] = (401, {}, b"{}")  # the lent token does not serve: the usual case
        yield server
        server.shutdown()


@pytest.fixture
def remote(client, web) -> Sender:
    made = Sender(client, config=REMOTE)
    made.setup({"holdout_share": 0})
    return made


def address(id: int) -> str:
    return f"/data/upload/4/{id}.txt"


def task(sender: Sender, id: int, at: str | None = None) -> dict:
    return sender.task(id, at or address(id))


def put_texts(web: Server, sentences: list[Sentence]) -> None:
    for sentence in sentences:
        web.pages[address(int(sentence.id))] = (200, {"Content-Type": "text/plain"}, sentence.text.encode())
    web.pages.pop(address(GONE), None)


def annotated(sender: Sender, sentences: list[Sentence]) -> None:
    for sentence in sentences:
        id = int(sentence.id)
        spans = [(s.start, s.end, s.label) for s in sentence.spans or ()]
        sent = sender.webhook("ANNOTATION_CREATED", annotation=sender.annotation(id, id, spans), task=task(sender, id))
        assert sent.status_code == 200, sent.text


def fetched(web: Server) -> list[str]:
    return [path for path, *_ in web.asked if path.startswith("/data/")]


def problems(workspace) -> list[str]:
    with workspace.db.read() as session:
        return session.scalars(select(Round.problems).order_by(Round.id.desc())).first() or []


def test_a_round_learns_from_what_lies_at_the_addresses(remote, web, workspace):
    sentences = texts(30)
    put_texts(web, sentences)
    remote.webhook("TASKS_CREATED", tasks=[task(remote, int(s.id)) for s in sentences])
    annotated(remote, sentences[:15])
    train(workspace)
    assert sorted(fetched(web)) == sorted(address(int(s.id)) for s in sentences)
    version = remote.setup().json()["model_version"]
    assert version.startswith("v1-")
    (told,) = problems(workspace)
    assert told.startswith(f"task {GONE}: ") and "answered with 404" in told

    answers = remote.predict(*[task(remote, int(s.id)) for s in sentences]).json()["results"]
    found = 0
    for sentence, answer in zip(sentences, answers, strict=True):
        if sentence.id == str(GONE):
            assert answer == {"result": [], "score": 1.0, "model_version": version}
            continue
        for region in answer["result"]:
            value = region["value"]
            words = sentence.text[value["start"] : value["end"]]
            assert any(words == sentence.text[s.start : s.end] for s in sentence.spans), (words, sentence.text)
            found += 1
    assert found > 20
    queue = remote.client.get("/api/projects/4/queue").json()["tasks"]
    assert {row["text"] for row in queue} == {s.text for s in sentences[15:]}
    assert any(row["spans"] for row in queue)

    train(workspace)
    assert len(fetched(web)) == 30, "nothing is asked for a second time"


def test_a_prediction_fetches_what_is_new(remote, web, workspace):
    put_texts(web, texts(30))
    remote.webhook("TASKS_CREATED", tasks=[task(remote, int(s.id)) for s in texts(20)])
    annotated(remote, texts(15))
    train(workspace)
    web.asked.clear()
    web.pages[address(99)] = (200, {}, "\ufeffGrace lives in Oslo now 😀".encode())
    (answer,) = remote.predict(task(remote, 99)).json()["results"]
    values = [region["value"] for region in answer["result"]]
    assert [(v["start"], v["end"], v["labels"]) for v in values] == [(0, 5, ["PER"]), (15, 19, ["LOC"])]
    remote.predict(task(remote, 99))
    assert fetched(web) == [address(99)]


def test_a_prediction_does_not_wait_long(remote, web, workspace, monkeypatch):
    monkeypatch.setattr(model, "PATIENCE", 0.3)
    hold = threading.Event()
    web.pages[address(1)] = lambda handler: hold.wait(30)
    web.pages[address(2)] = (200, {}, b"Ada")
    try:
        answers = remote.predict(task(remote, 1), task(remote, 2)).json()["results"]
    finally:
        hold.set()
    assert [answer["score"] for answer in answers] == [1.0, 0.0]


def test_a_host_that_is_gone_is_asked_a_few_times_only(remote, web, workspace):
    """And its texts come in the next round."""
    put_texts(web, texts(40))
    there = dict(web.pages)
    web.pages.update({address(int(s.id)): (503, {}, b"") for s in texts(40)})
    remote.webhook("TASKS_CREATED", tasks=[task(remote, int(s.id)) for s in texts(40)])
    train(workspace)
    assert 3 <= len(fetched(web)) <= 3 + 8
    told = [problem.partition(":")[0] for problem in problems(workspace)]
    assert told == [f"task {id}" for id in range(1, 41)]
    with workspace.db.read() as session:
        assert session.scalars(select(RemoteText)).all() == []
    web.pages = there
    labelstudio.remote._library.cache_clear()  # the host's rest is over
    annotated(remote, texts(15))
    train(workspace)
    assert [told.partition(":")[0] for told in problems(workspace)] == [f"task {GONE}"]
    assert len(remote.client.get("/api/projects/4/queue").json()["tasks"]) == 25


def test_another_address_is_another_text_and_old_ones_are_forgotten(remote, web, workspace):
    put_texts(web, texts(10))
    remote.webhook("TASKS_CREATED", tasks=[task(remote, id) for id in (1, 2)])
    train(workspace)
    remote.webhook("TASKS_CREATED", tasks=[task(remote, 1, address(5))])
    remote.webhook("TASKS_DELETED", tasks=[{"id": 2}])
    train(workspace)
    with workspace.db.read() as session:
        assert session.scalars(select(RemoteText.address)).all() == [address(5)]
    (row,) = remote.client.get("/api/projects/4/queue").json()["tasks"]
    assert row["text"] == texts(5)[-1].text


def test_a_config_without_addresses_reads_the_field_itself(remote, web, workspace):
    put_texts(web, texts(10))
    remote.webhook("TASKS_CREATED", tasks=[task(remote, 1)])
    train(workspace)
    remote.config = CONFIG
    remote.setup()
    train(workspace)
    (row,) = remote.client.get("/api/projects/4/queue").json()["tasks"]
    assert row["text"] == address(1)
    with workspace.db.read() as session:
        assert session.scalars(select(RemoteText)).all() == []
        assert session.scalars(select(Task.data)).all() == [{"text": address(1)}]


def test_what_is_asked_for_is_shown_as_progress(remote, web, workspace):
    seen = []

    def look(handler) -> None:
        with workspace.db.read() as session:
            seen.append(session.scalars(select(Round.progress).where(Round.state == "running")).one())
        handler.send_response(200)
        handler.end_headers()

    web.pages[address(1)] = look
    remote.webhook("TASKS_CREATED", tasks=[task(remote, 1)])
    train(workspace)
    assert seen == [{"step": "collect", "done": 0, "of": 1}]
    assert the_project(workspace).current_round_id
