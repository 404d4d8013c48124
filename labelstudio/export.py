"""Label Studio's JSON export as labelled sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from corpus import Sentence, Span
from labelstudio.documents import BadRegion, BadTask, document
from labelstudio.events import BadRecord, record_of_task
from labelstudio.records import TaskRecord
from labelstudio.results import chosen, spans_of
from labelstudio.schema import CONTROLS, Schema, read_schema

log = logging.getLogger(__name__)


class BadExport(ValueError):
    """The file is not Label Studio's JSON export, or does not say which tag to read."""


def read_export(
    source: str | Path | list[dict[str, Any]], label_config: str | None = None, control: str | None = None
) -> list[Sentence]:
    """Read the "JSON" export (not "JSON-MIN"): a path, or the list of tasks itself.

    A sentence's id is its task's. Its spans are None if nobody submitted an annotation, () if somebody
    did and marked nothing; of several annotations `labelstudio.results.chosen` tells which holds.
    What cannot be read in a result is logged as a warning with its task's id.

    Args:
        source: the file, or what is in it.
        label_config: the project's; without it the tags are inferred from the results.
        control: name of the labelling tag, if there are several.

    Raises:
        BadExport: if the source is no such export, or the tags cannot be inferred.
        UnsupportedConfig: see `read_schema`.
        BadTask: if a task lacks its text; the message names the task.
    """
    tasks = _tasks(source)
    if not tasks:
        return []
    schema = read_schema(label_config, control) if label_config is not None else infer_schema(tasks, control)
    if schema.remote:
        raise BadExport('The label config says valueType="url": an export holds the addresses of its texts only.')
    return [_sentence(schema, task) for task in tasks]


def _sentence(schema: Schema, task: TaskRecord) -> Sentence:
    try:
        doc = document(schema, task.data)
    except BadTask as problem:
        raise BadTask(f"Task {task.id}: {problem}") from problem
    spans: tuple[Span, ...] | None = None
    if annotation := chosen(task.annotations):
        spans, problems = spans_of(schema, doc, annotation.result, task.id)
        for message in problems:
            log.warning(message)
    return Sentence.from_text(str(task.id), doc.text, spans)


def _tasks(source: str | Path | list[dict[str, Any]]) -> list[TaskRecord]:
    where = "The export"
    if not isinstance(source, list):
        where = f"The export {str(source)!r}"
        try:
            source = json.loads(Path(source).read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadExport(f"{where} is no JSON: {error}. {_REMEDY}") from error
    if not isinstance(source, list):
        raise BadExport(f"{where} should be a list of tasks and is a {type(source).__name__}. {_REMEDY}")
    tasks = []
    for number, task in enumerate(source):
        if not isinstance(task, dict) or "data" not in task or not isinstance(task.get("annotations"), list):
            raise BadExport(f"{where}: entry {number} is no task with `data` and `annotations`. {_REMEDY}")
        try:
            tasks.append(record_of_task(task))
        except BadRecord as problem:
            raise BadExport(f"{where}: entry {number}: {problem} {_REMEDY}") from problem
    return tasks


_REMEDY = 'Export the project again as "JSON".'


def infer_schema(tasks: Sequence[TaskRecord], control: str | None = None) -> Schema:
    """Guess the tags from the results, for an export without its label config.

    Raises:
        BadExport: if no region tells, or if there is more than one answer.
    """
    regions = [(task, region) for task in tasks for a in task.annotations for region in _labelled(a.result)]
    found = {(r["from_name"], r["to_name"], r["type"], _shape(r["value"])): None for _, r in regions}
    pairs = [pair for pair in found if control is None or pair[0] == control]
    if len(pairs) != 1:
        names = ", ".join(sorted({repr(pair[0]) for pair in found})) or "none"
        named = f" as {control!r}" if control else ""
        raise BadExport(
            f"Cannot tell from the results which labelling tag to read{named}: "
            f"regions come from {names}. Pass the project's label config as `label_config`, "
            "or the name of one tag as `control`."
        )
    ((name, to_name, type_, shape),) = pairs
    mine = [(task, r["value"]) for task, r in regions if (r["from_name"], r["to_name"]) == (name, to_name)]
    labels = sorted({str(label) for _, value in mine for label in value[type_]})

    def schema(key: str) -> Schema:
        return Schema(name, type_, to_name, shape, key, tuple(labels))

    keys = [key for key in tasks[0].data if all(_fits(schema(key), task, None) for task in tasks)]
    if len(keys) > 1:  # the field in which most regions find their own words
        fitting = {key: sum(_fits(schema(key), task, value) for task, value in mine) for key in keys}
        keys = [key for key in keys if fitting[key] == max(fitting.values()) > 0]
    if len(keys) != 1:
        fields = ", ".join(map(repr, keys or tasks[0].data))
        raise BadExport(
            f"Cannot tell which data field <{shape}> shows: {'several fit' if keys else 'none fits'} "
            f"({fields}). Pass the project's label config."
        )
    return schema(keys[0])


def _labelled(result: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """The regions that label spans."""
    for region in result:
        if not isinstance(region, dict) or not isinstance(value := region.get("value"), dict):
            continue
        kind, names = region.get("type"), (region.get("from_name"), region.get("to_name"))
        if (
            isinstance(kind, str)
            and kind in CONTROLS
            and isinstance(value.get(kind), list)
            and all(isinstance(n, str) for n in names)
        ):
            yield region


def _shape(value: dict[str, Any]) -> str:
    """The object tag whose places look like this."""
    if "startOffset" not in value:
        return "Text"
    return "HyperText" if str(value.get("start")).startswith("/") else "Paragraphs"


def _fits(schema: Schema, task: TaskRecord, value: dict[str, Any] | None) -> bool:
    """Whether the field holds a text of this kind and, if given, a region lies in it with its own words."""
    try:
        doc = document(schema, task.data)
        if value is None:
            return isinstance(task.data.get(schema.value), str | list)
        start, end = doc.locate(value)
    except (BadTask, BadRegion):
        return False
    return not value.get("text") or doc.text[start:end].split() == str(value["text"]).split()
