"""ALPS and its kin: k-means over the pool, and of each cluster the sentence nearest the centre (Yuan et al. 2020)."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.coreset import furthest_first
from strategies.kmeans import Clustering, kmeans
from strategies.ordering import highest_first
from strategies.vectors import nearest, normalised, sentence_vectors, squared_norms

_MOST = 1000
"""Clusters at most: k-means takes O(N·k) time, and nobody labels more before the next ranking."""


class _Clustered(Strategy):
    """The choice that the three share; they differ in the vectors.

    k-means ends with at most `iterations` over the whole pool, after those on samples; 0 = with the samples'.
    """

    def __init__(self, iterations: int = 12) -> None:
        if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 0:
            raise ValueError(f"iterations must be a whole number of at least 0, not {iterations!r}")
        self.iterations = iterations

    @abstractmethod
    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, d) vectors of length 1, or zeros."""

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """First one sentence of each of `limit` clusters (at most 1,000), the largest cluster first: a budget that
        ends early has then paid for the most typical. Then the rest, and copies of those chosen, by priority: how near
        a sentence is to the centre of its own cluster, 1 at the centre, 0 at the other end of the unit sphere.

        With `limit` 0 nothing is clustered: all sentences are worth the same.
        """
        worded = np.flatnonzero(pool.lengths)
        vectors_Wd = np.asarray(pool.values if len(worded) == len(pool) else pool.values[worded], np.float32)
        k = min(len(worded) if limit is None else limit, len(worded), _MOST)
        found = kmeans(vectors_Wd, k, rng, iterations=self.iterations) if k > 0 else None
        priority = np.zeros(len(pool))
        priority[worded] = 1.0 if found is None else np.clip(1.0 - np.sqrt(found.distances_N) / 2, 0.0, 1.0)
        chosen = None if found is None else worded[_representatives(vectors_Wd, found, k, rng)]
        return Ranking(highest_first(priority, pool.lengths, rng, chosen), priority)


class Alps(_Clustered):
    """`alps`: by what surprises a masked-language model in each sentence, before there is any label."""

    reads = "masked-lm"
    needs = frozenset({"surprisal"})

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, L) surprisal of each word piece, at length 1 (Yuan et al. 2020, sec. 4); zeros where nothing was.

        Raises ValueError if the batch comes from a model that gives no surprisal.
        """
        if batch.surprisal_BL is None:
            raise ValueError("alps needs the surprisal of a masked-language model, and this batch has none")
        return normalised(batch.surprisal_BL)


class FtBertKM(_Clustered):
    """`ft-bert-km`: by the sentence vectors of the project's own tagger, as the last round left it."""

    needs = frozenset({"hidden"})

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, H) mean state of each sentence's words, at length 1; zeros for a sentence without words."""
        return normalised(sentence_vectors(batch))


class BertKM(FtBertKM):
    """`bert-km`: by the sentence vectors of the pre-trained encoder, before there is any label."""

    reads = "encoder"


def _representatives(
    vectors_Nd: NDArray[np.float32], found: Clustering, k: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(at most k,) the vector nearest the centre of each cluster, largest cluster first, ties at random; where
    clusters are too few, then the vectors furthest from these. Never two copies of one vector.
    """
    ties = rng.random(len(vectors_Nd))
    by_cluster = np.lexsort((ties, found.distances_N, found.assignment_N))
    _, starts, sizes = np.unique(found.assignment_N[by_cluster], return_index=True, return_counts=True)
    firsts = by_cluster[starts]
    chosen = firsts[np.lexsort((ties[firsts], -sizes))]
    if len(chosen) == k:
        return chosen
    norms_N = squared_norms(vectors_Nd)
    away_N = nearest(vectors_Nd, norms_N, vectors_Nd[chosen])[1]
    return np.concatenate([chosen, furthest_first(vectors_Nd, norms_N, away_N, k - len(chosen), rng)])
