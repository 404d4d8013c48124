"""The end of a round: measure the pool, rank it, and mix the hold-out in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import Inference, Sentence, Span
from learning.readers import Reader, Readers
from learning.settings import ProjectSettings
from learning.steps import OnStep, silently
from learning.venue import Collected
from strategies import STRATEGIES, Filter, Measured, Strategy, check, join, pool_filter, strategy
from taggers import TAGGERS, Tagger, spans_of


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
    strategy: str
    """The one that ordered the queue: another than the settings' before the first training."""
    predictions: dict[str, list[Span]] = field(default_factory=dict)
    note: str | None = None
    """What people should know about this order."""


def order(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    readers: Readers | None = None,
    successor: Tagger | None = None,
    known: Mapping[str, list[Span]] | None = None,
) -> Ordered:
    """Measure the pool with `tagger`, rank what the filter leaves of it, and mix the hold-out in at random; the spans
    are those of `successor` where another model is trained for use (Shelmanov et al. 2021, fig. 3), by id in `known`
    as far as it has given them already.

    Raises ValueError if the strategy or the filter needs what the tagger does not provide (after rolling back to
    another kind), or a model that is not within reach.
    """
    measuring = _Measuring(collected, tagger, readers or Readers(settings), on_step)
    queue = mix(_ranked(measuring, settings, None, rng), collected.holdout_pool, settings.holdout_share, rng)
    return Ordered(queue, settings.strategy, measuring.predictions(successor or tagger, known or {}))


def ranked(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    limit: int,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    readers: Readers | None = None,
) -> list[Queued]:
    """The pool in the strategy's order, of which `limit` sentences are to be labelled before the next. See `order`."""
    return _ranked(_Measuring(collected, tagger, readers or Readers(settings), on_step), settings, limit, rng)


def cold_order(
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    readers: Readers | None = None,
) -> Ordered:
    """The queue before there is a model, by a strategy that needs none.

    Raises ValueError if the settings name one whose model is not within reach; "auto" then goes on at random.
    """
    name, note = cold_start(settings) if collected.pool else "random", None
    readers = readers or Readers(settings)
    try:
        if STRATEGIES[name].reads != "tagger":
            _open(readers, STRATEGIES[name].reads, collected, on_step)
    except ValueError as error:
        if settings.cold_start != "auto" or name == settings.strategy:
            raise
        note = f"a cold start by {name} is not possible, so the first order is random: {error}"
        name = "random"
    options = settings.strategy_options if name == settings.strategy else {}
    cold = settings.model_copy(update={"strategy": name, "strategy_options": options, "filter": None})
    queue = _ranked(_Measuring(collected, None, readers, on_step), cold, None, rng)
    return Ordered(mix(queue, collected.holdout_pool, settings.holdout_share, rng), name, note=note)


def cold_start(settings: ProjectSettings) -> str:
    """The strategy of the first queue: the project's own if it needs no trained tagger, else its cold start."""
    own = STRATEGIES[settings.strategy]
    if own.reads != "tagger" or not own.needs:
        return settings.strategy
    if settings.cold_start != "auto":
        return settings.cold_start
    return "alps" if settings.masked_lm else "bert-km"


def _ranked(
    measuring: _Measuring, settings: ProjectSettings, limit: int | None, rng: np.random.Generator
) -> list[Queued]:
    chosen = strategy(settings.strategy, **settings.strategy_options)
    if measuring.tagger is not None:
        check(chosen, TAGGERS[measuring.tagger.name].provides)
    kept = _filtered(measuring, settings, limit, rng)
    measured, labelled = measuring.of(chosen, kept)
    measuring.on_step("rank")
    ranking = chosen.rank(measured, labelled, limit or _limit(settings, measured), rng)
    queue = [Queued(measuring.pool[kept[i]].id, float(ranking.priority[i])) for i in ranking.order]
    left = np.setdiff1d(np.arange(len(measuring.pool)), kept)
    return queue + [Queued(measuring.pool[i].id, None) for i in rng.permutation(left)]


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


def _limit(settings: ProjectSettings, measured: Measured) -> int:
    """How many sentences to choose one by one: two rounds' worth, since a batch goes on being labelled while the next
    round trains."""
    if settings.round_words is None or not measured.lengths.any():
        return 2 * settings.round_size
    return math.ceil(2 * settings.round_words / measured.lengths.mean())


def _filtered(
    measuring: _Measuring, settings: ProjectSettings, limit: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Positions in the pool that the strategy chooses from: all of them where the filter would leave too few."""
    everything = np.arange(len(measuring.pool))
    if settings.filter is None:
        return everything
    measured, labelled = measuring.of(chosen := pool_filter(settings.filter, **settings.filter_options), everything)
    classes = [frozenset(span.label for span in sentence.spans or ()) for sentence in measuring.collected.labelled]
    kept = chosen.keep(measured, labelled, classes, rng)
    return kept if len(kept) >= (limit or _limit(settings, measured)) else everything


def _open(readers: Readers, reads: str, collected: Collected, on_step: OnStep) -> Reader:
    """Adaptation may read every text but the hold-out's."""
    return readers.open(reads, [*collected.labelled, *collected.pool], on_step)


class _Measuring:
    """Maps `measure` over batches of the tagger or of a reader, keeping the tagger's spans by the way."""

    def __init__(self, collected: Collected, tagger: Tagger | None, readers: Readers, on_step: OnStep) -> None:
        self.collected = collected
        self.pool = [sentence.unlabelled() for sentence in collected.pool]
        self._labelled = [sentence.unlabelled() for sentence in collected.labelled]
        self.tagger, self.on_step, self._readers = tagger, on_step, readers
        self._spans: dict[str, list[Span]] = {}

    def of(self, what: Strategy | Filter, positions: NDArray[np.int64]) -> tuple[Measured, Measured | None]:
        """The sentences of the pool at `positions`, and the labelled ones if they are used."""
        measured = self._measure(what, [self.pool[i] for i in positions], self.on_step)
        return measured, self._measure(what, self._labelled, silently) if what.uses_labelled else None

    def _measure(self, what: Strategy | Filter, sentences: Sequence[Sentence], on_step: OnStep) -> Measured:
        if what.reads == "tagger" and not what.needs:
            return Measured(np.zeros(len(sentences)), np.array([len(s) for s in sentences], np.int64))
        done = 0
        on_step("measure", done=0, of=len(sentences))

        def batches() -> Iterator[tuple[Inference, NDArray[Any]]]:
            nonlocal done
            for batch in self._infer(what, sentences):
                done += len(batch.indices)
                on_step("measure", done=done, of=len(sentences))
                yield batch, what.measure(batch)

        return join(batches(), len(sentences))

    def _infer(self, what: Strategy | Filter, sentences: Sequence[Sentence]) -> Iterator[Inference]:
        if what.reads != "tagger":
            yield from _open(self._readers, what.reads, self.collected, self.on_step).infer(sentences)
            return
        assert self.tagger is not None
        passes, dropout = (what.passes, what.dropout) if isinstance(what, Strategy) else (0, None)
        for batch in self.tagger.infer(sentences, passes=passes, dropout=dropout):
            for i, spans in zip(batch.indices, spans_of(batch, sentences), strict=True):
                self._spans[sentences[i].id] = spans
            yield batch

    def predictions(self, tagger: Tagger, known: Mapping[str, list[Span]]) -> dict[str, list[Span]]:
        """The tagger's spans of every sentence, those that were not measured too."""
        if tagger is self.tagger:
            known = self._spans
        others = [*self.collected.holdout, *self.collected.holdout_pool]
        everything = [*self.pool, *self._labelled, *(sentence.unlabelled() for sentence in others)]
        missing = [sentence for sentence in everything if sentence.id not in known]
        self.on_step("tag", of=len(missing))
        found = zip(missing, tagger.predict(missing), strict=True)
        return {**known} | {sentence.id: spans for sentence, spans in found}
