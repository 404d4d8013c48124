"""Webhooks, in the shapes that Label Studio 1.23 sends."""

from __future__ import annotations

from typing import Any

import pytest

from labelstudio.events import (
    BadEvent,
    BadRecord,
    Event,
    project_key,
    project_of_setup,
    read_event,
    record_of_annotation,
    record_of_task,
)
from tests.labelstudio.configs import TEXT

PROJECT = {
    "id": 7,
    "title": "names",
    "label_config": TEXT,
    "model_version": "v1",
    "created_at": "2026-03-04T05:06:07.891011Z",
}
REGION = {
    "id": "a1",
    "from_name": "label",
    "to_name": "text",
    "type": "labels",
    "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]},
}


def task(id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "data": {"text": f"Anna {id} 😀"},
        "meta": {},
        "created_at": "2026-03-05T05:06:07.000001Z",
        "updated_at": "2026-03-05T08:06:07.000001Z",
        "is_labeled": False,
        "total_annotations": 0,
        "project": 7,
        "file_upload": None,
        **more,
    }


def annotation(id: int, task_id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "result": [REGION],
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-06T01:00:00.000000Z",
        "updated_at": "2026-03-06T01:00:00.500000Z",
        "prediction": {},
        "task": task_id,
        "project": 7,
        "completed_by": 1,
        "parent_prediction": None,
        **more,
    }


def event(action: str, **more: Any) -> Event:
    return read_event({"action": action, "project": PROJECT, **more})


def test_tasks_created() -> None:
    read = event("TASKS_CREATED", tasks=[task(4), task(5, total_annotations=1)])
    assert (read.action, read.project_id, read.label_config) == ("TASKS_CREATED", 7, TEXT)
    assert [t.id for t in read.tasks] == [4, 5]
    assert read.tasks[0].data == {"text": "Anna 4 😀"}
    assert read.tasks[0].created_at == "2026-03-05T05:06:07.000001Z"
    assert read.annotations == ()


@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATION_UPDATED"])
def test_an_annotation_comes_with_its_task(action: str) -> None:
    read = event(action, annotation=annotation(1, 4), task=task(4))
    assert [t.id for t in read.tasks] == [4]
    (record,) = read.annotations
    assert (record.id, record.task_id, record.result) == (1, 4, [REGION])
    assert (record.cancelled, record.ground_truth, record.completed_by) == (False, False, 1)
    assert record.updated_at == "2026-03-06T01:00:00.500000Z"


def test_annotations_created_holds_lists_under_singular_names() -> None:
    read = event("ANNOTATIONS_CREATED", annotation=[annotation(6, 11), annotation(7, 12)], task=[task(11), task(12)])
    assert [(a.id, a.task_id) for a in read.annotations] == [(6, 11), (7, 12)]
    assert [t.id for t in read.tasks] == [11, 12]


def test_skipping_and_taking_it_back() -> None:
    skip = event("ANNOTATION_CREATED", annotation=annotation(2, 6, result=[], was_cancelled=True), task=task(6))
    back = event("ANNOTATION_UPDATED", annotation=annotation(2, 6), task=task(6))
    assert skip.annotations[0].cancelled
    assert not back.annotations[0].cancelled


def test_ground_truth_and_empty() -> None:
    read = event("ANNOTATION_CREATED", annotation=annotation(3, 7, result=[], ground_truth=True), task=task(7))
    assert read.annotations[0].ground_truth
    assert read.annotations[0].result == []


def test_deletions() -> None:
    assert event("TASKS_DELETED", tasks=[{"id": 21}, {"id": 22}]).deleted_tasks == (21, 22)
    assert event("ANNOTATIONS_DELETED", annotations=[{"id": 6}]).deleted_annotations == (6,)
    assert event("TASKS_DELETED", tasks=[{"id": 21}]).tasks == ()


def test_start_training_and_project_updated() -> None:
    assert event("START_TRAINING").start_training
    changed = event("PROJECT_UPDATED")
    assert changed == Event("PROJECT_UPDATED", 7, label_config=TEXT, title="names")


@pytest.mark.parametrize("action", ["LABEL_LINK_CREATED", "PROJECT_DELETED", "SOMETHING_NEW", ""])
def test_an_unknown_action_tells_nothing(action: str) -> None:
    assert event(action, tasks=[{"id": 1}]) == Event(action, 7, label_config=TEXT, title="names")


def test_an_event_without_project() -> None:
    assert read_event({"action": "START_TRAINING"}) == Event("START_TRAINING", start_training=True)
    assert read_event({"action": "START_TRAINING", "project": 7}).project_id == 7


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([], "JSON object with an `action`"),
        ({}, "JSON object with an `action`"),
        ({"action": 3}, "JSON object with an `action`"),
        ({"action": "TASKS_CREATED"}, "Webhook TASKS_CREATED: `tasks` should be .* None"),
        ({"action": "TASKS_CREATED", "tasks": [{"data": {}}]}, "`task`: expected .* `id`"),
        ({"action": "TASKS_CREATED", "tasks": [{"id": True, "data": {}}]}, "`task`: expected .* `id`"),
        ({"action": "TASKS_CREATED", "tasks": [{"id": 9, "data": "x"}]}, "Task 9 should hold .*`data`"),
        ({"action": "TASKS_CREATED", "tasks": [task(9, created_at="then")]}, "Task 9: 'then' is no ISO 8601"),
        ({"action": "TASKS_DELETED", "tasks": [9]}, "Webhook TASKS_DELETED: .*`id`, got 9"),
        ({"action": "ANNOTATION_CREATED", "task": task(4)}, "`annotation` should be"),
        ({"action": "ANNOTATION_CREATED", "annotation": annotation(1, 4)}, "`task` should be"),
        (
            {"action": "ANNOTATION_CREATED", "annotation": annotation(1, 4, result=None), "task": task(4)},
            "Annotation 1 of task 4 should have a list as `result`",
        ),
        ({"action": "START_TRAINING", "project": {"id": "x"}}, "'x' names no project"),
        ({"action": "START_TRAINING", "project": []}, "names no project"),
    ],
)
def test_malformed(payload: Any, message: str) -> None:
    with pytest.raises(BadEvent, match=message):
        read_event(payload)


def test_a_task_with_its_annotations_and_without_its_drafts() -> None:
    whole = task(4, annotations=[annotation(1, 4), annotation(2, 4)], drafts=[annotation(9, 4)])
    assert [a.id for a in record_of_task(whole).annotations] == [1, 2]
    assert record_of_task(task(4, annotations=[1, 2])).annotations == ()
    assert record_of_task(task(4, annotations="1,2")).annotations == ()


def test_the_author_and_the_task_may_be_objects_or_missing() -> None:
    record = record_of_annotation(annotation(1, 4, completed_by={"id": 8, "email": "a@b"}, task={"id": 4}))
    assert (record.completed_by, record.task_id) == (8, 4)
    bare = {"id": 1, "result": []}
    assert record_of_annotation(bare, 4).task_id == 4
    assert record_of_annotation(bare, 4).completed_by is None
    with pytest.raises(BadRecord, match="Annotation 1 does not say which task"):
        record_of_annotation(bare)


def test_times_order_as_strings() -> None:
    written = [
        "2026-03-06T01:00:00Z",
        "2026-03-06T01:00:00.000001+00:00",
        "2026-03-06T03:00:01+02:00",
        "2026-03-06T01:00:01.5",
        "2026-03-05T23:00:02-02:00",
    ]
    read = [record_of_annotation(annotation(1, 4, updated_at=time)).updated_at for time in written]
    assert read == sorted(read)
    assert {len(time) for time in read} == {27}
    missing = annotation(1, 4, updated_at=None)
    assert record_of_annotation(missing).updated_at == "2026-03-06T01:00:00.000000Z"
    assert record_of_annotation({"id": 1, "task": 4, "result": []}).updated_at == ""


def test_project_of_setup() -> None:
    assert [project_of_setup(p) for p in ("2.1795245528", "12", 5)] == [2, 12, 5]
    for wrong in ("", "x.1", None, "-1.5", True, "٣.1"):
        with pytest.raises(BadEvent, match="names no project"):
            project_of_setup(wrong)


def test_webhook_and_setup_mean_one_project() -> None:
    assert project_key(PROJECT) == "7.1772600767"  # 2026-03-04T05:06:07Z
    assert project_key("7.1772600767") == "7.1772600767"
    for wrong in (None, {}, {"id": 7}, {"id": 7, "created_at": "x"}, "project"):
        with pytest.raises(BadEvent):
            project_key(wrong)
