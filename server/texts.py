"""The texts of a project's tasks, read and split into words once and kept between rounds."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Sentence
from labelstudio.documents import BadTask, Document, document
from labelstudio.schema import Schema
from learning.database import Project, Task

CHUNK = 5_000
"""Rows named in one statement: SQLite takes at most 32,766 parameters."""

MANY = 1_000
"""So many new texts are taken out of the garbage collector's sight: to look through all their words again and again
would take a third of a round's time."""


@dataclass(frozen=True, slots=True)
class Text:
    """A task's text under one label config."""

    revision: int
    document: Document | None
    """None if the task's data cannot be read: `problem` says why."""
    sentence: Sentence | None
    problem: str = ""


@dataclass
class Texts:
    """Of one project. What is kept is read anew when the task or the label config has changed."""

    schema: Schema | None = None
    by_task: dict[int, Text] = field(default_factory=dict)
    """In the order of the tasks' ids."""

    def update(self, session: Session, project: Project, schema: Schema) -> Sequence[tuple[int, float]]:
        """Read what is new; every task's id and draw, by ascending id."""
        kept = self.by_task if schema == self.schema else {}
        rows = session.execute(
            select(Task.id, Task.revision, Task.draw).where(Task.project_id == project.id).order_by(Task.id)
        ).all()
        stale = [id for id, revision, _ in rows if id not in kept or kept[id].revision != revision]
        fresh: dict[int, Text] = {}
        for first in range(0, len(stale), CHUNK):
            chosen = (Task.project_id == project.id, Task.id.in_(stale[first : first + CHUNK]))
            for id, revision, data in session.execute(select(Task.id, Task.revision, Task.data).where(*chosen)):
                fresh[id] = _read(schema, id, revision, data)
        self.schema, self.by_task = schema, {id: fresh.get(id) or kept[id] for id, *_ in rows}
        if len(fresh) > MANY:
            gc.collect()
            gc.freeze()
        return [(id, draw) for id, _, draw in rows]


def _read(schema: Schema, id: int, revision: int, data: dict[str, object]) -> Text:
    try:
        doc = document(schema, data)
    except BadTask as error:
        return Text(revision, None, None, f"task {id}: {error}")
    return Text(revision, doc, Sentence.from_text(str(id), doc.text))
