"""lc, mnlp, entropy and margin against their definitions, word by word in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import strategy
from tests.strategies.conftest import (
    Tagged,
    inference,
    measured,
    one_choice,
    order,
    random_pool,
    several_choices,
    tagged,
)

POOL = random_pool(50, seed=20)


def entropy_by_hand(sentence: Tagged) -> float:
    total = 0.0
    for word in sentence.marginals.tolist():
        for p in word:
            if p > 0:
                total -= p * math.log(p)
    return total


def test_lc_is_one_minus_the_probability_of_the_path() -> None:
    values = measured(strategy("lc"), POOL)
    found = strategy("lc").rank(values, None, None, np.random.default_rng(0))
    for priority, sentence in zip(found.priority, POOL, strict=True):
        assert priority == pytest.approx(1 - math.exp(sentence.log_prob), rel=1e-12)
    assert list(found.order) == sorted(range(50), key=lambda i: math.exp(POOL[i].log_prob))


def test_lc_keeps_improbable_sentences_apart() -> None:
    """1 − P is 1.0 to the last bit for all of these; the definition still orders them."""
    pool = [tagged(np.full((2, 2), 0.5), np.ones((2, 1)), -s) for s in (60.0, 900.0, 50.0, 61.0, 800.0)]
    for seed in range(5):
        assert order(strategy("lc"), pool, seed=seed) == [1, 4, 3, 0, 2]
    values = measured(strategy("lc"), pool)
    assert set(strategy("lc").rank(values, None, None, np.random.default_rng(0)).priority) == {1.0}


def test_lc_keeps_sure_sentences_apart() -> None:
    """P is 1.0 to the last bit for all of these."""
    pool = [tagged([[1, 0]], [[1]], -s) for s in (1e-18, 0.0, 1e-17)]
    assert order(strategy("lc"), pool) == [2, 0, 1]


def test_mnlp_is_the_log_probability_of_the_path_a_word() -> None:
    values = measured(strategy("mnlp"), POOL).values
    for value, sentence in zip(values, POOL, strict=True):
        assert value == pytest.approx(-sentence.log_prob / len(sentence), rel=1e-12)


def test_mnlp_takes_the_path_and_not_the_per_word_maxima() -> None:
    """A CRF's best path may be likely where single words are not, and the other way round."""
    pool = [
        tagged([[0.9, 0.1], [0.9, 0.1]], np.ones((2, 1)), math.log(0.2)),
        tagged([[0.6, 0.4], [0.6, 0.4]], np.ones((2, 1)), math.log(0.5)),
    ]
    assert order(strategy("mnlp"), pool) == [0, 1]
    assert order(strategy("lc"), pool) == [0, 1]


def test_mnlp_takes_length_out_of_lc() -> None:
    word = [0.8, 0.2]
    long, short = tagged([word] * 10, np.ones((10, 1))), tagged([[0.7, 0.3]], [[1]])
    assert order(strategy("lc"), [short, long]) == [1, 0]
    assert order(strategy("mnlp"), [short, long]) == [0, 1]


@pytest.mark.parametrize("total", [False, True])
def test_entropy(total: bool) -> None:
    values = measured(strategy("entropy", total=total), POOL).values
    for value, sentence in zip(values, POOL, strict=True):
        expected = entropy_by_hand(sentence) / (1 if total else len(sentence))
        assert value == pytest.approx(expected, rel=1e-9)


def test_entropy_total_prefers_long_sentences() -> None:
    word = [0.8, 0.2]
    pool = [tagged([[0.7, 0.3]], [[1]]), tagged([word] * 10, np.ones((10, 1)))]
    assert order(strategy("entropy"), pool) == [0, 1]
    assert order(strategy("entropy", total=True), pool) == [1, 0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(1, 6))
def test_entropy_lies_between_none_and_uniform(weights: list[float], words: int) -> None:
    p = np.array(weights) + (1e-300 if sum(weights) == 0 else 0)
    p = p / p.sum()
    with np.errstate(divide="raise", invalid="raise"):
        (value,) = strategy("entropy").measure(inference([tagged([p] * words, np.ones((words, 1)))]))
    assert 0 <= value <= math.log(len(p)) + 1e-6


def margin_by_hand(sentence: Tagged) -> float:
    total = 0.0
    for word in sentence.marginals.tolist():
        second, first = sorted(word)[-2:]
        total += 1 - (first - second)
    return total / len(sentence)


def test_margin() -> None:
    values = measured(strategy("margin"), POOL)
    np.testing.assert_allclose(values.values, [margin_by_hand(sentence) for sentence in POOL], rtol=1e-9)
    assert order(strategy("margin"), POOL) == sorted(range(50), key=lambda i: -margin_by_hand(POOL[i]))


def test_margin_is_blind_to_all_but_the_two_likeliest() -> None:
    spread, split = tagged([[0.5, 0.3, 0.2]], [[1]]), tagged([[0.55, 0.45, 0.0]], [[1]])
    assert order(strategy("margin"), [spread, split]) == [1, 0]
    assert order(strategy("entropy"), [spread, split]) == [0, 1]


def test_single_decisions_are_measured_as_they_are_and_several_by_their_mean() -> None:
    """One choice a text has one distribution; each label of several is sure or not by itself."""
    text = tagged([[0.7, 0.2, 0.1]], [[1]])
    one, several = inference([one_choice(text)]), inference([several_choices(text)])
    assert strategy("margin").measure(one)[0] == pytest.approx(1 - 0.5)
    assert strategy("entropy").measure(one)[0] == pytest.approx(entropy_by_hand(text))
    # 0.7, 0.2 and 0.1 for yes
    assert strategy("margin").measure(several)[0] == pytest.approx((0.6 + 0.4 + 0.2) / 3)
    entropies = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.7, 0.2, 0.1)]
    assert strategy("entropy").measure(several)[0] == pytest.approx(sum(entropies) / 3)


def test_rounding_never_makes_a_score_negative() -> None:
    """float32 can leave a probability a hair above 1, and a log-probability a hair above 0."""
    above = np.nextafter(np.float32(1), np.float32(2))
    batch = inference([tagged([[above, 0]], [[1]], 1e-7)])
    for name in ("lc", "mnlp", "entropy", "margin"):
        assert strategy(name).measure(batch)[0] == 0
