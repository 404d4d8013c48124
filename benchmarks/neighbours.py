"""The search behind the filter `anchors`: every sentence asked, or an index of cells asked where it is likely."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Search = Callable[[Vectors, Vectors, int], NDArray[np.int64]]
"""(A, k) positions of the nearest by inner product, given (A, d) anchors and the (N, d) pool; -1 where none was found.
"""
PROBES = 8
"""Cells asked for each anchor."""


def exhaustive(anchors_Ad: Vectors, pool_Nd: Vectors, k: int) -> NDArray[np.int64]:
    """What the filter does."""
    import faiss

    return faiss.knn(anchors_Ad, pool_Nd, k, metric=faiss.METRIC_INNER_PRODUCT)[1]


def inverted_file(anchors_Ad: Vectors, pool_Nd: Vectors, k: int) -> NDArray[np.int64]:
    """An index of √N cells (IVF), built for this one search as each round has other vectors or another pool."""
    import faiss

    cells = max(1, math.isqrt(len(pool_Nd)))
    d = pool_Nd.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # no warning of small pools
    index.train(pool_Nd)
    index.add(pool_Nd)
    index.nprobe = PROBES
    return index.search(anchors_Ad, k)[1]


WAYS: dict[str, Search] = {"every sentence": exhaustive, f"{PROBES} of √N cells, index built": inverted_file}
"""The first is the exact way."""


def found(search: Search, anchors_Ad: Vectors, pool_Nd: Vectors, k: int) -> tuple[NDArray[np.int64], float]:
    """The positions found by any anchor, each once, and the seconds that it took."""
    began = time.perf_counter()
    places_Ak = search(anchors_Ad, pool_Nd, k)
    seconds = time.perf_counter() - began
    return np.unique(places_Ak[places_Ak >= 0]), seconds
