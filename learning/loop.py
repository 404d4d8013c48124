"""One round as a function: fit → evaluate → measure → rank. The live backend and the simulator both call it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from corpus import Inference, Sentence, Span
from learning.metrics import Scores, span_scores
from learning.settings import ProjectSettings
from learning.venue import Collected
from strategies import Measured, Strategy, check, join, strategy
from taggers import TAGGERS, Progress, Tagger, spans_of, tagger_class

MIN_HOLDOUT_SENTENCES = 20
"""Below this, or below MIN_HOLDOUT_SPANS, the hold-out says too little and cross-validation is used."""
MIN_HOLDOUT_SPANS = 10
FOLDS = 3
MIN_DEV_SENTENCES = 5
"""A smaller dev set stops training at random: it is left empty instead."""


class OnStep(Protocol):
    """Told where the round is, e.g. `("fit", epoch=2, epochs=10, dev_f1=0.61)`. May raise to end the round."""

    def __call__(self, step: str, **detail: Any) -> None: ...


def silently(step: str, **detail: Any) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a model, and what they were measured on."""

    scores: Scores
    method: str
    """"hold-out", or "cross-validation" while the hold-out is too small."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain dicts and numbers."""
        return {"method": self.method, **self.scores.as_json()}


@dataclass(frozen=True, slots=True)
class Queued:
    """A sentence's place in the queue is its place in the list; `priority` is the strategy's own figure for it."""

    id: str
    priority: float | None
    holdout: bool = False


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a round has to say: the queue of the unlabelled, and the spans of everything."""

    queue: list[Queued]
    predictions: dict[str, list[Span]] = field(default_factory=dict)


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
    labelled: Sequence[Sentence], settings: ProjectSettings, rng: np.random.Generator, on_step: OnStep = silently
) -> Tagger:
    """A tagger of the project's kind, trained from scratch on `labelled`."""
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
    tagger.fit(train, dev, on_progress=on_progress)
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


def order(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
) -> Ordered:
    """Measure the pool in one pass of the tagger, rank it, and mix the hold-out in at random.

    Raises ValueError if the strategy needs what the tagger does not provide (after rolling back to another kind).
    """
    chosen = strategy(settings.strategy, **settings.strategy_options)
    check(chosen, TAGGERS[tagger.name].provides)
    predictions: dict[str, list[Span]] = {}
    pool = [sentence.unlabelled() for sentence in collected.pool]
    measured = _measure(tagger, pool, chosen, predictions, on_step)
    others = [s.unlabelled() for s in (*collected.labelled, *collected.holdout, *collected.holdout_pool)]
    labelled = others[: len(collected.labelled)]
    measured_labelled = None
    if chosen.uses_labelled:
        measured_labelled = _measure(tagger, labelled, chosen, predictions, silently)
        others = others[len(labelled) :]
    for sentence, spans in zip(others, tagger.predict(others), strict=True):
        predictions[sentence.id] = spans
    on_step("rank")
    # A batch goes on being labelled while the next round trains: choose for two.
    ranking = chosen.rank(measured, measured_labelled, 2 * settings.round_size, rng)
    ranked = [Queued(pool[i].id, float(ranking.priority[i])) for i in ranking.order]
    return Ordered(mix(ranked, collected.holdout_pool, settings.holdout_share, rng), predictions)


def cold_order(collected: Collected, settings: ProjectSettings, rng: np.random.Generator) -> Ordered:
    """The queue before there is a model: at random."""
    ranked = [Queued(collected.pool[i].id, None) for i in rng.permutation(len(collected.pool))]
    return Ordered(mix(ranked, collected.holdout_pool, settings.holdout_share, rng))


def mix(
    ranked: Sequence[Queued], holdout_pool: Sequence[Sentence], share: float, rng: np.random.Generator
) -> list[Queued]:
    """Each place goes, with probability `share`, to a random hold-out sentence, else to the next of `ranked`, whose
    order stays; what is left over follows."""
    drawn = [Queued(holdout_pool[i].id, None, holdout=True) for i in rng.permutation(len(holdout_pool))]
    places = rng.random(len(ranked) + len(drawn)) < share
    queue: list[Queued] = []
    first = second = 0
    for for_holdout in places:
        if second < len(drawn) and (for_holdout or first == len(ranked)):
            queue.append(drawn[second])
            second += 1
        else:
            queue.append(ranked[first])
            first += 1
    return queue


def _measure(
    tagger: Tagger,
    sentences: Sequence[Sentence],
    chosen: Strategy,
    predictions: dict[str, list[Span]],
    on_step: OnStep,
) -> Measured:
    """Map `measure` over the tagger's batches, keeping their spans by the way."""
    done = 0

    def batches() -> Iterator[tuple[Inference, NDArray[Any]]]:
        nonlocal done
        for batch in tagger.infer(sentences):
            for i, spans in zip(batch.indices, spans_of(batch, sentences), strict=True):
                predictions[sentences[i].id] = spans
            done += len(batch.indices)
            on_step("measure", done=done, of=len(sentences))
            yield batch, chosen.measure(batch)

    return join(batches(), len(sentences))
