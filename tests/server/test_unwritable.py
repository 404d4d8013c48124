"""What is answered while nothing can be written: the last good answers, and 503 for what would have to be stored."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event

from learning import faults
from learning.database import Annotation


@pytest.fixture
def locked(workspace):
    """Locks the database as another process would, for a moment that is longer than we wait."""
    file = workspace.settings.data_dir / "active-tagger.db"
    engine = workspace.db.engine
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=50"))
    engine.dispose()
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        yield lambda held: other.execute("BEGIN IMMEDIATE" if held else "ROLLBACK")


def test_events_are_refused_to_be_sent_again_and_questions_answered(sender, workspace, locked):
    sender.setup().raise_for_status()
    told = {"task": sender.task(1), "annotation": sender.annotation(10, 1)}
    locked(True)
    refused = sender.webhook("ANNOTATION_CREATED", **told)
    assert (refused.status_code, refused.json()) == (503, {"detail": faults.LOCKED})
    assert int(refused.headers["retry-after"]) > 0
    assert sender.setup().json() == {"model_version": "untrained"}
    (answer,) = sender.predict(sender.task(1)).json()["results"]
    assert answer["model_version"] == "untrained"
    assert sender.client.get("/health").status_code == 200
    assert sender.setup({"round_size": 5}).status_code == 503  # new settings would have to be stored
    locked(False)
    assert sender.webhook("ANNOTATION_CREATED", **told).status_code == 200
    with workspace.db.read() as session:
        assert session.query(Annotation.id).all() == [(10,)]


def test_the_projects_state_says_so_until_it_is_over(sender, workspace, locked, monkeypatch):
    monkeypatch.setattr(faults.Storage, "FRESH", 0.0)
    sender.setup().raise_for_status()

    def notice():
        return sender.client.get("/api/projects").json()["projects"][0]["notice"]

    before = notice()
    locked(True)
    assert notice() == faults.LOCKED
    locked(False)
    assert notice() == before
