"""k-means++ seeding: few sentences that are both far out and far from each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategies.vectors import RESOLUTION, Vectors, inner_products, nearest

CANDIDATES = 256
"""Drawn at once at most."""


def kmeans_plus_plus(
    vectors_Nd: Vectors,
    norms_N: NDArray[np.float64],
    weights_N: NDArray[np.float64],
    k: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(at most k,) positions of the chosen vectors, in the order chosen; `norms_N` are SQUARED norms.

    First the largest weight·‖x‖², then with probability ∝ weight·d(x)², d(x) being the distance to the
    nearest chosen one (Arthur & Vassilvitskii 2007; with weights Kim 2020, eq. 5). Vectors of weight 0
    are never chosen. Ends early when nothing is left but copies of what was chosen.

    Candidates are drawn many at a time, by the distances as they stand, and accepted one after the other with
    probability d(x)² now / d(x)² then, which is exactly the distribution of drawing them one by one (rejection
    sampling, as in Cohen-Addad et al. 2020). So the vectors are read once for many centres instead of once for each:
    O(N·k·d) time at most, in matrix products, and O(N) memory beside the vectors.
    Components should be around 1: their products are taken in float32.
    """
    k, mass_N = min(k, len(vectors_Nd)), weights_N * norms_N
    if k < 1 or not mass_N.any():
        return np.zeros(0, np.int64)
    chosen = new = [_largest(mass_N, rng)]
    distances_N = np.full(len(vectors_Nd), np.inf)
    while len(chosen) < k:
        np.minimum(distances_N, nearest(vectors_Nd, norms_N, vectors_Nd[new])[1], out=distances_N)
        distances_N[new] = 0.0
        mass_N = weights_N * distances_N
        if not mass_N.any():
            break
        drawn_D = _draw(mass_N, min(2 * (k - len(chosen)), CANDIDATES), rng)
        between_DD = _between(vectors_Nd[drawn_D], norms_N[drawn_D])
        accepted = _accepted(distances_N[drawn_D], between_DD, rng)
        new = drawn_D[accepted].tolist()[: k - len(chosen)]
        chosen = chosen + new
    return np.array(chosen, dtype=np.int64)


def _largest(mass_N: NDArray[np.float64], rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(mass_N == mass_N.max())))


def _draw(mass_N: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count,) positions with probability ∝ mass, independent of each other."""
    cumulative = np.cumsum(mass_N)
    return np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")


def _between(vectors_Dd: Vectors, norms_D: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, D) squared distances, exactly 0 between copies."""
    norms_DD = norms_D[:, None] + norms_D
    distances_DD = norms_DD - 2.0 * inner_products(vectors_Dd, vectors_Dd)
    distances_DD[distances_DD < RESOLUTION * norms_DD] = 0.0
    return distances_DD


def _accepted(then_D: NDArray[np.float64], between_DD: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
    """Which of the D drawn are centres; `then_D` are the squared distances by which they were drawn."""
    now_D, accepted = then_D, []
    for i, luck in enumerate(rng.random(len(then_D))):
        if luck * then_D[i] < now_D[i]:
            accepted.append(i)
            now_D = np.minimum(now_D, between_DD[i])
    return accepted
