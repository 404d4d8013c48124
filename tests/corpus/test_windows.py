"""Windows cover a text, keep to their limit, and take each word from where it has most context."""

from itertools import pairwise
from math import inf
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.windows import Window, windows


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], int, int]:
    limit = draw(st.integers(1, 12))
    costs = st.lists(st.integers(0, 5) | st.integers(0, 15), max_size=40)
    return draw(costs), limit, draw(st.integers(0, limit - 1))


@given(cases())
def test_cores_part_the_words_and_lie_in_their_windows(case: tuple[list[int], int, int]) -> None:
    costs, limit, overlap = case
    found = windows(costs, limit, overlap)
    assert [t for w in found for t in range(w.core_start, w.core_stop)] == list(range(len(costs)))
    for w in found:
        assert 0 <= w.start <= w.core_start < w.core_stop <= w.stop <= len(costs)


@given(cases())
def test_windows_keep_to_limit_and_overlap(case: tuple[list[int], int, int]) -> None:
    costs, limit, overlap = case
    found = windows(costs, limit, overlap)
    for w in found:
        assert sum(costs[w.start : w.stop]) <= limit or w.stop == w.start + 1
    for left, right in pairwise(found):
        assert left.start < right.start
        assert left.stop < right.stop
        assert sum(costs[right.start : left.stop]) <= overlap


@given(cases())
def test_a_word_is_taken_from_where_it_is_furthest_from_a_cut(case: tuple[list[int], int, int]) -> None:
    costs, limit, overlap = case
    found = windows(costs, limit, overlap)

    def context(t: int, w: Window) -> float:
        """Cost between word t and the nearest cut; the ends of the text are no cuts."""
        left = sum(costs[w.start : t]) if w.start > 0 else inf
        right = sum(costs[t + 1 : w.stop]) if w.stop < len(costs) else inf
        return min(left, right)

    for core in found:
        for t in range(core.core_start, core.core_stop):
            assert context(t, core) == max(context(t, w) for w in found if w.start <= t < w.stop)


@given(cases())
def test_one_window_if_all_fits(case: tuple[list[int], int, int]) -> None:
    costs, limit, overlap = case
    if costs and sum(costs) <= limit:
        assert windows(costs, limit, overlap) == [Window(0, len(costs), 0, len(costs))]


def test_by_hand() -> None:
    assert windows([], 8, 4) == []
    assert windows([1] * 14, 8, 4) == [Window(0, 8, 0, 6), Window(4, 12, 6, 10), Window(8, 14, 10, 14)]
    assert windows([1] * 6, 3, 0) == [Window(0, 3, 0, 3), Window(3, 6, 3, 6)]


def test_a_window_that_no_word_is_taken_from_is_left_out() -> None:
    # Without that rule [1, 7) would be read as well, for nothing: all its words have more context elsewhere.
    assert windows([1, 1, 1, 5, 1, 1, 1, 1], 10, 9) == [Window(0, 6, 0, 4), Window(2, 8, 4, 8)]


def test_a_word_above_the_limit_stands_alone() -> None:
    assert windows([1, 1, 99, 1, 1], 4, 2) == [Window(0, 2, 0, 2), Window(2, 3, 2, 3), Window(3, 5, 3, 5)]
    assert windows([99], 4, 2) == [Window(0, 1, 0, 1)]


@pytest.mark.parametrize("overlap", [0, 128, 511])
def test_a_document_of_20_000_words(overlap: int) -> None:
    costs = [1 + t % 7 for t in range(20_000)]
    began = perf_counter()
    found = windows(costs, 512, overlap)
    assert perf_counter() - began < 2  # 0.05 s
    assert sum(w.core_stop - w.core_start for w in found) == 20_000
    full = [sum(costs[w.start : w.stop]) for w in found[:-1]]
    assert min(full) > 512 - 7
    if overlap:
        shared = [sum(costs[right.start : left.stop]) for left, right in pairwise(found)]
        assert min(shared) > overlap - 7 - 7


@pytest.mark.parametrize(("limit", "overlap"), [(0, 0), (4, 4), (4, 5), (4, -1)])
def test_an_overlap_that_does_not_fit_is_refused(limit: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"overlap of {overlap} does not fit windows of {limit}"):
        windows([1, 2], limit, overlap)


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(ValueError, match="word 1 has a negative cost"):
        windows([1, -2], 4, 1)
