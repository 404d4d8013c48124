"""What is looked into once a round is delivered and its annotators wait no more: doubtful labels, words saved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from sqlalchemy import select

from corpus import Kind, Sentence
from learning.batches import annotated
from learning.database import Database, Project, Round
from learning.metrics import main_kind
from learning.saving import Saving, saving, trained_words
from learning.settings import ProjectSettings
from learning.suspects import MIN_LABELLED, suspects
from learning.venue import Collected

log = logging.getLogger("active_tagger")

MOST_SECONDS = 60
"""The saving is estimated where its trainings, at the speed of the round's own, take no longer than this."""


def look_closer(db: Database, round_id: int, collect: Callable[[], Collected], settings: ProjectSettings) -> None:
    """After a round that trained a model: write suspected label errors to the project, and the saving against random
    order to the round's metrics. Whatever fails is logged and takes nothing along.

    One process runs the rounds of all projects, so the saving, which takes longer, is passed over while any of them is
    due; a later round will find time. Of a project ordered at random there is none.
    """
    with db.read() as session:
        this = session.get_one(Round, round_id)
        revisions = annotated(session, session.get_one(Project, this.project_id))
    if this.kind != "fit":
        return
    collected = Collected([], [], [])
    with _logged(this, "annotations could not be read again"):
        collected = collect()
    rng = np.random.default_rng([settings.seed, this.number, 1])
    labelled, everything = (
        sorted(sentences, key=lambda sentence: revisions.get(sentence.id, 0))
        for sentences in (collected.labelled, [*collected.labelled, *collected.holdout])
    )
    with _logged(this, "label errors could not be sought"):
        _seek_suspects(db, this, everything, collected.kinds, rng)
    if settings.strategy != "random" and not _somebody_waits(db):
        with _logged(this, "the saving could not be estimated"):
            kind = main_kind(collected.kinds)
            _estimate_saving(db, this, labelled, collected.holdout, settings.of(kind), rng, kind)


@contextmanager
def _logged(this: Round, what: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("project %s, round %s: %s", this.project_id, this.number, what)


def _seek_suspects(
    db: Database, this: Round, labelled: Sequence[Sentence], kinds: Sequence[Kind], rng: np.random.Generator
) -> None:
    if len(labelled) < MIN_LABELLED:
        return
    found = suspects(labelled, rng, kinds).as_json(this.version)
    with db.write() as session:
        session.get_one(Project, this.project_id).suspects = found


def _estimate_saving(
    db: Database,
    this: Round,
    labelled: Sequence[Sentence],
    holdout: Sequence[Sentence],
    settings: ProjectSettings,
    rng: np.random.Generator,
    kind: Kind,
) -> None:
    words = sum(len(sentence) for sentence in labelled)
    seconds = this.metrics["seconds"].get("fit", 0.0) * trained_words(labelled, holdout, kind) / max(words, 1)
    found: Saving | None = saving(labelled, holdout, settings, rng, kind) if seconds <= MOST_SECONDS else None
    if found is not None:
        with db.write() as session:
            reviewed = session.get_one(Round, this.id)
            reviewed.metrics = {**reviewed.metrics, "saving": found.as_json()}


def _somebody_waits(db: Database) -> bool:
    with db.read() as session:
        return session.scalar(select(Project.id).where(Project.due.is_not(None), ~Project.paused).limit(1)) is not None
