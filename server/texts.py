"""The texts of a project's tasks: fetched where tasks name an address, read and split into words once, and kept between
rounds."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Sentence
from labelstudio.documents import BadTask, Document, document
from labelstudio.remote import addresses_in, in_place
from labelstudio.schema import Schema
from learning.database import Database, Project, Task
from learning.remote_texts import Fetch, Kept, OnProgress, fetch_missing, keep_only, look_up

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

    def stands(self, revision: int, schema: Schema) -> bool:
        """Whether it is still the text of this task: one that could not be fetched may be there by now."""
        return self.revision == revision and not (schema.remote and self.document is None)


@dataclass
class Texts:
    """Of one project. What is kept is read anew when the task or the label config has changed."""

    schema: Schema | None = None
    by_task: dict[int, Text] = field(default_factory=dict)
    """In the order of the tasks' ids."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why texts could not be fetched the last time, by address, where that may be otherwise soon."""

    def fetch(self, db: Database, project_id: int, schema: Schema, load: Fetch, on_progress: OnProgress) -> None:
        """Have what tasks name by address fetched and kept, and forget what none names any more."""
        addresses: list[str] = []
        if schema.remote:
            with db.read() as session:
                data = session.scalars(select(Task.data).where(Task.project_id == project_id))
                addresses = addresses_in(schema, data)
        self.reasons = fetch_missing(db, project_id, addresses, load, on_progress=on_progress)
        keep_only(db, project_id, addresses)

    def update(self, session: Session, project: Project, schema: Schema) -> Sequence[tuple[int, float]]:
        """Read what is new; every task's id and draw, by ascending id."""
        kept = self.by_task if schema == self.schema else {}
        rows = session.execute(
            select(Task.id, Task.revision, Task.draw).where(Task.project_id == project.id).order_by(Task.id)
        ).all()
        stale = [id for id, revision, _ in rows if not (id in kept and kept[id].stands(revision, schema))]
        fresh: dict[int, Text] = {}
        for first in range(0, len(stale), CHUNK):
            chosen = (Task.project_id == project.id, Task.id.in_(stale[first : first + CHUNK]))
            part = session.execute(select(Task.id, Task.revision, Task.data).where(*chosen)).all()
            fetched = look_up(session, project.id, addresses_in(schema, (data for *_, data in part)), self.reasons)
            for id, revision, data in part:
                fresh[id] = _read(schema, id, revision, data, fetched)
        self.schema, self.by_task = schema, {id: fresh.get(id) or kept[id] for id, *_ in rows}
        if len(fresh) > MANY:
            gc.collect()
            gc.freeze()
        return [(id, draw) for id, _, draw in rows]


def _read(schema: Schema, id: int, revision: int, data: dict[str, Any], fetched: Kept) -> Text:
    try:
        doc = document(schema, in_place(schema, data, fetched.texts, fetched.problems))
    except BadTask as error:
        return Text(revision, None, None, f"task {id}: {error}")
    return Text(revision, doc, Sentence.from_text(str(id), doc.text))
