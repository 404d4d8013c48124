"""The class in the server of label-studio-ml 2.x, whose base class differs from that of the release on PyPI."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import label_studio_ml.model
import pytest
from sqlalchemy import event, select

from learning.database import Prediction, Project, Round, text_hash
from learning.settings import Settings
from learning.workspace import Workspace
from tests.server.conftest import BORN, CONFIG


class Base2:
    """The contract of 2.x: a cache by project, `setup` called while constructing, read-only properties."""

    cache: dict[tuple[str, str], Any] = {}  # noqa: RUF012

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if not self.get("model_version"):
            self.set("model_version", "0.0.1")
        self.setup()

    def setup(self) -> None: ...

    def get(self, key: str) -> Any:
        return self.cache.get((self.project_id, key))

    def set(self, key: str, value: Any) -> None:
        assert isinstance(value, str), "the cache of 2.x stores text"
        self.cache[self.project_id, key] = value

    @property
    def label_config(self) -> Any:
        return self.get("label_config")

    @property
    def extra_params(self) -> Any:
        return json.loads(self.get("extra_params") or "{}")

    @property
    def model_version(self) -> Any:
        return self.get("model_version")


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """The module `model` as it is when label-studio-ml 2.x is installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(label_studio_ml.model, "LabelStudioMLBase", Base2)
    monkeypatch.setattr(Base2, "cache", {})
    spec = importlib.util.spec_from_file_location("model_in_2x", Path(__file__).parents[1] / "model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    workspace = Workspace(Settings(data_dir=tmp_path / "data", tagger="crf", round_size=2))
    monkeypatch.setattr(module, "open_workspace", lambda: workspace)
    return module.ActiveTagger


def task(id: int) -> dict[str, Any]:
    return {"id": id, "data": {"text": "Ada lives in Oslo"}, "created_at": BORN}


def webhook(id: int) -> dict[str, Any]:
    value = {"start": 0, "end": 3, "labels": ["PER"]}
    region = {"id": "r", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
    annotation = {"id": id, "task": id, "result": [region], "updated_at": BORN}
    project = {"id": 4, "created_at": BORN, "label_config": CONFIG}
    return {"annotation": annotation, "task": task(id), "project": project}


def test_it_is_set_up_predicts_and_learns_as_that_server_calls_it(hosted):
    model = hosted(project_id="4", label_config=CONFIG)  # POST /setup
    model.set_extra_params({"round_size": 2})  # a dict makes the stock base fail
    assert model.get("model_version") == "untrained"
    results = hosted(project_id="4", label_config=CONFIG).predict([task(1), task(2)], context={}, login=None)
    assert [set(result) for result in results] == [{"result", "score", "model_version"}] * 2
    for id in (1, 2):
        answer = hosted("4", label_config=CONFIG).fit("ANNOTATION_CREATED", webhook(id))
    assert answer == {"due": "fit", "reason": "2 newly annotated tasks"}


def test_no_instance_without_a_project_touches_anything(hosted):
    assert hosted().project_id == ""


def ranked(model, version: str, *texts: str, marks: Sequence[Any] = ([0, 3, "PER", 0.9],)) -> None:
    """A round of this version becomes the current one; it has ranked these texts, the tasks 1, 2, …"""
    with model.workspace.db.write() as session:
        project = session.scalar(select(Project))
        number = 1 + len(session.scalars(select(Round)).all())
        done = {"kind": "cold start", "state": "done", "reason": "test", "owner": "nobody:0", "revision": 0}
        this = Round(project_id=project.id, number=number, version=version, **done)
        session.add(this)
        session.flush()
        project.current_round_id = this.id
        for place, text in enumerate(texts):
            row = {"text_hash": text_hash(text), "words": 4, "spans": [*marks], "position": place}
            session.add(Prediction(round_id=this.id, task_id=1 + place, **row))


def test_three_statements_tell_of_tasks_that_a_round_has_ranked(hosted):
    asked = [task(1), task(2)]
    model = hosted("4", label_config=CONFIG)
    model.predict(asked)
    ranked(model, "v1", *(one["data"]["text"] for one in asked))
    hosted("4", label_config=CONFIG).predict(asked)  # which also counts the queue, once a round
    statements = []
    event.listen(model.workspace.db.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    results = hosted("4", label_config=CONFIG).predict(asked)
    assert [(r["score"], r["model_version"], len(r["result"])) for r in results] == [(0.0, "v1", 1), (0.5, "v1", 1)]
    assert sum(statement.startswith("SELECT") for statement in statements) == 3, statements


def test_a_task_that_is_new_is_answered_by_the_version_in_force_after_it_was_written_down(hosted):
    model = hosted("4", label_config=CONFIG)
    ranked(model, "v1", "Ada lives in Oslo")
    older = hosted("4", label_config=CONFIG)
    ranked(model, "v2", "Ada lives in Oslo")
    assert older.predict([task(1)])[0]["model_version"] == "v2"


CHOICES = (
    '<View><Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>'
    '<Text name="text" value="$text"/></View>'
)


def test_predicted_choices_are_served(hosted):
    model = hosted("4", label_config=CHOICES)
    model.predict([task(1)])
    ranked(model, "v1", "Ada lives in Oslo", marks=[["good", 0.8]])
    ((region,),) = [answer["result"] for answer in hosted("4", label_config=CHOICES).predict([task(1)])]
    assert (region["from_name"], region["type"], region["value"]) == ("mood", "choices", {"choices": ["good"]})
    assert region["score"] == 0.8


def test_a_strategy_that_the_projects_models_cannot_serve_is_refused(hosted):
    told = {"strategy": "batch-bald", "tagger": "crf", "classifier": "transformer-classifier"}
    hosted("4", label_config=CHOICES).set_extra_params(told)
    with pytest.raises(ValueError, match=r"'batch-bald'.*decisions on texts"):
        hosted("5", label_config=CONFIG).set_extra_params(told)
