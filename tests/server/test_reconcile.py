"""Missed webhooks are caught up, by reading what has changed where that is enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from labelstudio.client import LabelStudio, ProjectRecord, Unreachable
from labelstudio.records import AnnotationRecord, TaskRecord
from learning.database import Annotation, Project, Task
from learning.intake import delete_annotations, put_annotations, put_tasks
from server.reconcile import MARGIN, reconcile
from tests.end_to_end.conftest import label_studio
from tests.server.conftest import CONFIG

__all__ = ["label_studio"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BORN = "2026-01-01T00:00:00.000000Z"


class Studio:
    """Label Studio's side: tasks, each with the time of its last change, and how they are listed."""

    def __init__(self, tasks: int) -> None:
        self.now = NOON
        self.kept: dict[int, TaskRecord] = {}
        self.changed: dict[int, datetime] = {}
        self.config = "<View/>"
        self.listed: list[list[int]] = []
        """The ids of each list that was asked for."""
        self.while_listing = lambda: None
        self.broken = False
        for id in range(1, tasks + 1):
            self.put(TaskRecord(id, {"text": f"text {id}"}, BORN))
        self.now += timedelta(hours=1)

    def put(self, task: TaskRecord) -> None:
        self.now += timedelta(seconds=1)
        self.kept[task.id], self.changed[task.id] = task, self.now

    def annotate(self, id: int, number: int, **fields) -> None:
        made = AnnotationRecord(number, id, [], f"{self.now:%Y-%m-%dT%H:%M:%S.%fZ}", **fields)
        others = [a for a in self.kept[id].annotations if a.id != number]
        self.put(replace(self.kept[id], annotations=(*others, made)))

    def unannotate(self, id: int) -> None:
        self.put(replace(self.kept[id], annotations=()))

    def delete(self, id: int) -> None:
        del self.kept[id], self.changed[id]

    # -- what `reconcile` asks --

    def last_change(self, project_id: int) -> datetime | None:
        return max(self.changed.values(), default=None)

    def tasks(self, project_id: int, changed_since: datetime | None = None) -> list[TaskRecord]:
        if self.broken and changed_since:
            raise Unreachable("this version knows no such filter")
        found = [t for id, t in self.kept.items() if changed_since is None or self.changed[id] >= changed_since]
        self.listed.append([task.id for task in found])
        self.while_listing()
        return found

    def project(self, project_id: int) -> ProjectRecord:
        annotations = [a for task in self.kept.values() for a in task.annotations]
        skipped = sum(a.cancelled for a in annotations)
        return ProjectRecord(
            2, "p", self.config, "", "", BORN, len(self.kept), len(annotations) - skipped, skipped
        )  # fmt: skip


@pytest.fixture
def project(workspace) -> int:
    with workspace.db.write() as session:
        made = Project(key="2.1700000000", external_id=2, label_config="<View/>")
        session.add(made)
        session.flush()
        return made.id


@pytest.fixture
def studio() -> Studio:
    return Studio(30)


def known(workspace, project) -> tuple[dict[int, str], dict[int, int]]:
    """The texts, and the task of each standing annotation."""
    with workspace.db.read() as session:
        tasks = session.scalars(select(Task).where(Task.project_id == project))
        annotations = session.scalars(select(Annotation).where(Annotation.project_id == project, ~Annotation.deleted))
        return {task.id: task.data["text"] for task in tasks}, {a.id: a.task_id for a in annotations}


def in_step(workspace, project, studio) -> bool:
    texts = {task.id: task.data["text"] for task in studio.kept.values()}
    annotations = {a.id: task.id for task in studio.kept.values() for a in task.annotations}
    return known(workspace, project) == (texts, annotations)


def test_the_first_time_everything_is_read(workspace, project, studio):
    studio.annotate(3, 1)
    assert reconcile(workspace.db, studio, project, 0) == studio.changed[3]
    assert studio.listed == [list(range(1, 31))]
    assert in_step(workspace, project, studio)


MISSED = {
    "an annotation": lambda s: s.annotate(7, 70),
    "a changed annotation": lambda s: s.annotate(1, 1, ground_truth=True),
    "a skip": lambda s: s.annotate(8, 80, cancelled=True),
    "a deleted annotation": lambda s: s.unannotate(1),
    "a changed text": lambda s: s.put(replace(s.kept[9], data={"text": "another"})),
    "a new task": lambda s: s.put(TaskRecord(31, {"text": "new"}, BORN)),
    "a deleted and a new annotation": lambda s: (s.unannotate(1), s.annotate(2, 20)),
}


@pytest.mark.parametrize("missed", MISSED)
def test_missed_events_are_caught_up_by_what_has_changed(workspace, project, studio, missed):
    studio.annotate(1, 1)
    studio.now += 2 * MARGIN
    studio.put(studio.kept[30])
    since = reconcile(workspace.db, studio, project, 0)
    studio.now += 2 * MARGIN
    MISSED[missed](studio)
    assert reconcile(workspace.db, studio, project, 0, since) == max(studio.changed.values())
    assert in_step(workspace, project, studio)
    assert len(studio.listed) == 2 and len(studio.listed[1]) <= 3  # 30 for the margin, and what has changed


@pytest.mark.parametrize("created_meanwhile", [0, 1])
def test_missed_deletions_of_tasks_show_in_the_numbers(workspace, project, studio, created_meanwhile, caplog):
    studio.annotate(5, 50)
    since = reconcile(workspace.db, studio, project, 0)
    studio.now += 2 * MARGIN
    studio.delete(5)
    studio.delete(6)
    for id in range(created_meanwhile):
        studio.put(TaskRecord(100 + id, {"text": "new"}, BORN))
    caplog.set_level("INFO", "active_tagger")
    reconcile(workspace.db, studio, project, 0, since)
    assert in_step(workspace, project, studio)
    assert sorted(studio.listed[-1]) == sorted(studio.kept)
    assert "everything is compared" in caplog.text


def test_what_was_still_being_written_is_seen_the_next_time(workspace, project, studio):
    """A slow transaction: its time lies before the last change that was seen."""
    since = reconcile(workspace.db, studio, project, 0)
    studio.annotate(4, 40)
    studio.changed[4] = since - MARGIN / 2
    reconcile(workspace.db, studio, project, 0, since)
    assert in_step(workspace, project, studio)


@pytest.mark.parametrize("everything", [False, True])
def test_what_comes_by_webhook_meanwhile_is_kept(workspace, project, studio, everything):
    studio.annotate(1, 1)
    since = reconcile(workspace.db, studio, project, 0)
    came = []

    def come() -> None:
        if not came:
            came.append(True)
            studio.put(TaskRecord(40, {"text": "late"}, BORN))
            studio.annotate(2, 20)
            with workspace.db.write() as session:  # Label Studio tells us before the list is written down
                mine = session.get_one(Project, project)
                put_tasks(session, mine, [replace(studio.kept[40], annotations=())], 0)
                put_annotations(session, mine, studio.kept[2].annotations)

    studio.while_listing = come
    assert reconcile(workspace.db, studio, project, 0, None if everything else since) is not None
    assert in_step(workspace, project, studio)


@pytest.mark.parametrize("what", ["deleted", "changed", "created"])
def test_what_label_studio_told_of_and_never_stored_is_taken_back(workspace, project, studio, what):
    studio.annotate(1, 11)
    assert reconcile(workspace.db, studio, project, 0) is not None
    (kept,) = studio.kept[1].annotations
    later = f"{studio.now + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S.%fZ}"
    with workspace.db.write() as session:  # its webhook came, and then it was killed
        row = session.get_one(Project, project)
        if what == "deleted":
            delete_annotations(session, row, [11])
        else:
            id = 11 if what == "changed" else 12
            put_annotations(session, row, [replace(kept, id=id, updated_at=later, cancelled=True)])
    assert reconcile(workspace.db, studio, project, 0) is not None
    assert in_step(workspace, project, studio)
    with workspace.db.read() as session:
        row = session.get_one(Annotation, (project, 11))
        assert (row.updated_at, row.cancelled, row.deleted) == (kept.updated_at, False, False)


def test_one_submission_in_between_is_no_reason_to_read_everything(workspace, project, studio):
    studio.now += 2 * MARGIN
    studio.put(studio.kept[30])
    since = reconcile(workspace.db, studio, project, 0)
    studio.now += 2 * MARGIN
    unseen = iter([7])  # submitted after the list, counted by Label Studio, its webhook still on the way
    studio.while_listing = lambda: [studio.annotate(id, 10 * id) for id in unseen]
    reconcile(workspace.db, studio, project, 0, since)
    assert [len(ids) for ids in studio.listed] == [30, 1, 2]
    assert in_step(workspace, project, studio)


def test_a_label_studio_that_cannot_say_what_changed_is_read_whole(workspace, project, studio):
    since = reconcile(workspace.db, studio, project, 0)
    studio.broken = True
    studio.annotate(2, 20)
    studio.config = "<View><Text/></View>"
    assert reconcile(workspace.db, studio, project, 0, since) is not None
    assert in_step(workspace, project, studio)
    with workspace.db.read() as session:
        taken_over = session.get_one(Project, project)
        assert (taken_over.label_config, taken_over.title) == (studio.config, "p")


@pytest.mark.slow
def test_real_changes_that_nobody_told_of(workspace, label_studio, caplog):
    external = label_studio.create_project("unseen changes", CONFIG)
    ids = label_studio.import_tasks(external, [{"text": f"text {n}"} for n in range(8)])
    deleted = label_studio.annotate(ids[0], [])
    with workspace.db.write() as session:
        session.add(made := Project(key=f"{external}.1", external_id=external, label_config=CONFIG))
        session.flush()
        project = made.id
    client = LabelStudio(label_studio.url, label_studio.personal_access_token())
    since = reconcile(workspace.db, client, project, 0)
    assert known(workspace, project)[1] == {deleted: ids[0]}

    caplog.set_level("INFO", "active_tagger")
    label_studio.call("DELETE", f"/api/annotations/{deleted}/")
    annotated = {label_studio.annotate(id, []): id for id in ids[1:4]}
    annotated |= {label_studio.annotate(ids[4], [], was_cancelled=True): ids[4]}
    label_studio.call("PATCH", f"/api/tasks/{ids[5]}/", json={"data": {"text": "another"}})
    since = reconcile(workspace.db, client, project, 0, since)
    texts, annotations = known(workspace, project)
    assert annotations == annotated
    assert texts[ids[5]] == "another"
    assert "everything is compared" not in caplog.text

    label_studio.delete_task(ids[6])
    reconcile(workspace.db, client, project, 0, since)
    assert sorted(known(workspace, project)[0]) == sorted({*ids} - {ids[6]})
    assert "everything is compared" in caplog.text
