"""Every registered strategy through the same cases."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

import strategies
from corpus import Inference
from strategies import STRATEGIES, Measured, Strategy, check, strategy
from tests.strategies.conftest import (
    Tagged,
    batches,
    inference,
    measured,
    order,
    random_pool,
    tagged,
    wordless,
)

EVERY = pytest.mark.parametrize("name", sorted(STRATEGIES))
DRAWN = {"random", "badge", "w-badge"}
"""Strategies that draw lots even without ties; the others are functions of the scores."""


def ranking(name: str, pool: list[Tagged], limit: int | None = None, seed: int = 0) -> strategies.Ranking:
    acquisition = strategy(name)
    return acquisition.rank(measured(acquisition, pool), None, limit, np.random.default_rng(seed))


def is_permutation(found: list[int], n: int) -> bool:
    return sorted(found) == list(range(n))


@EVERY
@pytest.mark.parametrize("limit", [None, 0, 1, 5, 30, 1000])
def test_order_is_a_permutation_whatever_the_limit(name: str, limit: int | None) -> None:
    pool = [*random_pool(30, seed=1), wordless()]
    assert is_permutation(order(strategy(name), pool, limit=limit), 31)


@EVERY
def test_same_seed_same_ranking(name: str) -> None:
    pool = random_pool(40, seed=2)
    for seed in (0, 1):
        first, second = (ranking(name, pool, limit=10, seed=seed) for _ in range(2))
        np.testing.assert_array_equal(first.order, second.order)
        np.testing.assert_array_equal(first.priority, second.priority)


@EVERY
def test_seed_matters_just_where_lots_are_drawn(name: str) -> None:
    pool = random_pool(40, seed=3)
    orders = {tuple(order(strategy(name), pool, limit=10, seed=seed)) for seed in range(5)}
    assert len(orders) == (5 if name in DRAWN else 1)


@EVERY
def test_batches_do_not_matter(name: str) -> None:
    pool = random_pool(40, seed=4)
    whole = measured(strategy(name), pool, size=40)
    for size in (1, 3, 16):
        np.testing.assert_array_equal(measured(strategy(name), pool, size).values, whole.values)
        assert order(strategy(name), pool, limit=10, size=size) == order(strategy(name), pool, limit=10, size=40)


@EVERY
def test_padding_is_never_read(name: str) -> None:
    batch = inference(random_pool(6, seed=15))
    padding = np.arange(batch.marginals_BTC.shape[1]) >= batch.lengths[:, None]
    assert padding.any()
    soiled = dataclasses.replace(
        batch,
        marginals_BTC=np.where(padding[..., None], np.float32(np.nan), batch.marginals_BTC),
        hidden_BTH=np.where(padding[..., None], np.float32(np.nan), batch.hidden_BTH),
    )
    np.testing.assert_array_equal(strategy(name).measure(soiled), strategy(name).measure(batch))


@EVERY
def test_permuting_the_pool_permutes_the_ranking(name: str) -> None:
    pool = random_pool(12, seed=5)
    shuffle = np.random.default_rng(0).permutation(12)
    moved = [pool[i] for i in shuffle]
    if name not in DRAWN:
        assert [shuffle[i] for i in order(strategy(name), moved)] == order(strategy(name), pool)
        return
    # by distribution: how often each sentence is among the first four
    draws = 800
    here, there = measured(strategy(name), pool), measured(strategy(name), moved)
    counts = np.zeros((2, 12))
    for seed in range(draws):
        for row, values in enumerate((here, there)):
            # other draws for the other half, or the two shares would not be independent
            rng = np.random.default_rng([row, seed])
            first = strategy(name).rank(values, None, 4, rng).order[:4]
            counts[row, first if row == 0 else shuffle[first]] += 1
    share = counts / draws
    spread = np.sqrt(share[0] * (1 - share[0]) * 2 / draws)
    np.testing.assert_array_less(np.abs(share[0] - share[1]), 4 * spread + 1e-12)


@EVERY
def test_empty_pool(name: str) -> None:
    acquisition = strategy(name)
    for limit in (None, 0, 7):
        found = acquisition.rank(strategies.join([], 0), None, limit, np.random.default_rng(0))
        assert len(found.order) == len(found.priority) == 0
        assert found.order.dtype == np.int64


@EVERY
def test_pool_smaller_than_the_limit_is_chosen_whole(name: str) -> None:
    pool = random_pool(6, seed=6)
    assert order(strategy(name), pool, limit=100) == order(strategy(name), pool, limit=None)


@EVERY
def test_duplicates_are_ranked_at_random(name: str) -> None:
    pool = random_pool(1, seed=7, words=[5]) * 4
    firsts, lasts = Counter[int](), Counter[int]()
    for seed in range(400):
        found = order(strategy(name), pool, limit=3, seed=seed)
        assert is_permutation(found, 4)
        firsts[found[0]] += 1
        lasts[found[-1]] += 1
    for counted in (firsts, lasts):
        assert chisquare([counted[i] for i in range(4)]).pvalue > 1e-3


@EVERY
def test_wordless_sentences_come_last_and_are_worth_nothing(name: str) -> None:
    certain = tagged([[1, 0, 0, 0, 0]], np.ones((1, 7)))  # measures 0 too, yet has a word to label
    pool = [wordless(), *random_pool(6, seed=8), wordless(), certain]
    for seed in range(20):
        for limit in (None, 2):
            found = ranking(name, pool, limit, seed)
            assert set(found.order[-2:]) == {0, 7}
            assert found.priority[0] == found.priority[7] == 0
            assert found.priority.min() == 0


@EVERY
def test_pool_of_wordless_sentences(name: str) -> None:
    firsts = {order(strategy(name), [wordless()] * 3, seed=seed)[0] for seed in range(30)}
    assert firsts == {0, 1, 2}


@EVERY
def test_probabilities_of_zero_and_one(name: str) -> None:
    h = np.ones((2, 7))
    pool = [
        tagged([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]], h),
        tagged([[0.5, 0.5, 0, 0, 0], [0, 0, 1, 0, 0]], h),
        tagged([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], h, log_prob=-math.inf),
    ]
    with np.errstate(all="raise"):
        found = ranking(name, pool)
    assert np.isfinite(found.priority).all()
    assert is_permutation(list(found.order), 3)
    if name != "random":
        assert found.priority[0] == 0 < found.priority[1]


@EVERY
def test_one_class_only(name: str) -> None:
    pool = [tagged(np.ones((n, 1)), np.ones((n, 3))) for n in (1, 4, 2)]
    assert {order(strategy(name), pool, limit=2, seed=seed)[0] for seed in range(40)} == {0, 1, 2}
    if name != "random":
        np.testing.assert_array_equal(ranking(name, pool).priority, 0)


@EVERY
def test_pool_of_one_word(name: str) -> None:
    found = ranking(name, random_pool(1, seed=9, words=[1]), limit=1)
    assert list(found.order) == [0]
    assert found.priority[0] > 0


@EVERY
@pytest.mark.parametrize("magnitude", [1e-38, 1e-20, 1e20, 3e38])
def test_states_of_any_magnitude(name: str, magnitude: float) -> None:
    pool = [
        Tagged(s.marginals, (s.hidden / np.abs(s.hidden).max() * magnitude).astype(np.float32), s.log_prob)
        for s in random_pool(30, seed=10)
    ]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        values = measured(strategy(name), pool)
        found = strategy(name).rank(values, None, 10, np.random.default_rng(0))
    assert np.isfinite(values.values).all()
    assert np.isfinite(found.priority).all()
    assert is_permutation(list(found.order), 30)


@EVERY
def test_measures_are_not_changed_by_ranking(name: str) -> None:
    acquisition = strategy(name)
    values = measured(acquisition, random_pool(10, seed=11))
    before = values.values.copy()
    acquisition.rank(values, None, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(values.values, before)


@EVERY
def test_no_global_random_state(name: str) -> None:
    state = repr(np.random.get_state())
    ranking(name, random_pool(10, seed=12), limit=3)
    assert repr(np.random.get_state()) == state


@EVERY
def test_needs_nothing_that_it_does_not_declare(name: str) -> None:
    acquisition = strategy(name)
    kept = {"log_prob": "log_prob_B", "marginals": "marginals_BTC", "hidden": "hidden_BTH"}
    pool = random_pool(8, seed=13)
    for batch in batches(pool, 4):
        taken = {field: None for need, field in kept.items() if need not in acquisition.needs}
        bare = dataclasses.replace(batch, path_BT=None, **taken)
        np.testing.assert_array_equal(acquisition.measure(bare), acquisition.measure(batch))


@EVERY
def test_labels_are_never_seen(name: str) -> None:
    """All that `measure` and `rank` are given is tagger output, and that holds no gold labels."""
    assert list(inspect.signature(STRATEGIES[name].measure).parameters) == ["self", "batch"]
    assert list(inspect.signature(STRATEGIES[name].rank).parameters)[1:] == [
        "pool",
        "labelled",
        "limit",
        "rng",
    ]
    outputs = {"indices", "lengths", "tags", "path_BT", "log_prob_B", "marginals_BTC", "hidden_BTH"}
    assert {field.name for field in dataclasses.fields(Inference)} <= outputs
    assert {field.name for field in dataclasses.fields(Measured)} == {"values", "lengths"}


def test_package_imports_no_sentences() -> None:
    for module in Path(strategies.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("corpus"):
                assert [name.name for name in node.names] == ["Inference"], module.name


@EVERY
def test_check_accepts_exactly_what_suffices(name: str) -> None:
    needs = STRATEGIES[name].needs
    check(strategy(name), needs)
    check(strategy(name), needs | {"samples"})
    for missing in needs:
        with pytest.raises(ValueError, match=missing) as raised:
            check(strategy(name), needs - {missing})
        assert repr(name) in str(raised.value)


def test_check_names_the_strategies_that_work() -> None:
    with pytest.raises(ValueError) as raised:
        check(strategy("badge"), frozenset({"log_prob", "marginals"}))
    assert str(raised.value) == (
        "strategy 'badge' needs hidden, and the tagger provides only log_prob, marginals; "
        "take another tagger, or one of the strategies that work with it: entropy, lc, mnlp, random"
    )


def test_check_knows_unregistered_strategies_by_class() -> None:
    class Novel(strategies.uncertainty.Entropy):
        needs = frozenset({"samples"})

    with pytest.raises(ValueError, match="'Novel' needs samples"):
        check(Novel(), frozenset())


def test_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'bagde'; known: badge, entropy, lc, mnlp, random, w-badge"):
        strategy("bagde")


def test_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'badge' has no option 'size'; its options: dimensions, seed"):
        strategy("badge", size=3)
    with pytest.raises(ValueError, match="'mnlp' has no option 'total'; its options: none"):
        strategy("mnlp", total=True)


@EVERY
def test_registry_makes_strategies_that_say_what_they_measure(name: str) -> None:
    made = strategy(name)
    assert isinstance(made, Strategy)
    values = made.measure(inference(random_pool(3, seed=14)))
    assert len(values) == 3
    assert values.dtype in (np.float32, np.float64)
