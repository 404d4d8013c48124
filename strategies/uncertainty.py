"""Uncertainty strategies: one number a sentence, highest first.

All scores are finite and at least 0; 0 is "nothing to learn here", and what a sentence without words gets.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first


class HighestFirst(Strategy):
    """Ranks by the score itself."""

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """Highest score first, ties at random."""
        scores = pool.values.astype(np.float64)
        return Ranking(highest_first(scores, pool.lengths, rng), scores)


class LeastConfidence(HighestFirst):
    """`lc`: 1 − P(y*|x), least confidence (Shen et al. 2018, sec. 4).

    Of long sentences many are 1.0 to the last bit, so measured and ranked is −log P, which puts
    sentences in the same order and keeps them apart.
    """

    needs = frozenset({"log_prob"})

    def measure(self, batch: Inference) -> NDArray[np.float64]:
        """(B,) −log P(y*|x), in nats."""
        return _surprisal(batch)

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """Least probable first; priority = 1 − P(y*|x)."""
        ranking = super().rank(pool, labelled, limit, rng)
        return replace(ranking, priority=0.0 - np.expm1(-ranking.priority))


class NormalizedLogProbability(HighestFirst):
    """`mnlp`: −(1/n) log P(y*|x), maximum normalized log-probability (Shen et al. 2018, sec. 4)."""

    needs = frozenset({"log_prob"})

    def measure(self, batch: Inference) -> NDArray[np.float64]:
        """(B,) −log P(y*|x) of the whole path over the number of words, in nats a word."""
        return _surprisal(batch) / np.maximum(batch.lengths, 1)


class Entropy(HighestFirst):
    """`entropy`: the mean over words of −Σ_c p log p; with `total` the sum, which prefers long sentences."""

    needs = frozenset({"marginals"})

    def __init__(self, total: bool = False) -> None:
        self.total = total

    def measure(self, batch: Inference) -> NDArray[np.float64]:
        """(B,) entropy of the tag distributions, in nats a word (`total`: in nats)."""
        p_BTC = batch.marginals_BTC.astype(np.float64)
        logs_BTC = np.log(p_BTC, where=p_BTC > 0, out=np.zeros_like(p_BTC))  # p log p → 0 as p → 0
        # float32 can leave a certain tag a hair above 1, hence the maximum
        words_BT = np.maximum(0.0 - (p_BTC * logs_BTC).sum(axis=-1), 0.0)
        return (_sums if self.total else _means)(words_BT, batch.lengths)


class Margin(HighestFirst):
    """`margin`: the mean over words of 1 − (p₁ − p₂), p₁ and p₂ being those of the two likeliest tags (Scheffer et al.
    2001)."""

    needs = frozenset({"marginals"})

    def measure(self, batch: Inference) -> NDArray[np.float64]:
        """(B,) margin uncertainties in [0, 1]; p₂ = 0 where there is but one tag."""
        p_BTC = np.sort(batch.marginals_BTC.astype(np.float64), axis=-1)
        second_BT = p_BTC[..., -2] if p_BTC.shape[-1] > 1 else 0.0
        words_BT = 1.0 - np.clip(p_BTC[..., -1] - second_BT, 0.0, 1.0)
        return _means(words_BT, batch.lengths)


def _means(words_BT: NDArray[np.float64], lengths_B: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,) the mean over each sentence's words; 0 for none."""
    return _sums(words_BT, lengths_B) / np.maximum(lengths_B, 1)


def _sums(words_BT: NDArray[np.float64], lengths_B: NDArray[np.int64]) -> NDArray[np.float64]:
    # sentence by sentence: summed over padding, the rounding would depend on the batch
    return np.array([words_T[:n].sum() for words_T, n in zip(words_BT, lengths_B, strict=True)], np.float64)


def _surprisal(batch: Inference) -> NDArray[np.float64]:
    """(B,) −log P(y*|x) in nats; finite even where P underflowed to 0."""
    return np.clip(0.0 - batch.log_prob_B.astype(np.float64), 0.0, np.finfo(np.float64).max)
