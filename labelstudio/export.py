"""Label Studio's JSON export as labelled sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corpus import Sentence
from labelstudio.choices import CHOOSERS, JOINT, Choices
from labelstudio.documents import BadRegion, BadTask, document
from labelstudio.events import BadRecord, record_of_task
from labelstudio.records import TaskRecord
from labelstudio.results import chosen, labels_of
from labelstudio.schema import CONTROLS, Schema, read_schema

log = logging.getLogger(__name__)


class BadExport(ValueError):
    """The file is not Label Studio's JSON export, or does not say which tag to read."""


def read_export(
    source: str | Path | list[dict[str, Any]], label_config: str | None = None, control: str | None = None
) -> list[Sentence]:
    """Read the "JSON" export (not "JSON-MIN"): a path, or the list of tasks itself.

    A sentence's id is its task's. Its labels of each kind are None if nobody submitted an annotation, () if somebody
    did and marked nothing (None where one choice was to be made); of several annotations
    `labelstudio.results.chosen` tells which holds.
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
    sentence = Sentence.from_text(str(task.id), doc.text)
    if annotation := chosen(task.annotations):
        labels, problems = labels_of(schema, doc, annotation.result, task.id)
        for message in problems:
            log.warning(message)
        sentence = labels.on(sentence)
    return sentence


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
    """Guess the tags from the results, for an export without its label config: one for spans, one for choices, or both.

    Raises:
        BadExport: if no region tells, or if there is more than one answer.
    """
    marked, chosen = _regions(tasks, CONTROLS, control), _regions(tasks, CHOOSERS, control)
    spans = {(r["from_name"], r["to_name"], r["type"], _shape(r["value"])): None for _, r in marked}
    choosers = {(r["from_name"], r["to_name"], r["type"]): None for _, r in chosen}
    if not (spans or choosers) or len(spans) > 1 or len(choosers) > 1:
        everything = [region for tags in (CONTROLS, CHOOSERS) for _, region in _regions(tasks, tags, None)]
        names = ", ".join(sorted({repr(region["from_name"]) for region in everything})) or "none"
        named = f" as {control!r}" if control else ""
        raise BadExport(
            f"Cannot tell from the results which labelling tag to read{named}: "
            f"regions come from {names}. Pass the project's label config as `label_config`, "
            "or the name of one tag as `control`."
        )
    schema = Schema("", "", "", "Text", "", ())
    mine = [(task, region["value"]) for task, region in marked]
    for name, to_name, type_, shape in spans:
        arrows = [region for task in tasks for a in task.annotations for region in a.result if _is_arrow(region)]
        relations = _labels(region["labels"] for region in arrows) or None
        schema = Schema(name, type_, to_name, shape, "", _labels(value[type_] for _, value in mine), None, relations)
    for name, to_name, type_ in choosers:
        if schema.object in ("", to_name):
            choices = _choices(name, type_, [region["value"][type_] for _, region in chosen])
            schema = replace(schema, object=to_name, choices=choices)
    return replace(schema, value=_field(schema, tasks, mine))


def _field(schema: Schema, tasks: Sequence[TaskRecord], mine: list[tuple[TaskRecord, dict[str, Any]]]) -> str:
    """The data field that holds the text."""

    def fits(key: str, task: TaskRecord, value: dict[str, Any] | None = None) -> bool:
        return _fits(replace(schema, value=key), task, value)

    keys = [key for key in tasks[0].data if all(fits(key, task) for task in tasks)]
    if len(keys) > 1:  # the field in which most regions find their own words
        fitting = {key: sum(fits(key, task, value) for task, value in mine) for key in keys}
        keys = [key for key in keys if fitting[key] == max(fitting.values()) and (fitting[key] or not mine)]
    if len(keys) != 1:
        fields = ", ".join(map(repr, keys or tasks[0].data))
        raise BadExport(
            f"Cannot tell which data field <{schema.object_type}> shows: {'several fit' if keys else 'none fits'} "
            f"({fields}). Pass the project's label config."
        )
    return keys[0]


def _choices(name: str, type: str, chosen: list[list[Any]]) -> Choices:
    paths = {tuple(path) if isinstance(path, list) else (path,) for paths in chosen for path in paths}
    by_label = {JOINT.join(path): path for path in sorted(paths)}
    return Choices(name, type, tuple(by_label), tuple(by_label.values()), any(len(paths) > 1 for paths in chosen))


def _labels(lists: Iterable[list[Any]]) -> tuple[str, ...]:
    return tuple(sorted({str(label) for labels in lists for label in labels}))


def _is_arrow(region: Any) -> bool:
    return isinstance(region, dict) and region.get("type") == "relation" and isinstance(region.get("labels"), list)


def _regions(
    tasks: Sequence[TaskRecord], tags: Collection[str], control: str | None
) -> list[tuple[TaskRecord, dict[str, Any]]]:
    """The regions of these tags, or of the one tag `control`, with their tasks."""
    results = [(task, annotation.result) for task in tasks for annotation in task.annotations]
    found = [(task, region) for task, result in results for region in _labelled(result, tags)]
    return [(task, region) for task, region in found if control in (None, region["from_name"])]


def _labelled(result: Iterable[Any], tags: Collection[str]) -> Iterable[dict[str, Any]]:
    """The regions of these tags that can be read."""
    for region in result:
        if not isinstance(region, dict) or not isinstance(value := region.get("value"), dict):
            continue
        type, names = region.get("type"), (region.get("from_name"), region.get("to_name"))
        if (
            isinstance(type, str)
            and type in tags
            and isinstance(labels := value.get(type), list)
            and all(isinstance(n, str) for n in names)
            and (tags is not CHOOSERS or ("start" not in value and all(map(_is_choice, labels))))
        ):
            yield region


def _is_choice(label: Any) -> bool:
    parts = label if isinstance(label, list) else [label]
    return bool(parts) and all(isinstance(part, str) for part in parts)


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
