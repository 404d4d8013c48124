"""Strategies, budgets and cold starts chosen in the connection form of a real Label Studio."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import select

from corpus import Sentence
from learning.database import Database, Prediction, Round
from learning.models import ModelStore
from tests.end_to_end.test_live_loop import CONFIG, Annotated, first_backend, version_of

pytestmark = pytest.mark.slow

TRANSFORMER = {"tagger": "transformer", "tagger_options": {"epochs": 2}, "holdout_share": 0, "adapt_seconds": 2}


def queue_of(running, version: str) -> list[tuple[int, float | None]]:
    """The stored queue of a version: task and priority, the next one first."""
    db = Database.in_folder(running.folder / "data")
    with db.read() as session:
        this = session.scalars(select(Round).where(Round.version == version).order_by(Round.id.desc())).first()
        rows = session.scalars(select(Prediction).where(Prediction.round_id == this.id, Prediction.position >= 0))
        return [(row.task_id, row.priority) for row in sorted(rows, key=lambda row: row.position)]


def change(studio, project: int, url: str, parameters: dict) -> None:
    """What a person types into the connection form of a connected model."""
    studio.call(
        "PATCH",
        f"/api/ml/{first_backend(studio, project)}",
        json={"project": project, "url": url, "extra_params": parameters},
    )


def test_a_cold_start_says_what_ordered_it_and_a_budget_in_words_starts_the_first_round(label_studio, backend):
    project = Annotated(label_studio, "words", 40, 0)
    parameters = {**TRANSFORMER, "strategy": "bald", "strategy_options": {"passes": 6}, "round_words": 150}
    label_studio.connect_backend(project.id, backend.url, parameters)
    cold = backend.round_after(project.id)
    assert (cold["kind"], cold["metrics"]["strategy"]) == ("cold start", "bert-km")
    state = backend.project(project.id)
    assert (state["ordered_by"], state["next_round"]) == ("bert-km", {"in": 150, "unit": "words"})

    expected, words = [task for task, _ in queue_of(backend, cold["version"])], 0
    while words < 150:
        assert backend.project(project.id)["due"] is None
        task = label_studio.next_task(project.id)
        assert task == expected.pop(0)
        project.annotate(task)
        words += len(project.by_task[task])
    done = backend.round_after(project.id, cold["number"], "fit")
    assert done["reason"].endswith(f"{words} words")
    assert done["metrics"]["strategy"] == "bald"

    # the order, from the stored model by the definition of BALD
    (folder,) = (backend.folder / "data/models").glob(f"*/{done['version']}")
    tagger = ModelStore(folder.parent.parent).load(int(folder.parent.name), done["version"])
    waiting = [Sentence.from_text(str(task), project.by_task[task].text) for task in expected]
    score = {}
    for batch in tagger.infer(waiting, passes=6):
        for i, samples, n in zip(batch.indices, batch.samples_BMTC, batch.lengths, strict=True):
            p = samples[:, :n].astype(np.float64)
            of_mean = -(p.mean(0) * np.log(p.mean(0) + 1e-30)).sum(-1)
            score[int(waiting[i].id)] = (of_mean + (p * np.log(p + 1e-30)).sum(-1).mean(0)).mean()
    queue = queue_of(backend, done["version"])
    assert {task for task, _ in queue} == set(score)
    assert [priority for _, priority in queue] == pytest.approx(sorted(score.values(), reverse=True), abs=1e-5)
    assert label_studio.next_task(project.id) == queue[0][0]


def test_another_strategy_takes_effect_when_it_is_typed_into_the_form(label_studio, backend):
    project = Annotated(label_studio, "strategies", 40, 12)
    label_studio.connect_backend(project.id, backend.url, {**TRANSFORMER, "round_size": 12})
    newest = backend.round_after(project.id, kind="fit")
    for name in ("coreset", "w-badge", "alps", "power-entropy", "discriminative"):
        change(label_studio, project.id, backend.url, {**TRANSFORMER, "round_size": 12, "strategy": name})
        newest = backend.round_after(project.id, newest["number"], "rank")
        assert newest["metrics"]["strategy"] == name
        assert version_of(label_studio, project.id) == newest["version"]
        queue = [task for task, _ in queue_of(backend, newest["version"])]
        assert sorted(queue) == project.unlabelled
        assert label_studio.next_task(project.id) == queue[0]
        project.annotate(queue[0])  # else Label Studio would go on serving the task that is open
        project.unlabelled.remove(queue[0])


def test_a_strategy_that_does_not_fit_is_refused_in_the_form(label_studio, backend):
    project = label_studio.create_project("refused", CONFIG)
    with pytest.raises(RuntimeError, match="400"):
        label_studio.connect_backend(project, backend.url, {"tagger": "transformer", "strategy": "batch-bald"})
    assert "decisions on texts" in backend.log.read_text()
