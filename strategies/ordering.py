"""Highest first: the order that every strategy ends with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def highest_first(
    scores_N: NDArray[np.float64],
    lengths_N: NDArray[np.int64],
    rng: np.random.Generator,
    chosen: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """(N,) the sentences in the order to label them: highest score first, ties at random.

    Those in `chosen` lead, in their own order. Sentences without words come last: there is nothing
    in them to label.
    """
    standing = np.full(len(scores_N), len(scores_N))
    if chosen is not None:
        standing[chosen] = np.arange(len(chosen))
    ties = rng.random(len(scores_N))
    return np.lexsort((ties, -scores_N, lengths_N == 0, standing)).astype(np.int64)
