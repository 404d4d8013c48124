"""What arrives is written down: projects, tasks, annotations, and whether a round is now due."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from sqlalchemy import Select, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from learning.database import Annotation, Base, Prediction, Project, Round, Task
from learning.settings import ProjectSettings

CHUNK = 5_000
"""Rows named in one statement: SQLite takes at most 32,766 parameters."""

LONGEST_ID = 18
"""Digits of a project's number: a longer one may not fit into a column."""


class ArrivingAnnotation(Protocol):
    """A submitted annotation, as `labelstudio.records` holds it."""

    @property
    def id(self) -> int: ...
    @property
    def task_id(self) -> int: ...
    @property
    def result(self) -> list[dict[str, Any]]: ...
    @property
    def updated_at(self) -> str: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def ground_truth(self) -> bool: ...
    @property
    def completed_by(self) -> int | None: ...


class ArrivingTask(Protocol):
    """A task, as `labelstudio.records` holds it."""

    @property
    def id(self) -> int: ...
    @property
    def data(self) -> dict[str, Any]: ...
    @property
    def created_at(self) -> str: ...


class AnnotatedTask(ArrivingTask, Protocol):
    """A task with its annotations."""

    @property
    def annotations(self) -> Sequence[ArrivingAnnotation]: ...


T = TypeVar("T", bound=AnnotatedTask)


NAMED = (
    select(Project)
    .where((Project.key == bindparam("key")) | (Project.external_id == bindparam("bare_id")))
    .order_by((Project.key == bindparam("key")).desc(), Project.id.desc())
    .limit(1)
)
"""The project that `names` names. Like others that a request for predictions needs, the statement is made once: making
it takes longer than the database does."""


def names(key: str) -> dict[str, Any]:
    """What `NAMED` asks for: a project by its key, "<id>.<created>", or by a bare id the one seen last."""
    bare = key.isascii() and key.isdecimal() and len(key) <= LONGEST_ID
    return {"key": key, "bare_id": int(key) if bare else None}


def find_project(session: Session, key: str) -> Project | None:
    """The project of this key, "<id>.<created>"; of a bare id the one seen last."""
    return session.scalar(NAMED, names(key))


def known_project(session: Session, key: str) -> Project:
    """The project of this key or number. Raises LookupError if there is none."""
    project = find_project(session, key)
    if project is None:
        raise LookupError(f"project {key!r} is not known here")
    return project


_tasks = Base.metadata.tables[Task.__tablename__].c  # by the class it would take longer
_KNOWN_TASKS = select(_tasks.id, _tasks.created_at, _tasks.data).where(
    _tasks.project_id == bindparam("project"), _tasks.id.in_(bindparam("tasks", expanding=True))
)
_KNOWN_ANNOTATIONS = select(Annotation.id, Annotation.updated_at).where(
    Annotation.project_id == bindparam("project"), Annotation.task_id.in_(bindparam("tasks", expanding=True))
)


def unknown(session: Session, project: Project, tasks: Sequence[T]) -> list[T]:
    """Those that `put_tasks` or `put_annotations` would write something of."""
    found = []
    for first in range(0, len(tasks), CHUNK):
        part = tasks[first : first + CHUNK]
        asked = {"project": project.id, "tasks": [task.id for task in part]}
        known = {id: (created_at, data) for id, created_at, data in session.execute(_KNOWN_TASKS, asked)}
        written: dict[int, str] = {}
        if annotated := [task.id for task in part if task.annotations]:
            asked["tasks"] = annotated
            written = dict(session.execute(_KNOWN_ANNOTATIONS, asked).tuples().all())
        found += [
            task
            for task in part
            if known.get(task.id) != (task.created_at, task.data)
            or any(a.updated_at > written.get(a.id, "") for a in task.annotations)
        ]
    return found


def put_tasks(session: Session, project: Project, tasks: Sequence[ArrivingTask], seed: int) -> int:
    """Write tasks that are new or have changed; returns how many.

    A known id with a later `created_at` is another task (ids of deleted ones come back): what was annotated on the
    old one goes with it. One with an earlier is told of too late.
    """
    changed = 0
    for first in range(0, len(tasks), CHUNK):
        part = {task.id: task for task in tasks[first : first + CHUNK]}
        known = {
            task.id: task
            for task in session.scalars(select(Task).where(Task.project_id == project.id, Task.id.in_(list(part))))
        }
        part = {id: task for id, task in part.items() if id not in known or task.created_at >= known[id].created_at}
        reborn = [id for id, task in known.items() if id in part and task.created_at < part[id].created_at]
        if reborn:
            delete_tasks(session, project, reborn)
        fresh = [task for id, task in part.items() if id not in known or id in reborn]
        stale = [task for id, task in known.items() if id in part and id not in reborn and task.data != part[id].data]
        if fresh or stale:
            project.revision += 1
        if fresh:
            rows = [
                {
                    "project_id": project.id,
                    "id": task.id,
                    "data": task.data,
                    "created_at": task.created_at,
                    "draw": draw(seed, task.id),
                    "revision": project.revision,
                }
                for task in fresh
            ]
            session.execute(insert(Task), rows)
        for task in stale:
            task.data, task.revision = part[task.id].data, project.revision
        changed += len(fresh) + len(stale)
    return changed


def draw(seed: int, task_id: int) -> float:
    """A task's lot, uniform in [0, 1): drawn once from the seed and its id, so that the hold-out is a random
    sample of all tasks, whatever order they come, are ranked or are labelled in."""
    return float(np.random.default_rng([seed, task_id]).random())


def put_annotations(session: Session, project: Project, annotations: Iterable[ArrivingAnnotation]) -> int:
    """Write annotations that are new or newer than what is known; returns how many.

    A message that comes late or twice changes nothing, also after the annotation was deleted; a newer one under the
    id of a deleted annotation is another annotation (Label Studio on SQLite gives ids again).
    """
    annotations = list(annotations)
    changed = 0
    for first in range(0, len(annotations), CHUNK):
        part = annotations[first : first + CHUNK]
        known = {
            row.id: row
            for row in session.scalars(
                select(Annotation).where(Annotation.project_id == project.id, Annotation.id.in_([a.id for a in part]))
            )
        }
        for arriving in part:
            row = known.get(arriving.id)
            if row is None:
                row = Annotation(project_id=project.id, id=arriving.id)
                known[arriving.id] = row
                session.add(row)
            elif arriving.updated_at <= row.updated_at:
                continue
            project.revision += 1
            row.task_id = arriving.task_id
            row.result = arriving.result
            row.updated_at = arriving.updated_at
            row.cancelled = arriving.cancelled
            row.ground_truth = arriving.ground_truth
            row.completed_by = arriving.completed_by
            row.deleted = False
            row.revision = project.revision
            changed += 1
    session.flush()
    return changed


def delete_tasks(session: Session, project: Project, ids: Collection[int]) -> None:
    """Forget tasks, with their annotations and predictions. Unknown ids are passed over."""
    rounds = select(Round.id).where(Round.project_id == project.id)
    for part in _chunks(ids):
        session.execute(delete(Task).where(Task.project_id == project.id, Task.id.in_(part)))
        session.execute(delete(Annotation).where(Annotation.project_id == project.id, Annotation.task_id.in_(part)))
        session.execute(delete(Prediction).where(Prediction.round_id.in_(rounds), Prediction.task_id.in_(part)))
    project.revision += 1


def delete_annotations(session: Session, project: Project, ids: Collection[int]) -> None:
    """Mark annotations as deleted. Unknown ids are passed over."""
    project.revision += 1
    for part in _chunks(ids):
        session.execute(
            update(Annotation)
            .where(Annotation.project_id == project.id, Annotation.id.in_(part), ~Annotation.deleted)
            .values(deleted=True, revision=project.revision)
        )


def mark_due(project: Project, kind: str, reason: str, model: int | None = None) -> None:
    """Ask for a round: "fit" (train, then rank), "successor" (the same, after the acquisition model has ranked already)
    or "rank" (only re-order). What waits is not weakened, nor is a successor made to wait longer."""
    strength = ("rank", "fit", "successor").index
    if project.due is None or (kind != "rank" and strength(kind) >= strength(project.due)):
        project.due, project.due_reason, project.due_model = kind, reason, model


def labelled_since(session: Session, project: Project, revision: int) -> int:
    """Tasks annotated (not skipped) after `revision`."""
    return session.scalar(select(func.count()).select_from(_annotated(project, revision).subquery())) or 0


def words_since(session: Session, project: Project, revision: int) -> int:
    """Words in those of them that the current round has read."""
    words = session.scalar(
        select(func.sum(Prediction.words)).where(
            Prediction.round_id == project.current_round_id, Prediction.task_id.in_(_annotated(project, revision))
        )
    )
    return words or 0


def _annotated(project: Project, revision: int) -> Select[int]:
    return (
        select(Annotation.task_id)
        .where(
            Annotation.project_id == project.id,
            Annotation.revision > revision,
            ~Annotation.deleted,
            ~Annotation.cancelled,
        )
        .distinct()
    )


def last_fit_revision(session: Session, project: Project) -> int:
    """The revision up to which a model has learned or is learning; 0 before the first."""
    revision = session.scalar(
        select(func.max(Round.revision)).where(
            Round.project_id == project.id,
            Round.kind == "fit",
            Round.state.in_(["running", "publishing", "done", "superseded"]),
        )
    )
    return revision or 0


def queue_left(session: Session, project: Project) -> int | None:
    """Tasks of the current ranking that nobody has labelled yet; None without a ranking."""
    if project.current_round_id is None:
        return None
    labelled = select(Annotation.task_id).where(Annotation.project_id == project.id, ~Annotation.deleted)
    return session.scalar(
        select(func.count()).where(
            Prediction.round_id == project.current_round_id,
            Prediction.position.is_not(None),
            Prediction.task_id.not_in(labelled),
        )
    )


def check_triggers(session: Session, project: Project, settings: ProjectSettings) -> None:
    """Mark the project due if enough was labelled since the last fit, or little is left to label."""
    revision = last_fit_revision(session, project)
    new = labelled_since(session, project, revision)
    words = words_since(session, project, revision) if settings.round_words else 0
    if settings.fills_a_round(new, words):
        mark_due(project, "fit", f"{new} newly annotated tasks" + (f", {words} words" if settings.round_words else ""))
    elif new >= max(1, settings.round_size // 5) and not _queue_is_being_renewed(session, project):
        left = queue_left(session, project)
        if left is not None and left <= max(1, settings.round_size // 5):
            mark_due(project, "fit", f"queue nearly used up ({left} left)")


def _queue_is_being_renewed(session: Session, project: Project) -> bool:
    under_way = select(Round.id).where(Round.project_id == project.id, Round.state.in_(["running", "publishing"]))
    return project.due is not None or session.scalar(under_way.limit(1)) is not None


def _chunks(ids: Collection[int]) -> Iterable[list[int]]:
    listed = list(ids)
    return (listed[first : first + CHUNK] for first in range(0, len(listed), CHUNK))
