"""Topping up, against a Label Studio that answers as the real one does and fails where a test wants it to."""

from __future__ import annotations

import fcntl
import json
import math
from itertools import count

import httpx
import numpy as np
import pytest
from sqlalchemy import select

import taggers
from labelstudio.client import LabelStudio, Unreachable
from labelstudio.events import record_of_task
from learning import rounds
from learning.database import Annotation, Project, Round, Task
from learning.intake import draw, put_tasks
from learning.settings import Settings
from learning.workspace import Workspace
from pools import topping
from pools.folder import Pool
from pools.ranking import Ranked
from pools.topping import REFUSED, TOLERATED, top_up
from tests.learning.texts import texts
from tests.server.conftest import BORN, CONFIG, KEY

VERSION, LATER = "v1-20260101-120000", "v2-20260101-130000"
ROWS = 120
SENTENCES = [f"{sentence.text}, {i} times" for i, sentence in enumerate(texts(ROWS, seed=1))]


class Studio:
    """One project of a Label Studio: all or nothing of an import, ids in order, webhooks told before the answer."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.tasks: dict[int, dict] = {}
        self.ids = count(7)
        self.imports: list[int] = []
        self.silent = False
        """Whether the answer to an import gets lost."""
        self.webhooks = True
        self.client = LabelStudio("http://studio.test", "c0ffee" * 6, transport=httpx.MockTransport(self._answer))

    def texts(self) -> list[str]:
        return [task["data"]["text"] for task in self.tasks.values()]

    def label(self, *ids: int) -> None:
        for id in ids:
            self.tasks[id]["total_annotations"] = 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/projects/4/import":
            return self._import(json.loads(request.content), dict(request.url.params))
        assert (request.method, request.url.path) == ("GET", "/api/tasks")
        found = [*self.tasks.values()]
        for item in json.loads(request.url.params["query"])["filters"]["items"]:
            name, value = item["filter"].removeprefix("filter:tasks:"), item["value"]
            if item["operator"] == "contains":
                found = [task for task in found if value in json.dumps(task[name])]
            else:
                assert item["operator"] == "equal"
                found = [task for task in found if task[name] == value]
        shown = found[: int(request.url.params["page_size"])]
        return httpx.Response(200, json={"tasks": shown, "total": len(found)})

    def _import(self, tasks: list[dict], params: dict[str, str]) -> httpx.Response:
        assert params == {"return_task_ids": "true"}
        self.imports.append(len(tasks))
        bad = [i for i, task in enumerate(tasks) if "title" in task["data"] and task["data"]["title"] is None]
        if bad:
            return httpx.Response(400, json={"validation_errors": [f"Error at item {i}" for i in bad]})
        counters = {"total_annotations": 0, "cancelled_annotations": 0, "created_at": BORN, "annotations": []}
        new = [{"id": next(self.ids), "meta": None, **task, **counters} for task in tasks]
        self.tasks |= {task["id"]: task for task in new}
        if self.webhooks:
            with self.workspace.db.write() as session:
                put_tasks(session, session.get_one(Project, 1), [record_of_task(task) for task in new], 0)
        if self.silent:
            raise httpx.ReadTimeout("gone")
        return httpx.Response(201, json={"task_count": len(new), "task_ids": [task["id"] for task in new]})


@pytest.fixture
def workspace(tmp_path):
    """Project 4, whose queue is ordered by a round that ranked anew with the model of the round before."""
    made = Workspace(Settings(_env_file=None, data_dir=tmp_path / "data"))
    common = {"project_id": 1, "reason": "", "owner": rounds.owner(), "revision": 0, "state": "done"}
    with made.db.write() as session:
        params = {"tagger": "crf", "strategy": "mnlp", "holdout_share": 0.2}
        session.add(
            Project(key=KEY, external_id=4, title="News", label_config=CONFIG, connection={}, extra_params=params)
        )
        session.flush()
        session.add_all(
            [
                Round(number=1, version=VERSION, kind="fit", model_round_id=1, **common),
                Round(number=2, version=LATER, kind="rank", model_round_id=1, **common),
            ]
        )
        session.flush()
        session.get_one(Project, 1).current_round_id = 2
    tagger = taggers.tagger_class("crf")()
    tagger.fit(texts(60), [])
    made.models.save(tagger, 1, VERSION)
    return made


@pytest.fixture
def studio(workspace):
    return Studio(workspace)


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setattr(topping, "PATIENCE", 0.0)
    made = Pool.make(tmp_path / "pool")
    made.add({"text": text} for text in SENTENCES)
    return made


@pytest.fixture
def ranked():
    rows = np.random.default_rng(5).permutation(ROWS)
    return Ranked("name", VERSION, rows, np.linspace(1, 0, ROWS), 100)


def lots() -> np.ndarray:
    return np.random.default_rng([0, 1]).random(ROWS)


def no_holdout(workspace: Workspace) -> None:
    with workspace.db.write() as session:
        project = session.get_one(Project, 1)
        project.extra_params = {**project.extra_params, "holdout_share": 0}


def test_the_top_arrives_in_order_with_predictions(pool, workspace, studio, ranked):
    no_holdout(workspace)
    steps = []
    told = lambda step, **detail: steps.append((step, detail))  # noqa: E731
    assert top_up(pool, workspace, 1, studio.client, keep=30, ranked=ranked, on_step=told) == 30
    assert studio.texts() == [SENTENCES[row] for row in ranked.rows[:30]]
    assert pool.sent(KEY) == dict(zip(ranked.rows[:30].tolist(), range(7, 37), strict=True))
    assert steps[0] == ("import", {"done": 0, "of": 30})
    assert steps[-1] == ("import", {"done": 30, "of": 30})
    predictions = [prediction for task in studio.tasks.values() for prediction in task["predictions"]]
    scores = [prediction["score"] for prediction in predictions]
    assert len(scores) == 30 and scores == sorted(set(scores)) and scores[0] == 0 and scores[-1] < 1
    assert {prediction["model_version"] for prediction in predictions} == {LATER}  # what orders the queue now
    assert all(set(prediction) == {"result", "score", "model_version"} for prediction in predictions)
    found = 0
    for task, prediction in zip(studio.tasks.values(), predictions, strict=True):
        for region in prediction["result"]:
            value = region["value"]
            assert task["data"]["text"][value["start"] : value["end"]] == value["text"]
            found += value["text"] in ("Ada", "Oslo", "Zoë", "Quito", "Kyoto")
    assert found > 3


def test_only_what_is_wanting_is_imported(pool, workspace, studio, ranked):
    no_holdout(workspace)
    top_up(pool, workspace, 1, studio.client, keep=30, ranked=ranked)
    assert top_up(pool, workspace, 1, studio.client, keep=30, ranked=ranked) == 0
    studio.label(7, 8, 9)
    assert top_up(pool, workspace, 1, studio.client, keep=30, ranked=ranked) == 3
    assert studio.texts() == [SENTENCES[row] for row in ranked.rows[:33]]
    assert top_up(pool, workspace, 1, studio.client, keep=1000, ranked=ranked) == ROWS - 33
    assert sorted(studio.texts()) == sorted(SENTENCES)
    assert top_up(pool, workspace, 1, studio.client, keep=2000, ranked=ranked) == 0


def test_it_goes_in_batches(pool, workspace, studio, ranked, monkeypatch):
    monkeypatch.setattr(topping, "BATCH", 16)
    assert top_up(pool, workspace, 1, studio.client, keep=40, ranked=ranked) == 40
    assert studio.imports == [16, 16, 8]
    scores = [task["predictions"][0]["score"] for task in studio.tasks.values()]
    assert scores == [place / 40 for place in range(40)]


@pytest.mark.parametrize("model", [True, False])
def test_broken_off_after_the_answer_nothing_is_imported_twice(pool, workspace, studio, ranked, monkeypatch, model):
    monkeypatch.setattr(topping, "BATCH", 16)
    order = ranked if model else None

    def killed(self, project, tasks):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "note_sent", killed)
        with pytest.raises(KeyboardInterrupt):
            top_up(pool, workspace, 1, studio.client, keep=40, ranked=order)
    assert len(studio.tasks) == 16 and pool.sent(KEY) == {}
    studio.webhooks = False
    with workspace.db.write() as session:  # nor did the backend hear of it
        session.query(Task).delete()
    assert top_up(pool, workspace, 1, studio.client, keep=40, ranked=order) == 24
    assert len({*studio.texts()}) == len(studio.tasks) == 40
    assert {studio.tasks[task]["data"]["text"]: row for row, task in pool.sent(KEY).items()} == {
        text: SENTENCES.index(text) for text in studio.texts()
    }


def test_an_import_whose_answer_is_lost_is_found(pool, workspace, studio, ranked):
    studio.silent = True
    with pytest.raises(Unreachable):
        top_up(pool, workspace, 1, studio.client, keep=40, ranked=ranked)
    assert len(studio.tasks) == 40
    studio.silent = False
    assert top_up(pool, workspace, 1, studio.client, keep=40, ranked=ranked) == 0
    assert sorted(pool.sent(KEY).values()) == [*studio.tasks]


def test_an_import_that_is_still_under_way_is_waited_for(pool, workspace, studio, ranked, monkeypatch):
    """The caller was killed; Label Studio goes on, and its tasks show two looks later."""
    monkeypatch.setattr(topping, "PATIENCE", 30.0)
    studio.silent = True
    with pytest.raises(Unreachable):
        top_up(pool, workspace, 1, studio.client, keep=40, ranked=ranked)
    studio.silent, hidden, studio.tasks = False, studio.tasks, {}
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            studio.tasks = hidden

    monkeypatch.setattr(topping.time, "sleep", wait)
    assert top_up(pool, workspace, 1, studio.client, keep=40, ranked=ranked) == 0
    assert len(waits) == 2
    assert len(studio.tasks) == 40


def test_what_the_project_has_already_is_passed_over(pool, workspace, studio, ranked):
    no_holdout(workspace)
    first = ranked.rows[0].item()
    studio.client.import_tasks(4, [{"data": {"text": SENTENCES[first]}}])
    assert top_up(pool, workspace, 1, studio.client, keep=11, ranked=ranked) == 10
    assert studio.texts() == [SENTENCES[row] for row in ranked.rows[:11]]
    assert pool.sent(KEY)[first] == 7


def test_a_task_of_the_project_that_has_no_json_is_no_row_of_the_pool(pool, workspace, studio, ranked):
    no_holdout(workspace)
    data = {"text": SENTENCES[ranked.rows[0]], "score": math.nan}
    task = {"id": 3, "data": data, "total_annotations": 0, "cancelled_annotations": 0, "created_at": BORN}
    with workspace.db.write() as session:
        put_tasks(session, session.get_one(Project, 1), [record_of_task({**task, "annotations": []})], 0)
    assert top_up(pool, workspace, 1, studio.client, keep=10, ranked=ranked) == 10
    assert studio.texts() == [SENTENCES[row] for row in ranked.rows[:10]]


def test_the_hold_out_is_a_random_sample_of_the_pool(pool, workspace, studio):
    """Its share of what is imported, by lots that neither the order nor the tasks' ids decide."""
    lots_N = lots()
    best = Ranked("name", VERSION, np.argsort(-lots_N), np.linspace(1, 0, ROWS), 100)  # hold-outs come last in it
    assert top_up(pool, workspace, 1, studio.client, keep=50, ranked=best) == 50
    sent = pool.sent(KEY)
    held = {row for row in sent if lots_N[row] < 0.2}
    assert len(held) == 10  # a fifth
    assert held == {*np.argsort(lots_N)[:10].tolist()}
    chosen = [row for row in sent if row not in held]
    assert chosen == best.rows[:40].tolist()
    places = [place for place, row in enumerate(sent) if row in held]
    assert 10 < np.mean(places) < 40  # among the others, not all at one end
    with workspace.db.read() as session:
        draws = {task.id: task.draw for task in session.scalars(select(Task))}
    assert draws == {task: lots_N[row] for row, task in sent.items()}
    assert top_up(pool, workspace, 1, studio.client, keep=60, ranked=best) == 10
    assert sum(lots_N[row] < 0.2 for row in pool.sent(KEY)) == 12


def test_a_lot_stays_as_it_is_once_the_task_is_labelled(pool, workspace, studio, ranked):
    studio.client.import_tasks(4, [{"data": {"text": SENTENCES[3]}}])
    with workspace.db.write() as session:
        session.add(Annotation(project_id=1, id=1, task_id=7, result=[], updated_at=BORN, revision=1))
    top_up(pool, workspace, 1, studio.client, keep=ROWS, ranked=ranked)
    assert pool.sent(KEY)[3] == 7
    with workspace.db.read() as session:
        assert session.get_one(Task, (1, 7)).draw == draw(0, 7) != lots()[3]


def test_lots_are_the_same_when_the_pool_grows(pool, workspace, studio, ranked):
    top_up(pool, workspace, 1, studio.client, keep=20, ranked=ranked)
    with workspace.db.read() as session:
        before = {task.id: task.draw for task in session.scalars(select(Task))}
    pool.add({"text": f"another text, number {i}"} for i in range(500))
    top_up(pool, workspace, 1, studio.client, keep=21, ranked=ranked)
    with workspace.db.read() as session:
        after = {task.id: task.draw for task in session.scalars(select(Task))}
    assert len(after) == 21
    assert {id: after[id] for id in before} == before


def test_without_a_model_the_first_are_drawn_at_random(pool, workspace, studio):
    with workspace.db.write() as session:
        session.get_one(Round, 2).model_round_id = None
    assert top_up(pool, workspace, 1, studio.client, keep=60, ranked=None) == 60
    rows = np.array([*pool.sent(KEY)])
    assert not any("predictions" in task for task in studio.tasks.values())
    assert 45 < rows.mean() < 75  # of 0 to 119
    assert (np.diff(rows) < 0).sum() > 20
    assert 4 <= (lots()[rows] < 0.2).sum() <= 20
    other = Pool.make(pool.folder.parent / "other")
    other.add({"text": text} for text in SENTENCES)
    again = Studio(workspace)
    again.webhooks = False
    with workspace.db.write() as session:
        session.query(Task).delete()
    top_up(other, workspace, 1, again.client, keep=60, ranked=None)
    assert again.texts() == studio.texts()  # the same seed, the same sample


def test_a_row_that_label_studio_refuses_costs_no_other(tmp_path, workspace, studio):
    mixed = Pool.make(tmp_path / "mixed")
    mixed.add({"text": text, "title": None if i in (5, 17) else "t"} for i, text in enumerate(SENTENCES[:30]))
    mixed.add([{"words": "no text"}])
    no_holdout(workspace)
    order = Ranked("name", VERSION, np.arange(31)[::-1].copy(), np.zeros(31), 100)
    assert top_up(mixed, workspace, 1, studio.client, keep=31, ranked=order) == 28
    sent = mixed.sent(KEY)
    assert {row for row, task in sent.items() if task == REFUSED} == {5, 17, 30}
    assert {studio.tasks[task]["data"]["text"] for task in sent.values() if task != REFUSED} == {*studio.texts()}
    asked = len(studio.imports)
    assert top_up(mixed, workspace, 1, studio.client, keep=31, ranked=order) == 0
    assert len(studio.imports) == asked  # they are not tried again


def test_a_pool_that_does_not_fit_the_config_is_an_error(tmp_path, workspace, studio):
    misfit = Pool.make(tmp_path / "misfit")
    misfit.add({"words": text} for text in SENTENCES)
    order = Ranked("name", VERSION, np.arange(ROWS), np.zeros(ROWS), 100)
    with pytest.raises(ValueError, match=rf"more than {TOLERATED} rows .* row \d+.*'text'.*label config"):
        top_up(misfit, workspace, 1, studio.client, keep=50, ranked=order)
    assert studio.tasks == {}
    assert misfit.sent(KEY) == {}


def test_two_at_once_are_refused(pool, workspace, studio, ranked):
    top_up(pool, workspace, 1, studio.client, keep=1, ranked=ranked)
    (lock,) = (pool.folder / "sent").glob("*.top-up.lock")
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another top-up"):
            top_up(pool, workspace, 1, studio.client, keep=5, ranked=ranked)
    assert top_up(pool, workspace, 1, studio.client, keep=5, ranked=ranked) == 4
