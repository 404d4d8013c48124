"""The first half of a round: fit and evaluate. `learning.queue` has the second. The live backend and the simulator
both call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpus import Sentence, Span
from learning.metrics import Scores, span_scores
from learning.settings import ProjectSettings
from learning.steps import OnStep, silently
from learning.venue import Collected
from taggers import Progress, Tagger, tagger_class

MIN_HOLDOUT_SENTENCES = 20
"""Below this, or below MIN_HOLDOUT_SPANS, the hold-out says too little and cross-validation is used."""
MIN_HOLDOUT_SPANS = 10
FOLDS = 3
MIN_DEV_SENTENCES = 5
"""A smaller dev set stops training at random: it is left empty instead."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a model, and what they were measured on."""

    scores: Scores
    method: str
    """"hold-out", or "cross-validation" while the hold-out is too small."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain dicts and numbers."""
        return {"method": self.method, **self.scores.as_json()}


def split_dev(
    labelled: Sequence[Sentence], share: float, rng: np.random.Generator
) -> tuple[list[Sentence], list[Sentence]]:
    """A random `share` as dev set and the rest as train; no dev set if it would be tiny."""
    size = round(share * len(labelled))
    if size < MIN_DEV_SENTENCES:
        return list(labelled), []
    order = rng.permutation(len(labelled))
    return [labelled[i] for i in sorted(order[size:])], [labelled[i] for i in sorted(order[:size])]


def fit(
    labelled: Sequence[Sentence],
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    start: Tagger | None = None,
    besides: Sequence[Sentence] = (),
) -> Tagger:
    """A tagger of the kind that `settings` name, trained on `labelled`: from scratch, or from `start`, an earlier
    model, where they say so and that is of the same kind. It learns from `besides` too, but never stops by that."""
    kind = tagger_class(settings.tagger)
    tagger = kind(kind.Options(**settings.tagger_options), seed=settings.seed)
    train, dev = split_dev(labelled, settings.dev_share if kind.uses_dev else 0.0, rng)

    def on_progress(progress: Progress) -> None:
        on_step(
            "fit",
            epoch=progress.epoch,
            epochs=progress.epochs,
            **({} if progress.dev_f1 is None else {"dev_f1": round(progress.dev_f1, 4)}),
        )

    on_step("fit", epoch=0)
    warm = settings.warm_start and start is not None and tagger.goes_on_from(start)
    tagger.fit([*train, *besides], dev, start=start if warm else None, on_progress=on_progress)
    return tagger


def evaluate(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
) -> Evaluation | None:
    """Scores on the hold-out; on folds of all that is labelled while the hold-out is too small; None below that."""
    holdout = collected.holdout
    spans = sum(len(sentence.spans or ()) for sentence in holdout)
    if len(holdout) >= MIN_HOLDOUT_SENTENCES and spans >= MIN_HOLDOUT_SPANS:
        on_step("evaluate")
        found = tagger.predict([sentence.unlabelled() for sentence in holdout])
        return Evaluation(span_scores(holdout, found, rng), "hold-out")
    everything = [*collected.labelled, *holdout]
    if len(everything) < 2 * FOLDS:
        return None
    tested: list[Sentence] = []
    predicted: list[list[Span]] = []
    folds = np.array_split(rng.permutation(len(everything)), FOLDS)
    for number, fold in enumerate(folds):
        on_step("evaluate", fold=number + 1, folds=FOLDS)
        outside = set(fold.tolist())
        partial = fit([s for i, s in enumerate(everything) if i not in outside], settings, rng)
        tested += [everything[i] for i in fold]
        predicted += partial.predict([everything[i].unlabelled() for i in fold])
    return Evaluation(span_scores(tested, predicted, rng), "cross-validation")
