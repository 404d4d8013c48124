"""Ways of k-means: to convergence on everything, on samples first, on samples alone, in mini-batches."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from strategies.kmeans import Clustering, kmeans
from strategies.vectors import nearest, squared_norms

Vectors = NDArray[np.float32]
Cluster = Callable[[Vectors, int, int], Clustering]
"""Given (N, d) vectors, the number of clusters and the seed."""


def _converged(vectors_Nd: Vectors, k: int, seed: int) -> Clustering:
    """scikit-learn's Lloyd: k-means++ over everything, then iterations over everything until they end."""
    from sklearn.cluster import KMeans

    return _assigned(vectors_Nd, KMeans(k, n_init=1, tol=0.0, random_state=seed))


def _mini_batches(vectors_Nd: Vectors, k: int, seed: int) -> Clustering:
    """scikit-learn's mini-batches (Sculley 2010), by its defaults, of at least as many vectors as 10 a cluster."""
    from sklearn.cluster import MiniBatchKMeans

    return _assigned(vectors_Nd, MiniBatchKMeans(k, batch_size=max(1024, 10 * k), n_init=3, random_state=seed))


def _ours(vectors_Nd: Vectors, k: int, seed: int, **settings: float) -> Clustering:
    return kmeans(vectors_Nd, k, np.random.default_rng(seed), **settings)  # type: ignore[arg-type]


WAYS: dict[str, Cluster] = {
    "scikit-learn to convergence": _converged,
    "ours": _ours,
    "ours to convergence": partial(_ours, iterations=300, tolerance=0.0),
    "ours on samples alone": partial(_ours, iterations=0),
    "scikit-learn in mini-batches": _mini_batches,
}
"""The first is the exact way."""


def representatives(cluster: Cluster, vectors_Nd: Vectors, k: int, seed: int) -> tuple[NDArray[np.int64], float, float]:
    """(at most k,) the vector nearest each centre; the inertia, and the seconds that it took."""
    began = time.perf_counter()
    found = cluster(vectors_Nd, k, seed)
    order = np.lexsort((found.distances_N, found.assignment_N))
    _, firsts = np.unique(found.assignment_N[order], return_index=True)
    return order[firsts], float(found.distances_N.mean()), time.perf_counter() - began


def inertia_of(vectors_Nd: Vectors, centres_Kd: Vectors) -> float:
    """Mean squared distance to the nearest centre."""
    return float(nearest(vectors_Nd, squared_norms(vectors_Nd), centres_Kd)[1].mean())


def _assigned(vectors_Nd: Vectors, fitted: object) -> Clustering:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of clusters that found no vector
        centres_Kd = fitted.fit(vectors_Nd).cluster_centers_.astype(np.float32)  # type: ignore[attr-defined]
    return Clustering(centres_Kd, *nearest(vectors_Nd, squared_norms(vectors_Nd), centres_Kd))
