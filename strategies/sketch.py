"""A seeded random sketch of matrices that keeps the distances between them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def product_sketch(matrix_CH: NDArray[np.float64], dimensions: int, seed: int) -> NDArray[np.float64]:
    """(dimensions,) sketch of a (C, H) matrix G: z_j = a_jᵀ G b_j / √dimensions with random signs a_j, b_j.

    A Johnson–Lindenstrauss map whose random matrix is a row-wise product (of C and H signs, instead of
    C·H): it is linear, ‖z‖² is ‖G‖² on average, with a relative standard deviation of at most
    √(8 / dimensions). The same seed gives the same map, whatever the process or the batch.
    """
    tags, states = matrix_CH.shape
    a_CD = _signs(tags, dimensions, seed, 0)
    b_HD = _signs(states, dimensions, seed, 1)
    return (a_CD * (matrix_CH @ b_HD)).sum(axis=0) / np.sqrt(dimensions)


@lru_cache(maxsize=8)
def _signs(rows: int, dimensions: int, seed: int, side: int) -> NDArray[np.float64]:
    """(rows, dimensions) of −1 and 1, kept between batches."""
    rng = np.random.default_rng([seed, side, rows, dimensions])
    signs = rng.choice([-1.0, 1.0], size=(rows, dimensions))
    signs.flags.writeable = False
    return signs
