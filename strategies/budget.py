"""How much of a ranking one round labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def within(
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    words: int | None = None,
    sentences: int | None = None,
) -> NDArray[np.int64]:
    """The start of `order` that a budget in words, in sentences, or in both pays for.

    Taken in ranked order until the next sentence would pass the budget: none if already the first one
    would, all if the pool is smaller than the budget. `lengths` (N,) are words, by position in the pool.
    Raises ValueError for a negative budget.
    """
    for name, budget in (("words", words), ("sentences", sentences)):
        if budget is not None and budget < 0:
            raise ValueError(f"a budget of {budget} {name}: it cannot be negative")
    taken = len(order)
    if words is not None:
        taken = int(np.searchsorted(np.cumsum(lengths[order]), words, side="right"))
    return order[: taken if sentences is None else min(taken, sentences)]
