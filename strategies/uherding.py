"""Uncertainty herding: cover what the model is unsure of (Bae, Oliveira & Sutherland 2024, arXiv 2412.20644)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first
from strategies.uncertainty import Margin
from strategies.vectors import sentence_vectors

Floats = NDArray[np.float32] | NDArray[np.float64]

_BLOCK = 256
"""Rows of a kernel matrix that are worked on at a time."""
_COPIES = 1e-12
"""Unit vectors of float32 that are closer than this (squared) are one and the same."""
_FAR = 80.0
"""Squared distances are cut off here, in units of the squared radius: e⁻⁸⁰ is the least that float32 holds well."""
_NOTHING = 1e-9
"""What adds less than this share of the first choice's gain adds rounding."""


class UHerding(Strategy):
    """`uherding`: greedy maximisation of uncertainty coverage, the mean over x of u(x)·max_c k(x, c) over all c that
    are labelled or chosen (def. 5, alg. 1).

    k(x, c) = exp(−‖x − c‖²/σ²) over sentence vectors of length 1, u the margin uncertainty 1 − (p₁ − p₂) of the two
    likeliest tags, for a sequence its mean over words, as with the other measures a word: a sum would prefer long
    sentences. The radius σ is the smallest distance between two labelled sentences that are not copies, so it
    shrinks as the labelled set grows, from coverage towards plain uncertainty; 1 while fewer than two differ.
    `radius` fixes it.

    The paper also divides the logits by a temperature that is calibrated on held-out labels. A strategy sees no
    labels, so u is taken as the tagger gives it, also while nothing is labelled.

    At most `part` sentences, drawn at random, may be chosen and are to be covered (the paper takes 35,000); a smaller
    pool is taken whole, and then the choice is exact. That takes 4·`part`² bytes.
    """

    needs = frozenset({"marginals", "hidden"})
    uses_labelled = True

    def __init__(self, part: int = 5000, radius: float | None = None) -> None:
        if not isinstance(part, int) or part < 1:
            raise ValueError(f"part must be a whole number of at least 1, not {part!r}")
        numeric = isinstance(radius, int | float) and not isinstance(radius, bool)
        if radius is not None and not (numeric and 1e-6 <= radius <= 1e6):
            raise ValueError(f"radius must be a number from 1e-6 to 1e6, or None for the paper's rule, not {radius!r}")
        self.part = part
        self.radius = radius

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, H + 1) rows of sentence vector (H) and margin uncertainty in [0, 1].

        Raises ValueError if the tagger gave no hidden states.
        """
        return np.column_stack([sentence_vectors(batch), Margin().measure(batch).astype(np.float32)])

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """First up to `limit` sentences greedily, as long as they add coverage, then the rest by priority: how much of
        the uncertainty about the sentence no labelled one covers, u(x)·(1 − max_c k(x, c)), between 0 and 1.
        """
        if not len(pool):
            return Ranking(np.zeros(0, np.int64), np.zeros(0))
        vectors_NH, uncertainty_N = pool.values[:, :-1], pool.values[:, -1].astype(np.float64)
        known_LH = _unit(vectors_NH[:0])
        if labelled is not None and len(labelled):
            known_LH = _unit(labelled.values[labelled.lengths > 0, :-1])
        radius = _smallest_distance(known_LH) if self.radius is None else self.radius
        covered_N = _covered(vectors_NH, known_LH, radius)
        # in random order, which settles ties too
        part = rng.permutation(np.flatnonzero(pool.lengths))[: self.part]
        kernel_MM = _kernel(_unit(vectors_NH[part]), radius)
        chosen = part[herd(kernel_MM, uncertainty_N[part], covered_N[part], len(part) if limit is None else limit)]
        priority = np.where(pool.lengths > 0, uncertainty_N * (1.0 - covered_N), 0.0)
        return Ranking(highest_first(priority, pool.lengths, rng, chosen), priority)


def herd(
    kernel_MM: NDArray[np.float32], weights_M: NDArray[np.float64], covered_M: NDArray[np.float64], limit: int
) -> NDArray[np.int64]:
    """(at most `limit`,) points in the order in which greedy takes them to maximise Σ_x w(x)·max(covered(x), max_c
    k(x, c)); the first of equals. Ends early when none adds anything. `kernel_MM` is symmetric.

    A choice alters the gains only through the points that lie nearer to it than to any before, so all steps together
    cost about M²·log(limit) instead of M²·limit.
    """
    level_M: NDArray[np.float32] = covered_M.astype(np.float32)
    gains_M: NDArray[np.float64] = np.zeros(len(weights_M))
    for block in _blocks(len(weights_M)):
        gains_M += weights_M[block] @ _added(kernel_MM[block], level_M[block], np.ones(1, np.float32))
    least = _NOTHING * gains_M.max(initial=0.0)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(gains_M)) and gains_M.max() > least:
        new = int(gains_M.argmax())
        nearer = np.flatnonzero(kernel_MM[new] > level_M)
        for block in _blocks(len(nearer)):
            x = nearer[block]
            gains_M -= weights_M[x] @ _added(kernel_MM[x], level_M[x], kernel_MM[new, x])
        level_M[nearer] = kernel_MM[new, nearer]
        gains_M[new] = -np.inf
        chosen.append(new)
    return np.array(chosen, dtype=np.int64)


def _added(
    kernel_bM: NDArray[np.float32], from_b: NDArray[np.float32], to_b: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(b, M) how far each candidate lifts the coverage of each point, counted between two levels.

    float32 numbers are subtracted in float64, which loses nothing: what is counted bit by bit adds up to the whole.
    """
    return np.subtract(np.clip(kernel_bM, from_b[:, None], to_b[:, None]), from_b[:, None], dtype=np.float64)


def _kernel(points_MH: NDArray[np.float64], radius: float) -> NDArray[np.float32]:
    """(M, M) Gaussian kernel exp(−‖x − c‖²/σ²)."""
    kernel_MM = np.empty((len(points_MH), len(points_MH)), np.float32)
    for block in _blocks(len(points_MH)):
        kernel_MM[block] = _gaussian(_squared_distances(points_MH[block], points_MH), radius)
    return kernel_MM


def _covered(vectors_NH: Floats, known_LH: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """(N,) kernel to the nearest of the labelled; 0 where nothing is labelled."""
    covered_N = np.zeros(len(vectors_NH))
    if len(known_LH):
        for block in _blocks(len(vectors_NH)):
            squares_bL = _squared_distances(_unit(vectors_NH[block]), known_LH)
            covered_N[block] = _gaussian(squares_bL.min(axis=1), radius)
    return covered_N


def _smallest_distance(known_LH: NDArray[np.float64]) -> float:
    """Between two that are not copies of each other; 1 if there are no such two."""
    least = math.inf
    for block in _blocks(len(known_LH)):
        squares = _squared_distances(known_LH[block], known_LH[block.start :])
        least = min(least, float(squares.min(initial=math.inf, where=squares > 0)))
    return math.sqrt(least) if least < math.inf else 1.0


def _gaussian(squares: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    # far points are covered by a share that is nothing even in float32
    return np.exp(-np.minimum(squares / radius**2, _FAR))


def _squared_distances(a_mH: NDArray[np.float64], b_nH: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m, n), exactly 0 between copies."""
    norms_m, norms_n = (np.einsum("ih,ih->i", x, x) for x in (a_mH, b_nH))
    squares_mn = norms_m[:, None] + norms_n - 2.0 * (a_mH @ b_nH.T)
    squares_mn[squares_mn < _COPIES] = 0.0
    return squares_mn


def _unit(vectors_nH: Floats) -> NDArray[np.float64]:
    """(n, H) the vectors at length 1, those of length 0 as they are."""
    wide_nH = vectors_nH.astype(np.float64)
    norms_n = np.linalg.norm(wide_nH, axis=1, keepdims=True)
    return np.divide(wide_nH, norms_n, where=norms_n > 0, out=wide_nH)


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _BLOCK):
        yield slice(start, min(start + _BLOCK, n))
