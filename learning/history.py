"""What earlier rounds have left that the next one is compared with, and the advice that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Sentence, Span
from learning.advice import Advice, Point, advise, agreement
from learning.database import Prediction, Project, Round, text_hash
from learning.metrics import span_counts
from learning.settings import DECIDE_THE_MODEL
from learning.venue import Collected


def compared(
    session: Session, project: Project, collected: Collected, spans: Mapping[str, Sequence[Span]]
) -> dict[str, Any]:
    """For the metrics of a new model with these `spans`: `holdout_counts`, the gold, predicted and right spans of each
    labelled hold-out task, and `agreement` with the current model on all hold-out tasks, which no model learns from.
    """
    counts = {sentence.id: span_counts(sentence, spans[sentence.id]) for sentence in collected.holdout}
    stop_set = {int(sentence.id): sentence for sentence in (*collected.holdout, *collected.holdout_pool)}
    pairs: list[tuple[Sentence, list[Span], Sequence[Span]]] = []
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    if current is not None and current.model_round_id is not None:
        known = select(Prediction).where(Prediction.round_id == current.id, Prediction.holdout)
        for row in session.scalars(known):
            sentence = stop_set.get(row.task_id)
            if sentence is not None and text_hash(sentence.text) == row.text_hash:
                pairs.append((sentence, [Span(*span) for span in row.spans], spans[sentence.id]))
    found = agreement(*zip(*pairs, strict=True)) if pairs else None
    return {"holdout_counts": counts, "agreement": found.as_json() if found else None}


def present_curve(session: Session, project: Project) -> list[Round]:
    """The rounds of the project that trained a model in the present way, the oldest first."""
    fitted = session.scalars(
        select(Round)
        .where(Round.project_id == project.id, Round.kind == "fit", Round.state.in_(["publishing", "done"]))
        .order_by(Round.number)
    ).all()
    now = [fitted[-1].settings.get(name) for name in DECIDE_THE_MODEL] if fitted else []
    return [this for this in fitted if [this.settings.get(name) for name in DECIDE_THE_MODEL] == now]


def advice(rounds: Sequence[Round]) -> Advice | None:
    """Advice from the rounds of `present_curve`; None before there is one."""
    points = [Point.from_metrics(this.metrics) for this in rounds]
    return advise([point for point in points if point is not None]) if rounds else None
