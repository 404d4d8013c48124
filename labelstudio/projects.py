"""A project as Label Studio tells of it, and who is told of what happens there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project's settings, as far as the loop reads them."""

    id: int
    title: str
    label_config: str
    sampling: str
    model_version: str
    """The version whose scores order the queue; empty when none does."""
    created_at: str
    task_number: int = 0
    total_annotations_number: int = 0
    """Submitted ones, without those skipped."""
    skipped_annotations_number: int = 0
    maximum_annotations: int = 1
    """How many annotators see a task; with more than one the queue begins with tasks that somebody has begun."""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> ProjectRecord:
        """Of Label Studio's JSON."""
        values = {field.name: body[field.name] for field in fields(cls) if field.name in body}
        return cls(**{**values, "model_version": values["model_version"] or ""})


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that Label Studio tells of a project's events."""

    id: int
    url: str
    active: bool
    whole: bool
    """Whether it is told of all events, with what happened."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What is sent along."""
    actions: tuple[str, ...] = ()
    """The events it is told of, where these are not all."""
