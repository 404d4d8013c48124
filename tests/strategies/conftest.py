"""Small pools of made-up tagger output, and ways to cut them into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies import Measured, Strategy, join


@dataclass(frozen=True)
class Tagged:
    """What a tagger says of one sentence: (n, C) marginals, (n, H) states, log P of its best path."""

    marginals: NDArray[np.float32]
    hidden: NDArray[np.float32]
    log_prob: float

    def __len__(self) -> int:
        return len(self.marginals)


def tagged(marginals: object, hidden: object, log_prob: float | None = None) -> Tagged:
    """One sentence; without a log-probability it gets that of the product of the per-word maxima."""
    p = np.array(marginals, dtype=np.float32)
    h = np.array(hidden, dtype=np.float32)
    return Tagged(p, h, float(np.log(p.max(axis=1)).sum()) if log_prob is None else log_prob)


def random_pool(n: int, seed: int, tags: int = 5, states: int = 7, words: Sequence[int] | None = None) -> list[Tagged]:
    """n sentences of 1 to 12 words (or of the lengths given), no two alike.

    As with a CRF, the best path is not as probable as the product of the per-word maxima.
    """
    rng = np.random.default_rng(seed)
    pool = []
    for length in rng.integers(1, 13, n) if words is None else words:
        logits = 2 * rng.standard_normal((length, tags))
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        log_prob = float(np.log(p.max(axis=1)).sum() * rng.uniform(0.6, 1.0)) if length else 0.0
        pool.append(tagged(p, rng.standard_normal((length, states)), log_prob))
    return pool


def wordless(tags: int = 5, states: int = 7) -> Tagged:
    """A sentence without words."""
    return tagged(np.zeros((0, tags)), np.zeros((0, states)), 0.0)


def inference(pool: Sequence[Tagged], indices: Sequence[int] | None = None) -> Inference:
    """One padded batch of the sentences at `indices` (all of them without)."""
    indices = range(len(pool)) if indices is None else indices
    longest = max(len(pool[i]) for i in indices)
    tags, states = pool[0].marginals.shape[1], pool[0].hidden.shape[1]
    marginals = np.zeros((len(indices), longest, tags), np.float32)
    hidden = np.zeros((len(indices), longest, states), np.float32)
    for row, i in enumerate(indices):
        marginals[row, : len(pool[i])] = pool[i].marginals
        hidden[row, : len(pool[i])] = pool[i].hidden
    return Inference(
        indices=np.array(indices, dtype=np.int64),
        lengths=np.array([len(pool[i]) for i in indices], dtype=np.int64),
        tags=("O", *(f"B-{c}" for c in range(1, tags))),
        path_BT=marginals.argmax(axis=2).astype(np.int64),
        log_prob_B=np.array([pool[i].log_prob for i in indices], dtype=np.float64),
        marginals_BTC=marginals,
        hidden_BTH=hidden,
    )


def batches(pool: Sequence[Tagged], size: int) -> Iterator[Inference]:
    """The pool by length, as taggers do it, in batches of `size`."""
    order = sorted(range(len(pool)), key=lambda i: len(pool[i]))
    for start in range(0, len(pool), size):
        yield inference(pool, order[start : start + size])


def measured(strategy: Strategy, pool: Sequence[Tagged], size: int = 4) -> Measured:
    """The pool measured in batches of `size` and joined."""
    return join(((batch, strategy.measure(batch)) for batch in batches(pool, size)), len(pool))


def order(
    strategy: Strategy, pool: Sequence[Tagged], *, limit: int | None = None, seed: int = 0, size: int = 4
) -> list[int]:
    """The ranked pool."""
    ranking = strategy.rank(measured(strategy, pool, size), None, limit, np.random.default_rng(seed))
    return [int(i) for i in ranking.order]
