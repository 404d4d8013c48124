"""Predictions on request: from the store for tasks that a round has ranked, by inference for others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session, aliased

from corpus import Mark, Sentence
from learning.database import Base, Prediction, Project, Round, text_hash
from learning.fallback import model_or_older
from learning.intake import CHUNK, NAMED, names
from learning.marks import from_json
from learning.metrics import main_kind
from learning.workspace import Workspace
from taggers.several import Several

UNTRAINED = "untrained"
"""The version of answers given before any round is done."""


@dataclass(frozen=True, slots=True)
class Current:
    """A project and what it is served from."""

    project: Project
    round_id: int | None
    """The round whose version is published; None before any is done."""
    version: str
    """That version, or `UNTRAINED`."""
    model: str | None
    """The version of the model that the round used; None if it had none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one sentence under the current version."""

    marks: list[Mark]
    position: int | None
    """Place in the current queue; None if it is not queued."""
    sureness: float
    """exp(log P(y*|x) / n) in [0, 1], the geometric mean per word, or other decision, of the kind of mark that the
    project is judged by; 1 if labelled already, 0 before there is a model."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer per sentence, in their order."""

    version: str
    queue_length: int
    """0 if none of them is queued."""
    items: list[Answer]


_MODEL = aliased(Round)
_CURRENT = (
    NAMED.outerjoin(Round, Round.id == Project.current_round_id)
    .outerjoin(_MODEL, _MODEL.id == Round.model_round_id)
    .add_columns(Round.id, Round.version, _MODEL.version)
)
_rows = Base.metadata.tables[Prediction.__tablename__].c  # by the class it would take longer
_STORED = select(_rows.task_id, _rows.text_hash, _rows.spans, _rows.position).where(
    _rows.round_id == bindparam("round"), _rows.task_id.in_(bindparam("tasks", expanding=True))
)


def find_current(session: Session, key: str) -> Current | None:
    """What the project of this key (as `find_project` reads it) is served from; None if it is not known."""
    found = session.execute(_CURRENT, names(key)).first()
    if found is None:
        return None
    project, round_id, version, model = found
    return Current(project, round_id, UNTRAINED if version is None else version, model)


def current_version(session: Session, project: Project) -> str:
    """The version that is published and served."""
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    return current.version if current else UNTRAINED


def answer(workspace: Workspace, current: Current, texts: Sequence[tuple[int, str]]) -> Answers:
    """Marks and queue places of texts, each given after its task's id."""
    if current.round_id is None:
        return Answers(current.version, 0, [Answer([], None, 0.0) for _ in texts])
    with workspace.db.read() as session:
        known: dict[tuple[int, str], Answer] = {}
        for first in range(0, len(texts), CHUNK):
            asked = {"round": current.round_id, "tasks": [id for id, _ in texts[first : first + CHUNK]]}
            for id, hash, marks, position in session.execute(_STORED, asked):
                known[id, hash] = Answer(from_json(marks), position, 1.0)
        queued = any(stored.position is not None for stored in known.values())
        length = queue_length(workspace, session, current.round_id) if queued else 0
    items = [known.get((id, text_hash(text))) for id, text in texts]
    missing = [Sentence.from_text(str(id), text) for (id, text), item in zip(texts, items, strict=True) if item is None]
    inferred = iter(_infer(workspace, current, missing))
    return Answers(current.version, length, [item or next(inferred) for item in items])


def queue_length(workspace: Workspace, session: Session, round_id: int) -> int:
    """Of a stored round's whole queue, as it was ranked: scores are shares of it."""
    lengths = workspace.queue_lengths
    if round_id not in lengths:
        queued = select(func.count()).where(Prediction.round_id == round_id, Prediction.position.is_not(None))
        lengths[round_id] = session.scalar(queued) or 0
    return lengths[round_id]


def _infer(workspace: Workspace, current: Current, sentences: Sequence[Sentence]) -> list[Answer]:
    answers = [Answer([], None, 0.0) for _ in sentences]
    if current.model is None or not sentences:
        return answers
    tagger = model_or_older(workspace.db, workspace.models, current.project.id, current.model)
    if tagger is None:
        return answers
    main = main_kind(tagger.parts)
    found: list[list[Mark]] = [[] for _ in sentences]
    sureness = [0.0] * len(sentences)
    for kind, part in tagger.parts.items():
        ready = Several.ready(kind, sentences, found)
        for batch in part.infer(ready):
            for row, marks in enumerate(part.marks(batch, ready)):
                i = batch.indices[row]
                found[i] = [*found[i], *marks]
                if kind == main:
                    decisions = max(1, int(batch.lengths[row]))
                    sureness[i] = math.exp(min(0.0, float(batch.log_prob_B[row]) / decisions))
    return [Answer(marks, None, sure) for marks, sure in zip(found, sureness, strict=True)]
