"""Pools of classifiers and of models of relations, whatever they are: every strategy that can read them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import STRATEGIES, join, strategy
from strategies.vectors import sentence_vectors
from tests.strategies.conftest import (
    PASSES,
    Tagged,
    batches,
    first_word,
    inference,
    measured,
    one_choice,
    random_pool,
    several_choices,
    tagged,
)

READING = sorted(name for name, kind in STRATEGIES.items() if kind.reads == "tagger")
NUMBERS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])


@st.composite
def pools(draw: st.DrawFn) -> list[Tagged]:
    """Of texts with up to three pairs, or a class each, or several choices: many of them sure, alike, or without
    anything to decide."""
    shape = draw(st.sampled_from([None, first_word, one_choice, several_choices]))
    tags, states = draw(st.integers(1, 4)), draw(st.integers(1, 3))

    def distribution() -> list[float]:
        weights = [draw(NUMBERS) for _ in range(tags)]
        return [w / sum(weights) for w in weights] if sum(weights) else [1.0, *[0.0] * (tags - 1)]

    def text() -> Tagged:
        decisions = draw(st.integers(0, 3))
        p = np.reshape([distribution() for _ in range(decisions)], (decisions, tags))
        passes = [np.reshape([distribution() for _ in range(decisions)], p.shape) for _ in range(2)]
        h = np.reshape([draw(NUMBERS) for _ in range(decisions * states)], (decisions, states))
        log_prob = sum(math.log(max(row)) for row in p.tolist())
        return tagged(p, h, log_prob, [passes[m % 2] for m in range(PASSES)])

    drawn = [text() for _ in range(draw(st.integers(1, 4)))]
    pool = [drawn[i] for i in draw(st.lists(st.integers(0, len(drawn) - 1), min_size=1, max_size=8))]
    return pool if shape is None else [shape(sentence) for sentence in pool]


@given(pools(), st.sampled_from(READING), st.integers(0, 9), st.booleans())
def test_any_pool_is_ranked(pool: list[Tagged], name: str, limit: int, known: bool) -> None:
    """Completely, in finite numbers, those without a decision last, and however it was cut into batches."""
    chosen = strategy(name, passes=PASSES) if strategy(name).passes else strategy(name)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        values, singly = measured(chosen, pool), measured(chosen, pool, size=1)
        np.testing.assert_array_equal(values.values, singly.values)
        assert values.state_size == singly.state_size == (pool[0].hidden.shape[1] if pool[0].per_text else 0)
        found = chosen.rank(values, values if known else None, limit, np.random.default_rng(0))
    assert sorted(found.order) == list(range(len(pool)))
    assert np.isfinite(found.priority).all()
    assert found.priority.min() >= 0
    empty = [i for i, sentence in enumerate(pool) if not len(sentence)]
    assert sorted(found.order[len(pool) - len(empty) :]) == empty
    np.testing.assert_array_equal(found.priority[empty], 0)


def test_vector_of_a_classified_text_is_its_state() -> None:
    pool = random_pool(8, seed=70)
    batch = inference([one_choice(sentence) for sentence in pool])
    np.testing.assert_array_equal(sentence_vectors(batch), [sentence.hidden[0] for sentence in pool])
    pairs = inference(pool)
    np.testing.assert_allclose(sentence_vectors(pairs), [sentence.hidden.mean(axis=0) for sentence in pool], rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in READING if "per_text" not in STRATEGIES[name].needs])
def test_one_choice_is_ranked_as_one_word(name: str) -> None:
    """A classifier's text is to every strategy what a sentence of one word is, so what is tested of those holds."""
    chosen = strategy(name, passes=PASSES) if strategy(name).passes else strategy(name)
    pool = random_pool(24, seed=71, words=[1] * 24)
    found = []
    for shaped in (pool, [one_choice(sentence) for sentence in pool]):
        values = join(((batch, chosen.measure(batch)) for batch in batches(shaped, 5)), 24)
        found.append(chosen.rank(values, None, 6, np.random.default_rng(3)))
    np.testing.assert_array_equal(found[0].order, found[1].order)
    np.testing.assert_allclose(found[0].priority, found[1].priority, rtol=1e-4, atol=1e-9)
