"""The models of a round: trained if that is due, else those of an earlier one."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Span
from learning.database import Database, Prediction, Project, Round, text_hash
from learning.loop import Evaluation, evaluate, fit
from learning.models import ModelStore
from learning.readers import Readers
from learning.steps import OnStep
from learning.venue import Collected
from taggers import Damaged, Tagger

log = logging.getLogger("active_tagger")


@dataclass(frozen=True, slots=True)
class Model:
    """What a round tags and ranks with: often one and the same."""

    kind: str
    """Of the round."""
    tags: Tagger
    ranks: Tagger
    round_id: int
    """The round that trained the one that tags."""
    evaluation: Evaluation | None = None
    """Of the one that tags, if it is new."""


def model_of(
    db: Database,
    models: ModelStore,
    this: Round,
    collected: Collected,
    readers: Readers,
    rng: np.random.Generator,
    on_step: OnStep,
) -> Model | None:
    """A new model if one is due, or the earlier one is damaged; else that one; None before there is one."""
    with db.read() as session:
        earlier = _model_round(session, this)
    labelled = [*collected.labelled, *collected.holdout]
    enough = readers.settings.fills_a_round(len(labelled), sum(len(sentence) for sentence in labelled))
    if collected.labelled and (this.kind in ("fit", "successor") or (earlier is None and enough)):
        return _trained(models, this, earlier, collected, readers, rng, on_step)
    if earlier is None:
        return None
    project_id, version = this.project_id, earlier.version
    try:
        tags, ranks = models.load(project_id, version), models.load_acquisition(project_id, version)
    except Damaged as error:
        log.warning("project %s: %s; this round trains a new one", project_id, error)
        return _trained(models, this, earlier, collected, readers, rng, on_step) if collected.labelled else None
    return Model("rank", tags, ranks, earlier.id)


def _trained(
    models: ModelStore,
    this: Round,
    earlier: Round | None,
    collected: Collected,
    readers: Readers,
    rng: np.random.Generator,
    on_step: OnStep,
) -> Model:
    """New models, evaluated and stored. An acquisition model is quick: where there is something to tag with already, it
    is trained alone first, so that the queue need not wait, and both in the round that follows."""
    settings = readers.for_fitting([*collected.labelled, *collected.pool], on_step)
    tagged = ranked = None
    if earlier is not None and (settings.warm_start or settings.acquisition):
        with suppress(Damaged):  # what is lost is trained anew
            tagged = models.load(this.project_id, earlier.version)
            ranked = models.load_acquisition(this.project_id, earlier.version)
    ranks = None
    if settings.acquisition is not None:
        ranks = fit(collected.labelled, settings.ranking, rng, on_step, ranked)
        if earlier is not None and tagged is not None and this.kind != "successor":
            return Model("acquisition", tagged, ranks, earlier.id)
    tags = fit(collected.labelled, settings, rng, on_step, tagged)
    evaluation = evaluate(tags, collected, settings, rng, on_step)
    models.save(tags, this.project_id, this.version, acquisition=ranks)
    return Model("fit", tags, ranks or tags, this.id, evaluation)


def known_spans(db: Database, this: Round, model: Model, collected: Collected) -> dict[str, list[Span]]:
    """What the one that tags has said of these very texts in the current round."""
    texts = {int(sentence.id): text_hash(sentence.text) for sentence in collected.sentences()}
    with db.read() as session:
        current = session.get(Round, session.get_one(Project, this.project_id).current_round_id or 0)
        if current is None or current.model_round_id != model.round_id:
            return {}
        stored = session.scalars(select(Prediction).where(Prediction.round_id == current.id))
        return {
            str(row.task_id): [Span(*span) for span in row.spans]
            for row in stored
            if texts.get(row.task_id) == row.text_hash
        }


def _model_round(session: Session, this: Round) -> Round | None:
    """The round whose model a "rank" uses: the one asked for, else the current one's."""
    if this.model_round_id is not None:
        return session.get(Round, this.model_round_id)
    project = session.get_one(Project, this.project_id)
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    return session.get(Round, current.model_round_id) if current and current.model_round_id else None
