"""Tasks and annotations as Label Studio knows them, without the fields that nobody here reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

LARGEST_ID = 2**63 - 1
"""What a database keeps in a column of whole numbers."""
DEEPEST = 50
"""Levels of a task's data or a result that are kept: Python and databases stop somewhere above that, each elsewhere."""


@dataclass(frozen=True, slots=True)
class AnnotationRecord:
    """A submitted annotation. `result` is Label Studio's own JSON, so that a changed config can re-read it."""

    id: int
    task_id: int
    result: list[dict[str, Any]]
    updated_at: str
    """ISO 8601 in UTC; of two records of one annotation the later one holds."""
    cancelled: bool = False
    """The annotator pressed Skip: says nothing about the text."""
    ground_truth: bool = False
    completed_by: int | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task. Label Studio on SQLite reuses the ids of deleted tasks: `created_at` tells two bearers apart."""

    id: int
    data: dict[str, Any]
    created_at: str
    annotations: tuple[AnnotationRecord, ...] = field(default=())


def storable(json: Any, levels: int = DEEPEST) -> Any:
    """The same JSON as every database and process can keep it: null in place of what is nested deeper than `levels`
    or is no finite number, which JSON does not have."""
    match json:
        case dict():
            return {name: storable(value, levels - 1) for name, value in json.items()} if levels else None
        case list():
            return [storable(value, levels - 1) for value in json] if levels else None
        case float() if not math.isfinite(json):
            return None
    return json


def storable_text(text: str) -> str:
    """The same text as a database column takes it: "?" for each half of a surrogate pair, and no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
