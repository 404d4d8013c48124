"""k-means++ seeding: few sentences that are both far out and far from each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RESOLUTION = 16 * float(np.finfo(np.float32).eps)
"""Squared distances below this share of the squared norms are rounding: the two vectors are one."""


def kmeans_plus_plus(
    vectors_Nd: NDArray[np.float32],
    norms_N: NDArray[np.float64],
    weights_N: NDArray[np.float64],
    k: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(at most k,) positions of the chosen vectors, in the order chosen; `norms_N` are SQUARED norms.

    First the largest weight·‖x‖², then with probability ∝ weight·d(x)², d(x) being the distance to the
    nearest chosen one (Arthur & Vassilvitskii 2007; with weights Kim 2020, eq. 5). Vectors of weight 0
    are never chosen. Ends early when nothing is left but copies of what was chosen.
    One matrix–vector product a step: O(N·k·d) time, O(N) memory beside the vectors.
    Components should be around 1 at most: their products are taken in float32.
    """
    chosen: list[int] = []
    nearest_N = norms_N
    for _ in range(min(k, len(vectors_Nd))):
        mass_N = weights_N * nearest_N
        if not mass_N.any():
            break
        new = _draw(mass_N, rng) if chosen else _largest(mass_N, rng)
        distances_N = _squared_distances(vectors_Nd, norms_N, new)
        nearest_N = np.minimum(nearest_N, distances_N) if chosen else distances_N
        chosen.append(new)
    return np.array(chosen, dtype=np.int64)


def _squared_distances(
    vectors_Nd: NDArray[np.float32], norms_N: NDArray[np.float64], centre: int
) -> NDArray[np.float64]:
    """(N,) squared distances to one of the vectors; exactly 0 for itself and its copies."""
    norms = norms_N + norms_N[centre]
    distances = norms - 2.0 * (vectors_Nd @ vectors_Nd[centre])
    distances[distances < _RESOLUTION * norms] = 0.0
    distances[centre] = 0.0
    return distances


def _largest(mass_N: NDArray[np.float64], rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(mass_N == mass_N.max())))


def _draw(mass_N: NDArray[np.float64], rng: np.random.Generator) -> int:
    cumulative = np.cumsum(mass_N)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
