"""Budgets in words and in sentences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import within

ORDER = np.array([2, 0, 3, 1])
LENGTHS = np.array([5, 1, 4, 7])


@pytest.mark.parametrize(
    ("words", "sentences", "taken"),
    [
        (None, None, [2, 0, 3, 1]),
        (None, 2, [2, 0]),
        (None, 0, []),
        (None, 9, [2, 0, 3, 1]),
        (0, None, []),
        (3, None, []),
        (4, None, [2]),
        (8, None, [2]),
        (9, None, [2, 0]),
        (10, None, [2, 0]),  # the one-word sentence would still fit, but it is not its turn
        (16, None, [2, 0, 3]),
        (1000, None, [2, 0, 3, 1]),
        (9, 1, [2]),
        (4, 3, [2]),
    ],
)
def test_taken_in_order_until_the_next_would_pass(words: int | None, sentences: int | None, taken: list[int]) -> None:
    assert list(within(ORDER, LENGTHS, words=words, sentences=sentences)) == taken


@pytest.mark.parametrize("budget", [{}, {"words": 5}, {"sentences": 5}])
def test_empty_pool(budget: dict[str, int]) -> None:
    none = np.zeros(0, np.int64)
    assert len(within(none, none, **budget)) == 0


def test_wordless_sentences_cost_nothing() -> None:
    assert list(within(np.array([0, 1, 2]), np.array([3, 0, 1]), words=3)) == [0, 1]


@pytest.mark.parametrize("budget", [{"words": -1}, {"sentences": -1}])
def test_negative_budget_is_refused(budget: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        within(ORDER, LENGTHS, **budget)


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 100), st.randoms(use_true_random=False))
def test_agrees_with_counting_by_hand(lengths: list[int], words: int, random: object) -> None:
    order = list(range(len(lengths)))
    random.shuffle(order)  # type: ignore[attr-defined]
    by_hand: list[int] = []
    for i in order:
        if sum(lengths[j] for j in by_hand) + lengths[i] > words:
            break
        by_hand.append(i)
    found = within(np.array(order, np.int64), np.array(lengths, np.int64), words=words)
    assert list(found) == by_hand
