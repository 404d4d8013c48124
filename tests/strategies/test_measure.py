"""Batches joined to the pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from strategies import join, strategy
from tests.strategies.conftest import Tagged, inference, one_choice, random_pool, several_choices, wordless

POOL = random_pool(6, seed=30)


def test_values_come_back_in_the_order_of_the_pool() -> None:
    parts = [inference(POOL, indices) for indices in ([4, 0], [5], [2, 1, 3])]
    joined = join(((part, part.indices * 10.0) for part in parts), 6)
    np.testing.assert_array_equal(joined.values, [0, 10, 20, 30, 40, 50])
    np.testing.assert_array_equal(joined.lengths, [len(sentence) for sentence in POOL])


def test_vectors_keep_their_type() -> None:
    parts = [inference(POOL, indices) for indices in ([4, 0, 5], [2, 1, 3])]
    joined = join(((part, strategy("badge").measure(part)) for part in parts), 6)
    assert joined.values.dtype == np.float32
    assert joined.values.shape == (6, 35)
    np.testing.assert_array_equal(joined.values[4], strategy("badge").measure(inference(POOL, [4]))[0])


@pytest.mark.parametrize("shape", [one_choice, several_choices])
@pytest.mark.parametrize("groups", [[[0], [1, 2], [3, 4]], [[1], [3, 4], [0, 2]]])
def test_batch_without_words_may_come_first_or_later(
    groups: list[list[int]], shape: Callable[[Tagged], Tagged]
) -> None:
    """A classifier decides nothing there, so that the measure of such a batch is a narrower one."""
    texts = [shape(sentence) for sentence in [wordless(), POOL[0], wordless(), wordless(), wordless(), *POOL[1:3]]]
    parts = [inference(texts, group) for group in [*groups, [5, 6]]]
    badge = strategy("badge")
    assert {badge.measure(part).shape[1] for part in parts} == {7, 12}
    joined = join(((part, badge.measure(part)) for part in parts), 7)
    whole = inference(texts)
    np.testing.assert_array_equal(joined.values, badge.measure(whole))
    assert joined.state_size == 7
    nothing = join([(parts[0], badge.measure(parts[0]))], 1) if groups[0] == [0] else join([], 0)
    assert len(badge.rank(nothing, None, 3, np.random.default_rng(0)).order) == len(nothing)


def test_batches_are_streamed() -> None:
    """The next batch is asked for only when the one before has been taken in."""
    alive = 0

    def parts():  # type: ignore[no-untyped-def]
        nonlocal alive
        for i in range(6):
            alive += 1
            yield inference(POOL, [i]), np.array([float(i)])
            alive -= 1
            assert alive == 0

    assert len(join(parts(), 6)) == 6


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 1], [3, 4, 5]], r"1 of 6 sentences not measured: positions 2$"),
        ([], r"6 of 6 sentences not measured: positions 0, 1, 2, 3, 4, …$"),
        ([[0, 1, 2], [2, 3, 4, 5]], r"measured more than once: positions 2$"),
        ([[0, 1, 1], [2, 3, 4, 5]], r"measured more than once: positions 1$"),
    ],
)
def test_every_sentence_is_measured_just_once(groups: list[list[int]], message: str) -> None:
    parts = [inference(POOL, group) for group in groups]
    with pytest.raises(ValueError, match=message):
        join(((part, np.zeros(len(part.indices))) for part in parts), 6)


@pytest.mark.parametrize(("index", "n"), [(5, 5), (0, 0), (-1, 5)])
def test_sentence_of_another_pool_is_refused(index: int, n: int) -> None:
    part = dataclasses.replace(inference(POOL, [0]), indices=np.array([index]))
    with pytest.raises(ValueError, match=f"1 of {n} sentences not among those given: positions {index}$"):
        join([(part, np.zeros(1))], n)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_broken_numbers_are_refused(broken: float) -> None:
    values = np.zeros((6, 2))
    values[3, 1] = broken
    with pytest.raises(ValueError, match=r"NaN or infinite .*: positions 3$"):
        join([(inference(POOL), values)], 6)
