"""Events that come twice, late or in another order: in the end the same is known, as far as their times can tell."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from learning.database import Annotation, Base, Project, Task
from learning.settings import Settings
from learning.workspace import Workspace
from model import ActiveTagger
from server.reconcile import reconcile
from tests.server.conftest import BORN, CONFIG, KEY, Sender
from tests.server.test_reconcile import Studio

FEW = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
told = Sender(client=None)  # type: ignore[arg-type]  # only its shapes are of use here


def at(second: int) -> str:
    return f"2026-01-02T00:00:{second:02}.000000Z"


def event(action: str, second: int, id: int, task: int, spans: Any = ((0, 3, "PER"),), **more: Any) -> dict[str, Any]:
    annotation = told.annotation(id, task, spans, **{"updated_at": at(second), **more})
    return {"action": action, "task": told.task(task), "annotation": annotation}


RECORDED: list[dict[str, Any]] = [
    {"action": "TASKS_CREATED", "tasks": [told.task(1), told.task(2), told.task(3)]},
    event("ANNOTATION_CREATED", 1, 10, 1),
    event("ANNOTATION_CREATED", 2, 11, 2, (), was_cancelled=True),
    event("ANNOTATION_UPDATED", 3, 10, 1, ((13, 17, "LOC"),)),
    event("ANNOTATION_UPDATED", 4, 11, 2, ((0, 3, "PER"),), was_cancelled=False),
    event("ANNOTATION_CREATED", 5, 12, 1, ((0, 3, "LOC"),)),
    {"action": "START_TRAINING"},
    event("ANNOTATION_UPDATED", 6, 10, 1, (), ground_truth=True),
    {"action": "TASKS_CREATED", "tasks": [told.task(4)]},
    event("ANNOTATION_CREATED", 7, 13, 4),
    {"action": "PROJECT_UPDATED"},
]
DELETIONS: list[dict[str, Any]] = [
    {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 12}]},
    {"action": "TASKS_DELETED", "tasks": [{"id": 4}]},
]
"""They carry no time, and of annotations not even the task."""


@cache
def workspace() -> Workspace:
    """One for all examples: each begins with empty tables."""
    memory = Path("/dev/shm")  # each event is written to the disk for good, which takes its time
    folder = TemporaryDirectory(dir=memory if memory.is_dir() else None)
    made = Workspace(Settings(data_dir=Path(folder.name), tagger="crf", strategy="mnlp"))
    made.__dict__["kept"] = folder
    return made


def known_after(events: list[dict[str, Any]], *, reconciled: bool = False) -> tuple[Any, Any]:
    """Tasks and standing annotations once these were written down, in this order."""
    space = workspace()
    with space.db.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
        session.add(Project(key=KEY, external_id=4, label_config=CONFIG))
    for sent in events:
        payload = copy.deepcopy(sent)
        action = payload.pop("action")
        project = {"id": 4, "created_at": BORN, "label_config": CONFIG}
        ActiveTagger(project_id=KEY, workspace=space).fit(action, {"project": project, **payload})
    with space.db.read() as session:
        project_id = session.scalars(select(Project.id)).one()
    if reconciled:
        reconcile(space.db, label_studio(), project_id, 0)  # type: ignore[arg-type]
    with space.db.read() as session:
        standing = session.scalars(select(Annotation).where(~Annotation.deleted))
        annotations = {a.id: (a.task_id, a.result, a.updated_at, a.cancelled, a.ground_truth) for a in standing}
        return {task.id: task.data for task in session.scalars(select(Task))}, annotations


@cache
def label_studio() -> Studio:
    """What Label Studio itself holds after all of it."""
    from labelstudio.events import record_of_annotation, record_of_task

    studio = Studio(0)
    studio.config = CONFIG
    annotations: dict[int, dict[str, Any]] = {}
    for payload in RECORDED:
        if "annotation" in payload:
            annotations[payload["annotation"]["id"]] = payload["annotation"]
    for id in (1, 2, 3):
        of_task = [a for a in annotations.values() if a["task"] == id and a["id"] != 12]
        studio.put(record_of_task({**told.task(id), "annotations": of_task}))
    assert record_of_annotation(annotations[10]).ground_truth
    return studio


def shuffled(events: list[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """All of these in any order, some of them several times."""
    return st.lists(st.sampled_from(events), max_size=6).flatmap(lambda again: st.permutations([*events, *again]))


@FEW
@given(shuffled(RECORDED))
def test_any_order_with_repeats_ends_in_what_is_known_by_the_right_one(events):
    assert known_after(events) == known_after(RECORDED)


@pytest.mark.slow
@FEW
@given(shuffled(RECORDED), st.lists(st.sampled_from([DELETIONS[0], *RECORDED[:8]]), max_size=6))
def test_what_is_deleted_stays_so_however_late_the_rest_is_told_again(events, late):
    """An annotation's deletion leaves a mark that has the time of what was deleted."""
    expected = known_after([*RECORDED, DELETIONS[0]])
    assert 12 not in expected[1]
    assert known_after([*events, DELETIONS[0], *late]) == expected


@pytest.mark.slow
@FEW
@given(shuffled([*RECORDED, *DELETIONS]))
def test_a_deletion_that_overtakes_is_put_right_by_the_next_comparison(events):
    """Deletions carry no time: one that comes before what it deletes is not seen, but by reading what is there now."""
    assert known_after(events, reconciled=True) == known_after([*RECORDED, *DELETIONS])
