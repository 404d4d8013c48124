"""Stochastic top-k: how often each sentence is drawn, against the distributions of the paper."""

from __future__ import annotations

import inspect
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

import strategies.stochastic as module
from strategies import STRATEGIES, Measured, Ranking, strategy
from strategies.stochastic import stochastic
from strategies.variation import Bald
from tests.strategies.conftest import measured, random_pool

SCALAR = ["lc", "mnlp", "entropy", "margin", "variation-ratio", "sequence-variation-ratio", "bald"]
SCORES = np.array([0.1, 1.5, 0.4, 0.9, 0.2])
RANKS = np.array([5.0, 1, 3, 2, 4])


def rank(values, seed: object = 0, lengths=None, name: str = "power-entropy", **options) -> Ranking:
    values = np.array(values, dtype=np.float64)
    lengths = np.ones(len(values), np.int64) if lengths is None else np.array(lengths, dtype=np.int64)
    return strategy(name, **options).rank(Measured(values, lengths), None, None, np.random.default_rng(seed))


def weights(kind: str, beta: float) -> np.ndarray:
    """What the probability of being drawn is proportional to (Kirsch et al. 2021, sec. 3)."""
    return {"power": SCORES**beta, "softmax": np.exp(beta * SCORES), "soft-rank": RANKS**-beta}[kind]


@pytest.mark.parametrize("kind", module.KINDS)
@pytest.mark.parametrize("beta", [0.5, 1, 3.0])
def test_first_is_drawn_in_proportion(kind: str, beta: float) -> None:
    draws = 3000
    firsts = Counter(int(rank(SCORES, seed, kind=kind, beta=beta).order[0]) for seed in range(draws))
    expected = weights(kind, beta) / weights(kind, beta).sum()
    assert chisquare([firsts[i] for i in range(5)], draws * expected).pvalue > 1e-3


@pytest.mark.parametrize("kind", module.KINDS)
def test_order_is_that_of_draws_one_by_one_without_replacement(kind: str) -> None:
    """The Plackett–Luce distribution over the 60 possible first three."""
    draws, w = 6000, weights(kind, 1.0)
    expected = {}
    for drawn in itertools.permutations(range(5), 3):
        left, probability = w.sum(), 1.0
        for i in drawn:
            probability *= w[i] / left
            left -= w[i]
        expected[drawn] = probability
    found = Counter(tuple(map(int, rank(SCORES, [7, seed], kind=kind).order[:3])) for seed in range(draws))
    likely = [drawn for drawn, p in expected.items() if draws * p >= 5]  # the others pooled, or the test would not hold
    counts = [found[drawn] for drawn in likely]
    shares = [draws * expected[drawn] for drawn in likely]
    assert len(likely) > 40 and set(found) <= set(expected)
    assert chisquare([*counts, draws - sum(counts)], [*shares, draws - sum(shares)]).pvalue > 1e-3


@pytest.mark.parametrize("kind", module.KINDS)
def test_large_beta_is_the_scalar_strategy(kind: str) -> None:
    for seed in range(20):
        assert list(rank(SCORES, seed, kind=kind, beta=1e9).order) == list(np.argsort(RANKS))


@pytest.mark.parametrize("kind", module.KINDS)
def test_small_beta_is_random(kind: str) -> None:
    firsts = Counter(int(rank(SCORES, seed, kind=kind, beta=1e-9).order[0]) for seed in range(1000))
    assert chisquare([firsts[i] for i in range(5)]).pvalue > 1e-3


def test_power_leaves_scores_of_zero_to_the_end_in_any_order() -> None:
    lasts = Counter[int]()
    with np.errstate(all="raise"):
        for seed in range(600):
            order = rank([0, 1e-300, 0, 2, 0, 0], seed, lengths=[1, 1, 1, 1, 0, 1]).order
            assert set(order[:2]) == {1, 3}
            assert order[5] == 4  # no words
            lasts[int(order[4])] += 1
    assert chisquare([lasts[i] for i in (0, 2, 5)]).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["softmax", "soft-rank"])
def test_softmax_and_soft_rank_draw_scores_of_zero_too(kind: str) -> None:
    orders = [rank([0, 1, 0], seed, lengths=[1, 1, 0], kind=kind).order for seed in range(200)]
    assert {int(order[0]) for order in orders} == {0, 1}
    assert {int(order[2]) for order in orders} == {2}


def test_ranks_are_among_sentences_with_words() -> None:
    """Wordless ones take no rank: of two others the first is drawn with probability 1 / (1 + 1/2)."""
    firsts = Counter(
        int(rank([0, 5, 0, 0, 3], s, lengths=[0, 1, 0, 0, 1], kind="soft-rank").order[0]) for s in range(2000)
    )
    assert chisquare([firsts[1], firsts[4]], [2000 * 2 / 3, 2000 / 3]).pvalue > 1e-3


def test_equal_scores_share_their_ranks_by_lot() -> None:
    firsts = Counter(int(rank([1, 1, 1], seed, kind="soft-rank", beta=5.0).order[0]) for seed in range(900))
    assert chisquare([firsts[i] for i in range(3)]).pvalue > 1e-3


def test_score_of_lc_is_one_minus_the_probability() -> None:
    """And not −log P, by which it ranks: 1 − P cannot tell 40 nats from 800."""
    surprisals = [40.0, 800.0, -np.log(0.75)]
    firsts = Counter(int(rank(surprisals, seed, name="power-lc").order[0]) for seed in range(2000))
    assert chisquare([firsts[i] for i in range(3)], 2000 * np.array([1, 1, 0.25]) / 2.25).pvalue > 1e-3
    np.testing.assert_allclose(rank(surprisals, name="power-lc").priority, [1, 1, 0.25])


@pytest.mark.parametrize("name", SCALAR)
def test_measure_priority_and_needs_are_the_scalar_s(name: str) -> None:
    pool = random_pool(12, seed=40)
    power, plain = strategy(f"power-{name}"), strategy(name)
    values = measured(power, pool)
    np.testing.assert_array_equal(values.values, measured(plain, pool).values)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(power.rank(values, None, 3, rng).priority, plain.rank(values, None, 3, rng).priority)
    assert (power.needs, power.reads, power.uses_labelled) == (plain.needs, plain.reads, plain.uses_labelled)
    assert (power.passes, power.dropout) == (plain.passes, plain.dropout)


@pytest.mark.parametrize("name", SCALAR)
def test_options_are_the_scalar_s_and_two(name: str) -> None:
    def options(name: str) -> dict[str, object]:
        return {p.name: p.default for p in inspect.signature(STRATEGIES[name]).parameters.values()}

    assert options(f"power-{name}") == options(name) | {"kind": "power", "beta": 1.0}


def test_options_reach_the_scalar_strategy() -> None:
    (sentence,) = pool = random_pool(1, seed=41, words=[6])
    plain, total = (measured(strategy("power-entropy", total=total), pool).values for total in (False, True))
    np.testing.assert_allclose(total, plain * len(sentence))
    assert strategy("power-bald", passes=7, dropout="word").passes == 7


def test_class_made_is_one_like_any_other() -> None:
    made = stochastic(Bald)
    assert (made.__name__, made.__qualname__, made.__module__) == ("PowerBald", "PowerBald", "strategies.stochastic")
    assert "`bald`" in made.__doc__
    assert made.measure.__doc__ and made.rank.__doc__
    copied = pickle.loads(pickle.dumps(strategy("power-bald", passes=3, beta=2)))
    assert (type(copied), copied.passes, copied.beta) == (module.PowerBald, 3, 2.0)
    with pytest.raises(TypeError, match="tempo"):
        made(tempo=3)


def test_unfit_options_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 'gumbel' of stochastic top-k; known: power, softmax, soft-rank"):
        strategy("power-bald", kind="gumbel")
    for beta in (0, -1.0, float("nan"), float("inf"), "1", True, None):
        with pytest.raises(ValueError, match=f"beta must be a number above 0, not {beta!r}"):
            strategy("power-bald", beta=beta)
