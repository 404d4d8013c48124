"""Texts are read once, and again when they or the label config have changed."""

from __future__ import annotations

import pytest

import server.texts
from labelstudio.records import TaskRecord
from labelstudio.schema import read_schema
from learning.database import Project
from learning.intake import delete_tasks, put_tasks
from server.texts import Texts
from tests.server.conftest import CONFIG


@pytest.fixture
def project(workspace) -> int:
    with workspace.db.write() as session:
        made = Project(key="2.1700000000", external_id=2, label_config=CONFIG)
        session.add(made)
        session.flush()
        return made.id


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """The tasks that were read, one by one."""
    seen: list[int] = []
    before = server.texts._read

    def remember(schema, id, *others):
        seen.append(id)
        return before(schema, id, *others)

    monkeypatch.setattr(server.texts, "_read", remember)
    return seen


def put(workspace, project, texts: dict[int, object]) -> None:
    with workspace.db.write() as session:
        tasks = [TaskRecord(id, {"text": text, "title": f"title {id}"}, "2026") for id, text in texts.items()]
        put_tasks(session, session.get_one(Project, project), tasks, 0)


def update(workspace, project, texts: Texts, config: str = CONFIG) -> list[int]:
    with workspace.db.read() as session:
        return [id for id, _ in texts.update(session, session.get_one(Project, project), read_schema(config))]


def test_only_new_and_changed_texts_are_read(workspace, project, read):
    texts = Texts()
    put(workspace, project, {3: "Ada lives here", 1: "Oslo", 2: None})
    assert update(workspace, project, texts) == [1, 2, 3] == sorted(read)
    assert [text.sentence.text if text.sentence else text.problem[:6] for text in texts.by_task.values()] == [
        "Oslo",
        "task 2",
        "Ada lives here",
    ]
    read.clear()
    assert update(workspace, project, texts) == [1, 2, 3] and read == []
    put(workspace, project, {2: "now a text", 4: "new", 1: "Oslo"})
    with workspace.db.write() as session:
        delete_tasks(session, session.get_one(Project, project), [3])
    assert update(workspace, project, texts) == [1, 2, 4] and sorted(read) == [2, 4]
    assert [str(text.sentence and text.sentence.text) for text in texts.by_task.values()] == [
        "Oslo",
        "now a text",
        "new",
    ]


def test_another_label_config_shows_other_texts(workspace, project, read):
    texts = Texts()
    put(workspace, project, {1: "Oslo"})
    update(workspace, project, texts)
    update(workspace, project, texts, CONFIG.replace("$text", "$title"))
    assert read == [1, 1]
    assert texts.by_task[1].sentence.text == "title 1"
