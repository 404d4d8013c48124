"""Pool filters: which sentences of a large pool a strategy need look at at all. Any strategy can sit behind any."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured
from strategies.ordering import highest_first
from strategies.seeding import kmeans_plus_plus
from strategies.uncertainty import NormalizedLogProbability
from strategies.vectors import normalised, sentence_vectors


class Filter(ABC):
    """What to choose from: `measure` is a map over batches as a strategy's, `keep` a choice over small arrays.

    It never sees the labels of the pool. Every random choice comes from the generator given to `keep`.
    """

    reads: ClassVar[str] = "tagger"
    """Whose output `measure` gets, as of `Strategy`."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What `measure` reads of `Inference`, as of `Strategy`."""
    uses_labelled: ClassVar[bool] = False
    """Whether `keep` wants the labelled set measured too."""

    @abstractmethod
    def measure(self, batch: Inference) -> NDArray[np.float64] | NDArray[np.float32]:
        """(B,) scores or (B, d) vectors of the batch's sentences, in the batch's order."""

    @abstractmethod
    def keep(
        self,
        pool: Measured,
        labelled: Measured | None,
        classes: Sequence[frozenset[str]],
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Positions in the pool of the sentences kept, ascending; all of a pool in which no sentence has words, else
        at least one, and none without words.

        `classes` are the labels found in each labelled sentence, in the order of `labelled`; empty = nothing in it.
        """


class Ups(Filter):
    """`ups`: unlabelled pool subsampling (Tsvigun et al. 2022, Findings of NAACL, no. 90).

    The most uncertain `share` γ of the pool stays, every other sentence with probability exp(−(r − γ)/T), r being its
    place by uncertainty as a share of the pool (0 = the most uncertain) and T the `temperature`. Of N sentences about
    N·(γ + T·(1 − exp(−(1 − γ)/T))) are kept, which is 11% by default; γ and T are the paper's. Uncertainty is `mnlp`.
    """

    needs = NormalizedLogProbability.needs

    def __init__(self, share: float = 0.1, temperature: float = 0.01) -> None:
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"share must be a number from 0 to 1, not {share!r}")
        if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a number above 0, not {temperature!r}")
        self.share = share
        self.temperature = temperature

    def measure(self, batch: Inference) -> NDArray[np.float64]:
        """(B,) −(1/n) log P(y*|x), in nats a word."""
        return NormalizedLogProbability().measure(batch)

    def keep(
        self,
        pool: Measured,
        labelled: Measured | None,
        classes: Sequence[frozenset[str]],
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Draws for each sentence by itself; ties in uncertainty are broken at random."""
        n = int(np.count_nonzero(pool.lengths))
        if not n:
            return np.arange(len(pool))
        falling = highest_first(pool.values.astype(np.float64), pool.lengths, rng)[:n]
        beyond = np.maximum(np.arange(n) / n - self.share, 0.0)
        return np.sort(falling[rng.random(n) < np.exp(-beyond / self.temperature)])


class Anchors(Filter):
    """`anchors`: the neighbours of labelled sentences of every class (AnchorAL, Lesci & Vlachos 2024).

    Of each class up to `anchors` labelled sentences are drawn by k-means++, for each of them the `neighbours` nearest
    in the pool are found by cosine similarity, and the `size` best of these stay, by their mean similarity to the
    anchors that found them. A sentence is in every class of which it has a mark; those labelled with nothing
    form a class. A pool of at most `size` stays as it is, and so does any pool while nothing has been labelled.
    """

    reads = "encoder"
    needs = frozenset({"hidden"})
    uses_labelled = True

    def __init__(self, anchors: int = 10, neighbours: int = 50, size: int = 1000) -> None:
        for name, value in (("anchors", anchors), ("neighbours", neighbours), ("size", size)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        self.anchors = anchors
        self.neighbours = neighbours
        self.size = size

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, H) sentence vectors at length 1. Raises ValueError if the encoder gave no hidden states."""
        return normalised(sentence_vectors(batch))

    def keep(
        self,
        pool: Measured,
        labelled: Measured | None,
        classes: Sequence[frozenset[str]],
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """The best of the neighbours; equally similar ones at random."""
        worded = np.flatnonzero(pool.lengths)
        if not len(worded):
            return np.arange(len(pool))
        anchors_Ad = self._anchors(labelled, classes, rng)
        if not len(anchors_Ad) or len(worded) <= self.size:
            return worded
        # shuffled: among equals, the search and the sort take those that stand first
        worded = rng.permutation(worded)
        pool_Nd = pool.values[worded].astype(np.float32, copy=False)
        similarity, found = _nearest(anchors_Ad, pool_Nd, self.neighbours)
        times_N = np.bincount(found.ravel(), minlength=len(worded))
        total_N = np.bincount(found.ravel(), weights=similarity.ravel(), minlength=len(worded))
        mean_N = np.where(times_N > 0, total_N / np.maximum(times_N, 1), -np.inf)
        best = np.argsort(-mean_N, kind="stable")[: min(self.size, np.count_nonzero(times_N))]
        return np.sort(worded[best])

    def _anchors(
        self, labelled: Measured | None, classes: Sequence[frozenset[str]], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """(A, d) the anchors of all classes, each sentence once; those without a vector left out."""
        if labelled is None or not len(labelled):
            return np.zeros((0, 0), np.float32)
        known_Ld = labelled.values.astype(np.float32, copy=False)
        usable_L = known_Ld.any(axis=1)
        drawn: set[int] = set()
        for label in [None, *sorted(frozenset().union(*classes))]:
            member_L = np.array([label in found if label is not None else not found for found in classes])
            places = np.flatnonzero(member_L & usable_L)
            ones = np.ones(len(places))  # their lengths to the last bit, so that the first anchor is any of them
            drawn.update(places[kmeans_plus_plus(known_Ld[places], ones, ones, self.anchors, rng)].tolist())
        return known_Ld[sorted(drawn)]


def _nearest(
    anchors_Ad: NDArray[np.float32], pool_Nd: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(A, k) inner products with the nearest of the pool, and their positions; exact."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("the filter 'anchors' finds neighbours with faiss: pip install faiss-cpu") from error
    found: tuple[NDArray[np.float32], NDArray[np.int64]] = faiss.knn(
        anchors_Ad, pool_Nd, min(k, len(pool_Nd)), metric=faiss.METRIC_INNER_PRODUCT
    )
    return found


FILTERS: dict[str, type[Filter]] = {"ups": Ups, "anchors": Anchors}
