"""Predictions on request: from the store for tasks that a round has ranked, by inference for others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from corpus import Sentence, Span
from learning.database import Prediction, Project, Round, text_hash
from learning.workspace import Workspace
from taggers import spans_of

UNTRAINED = "untrained"
"""The version of answers given before any round is done."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one sentence under the current version."""

    spans: list[Span]
    position: int | None
    """Place in the current queue; None if it is not queued."""
    sureness: float
    """exp(log P(y*|x) / n) in [0, 1], the geometric mean per word; 1 if labelled already, 0 before there is a model."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer per sentence, in their order."""

    version: str
    queue_length: int
    """0 if none of them is queued."""
    items: list[Answer]


def current_version(session: Session, project: Project) -> str:
    """The version that is published and served."""
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    return current.version if current else UNTRAINED


def answer(workspace: Workspace, project: Project, sentences: Sequence[Sentence]) -> Answers:
    """Spans and queue places of `sentences`, whose ids are task ids."""
    with workspace.db.read() as session:
        current = session.get(Round, project.current_round_id) if project.current_round_id else None
        if current is None:
            return Answers(UNTRAINED, 0, [Answer([], None, 0.0) for _ in sentences])
        stored = {
            row.task_id: row
            for first in range(0, len(sentences), 5_000)
            for row in session.scalars(
                select(Prediction).where(
                    Prediction.round_id == current.id,
                    Prediction.task_id.in_([int(s.id) for s in sentences[first : first + 5_000]]),
                )
            )
        }
        queued = any(row.position is not None for row in stored.values())
        queue_length = _queue_length(workspace, session, current.id) if queued else 0
        model = session.get(Round, current.model_round_id) if current.model_round_id else None
    items: list[Answer | None] = []
    for sentence in sentences:
        row = stored.get(int(sentence.id))
        if row is None or row.text_hash != text_hash(sentence.text):
            items.append(None)
        else:
            items.append(Answer([Span(*span) for span in row.spans], row.position, 1.0))
    missing = [i for i, item in enumerate(items) if item is None]
    found = _infer(workspace, project, model, [sentences[i] for i in missing])
    for i, item in zip(missing, found, strict=True):
        items[i] = item
    return Answers(current.version, queue_length, [item for item in items if item is not None])


def _queue_length(workspace: Workspace, session: Session, round_id: int) -> int:
    lengths = workspace.queue_lengths
    if round_id not in lengths:
        queued = select(func.count()).where(Prediction.round_id == round_id, Prediction.position.is_not(None))
        lengths[round_id] = session.scalar(queued) or 0
    return lengths[round_id]


def _infer(workspace: Workspace, project: Project, model: Round | None, sentences: Sequence[Sentence]) -> list[Answer]:
    if model is None or not sentences:
        return [Answer([], None, 0.0) for _ in sentences]
    tagger = workspace.models.load(project.id, model.version)
    answers = [Answer([], None, 0.0) for _ in sentences]
    for batch in tagger.infer([sentence.unlabelled() for sentence in sentences]):
        for row, spans in enumerate(spans_of(batch, sentences)):
            words = max(1, int(batch.lengths[row]))
            sureness = math.exp(min(0.0, float(batch.log_prob_B[row]) / words))
            answers[batch.indices[row]] = Answer(spans, None, sureness)
    return answers
