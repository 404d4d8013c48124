from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from learning import intake
from learning.database import Annotation, Prediction, Project, Round, Task


@dataclass
class ATask:
    id: int
    data: dict[str, Any] = field(default_factory=lambda: {"text": "Ada"})
    created_at: str = "2026-01-01T00:00:00"


@dataclass
class AnAnnotation:
    id: int
    task_id: int
    updated_at: str = "2026-01-02T00:00:00"
    result: list[Any] = field(default_factory=list)
    cancelled: bool = False
    ground_truth: bool = False
    completed_by: int | None = 1


@dataclass
class AToldTask(ATask):
    annotations: tuple[AnAnnotation, ...] = ()


@pytest.fixture
def session(workspace, project):
    with workspace.db.write() as open_session:
        yield open_session


@pytest.fixture
def mine(session, project) -> Project:
    return session.get_one(Project, project)


def standing(session) -> dict[int, Any]:
    return {a.id: a.result for a in session.scalars(select(Annotation).where(~Annotation.deleted))}


def test_tasks_are_written_once(session, mine):
    tasks = [ATask(1), ATask(2)]
    assert intake.put_tasks(session, mine, tasks, 0) == 2
    revision = mine.revision
    assert intake.put_tasks(session, mine, tasks, 0) == 0
    assert mine.revision == revision
    assert intake.put_tasks(session, mine, [ATask(2, {"text": "Grace"})], 0) == 1
    assert session.get_one(Task, (mine.id, 2)).data == {"text": "Grace"}


def test_what_is_unknown_is_what_would_be_written(session, mine):
    def told(id: int, *annotations: AnAnnotation, **more: Any) -> AToldTask:
        return AToldTask(id, annotations=annotations, **more)

    old = AnAnnotation(10, 1)
    intake.put_tasks(session, mine, [told(1), told(2)], 0)
    intake.put_annotations(session, mine, [old])
    known = [told(1), told(2), told(1, old), told(1, AnAnnotation(10, 1, "2026-01-01T00:00:00"))]
    news = [
        told(3),
        told(2, data={"text": "Grace"}),
        told(2, created_at="2026-02-02T00:00:00"),
        told(1, AnAnnotation(10, 1, "2026-01-03T00:00:00")),
        told(1, old, AnAnnotation(11, 1)),
    ]
    assert intake.unknown(session, mine, known) == []
    assert intake.unknown(session, mine, [*known, *news]) == news
    for task in [*known, *news]:
        with session.begin_nested() as undone:
            wrote = intake.put_tasks(session, mine, [task], 0)
            wrote += intake.put_annotations(session, mine, task.annotations)
            assert bool(wrote) == (task in news), task
            undone.rollback()


def test_a_reused_id_is_another_task(session, mine):
    intake.put_tasks(session, mine, [ATask(1)], 0)
    intake.put_annotations(session, mine, [AnAnnotation(10, 1)])
    intake.put_tasks(session, mine, [ATask(1, {"text": "new"}, "2026-02-02T00:00:00")], 0)
    assert session.get_one(Task, (mine.id, 1)).data == {"text": "new"}
    assert standing(session) == {}


@pytest.mark.slow
def test_many_tasks_in_one_go(session, mine):
    assert intake.put_tasks(session, mine, [ATask(i) for i in range(12_000)], 0) == 12_000
    intake.delete_tasks(session, mine, range(11_990))
    assert len(session.scalars(select(Task)).all()) == 10


@pytest.mark.slow
def test_order_and_repetition_of_messages_do_not_matter(workspace, project):
    """Every order of an annotation's three messages, each sent twice, ends in the same state."""
    first = AnAnnotation(5, 1, "2026-01-02T00:00:01", [1])
    second = AnAnnotation(5, 1, "2026-01-02T00:00:02", [2])
    third = AnAnnotation(5, 1, "2026-01-02T00:00:03", [3], cancelled=True)
    for messages in permutations([first, second, third, third, first]):
        with workspace.db.write() as session:
            mine = session.get_one(Project, project)
            intake.delete_tasks(session, mine, [1])
            intake.put_tasks(session, mine, [ATask(1)], 0)
            for message in messages:
                intake.put_annotations(session, mine, [message])
            row = session.get_one(Annotation, (project, 5))
            assert (row.result, row.cancelled) == ([3], True)


def test_a_late_message_does_not_revive_a_deleted_annotation(session, mine):
    annotation = AnAnnotation(5, 1)
    intake.put_annotations(session, mine, [annotation])
    intake.delete_annotations(session, mine, [5, 999])
    intake.put_annotations(session, mine, [annotation])
    session.expire_all()
    assert standing(session) == {}


def test_a_deleted_annotations_id_may_come_back_with_a_newer_one(session, mine):
    intake.put_annotations(session, mine, [AnAnnotation(5, 1)])
    intake.delete_annotations(session, mine, [5])
    session.expire_all()
    intake.put_annotations(session, mine, [AnAnnotation(5, 2, "2026-01-03T00:00:00", ["other"])])
    assert standing(session) == {5: ["other"]}


def test_deleting_tasks_takes_their_annotations_and_predictions_along(session, mine):
    intake.put_tasks(session, mine, [ATask(1), ATask(2)], 0)
    intake.put_annotations(session, mine, [AnAnnotation(5, 1), AnAnnotation(6, 2)])
    a_round(session, mine, [1, 2])
    intake.delete_tasks(session, mine, [1])
    assert set(standing(session)) == {6}
    assert [p.task_id for p in session.scalars(select(Prediction))] == [2]


def test_the_lot_is_uniform_and_depends_on_nothing_but_seed_and_id():
    lots = np.array([intake.draw(0, id) for id in range(5_000)])
    assert lots.tolist() == [intake.draw(0, id) for id in range(5_000)]
    assert lots.min() >= 0 and lots.max() < 1
    observed, _ = np.histogram(lots, bins=20, range=(0, 1))
    assert ((observed - 250) ** 2 / 250).sum() < 43.8  # chi-square, 19 degrees of freedom, p = 0.001
    assert np.abs(np.corrcoef(lots[:-1], lots[1:])[0, 1]) < 0.05
    assert intake.draw(1, 7) != intake.draw(0, 7)


def a_round(session, project, task_ids=(), *, kind="fit", state="done", revision=None) -> Round:
    """A finished round that is the project's current one."""
    made = Round(
        project_id=project.id,
        number=1 + len(session.scalars(select(Round)).all()),
        version="v",
        kind=kind,
        state=state,
        reason="",
        owner="",
        revision=project.revision if revision is None else revision,
    )
    session.add(made)
    session.flush()
    for place, id in enumerate(task_ids):
        session.add(Prediction(round_id=made.id, task_id=id, text_hash="", words=4, spans=[], position=place))
    project.current_round_id = made.id
    session.flush()
    return made


def annotate(session, project, ids, at="2026-01-02T00:00:00", **more):
    intake.put_annotations(session, project, [AnAnnotation(100 + id, id, at, **more) for id in ids])


def test_enough_annotations_make_a_round_due(session, mine, workspace):
    annotate(session, mine, range(9))
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due is None
    annotate(session, mine, [9])
    intake.check_triggers(session, mine, workspace.settings)
    assert (mine.due, mine.due_reason) == ("fit", "10 newly annotated tasks")


def test_a_budget_in_words_counts_the_words_of_what_was_annotated(session, mine, workspace):
    settings = workspace.settings.model_copy(update={"round_words": 40})
    a_round(session, mine, range(100), kind="rank")  # four words each
    annotate(session, mine, range(9))
    annotate(session, mine, range(50, 90), cancelled=True)
    intake.put_annotations(session, mine, [AnAnnotation(900, 1)])  # a second opinion
    intake.check_triggers(session, mine, settings)
    assert mine.due is None
    annotate(session, mine, [9])
    intake.check_triggers(session, mine, settings)
    assert (mine.due, mine.due_reason) == ("fit", "10 newly annotated tasks, 40 words")


def test_skips_and_second_opinions_do_not_count(session, mine, workspace):
    annotate(session, mine, range(20), cancelled=True)
    intake.put_annotations(session, mine, [AnAnnotation(500 + i, 1) for i in range(20)])
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due is None


def test_what_a_round_has_seen_counts_no_more(session, mine, workspace):
    annotate(session, mine, range(10))
    a_round(session, mine, range(10, 100))
    annotate(session, mine, range(10, 15))
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due is None
    annotate(session, mine, range(5), at="2026-01-05T00:00:00")  # corrected
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due == "fit"


def test_a_failed_round_has_learned_nothing(session, mine, workspace):
    annotate(session, mine, range(10))
    a_round(session, mine, state="failed")
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due == "fit"


def test_a_queue_that_runs_out_makes_a_round_due(session, mine, workspace):
    a_round(session, mine, range(6))
    annotate(session, mine, [0, 1, 2])
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due is None  # three left
    annotate(session, mine, [3])
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due_reason == "queue nearly used up (2 left)"


@pytest.mark.parametrize("how", ["due", "running"])
def test_a_queue_that_is_being_renewed_is_not_used_up(session, mine, workspace, how):
    a_round(session, mine, range(1))
    if how == "due":
        intake.mark_due(mine, "rank", "new or changed tasks")
    else:
        a_round(session, mine, kind="rank", state="running")
    annotate(session, mine, range(5))
    intake.check_triggers(session, mine, workspace.settings)
    assert mine.due != "fit"


def test_a_waiting_fit_is_not_weakened(mine):
    intake.mark_due(mine, "fit", "training was asked for")
    intake.mark_due(mine, "rank", "new or changed tasks")
    assert (mine.due, mine.due_reason) == ("fit", "training was asked for")
    mine.due = None
    intake.mark_due(mine, "rank", "connected")
    intake.mark_due(mine, "fit", "10 newly annotated tasks")
    assert mine.due == "fit"


def test_projects_are_found_by_key_and_by_bare_id(session, mine):
    later = Project(key="2.1800000000", external_id=2, label_config="<View/>")
    session.add(later)
    session.flush()
    assert intake.find_project(session, "2.1700000000") is mine
    assert intake.find_project(session, "2") is later
    assert intake.find_project(session, "2.1") is None
    assert intake.find_project(session, "3") is None
    assert intake.find_project(session, "../etc") is None
