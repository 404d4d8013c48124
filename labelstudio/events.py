"""Label Studio's tasks, annotations and webhook events as records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from reprlib import repr as shown
from typing import Any

from labelstudio.records import LARGEST_ID, AnnotationRecord, TaskRecord, storable, storable_text

_PROJECT = re.compile(r"([0-9]{1,18})(\.[0-9]{1,18})?")
"""What /setup and /predict call a project: "2.1795245528"."""


class BadRecord(ValueError):
    """A task or annotation is not as Label Studio writes them."""


class BadEvent(BadRecord):
    """A webhook's payload is not as Label Studio sends them."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a webhook told. An action that says nothing to us leaves all but the first two empty."""

    action: str
    project_id: int | None = None
    tasks: tuple[TaskRecord, ...] = ()
    """New or annotated tasks. Without their annotations: only those that changed come with the event."""
    annotations: tuple[AnnotationRecord, ...] = ()
    deleted_tasks: tuple[int, ...] = ()
    deleted_annotations: tuple[int, ...] = ()
    """Label Studio does not say of which task."""
    label_config: str | None = None
    title: str | None = None
    start_training: bool = False


def read_event(payload: Mapping[str, Any]) -> Event:
    """Read a webhook's JSON.

    Raises:
        BadEvent: if it names no action, or lacks what its action promises.
    """
    if not isinstance(payload, Mapping) or not isinstance(payload.get("action"), str):
        raise BadEvent("The webhook's payload should be a JSON object with an `action`. Is Label Studio its sender?")
    action = payload["action"]
    try:
        return _read(action, payload)
    except BadRecord as problem:
        raise BadEvent(f"Webhook {action}: {problem}") from problem


def _read(action: str, payload: Mapping[str, Any]) -> Event:
    project = payload.get("project")
    config, title = (project.get(name) if isinstance(project, Mapping) else None for name in ("label_config", "title"))
    number = project.get("id") if isinstance(project, Mapping) else project
    known: dict[str, Any] = {
        "action": action,
        "project_id": None if number is None else project_of_setup(number),
        "label_config": storable_text(config) if isinstance(config, str) else None,
        "title": storable_text(title) if isinstance(title, str) else None,
    }
    match action:
        case "TASKS_CREATED":
            return Event(**known, tasks=tuple(map(record_of_task, _listed(payload, "tasks"))))
        case "TASKS_DELETED":
            return Event(**known, deleted_tasks=_ids(payload, "tasks"))
        case "ANNOTATION_CREATED" | "ANNOTATION_UPDATED" | "ANNOTATIONS_CREATED":
            # Of the last, both keys hold a list, though their names are singular.
            tasks = tuple(map(record_of_task, _listed(payload, "task")))
            one = tasks[0].id if len(tasks) == 1 else None
            annotations = (record_of_annotation(json, one) for json in _listed(payload, "annotation"))
            return Event(**known, tasks=tasks, annotations=tuple(annotations))
        case "ANNOTATIONS_DELETED":
            return Event(**known, deleted_annotations=_ids(payload, "annotations"))
        case "START_TRAINING":
            return Event(**known, start_training=True)
        case _:
            return Event(**known)


def record_of_task(json: Any) -> TaskRecord:
    """A task from the API, an export or a webhook, with those annotations that came whole; no drafts.

    Raises:
        BadRecord: if its id or data are missing, or one of its annotations is no annotation.
    """
    id = id_of(json, "task")
    data = json.get("data")
    if not isinstance(data, Mapping):
        raise BadRecord(f"Task {id} should hold its fields in `data`, and holds {shown(data)} there.")
    annotations = json.get("annotations")
    if not isinstance(annotations, list):
        annotations = []
    return TaskRecord(
        id=id,
        data=storable(dict(data)),
        created_at=_time(json, ("created_at",), f"Task {id}"),
        # The Data Manager's lists name annotations by their ids only.
        annotations=tuple(record_of_annotation(a, id) for a in annotations if isinstance(a, Mapping)),
    )


def record_of_annotation(json: Any, task_id: int | None = None) -> AnnotationRecord:
    """An annotation from the API, an export or a webhook; `task_id` where it does not say so itself.

    Raises:
        BadRecord: if its id, result or task are missing.
    """
    id = id_of(json, "annotation")
    task = json.get("task", task_id)
    if isinstance(task, Mapping):
        task = task.get("id")
    if not _is_id(task):
        raise BadRecord(f"Annotation {id} does not say which task it belongs to.")
    result = json.get("result")
    if not isinstance(result, list):
        raise BadRecord(f"Annotation {id} of task {task} should have a list as `result`, and has {shown(result)}.")
    author = json.get("completed_by")
    if isinstance(author, Mapping):
        author = author.get("id")
    return AnnotationRecord(
        id=id,
        task_id=task,
        result=storable(result),
        updated_at=_time(json, ("updated_at", "created_at"), f"Annotation {id} of task {task}"),
        cancelled=bool(json.get("was_cancelled")),
        ground_truth=bool(json.get("ground_truth")),
        completed_by=author if _is_id(author) else None,
    )


def project_of_setup(project: Any) -> int:
    """The project's id from what /setup and /predict call project: "2.1795245528" is project 2.

    Raises:
        BadEvent: if there is no id in it.
    """
    named = _PROJECT.fullmatch(str(project)) if isinstance(project, str | int) else None
    if named is None:
        raise BadEvent(f"{shown(project)} names no project; Label Studio sends an id such as '2.1795245528'.")
    return int(named[1])


def project_key(project: Any) -> str:
    """What /setup and /predict call a project: "2.1795245528", its id and the second it was made in.

    A webhook sends the project itself; its key is made the same way, so that both mean one project.

    Raises:
        BadEvent: if there is no project in it.
    """
    if not isinstance(project, Mapping):
        project_of_setup(project)
        return str(project)
    try:
        id, made = id_of(project, "project"), _time(project, ("created_at",), "The project")
    except BadRecord as problem:
        raise BadEvent(str(problem)) from problem
    if not made:
        raise BadEvent(f"Project {id} has no `created_at`. Is Label Studio its sender?")
    return f"{id}.{int(datetime.fromisoformat(made).timestamp())}"


def _listed(payload: Mapping[str, Any], key: str) -> list[Any]:
    found = payload.get(key)
    if isinstance(found, Mapping):
        return [found]
    if isinstance(found, list):
        return found
    raise BadRecord(f"`{key}` should be an object or a list of them, and is {shown(found)}.")


def _ids(payload: Mapping[str, Any], key: str) -> tuple[int, ...]:
    return tuple(id_of(json, key) for json in _listed(payload, key))


def id_of(json: Any, what: str) -> int:
    """The id of a task, an annotation or a project. Raises BadRecord if there is none, or none that can be kept."""
    if isinstance(json, Mapping) and _is_id(json.get("id")):
        return int(json["id"])
    raise BadRecord(f"In `{what}`: expected a JSON object with a whole number as `id`, got {shown(json)}.")


def _is_id(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= LARGEST_ID


def _time(json: Mapping[str, Any], keys: tuple[str, ...], what: str) -> str:
    """The first of these times, in UTC and always as long, so that strings order as times; "" if none."""
    found = next((json[key] for key in keys if json.get(key)), None)
    if found is None:
        return ""
    try:
        time = datetime.fromisoformat(found)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRecord(f"{what}: {shown(found)} is no ISO 8601 time.") from error
