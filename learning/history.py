"""What earlier rounds have left that the next one is compared with, and the advice that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Mark, Sentence
from learning.advice import Advice, Point, advise
from learning.agreement import agreement
from learning.database import Prediction, Project, Round, text_hash
from learning.marks import from_json
from learning.metrics import counts, main_kind
from learning.settings import DECIDE_THE_MODEL, ProjectSettings
from learning.venue import Collected


def compared(
    session: Session, project: Project, collected: Collected, predictions: Mapping[str, Sequence[Mark]]
) -> dict[str, Any]:
    """For the metrics of a new model with these `predictions`, of what the project is judged by: `holdout_counts`, the
    gold, predicted and right marks of each labelled hold-out task, and `agreement` with the current model on all
    hold-out tasks, which no model learns from.
    """
    kind = main_kind(collected.kinds)
    counted = {
        sentence.id: counts(kind, sentence, predictions[sentence.id])
        for sentence in collected.holdout
        if sentence.marks(kind) is not None
    }
    stop_set = {int(sentence.id): sentence for sentence in (*collected.holdout, *collected.holdout_pool)}
    rows: list[tuple[Sentence, Sequence[Mark], Sequence[Mark]]] = []
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    if current is not None and current.model_round_id is not None:
        known = select(Prediction).where(Prediction.round_id == current.id, Prediction.holdout)
        for row in session.scalars(known):
            sentence = stop_set.get(row.task_id)
            if sentence is not None and text_hash(sentence.text) == row.text_hash:
                rows.append((sentence, from_json(row.spans), predictions[sentence.id]))
    sentences, before, after = zip(*rows, strict=True) if rows else ((), (), ())
    found = agreement(sentences, before, after, kind) if rows else None
    return {"holdout_counts": counted, "agreement": found.as_json() if found else None}


def present_curve(session: Session, project: Project) -> list[Round]:
    """The rounds of the project that trained a model in the present way, the oldest first."""
    fitted = session.scalars(
        select(Round)
        .where(Round.project_id == project.id, Round.kind == "fit", Round.state.in_(["publishing", "done"]))
        .order_by(Round.number)
    ).all()
    return [this for this in fitted if _decided(this) == _decided(fitted[-1])]


def _decided(this: Round) -> list[Any]:
    """What makes its F1 comparable with another round's: the settings that decide the model, and what F1 is of."""
    kind = (this.metrics.get("evaluation") or {}).get("kind", "spans")
    defaults = ProjectSettings.model_fields  # of settings that there were not yet when the round ran
    return [kind, *(this.settings.get(name, defaults[name].default) for name in DECIDE_THE_MODEL)]


def advice(rounds: Sequence[Round]) -> Advice | None:
    """Advice from the rounds of `present_curve`; None before there is one."""
    points = [Point.from_metrics(this.metrics) for this in rounds]
    return advise([point for point in points if point is not None]) if rounds else None
