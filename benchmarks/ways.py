"""Choosing as the live loop does it, from what a model says of a pool batch by batch; the model's own time apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import pools
from benchmarks.contest import Clock
from corpus import Inference
from strategies import Filter, Measured, Strategy, join, pool_filter, strategy

LABELLED = 1_000
"""Labelled sentences beside a made-up pool of any size: the pool grows, what people have labelled does not."""
_PIECES = 128


class Pool(Protocol):
    """Sentences of which a model says what strategies and filters read."""

    @property
    def size(self) -> int:
        """How many."""

    def infer(self, what: Strategy | Filter) -> Iterator[Inference]:
        """What the model that `what` reads says of them, in batches."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """See `pools.inferences`; never held as a whole. One seed is one language: its words say the same in every pool."""

    size: int
    seed: int = 0

    def infer(self, what: Strategy | Filter) -> Iterator[Inference]:
        for number, batch in enumerate(pools.inferences(self.size, self.seed)):
            yield _with_what_is_read(batch, what, np.random.default_rng([self.seed, 5, number]))


@dataclass(frozen=True, slots=True)
class Held:
    """What models have said once, held in memory."""

    size: int
    batches: Mapping[str, Sequence[Inference]]
    """By what reads them: `Strategy.reads`."""

    def infer(self, what: Strategy | Filter) -> Iterator[Inference]:
        return iter(self.batches[what.reads])


@dataclass(frozen=True, slots=True)
class Way:
    """A strategy with its options, perhaps behind a filter."""

    strategy: str
    filter: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the strategy."""

    def __str__(self) -> str:
        return self.strategy + (f" after {self.filter}" if self.filter else "")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what that took."""

    order: NDArray[np.int64]
    """(kept,) positions in the pool of what the filter kept, the one to label first at the front."""
    measuring: float
    """Seconds, the filter's included."""
    ranking: float
    """Seconds, the filter's choice included."""

    @property
    def seconds(self) -> float:
        return self.measuring + self.ranking


def choose(
    way: Way,
    pool: Pool,
    labelled: Pool,
    classes: Sequence[frozenset[str]],
    limit: int,
    rng: np.random.Generator,
) -> Choice:
    """Measure and rank; `classes` are the labels in each labelled sentence. What the models say is not timed."""
    measuring, ranking = Clock(), Clock()

    def measured(what: Strategy | Filter, kept: NDArray[np.int64]) -> tuple[Measured, Measured | None]:
        return measured_by(what, pool, measuring, kept), (
            measured_by(what, labelled, measuring) if what.uses_labelled else None
        )

    kept: NDArray[np.int64] = np.arange(pool.size)
    if way.filter is not None:
        narrowing = pool_filter(way.filter)
        values = measured(narrowing, kept)
        with ranking:
            kept = narrowing.keep(*values, classes, rng)
        del values
    chosen = strategy(way.strategy, **way.options)
    values = measured(chosen, kept)
    with ranking:
        order = kept[chosen.rank(*values, limit, rng).order]
    return Choice(order, measuring.seconds, ranking.seconds)


def classes_of(batches: Iterable[Inference], size: int) -> list[frozenset[str]]:
    """The types of entity that a model finds in each of `size` sentences: the labels, were it right."""
    found: list[frozenset[str]] = [frozenset()] * size
    for batch in batches:
        for i, n, path_T in zip(batch.indices, batch.lengths, batch.path_BT, strict=True):
            found[i] = frozenset(batch.tags[tag][2:] for tag in path_T[:n]) - {""}
    return found


def measured_by(
    what: Strategy | Filter, pool: Pool, clock: Clock | None = None, kept: NDArray[np.int64] | None = None
) -> Measured:
    """The sentences of the pool at `kept`, in that order; None = all. The clock leaves out what the model says."""
    size, batches, asking = pool.size, pool.infer(what), Clock()
    if kept is not None and len(kept) < pool.size:
        size, batches = len(kept), _only(batches, kept, pool.size)
    clock = clock or Clock()
    with clock:
        measured = join(((batch, what.measure(batch)) for batch in _timed(batches, asking)), size)
    clock.seconds -= asking.seconds
    return measured


def _timed(batches: Iterator[Inference], clock: Clock) -> Iterator[Inference]:
    while True:
        with clock:
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _only(batches: Iterable[Inference], kept: NDArray[np.int64], size: int) -> Iterator[Inference]:
    """The sentences at `kept`, which become positions 0, 1, …"""
    places_N = np.full(size, -1)
    places_N[kept] = np.arange(len(kept))
    for batch in batches:
        rows = np.flatnonzero(places_N[batch.indices] >= 0)
        if len(rows):
            arrays = {f.name: getattr(batch, f.name) for f in fields(Inference)}
            parts: dict[str, Any] = {name: of[rows] for name, of in arrays.items() if isinstance(of, np.ndarray)}
            yield replace(batch, **parts | {"indices": places_N[batch.indices[rows]]})


def _with_what_is_read(batch: Inference, what: Strategy | Filter, rng: np.random.Generator) -> Inference:
    """The batch with what only some strategies need."""
    if "per_text" in what.needs:
        batch = _of_texts(batch)
    if "log_prob" in what.needs:
        best_BT = batch.marginals_BTC.max(axis=2)
        batch = replace(batch, log_prob_B=np.log(np.where(best_BT > 0, best_BT, 1.0)).sum(axis=1, dtype=np.float64))
    if "samples" in what.needs and isinstance(what, Strategy):
        samples_BMTC = _passes(batch.marginals_BTC, what.passes, rng)
        batch = replace(batch, samples_BMTC=samples_BMTC, sample_paths_BMT=samples_BMTC.argmax(axis=3))
    if "surprisal" in what.needs:
        drawn = pools.surprisals(len(batch.indices), _PIECES, seed=int(rng.integers(2**31)))
        batch = replace(batch, surprisal_BL=drawn)
    return batch


def _of_texts(batch: Inference) -> Inference:
    """As a classifier would say it: the first word's distribution and state are the text's."""
    assert batch.hidden_BTH is not None
    return replace(
        batch,
        lengths=np.minimum(batch.lengths, 1),
        path_BT=batch.path_BT[:, :1],
        marginals_BTC=batch.marginals_BTC[:, :1],
        hidden_BTH=None,
        state_BH=batch.hidden_BTH[:, 0],
    )


def _passes(p_BTC: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(B, M, T, C) distributions that agree on most words; zeros where there is no word."""
    B, T, C = p_BTC.shape
    noise_BMTC = rng.standard_normal((B, count, T, C), dtype=np.float32)
    p_BMTC = p_BTC[:, None] * np.exp(noise_BMTC, out=noise_BMTC)
    total_BMT1 = p_BMTC.sum(axis=3, keepdims=True)
    return np.divide(p_BMTC, total_BMT1, where=total_BMT1 > 0, out=p_BMTC)
