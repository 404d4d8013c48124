"""The database kept in step with Label Studio, whatever webhooks were missed: in full, or by what has changed since."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from labelstudio.client import LabelStudio, LabelStudioError, ProjectRecord
from labelstudio.records import TaskRecord
from learning.database import Annotation, Database, Project, Task
from learning.intake import CHUNK, delete_annotations, delete_tasks, put_annotations, put_tasks, unknown

log = logging.getLogger("active_tagger")

MARGIN = timedelta(seconds=60)
"""What Label Studio was still writing when it was last asked carries an earlier time than what it showed then."""
WRITTEN_AT_ONCE = 1_000
"""Tasks: an event that Label Studio sends meanwhile waits for no more than these, a quarter of a second."""
TURN = 0.12
"""Seconds that others have for a turn in between: whoever waits for SQLite's lock asks for it ten times a second."""
TRIES = 2
"""Times that the changes are asked for before everything is: somebody may submit between the list and the count."""


def reconcile(
    db: Database, client: LabelStudio, project_id: int, seed: int, since: datetime | None = None
) -> datetime | None:
    """Take over what differs: tasks from before connecting, missed events, deletions, a new label config.

    With `since`, what an earlier call returned, only what has changed from then on is read, as long as the numbers
    of tasks and annotations agree afterwards; else everything, which takes half a second for 1,000 tasks. Every
    change but a task's deletion shows in the time of its task, and a deletion in the numbers.

    Several processes may do this at once, while events arrive: of an annotation the newest is kept, what was deleted
    since the list was read stays so, and what came since is not missing from it. A text that was changed in between
    may be set back; it has changed since, so the next call sets it right.
    """
    if since is not None:
        try:
            for _ in range(TRIES):
                latest = _pass(db, client, project_id, seed, since - MARGIN)
                if latest is not None:
                    return latest
            log.info("project %s: the numbers of tasks or annotations differ; everything is compared", project_id)
        except LabelStudioError as error:  # a version that cannot say what has changed, or a passing fault
            log.warning("project %s: everything is compared: %s", project_id, error)
    return _pass(db, client, project_id, seed)


def _pass(
    db: Database, client: LabelStudio, project_id: int, seed: int, since: datetime | None = None
) -> datetime | None:
    """Read and take over; the time up to which all is known, None if what changed since `since` was not all."""
    with db.read() as session:
        project = session.get_one(Project, project_id)
        before, external_id = project.revision, project.external_id
        known = _task_ids(session, project_id)
    latest = client.last_change(external_id)  # before the list: what comes meanwhile is listed again next time
    tasks = list(client.tasks(external_id, since))
    remote = client.project(external_id)
    _take_back_uncommitted(db, project_id, tasks, before)
    with db.read() as session:  # compared without the lock, which is only for what is new
        news = unknown(session, session.get_one(Project, project_id), tasks)
    for first in range(0, len(news), WRITTEN_AT_ONCE):
        if first:
            time.sleep(TURN)
        with db.write() as session:
            _take_over(session, project_id, news[first : first + WRITTEN_AT_ONCE], known, seed)
    with db.write() as session:
        project = session.get_one(Project, project_id)
        project.title, project.label_config = remote.title, remote.label_config
        # What came by webhook while the list was read is not missing from it.
        _delete_missing_annotations(session, project, tasks, before, everywhere=not since)
        if not since:
            settled = select(Task.id).where(Task.project_id == project.id, Task.revision <= before)
            if lost := set(session.scalars(settled)) & known - {task.id for task in tasks}:
                delete_tasks(session, project, lost)
        return None if since and not _same_numbers(session, project, remote) else latest


def _take_back_uncommitted(db: Database, project_id: int, tasks: Sequence[TaskRecord], before: int) -> None:
    """Label Studio tells of a change before it stores it: killed in between, it holds the annotation as it was. Such
    ones, of those that we knew at revision `before`, lose their time, so that what is listed is newer."""
    listed = {annotation.id: annotation.updated_at for task in tasks for annotation in task.annotations}
    known = select(Annotation.id, Annotation.updated_at, Annotation.deleted).where(
        Annotation.project_id == project_id, Annotation.revision <= before
    )
    with db.read() as session:
        rows = session.execute(known).all()
    undone = [id for id, at, deleted in rows if id in listed and (listed[id] < at or (deleted and listed[id] == at))]
    for first in range(0, len(undone), CHUNK):
        these = Annotation.id.in_(undone[first : first + CHUNK]), Annotation.revision <= before
        with db.write() as session:
            session.execute(update(Annotation).where(Annotation.project_id == project_id, *these).values(updated_at=""))


def _take_over(session: Session, project_id: int, news: Sequence[TaskRecord], known: set[int], seed: int) -> None:
    """All of these but what was known before the list was read, and was deleted since."""
    project = session.get_one(Project, project_id)
    deleted = known - _task_ids(session, project_id)
    standing = [task for task in news if task.id not in deleted]
    put_tasks(session, project, standing, seed)
    put_annotations(session, project, [annotation for task in standing for annotation in task.annotations])


def _task_ids(session: Session, project_id: int) -> set[int]:
    return set(session.scalars(select(Task.id).where(Task.project_id == project_id)))


def _delete_missing_annotations(
    session: Session, project: Project, tasks: Sequence[TaskRecord], before: int, *, everywhere: bool
) -> None:
    """Those that we knew at revision `before` and that `tasks`, or the whole project, have no more."""
    seen = {annotation.id for task in tasks for annotation in task.annotations}
    listed = {task.id for task in tasks}
    standing = session.execute(
        select(Annotation.id, Annotation.task_id).where(
            Annotation.project_id == project.id, Annotation.revision <= before, ~Annotation.deleted
        )
    )
    if removed := {id for id, task in standing if (everywhere or task in listed) and id not in seen}:
        delete_annotations(session, project, removed)


def _same_numbers(session: Session, project: Project, remote: ProjectRecord) -> bool:
    tasks = select(func.count()).select_from(Task).where(Task.project_id == project.id)
    annotations = (
        select(func.count()).select_from(Annotation).where(Annotation.project_id == project.id, ~Annotation.deleted)
    )
    theirs = remote.total_annotations_number + remote.skipped_annotations_number
    return (session.scalar(tasks), session.scalar(annotations)) == (remote.task_number, theirs)
