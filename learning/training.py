"""The models of a round: trained if that is due, else those of an earlier one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from corpus import Mark, Sentence
from learning.database import Database, Prediction, Project, Round, text_hash
from learning.loop import Evaluation, evaluate, fit, fit_kinds, labelled_so, learnable
from learning.marks import from_json
from learning.models import ModelStore
from learning.readers import Readers
from learning.settings import ProjectSettings
from learning.steps import OnStep
from learning.venue import Collected
from taggers import TAGGERS, Damaged, Tagger
from taggers.several import Several

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
    something = learnable(collected.labelled, collected.kinds)
    if something and (this.kind in ("fit", "successor") or (earlier is None and enough)):
        return _trained(models, this, earlier, collected, readers, rng, on_step)
    if earlier is None:
        return None
    project_id, version = this.project_id, earlier.version
    try:
        tags, ranks = models.load(project_id, version), models.load_acquisition(project_id, version)
    except Damaged as error:
        log.warning("project %s: %s; this round trains a new one", project_id, error)
        return _trained(models, this, earlier, collected, readers, rng, on_step) if something else None
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
    labelled = collected.labelled
    settings = readers.for_fitting([*labelled, *collected.pool], on_step)
    tagged = ranked = None
    if earlier is not None and (settings.warm_start or settings.acquisition):
        with suppress(Damaged):  # what is lost is trained anew
            tagged = models.load(this.project_id, earlier.version)
            ranked = models.load_acquisition(this.project_id, earlier.version)
    quick = None
    if settings.acquisition is not None and TAGGERS[settings.acquisition].kind in learnable(labelled, collected.kinds):
        quick = _acquisition(labelled, settings, rng, on_step, ranked)
        if earlier is not None and tagged is not None and this.kind != "successor":
            return Model("acquisition", tagged, _with(tagged, quick), earlier.id)
    tags = fit_kinds(labelled, collected.kinds, settings, rng, on_step, tagged)
    evaluation = evaluate(tags, collected, settings, rng, on_step)
    ranks = _with(tags, quick) if quick else None
    models.save(tags, this.project_id, this.version, acquisition=ranks)
    return Model("fit", tags, ranks or tags, this.id, evaluation)


def _acquisition(
    labelled: Sequence[Sentence],
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep,
    start: Tagger | None,
) -> Tagger:
    kind = TAGGERS[settings.acquisition or ""].kind
    earlier = start.parts.get(kind) if start else None
    return fit(labelled_so(labelled, kind), settings.of(kind).ranking, rng, on_step, earlier)


def _with(tags: Tagger, quick: Tagger) -> Tagger:
    """What ranks: the acquisition model, beside the models of other kinds of marks that are trained for use."""
    others = {kind: model for kind, model in tags.parts.items() if kind != quick.kind}
    return Several.of({**tags.parts, quick.kind: quick}, seed=quick.seed) if others else quick


def known_marks(db: Database, this: Round, model: Model, collected: Collected) -> dict[str, list[Mark]]:
    """What the one that tags has said of these very texts in the current round."""
    texts = {int(sentence.id): text_hash(sentence.text) for sentence in collected.sentences()}
    with db.read() as session:
        current = session.get(Round, session.get_one(Project, this.project_id).current_round_id or 0)
        if current is None or current.model_round_id != model.round_id:
            return {}
        stored = session.scalars(select(Prediction).where(Prediction.round_id == current.id))
        return {str(row.task_id): from_json(row.spans) for row in stored if texts.get(row.task_id) == row.text_hash}


def _model_round(session: Session, this: Round) -> Round | None:
    """The round whose model a "rank" uses: the one asked for, else the current one's."""
    if this.model_round_id is not None:
        return session.get(Round, this.model_round_id)
    project = session.get_one(Project, this.project_id)
    current = session.get(Round, project.current_round_id) if project.current_round_id else None
    return session.get(Round, current.model_round_id) if current and current.model_round_id else None
