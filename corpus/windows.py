"""Overlapping windows over texts that are longer than a model can read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True, slots=True)
class Window:
    """Words `[start, stop)` to read together; of these, `[core_start, core_stop)` to take the answer for."""

    start: int
    stop: int
    core_start: int
    core_stop: int


def windows(costs: Sequence[int], limit: int, overlap: int) -> list[Window]:
    """Windows over `len(costs)` words; their cores part the words among them, in order.

    `costs[t]` is what word t costs (word pieces, say), `limit` the most that a window may cost, `overlap`
    the most that two neighbours may share. A word stands in the core of the window in which it is
    furthest from a cut. A word that alone costs more than `limit` gets a window to itself, without
    context: what to do with it is the caller's to decide. Linear time.

    Raises ValueError if a cost is negative or `0 <= overlap < limit` does not hold.
    """
    if not 0 <= overlap < limit:
        raise ValueError(f"an overlap of {overlap} does not fit windows of {limit}: 0 <= overlap < limit")
    if min(costs, default=0) < 0:
        raise ValueError(f"word {next(t for t, cost in enumerate(costs) if cost < 0)} has a negative cost")
    before = [0, *accumulate(costs)]  # before[t]: the cost of all words in front of word t
    extents = _extents(before, limit, overlap)
    edges = [_middle(before, right[0], left[1]) for left, right in pairwise(extents)]
    cores = pairwise([0, *edges, len(costs)])
    placed = (Window(*extent, *core) for extent, core in zip(extents, cores, strict=False))
    return [window for window in placed if window.core_start < window.core_stop]


def _extents(before: Sequence[int], limit: int, overlap: int) -> list[tuple[int, int]]:
    """Start and stop of each window: both grow, and each window reads at least one word more."""
    extents = []
    count = len(before) - 1
    start = stop = 0
    while stop < count:
        stop += 1
        while stop < count and before[stop + 1] - before[start] <= limit:
            stop += 1
        extents.append((start, stop))
        if stop == count:
            break
        while start < stop and (before[stop] - before[start] > overlap or before[stop + 1] - before[start] > limit):
            start += 1
    return extents


def _middle(before: Sequence[int], start: int, stop: int) -> int:
    """The first word of `[start, stop)` that is further from `start` than from `stop`, else `stop`."""
    ends = before[start] + before[stop]
    return start + bisect_left(range(start, stop), True, key=lambda t: before[t] + before[t + 1] > ends)
