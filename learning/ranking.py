"""The choice over small arrays that ends a round: filter a pool, measure what is left of it, rank that. Where the texts
are, and who measures them, is the pool's own affair."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from corpus import Kind, Sentence
from learning.settings import ProjectSettings
from learning.steps import OnStep
from strategies import STRATEGIES, Filter, Measured, Ranking, Strategy, check, pool_filter, strategy

Limit = Callable[[NDArray[np.int64]], int]
"""How many of the sentences at these positions in the pool are to be chosen one by one."""


class Measurable(Protocol):
    """A pool that a model of one kind of marks, or a reader, can measure."""

    @property
    def kind(self) -> Kind:
        """What the model marks."""
        ...

    @property
    def provides(self) -> frozenset[str] | None:
        """What the model gives to measure by; None if there is no model."""
        ...

    @property
    def learned(self) -> Sequence[Sentence]:
        """What the model has learned from, with its labels."""
        ...

    @property
    def on_step(self) -> OnStep: ...

    def __len__(self) -> int:
        """Sentences in the pool."""
        ...

    def of(self, what: Strategy | Filter, positions: NDArray[np.int64]) -> tuple[Measured, Measured | None]:
        """The sentences of the pool at `positions`, ascending, and the labelled ones if they are used."""
        ...


def rank(pool: Measurable, settings: ProjectSettings, limit: Limit, rng: np.random.Generator) -> Ranking:
    """(N,) the pool in the order of the settings' strategy, and the priorities; what the filter has left out comes
    last, at random, with NaN for a priority.

    Raises ValueError if the strategy or the filter needs what the model does not provide.
    """
    chosen = strategy(settings.strategy, **settings.strategy_options)
    if pool.provides is not None:
        check(chosen, pool.provides)
    kept = _filtered(pool, settings, limit, rng)
    measured, labelled = pool.of(chosen, kept)
    pool.on_step("rank")
    ranking = chosen.rank(measured, labelled, limit(kept), rng)
    priority_N = np.full(len(pool), np.nan)
    priority_N[kept] = ranking.priority
    left = np.setdiff1d(np.arange(len(pool)), kept)
    return Ranking(np.concatenate([kept[ranking.order], rng.permutation(left)]), priority_N)


def _filtered(pool: Measurable, settings: ProjectSettings, limit: Limit, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions in the pool that the strategy chooses from: all of them where the filter would leave too few."""
    everything = np.arange(len(pool))
    if settings.filter is None:
        return everything
    measured, labelled = pool.of(chosen := pool_filter(settings.filter, **settings.filter_options), everything)
    classes = [frozenset(mark.label for mark in sentence.marks(pool.kind) or ()) for sentence in pool.learned]
    kept = chosen.keep(measured, labelled, classes, rng)
    return kept if len(kept) >= limit(everything) else everything


def mean_ranking(places_KN: NDArray[np.int64], rng: np.random.Generator) -> Ranking:
    """(N,) one order of K of the same sentences, by the mean of a sentence's places in them, ties at random; the
    priority is 1 − that mean as a share of N."""
    mean_N = places_KN.astype(np.float64).mean(0)
    order = np.lexsort((rng.random(len(mean_N)), mean_N))
    return Ranking(order, 1 - mean_N / max(len(mean_N), 1))


def ordering(settings: ProjectSettings, kinds: Sequence[Kind], there: Collection[Kind]) -> Sequence[Kind]:
    """Those of a project's kinds of marks that order its queue, as far as models of them are `there` yet; one, if no
    model is looked at."""
    chosen = [kind for kind in settings.ordering(kinds) if kind in there] or list(there)
    strategy_read = STRATEGIES[settings.strategy]
    return chosen if strategy_read.reads == "tagger" and strategy_read.needs else chosen[:1]
