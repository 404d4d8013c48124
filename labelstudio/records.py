"""Tasks and annotations as Label Studio knows them, without the fields that nobody here reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
