"""A damaged model, from what Label Studio asks to what the status page tells, until a round has mended it."""

from __future__ import annotations

import pytest

import model
from learning.fallback import REASON
from learning.workspace import Workspace
from model import ActiveTagger
from server import app, queued
from tests.learning.damages import DAMAGES, damage
from tests.server.conftest import CONFIG, KEY
from tests.server.test_actions import post
from tests.server.test_app import annotate_and_train, the_project, train

pytestmark = pytest.mark.slow


@pytest.fixture
def restarted(sender, workspace, monkeypatch):
    """A project with a model, and how to restart after something has happened to that."""
    annotate_and_train(sender, workspace)
    queued._known.clear()
    folder = workspace.models.folder(the_project(workspace).id, sender.setup().json()["model_version"])

    def restart(name: str) -> Workspace:
        damage(name, folder)
        made = Workspace(workspace.settings)
        monkeypatch.setattr(model, "open_workspace", lambda: made)
        return made

    return restart


def state(sender) -> dict:
    return sender.client.get("/api/projects/4").json()


def results(sender, *tasks) -> list[dict]:
    answer = sender.predict(*tasks)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


@pytest.mark.parametrize("name", DAMAGES)
def test_service_goes_on_and_the_next_round_mends_it(sender, restarted, name):
    version = sender.setup().json()["model_version"]
    with_spans = next(t for t in sender.client.get("/api/projects/4/queue").json()["tasks"] if t["spans"])
    ranked = sender.task(with_spans["id"], with_spans["text"])
    before = results(sender, ranked)
    workspace = restarted(name)
    assert results(sender, ranked) == before and before[0]["result"], "stored predictions need no model"
    assert "damaged" not in state(sender)["notice"]

    new = sender.task(900, "Ada Lovelace met Emmy Noether in Lima")
    for _ in range(2):
        assert results(sender, new, ranked) == [{"result": [], "score": 0.0, "model_version": version}, *before]
    told = state(sender)
    assert told["due"] == REASON
    assert version in told["notice"] and str(workspace.settings.data_dir) not in told["notice"]
    queue = sender.client.get("/api/projects/4/queue")
    assert queue.status_code == 200 and len(queue.json()["tasks"]) == 20

    train(workspace)
    now = sender.setup().json()["model_version"]
    assert now != version
    [result] = results(sender, new)
    assert result["model_version"] == now and result["result"]
    told = state(sender)
    assert (told["due"], told["error"]) == (None, None)
    assert "damaged" not in (told["notice"] or "")
    assert (told["rounds"][0]["reason"], told["rounds"][0]["state"]) == (REASON, "done")


@pytest.mark.parametrize("name", DAMAGES)
def test_the_class_predicts(sender, restarted, name):
    workspace = restarted(name)
    tagger = ActiveTagger(project_id=KEY, label_config=CONFIG, workspace=workspace)
    [found] = tagger.predict([sender.task(900, "Ada Lovelace met Emmy Noether in Lima")])
    assert (found["result"], found["model_version"]) == ([], tagger.version)


def test_warming_up_finds_it(sender, restarted, caplog):
    workspace = restarted("a byte flipped")
    app._warm_up()
    assert the_project(workspace).due_reason == REASON
    assert "damaged" in caplog.text and "Traceback" not in caplog.text


@pytest.mark.parametrize("name", DAMAGES)
def test_what_needs_the_model_itself_is_refused_in_words(sender, restarted, name):
    version = sender.setup().json()["model_version"]
    workspace = restarted(name)
    status, message = post(sender, "rollback", {"version": version})
    assert status == 422 and version in message
    assert the_project(workspace).due is None
    answer = sender.client.get(f"/api/projects/4/versions/{version}/download")
    assert answer.status_code == 422 and version in answer.json()["detail"]
    for told in (message, answer.json()["detail"]):
        assert str(workspace.settings.data_dir) not in told
    assert not [*(workspace.settings.data_dir / "downloads").glob("*")]
