"""The first half of a round: fit and evaluate. `learning.queue` has the second. The live backend and the simulator
both call them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corpus import KINDS, Kind, Mark, Sentence
from learning.metrics import Scores, main_kind, scores
from learning.settings import ProjectSettings
from learning.steps import OnStep, silently
from learning.venue import Collected
from taggers import Progress, Tagger, tagger_class
from taggers.several import Part, Several, SeveralOptions

MIN_HOLDOUT_SENTENCES = 20
"""Below this, or below MIN_HOLDOUT_SPANS spans (choices, relations), the hold-out says too little and cross-validation
is used."""
MIN_HOLDOUT_SPANS = 10
FOLDS = 3
MIN_DEV_SENTENCES = 5
"""A smaller dev set stops training at random: it is left empty instead."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a model, and what they were measured on."""

    scores: Scores
    """Of what the project is judged by: see `learning.metrics.main_kind`."""
    method: str
    """"hold-out", or "cross-validation" while the hold-out is too small."""
    also: dict[Kind, Scores] = field(default_factory=dict)
    """Of the other kinds of marks, on the same texts as far as they are labelled so."""

    def as_json(self) -> dict[str, Any]:
        """A round's metrics, as plain dicts and numbers."""
        also = {kind: other.as_json() for kind, other in self.also.items()}
        return {"evaluation": {"method": self.method, **self.scores.as_json()}, **({"also": also} if also else {})}


def labelled_so(sentences: Sequence[Sentence], kind: Kind) -> list[Sentence]:
    """Those of them in which somebody has labelled marks of this kind, if only none."""
    return [sentence for sentence in sentences if sentence.marks(kind) is not None]


def learnable(sentences: Sequence[Sentence], kinds: Collection[Kind]) -> tuple[Kind, ...]:
    """Those kinds of marks of which there is something to learn, in the order in which they are found."""
    return tuple(kind for kind in KINDS if kind in kinds and labelled_so(sentences, kind))


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
    return _fitted(tagger, [*train, *besides], dev, settings, on_step, start)


def fit_kinds(
    labelled: Sequence[Sentence],
    kinds: Collection[Kind],
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    start: Tagger | None = None,
) -> Tagger:
    """A model of all of these kinds of which something is labelled: the plain one of one kind, else `Several`, whose
    parts stop by the same dev set. `start` as for `fit`.

    Raises ValueError if nothing is labelled.
    """
    found = learnable(labelled, kinds)
    if not found:
        raise ValueError(f"nothing to learn from: no text has {' or '.join(kinds)} that somebody has labelled")
    if len(found) == 1:
        earlier = start.parts.get(*found) if start else None
        return fit(labelled_so(labelled, *found), settings.of(*found), rng, on_step, earlier)
    own = {kind: settings.of(kind) for kind in found}
    models = {kind: Part(tagger=of.tagger, options=of.tagger_options) for kind, of in own.items()}
    whole = Several(SeveralOptions(models=models), seed=settings.seed)
    return _fitted(whole, *split_dev(labelled, settings.dev_share, rng), settings, on_step, start)


def _fitted(
    tagger: Tagger,
    train: Sequence[Sentence],
    dev: Sequence[Sentence],
    settings: ProjectSettings,
    on_step: OnStep,
    start: Tagger | None,
) -> Tagger:
    def on_progress(progress: Progress) -> None:
        on_step(
            "fit",
            epoch=progress.epoch,
            epochs=progress.epochs,
            **({} if progress.dev_f1 is None else {"dev_f1": round(progress.dev_f1, 4)}),
            **({} if progress.kind is None else {"kind": progress.kind}),
        )

    on_step("fit", epoch=0)
    warm = settings.warm_start and start is not None and tagger.goes_on_from(start)
    tagger.fit(train, dev, start=start if warm else None, on_progress=on_progress)
    return tagger


def evaluate(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
) -> Evaluation | None:
    """Scores on the hold-out; on folds of all that is labelled while the hold-out is too small; None below that.

    What counts is what is labelled of the kind that the project is judged by.
    """
    main = main_kind(collected.kinds)
    holdout = labelled_so(collected.holdout, main)
    marks = sum(len(sentence.marks(main) or ()) for sentence in holdout)
    if len(holdout) >= MIN_HOLDOUT_SENTENCES and marks >= MIN_HOLDOUT_SPANS:
        on_step("evaluate")
        found = tagger.predict([sentence.unlabelled() for sentence in holdout])
        return _evaluation(collected.kinds, "hold-out", holdout, found, rng)
    everything = [*labelled_so(collected.labelled, main), *holdout]
    if len(everything) < 2 * FOLDS:
        return None
    tested: list[Sentence] = []
    predicted: list[list[Mark]] = []
    folds = np.array_split(rng.permutation(len(everything)), FOLDS)
    for number, fold in enumerate(folds):
        on_step("evaluate", fold=number + 1, folds=FOLDS)
        outside = set(fold.tolist())
        partial = fit_kinds([s for i, s in enumerate(everything) if i not in outside], collected.kinds, settings, rng)
        tested += [everything[i] for i in fold]
        predicted += partial.predict([everything[i].unlabelled() for i in fold])
    return _evaluation(collected.kinds, "cross-validation", tested, predicted, rng)


def _evaluation(
    kinds: Collection[Kind],
    method: str,
    tested: Sequence[Sentence],
    predicted: Sequence[Sequence[Mark]],
    rng: np.random.Generator,
) -> Evaluation:
    main = main_kind(kinds)
    found: dict[Kind, Scores] = {}
    for kind in (main, *(kind for kind in kinds if kind != main)):
        of_kind = [i for i, sentence in enumerate(tested) if sentence.marks(kind) is not None]
        if of_kind:
            found[kind] = scores(kind, [tested[i] for i in of_kind], [predicted[i] for i in of_kind], rng)
    return Evaluation(found.pop(main), method, found)
