"""The CRF mathematics against brute force over all paths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from taggers.crf_maths import Transitions, batches, solve

Array = NDArray[np.float64]


def brute_force(emissions_TC: Array, transitions: Transitions) -> tuple[tuple[int, ...], float, Array]:
    """Best path, its log-probability and the marginals, by listing every path."""
    T, C = emissions_TC.shape
    scores = {}
    for path in itertools.product(range(C), repeat=T):
        score = transitions.start_C[path[0]] + transitions.stop_C[path[-1]]
        score += sum(emissions_TC[t, tag] for t, tag in enumerate(path))
        score += sum(transitions.between_CC[a, b] for a, b in itertools.pairwise(path))
        scores[path] = score
    largest = max(scores.values())
    log_z = largest + np.log(sum(np.exp(score - largest) for score in scores.values()))
    marginals_TC = np.zeros((T, C))
    for path, score in scores.items():
        marginals_TC[range(T), path] += np.exp(score - log_z)
    best = max(scores, key=lambda path: scores[path])
    return best, scores[best] - log_z, marginals_TC


def weights(rng: np.random.Generator, C: int, scale: float = 2.0) -> Transitions:
    return Transitions(*(rng.normal(scale=scale, size=shape) for shape in (C, (C, C), C)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 5000.0, -5000.0])
def test_a_batch_of_mixed_lengths_equals_brute_force(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    C, lengths = 3, np.array([4, 0, 1, 6, 2])
    transitions = weights(rng, C)
    emissions = rng.normal(scale=3, size=(5, 6, C)) + offset
    chains = solve(emissions, lengths, transitions)
    for b, n in enumerate(lengths):
        assert not chains.path_BT[b, n:].any() and not chains.marginals_BTC[b, n:].any()
        if n == 0:
            assert chains.log_prob_B[b] == 0
            continue
        path, log_prob, marginals_TC = brute_force(emissions[b, :n], transitions)
        assert tuple(chains.path_BT[b, :n]) == path
        assert chains.log_prob_B[b] == pytest.approx(log_prob, abs=1e-9)
        np.testing.assert_allclose(chains.marginals_BTC[b, :n], marginals_TC, atol=1e-9)


def test_forbidden_steps_are_never_taken() -> None:
    rng = np.random.default_rng(1)
    transitions = weights(rng, 4)
    transitions.between_CC[1, 2] = transitions.start_C[3] = transitions.stop_C[0] = -10_000
    emissions = rng.normal(size=(1, 5, 4))
    emissions[:, :, 2] += 20  # wanted, but not after 1
    chains = solve(emissions, np.array([5]), transitions)
    path, log_prob, marginals_TC = brute_force(emissions[0], transitions)
    assert tuple(chains.path_BT[0]) == path
    assert chains.log_prob_B[0] == pytest.approx(log_prob, abs=1e-9)
    np.testing.assert_allclose(chains.marginals_BTC[0], marginals_TC, atol=1e-9)
    assert chains.marginals_BTC[0, 0, 3] == chains.marginals_BTC[0, -1, 0] == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_steps_may_be_forbidden(seed: int) -> None:
    """Also so many that tags are left which one other alone can come before, or that there is one tag only."""
    rng = np.random.default_rng(seed)
    C = int(rng.integers(1, 5))
    transitions = weights(rng, C)
    forbidden_CC = rng.random((C, C)) < rng.random()
    forbidden_CC[0] = forbidden_CC[:, 0] = False
    transitions.between_CC[forbidden_CC] = -10_000
    emissions, lengths = rng.normal(scale=3, size=(3, 4, C)), np.array([4, 2, 3])
    chains = solve(emissions, lengths, transitions)
    for b, n in enumerate(lengths):
        path, log_prob, marginals_TC = brute_force(emissions[b, :n], transitions)
        assert tuple(chains.path_BT[b, :n]) == path
        assert chains.log_prob_B[b] == pytest.approx(log_prob, abs=1e-9)
        np.testing.assert_allclose(chains.marginals_BTC[b, :n], marginals_TC, atol=1e-9)


def test_long_texts_neither_underflow_nor_drift() -> None:
    """Without transitions the words are independent: log P is a sum of log-softmaxes, whatever the length."""
    rng = np.random.default_rng(2)
    emissions = rng.normal(scale=2, size=(1, 20_000, 5))
    zero = Transitions(np.zeros(5), np.zeros((5, 5)), np.zeros(5))
    chains = solve(emissions, np.array([20_000]), zero)
    log_p_TC = emissions[0] - np.log(np.exp(emissions[0]).sum(axis=1, keepdims=True))
    assert np.exp(chains.log_prob_B[0]) == 0, "the probability itself is too small for a float"
    assert chains.log_prob_B[0] == pytest.approx(log_p_TC.max(axis=1).sum(), rel=1e-9)
    np.testing.assert_allclose(chains.marginals_BTC[0], np.exp(log_p_TC), atol=1e-9)


def test_no_words_at_all() -> None:
    chains = solve(np.zeros((2, 0, 3)), np.zeros(2, np.int64), weights(np.random.default_rng(0), 3))
    assert chains.log_prob_B.tolist() == [0, 0] and chains.path_BT.shape == (2, 0)


def test_batches_part_the_sentences_by_length() -> None:
    lengths = [*np.random.default_rng(0).integers(0, 200, size=5000).tolist(), 100_000]
    found = list(batches(lengths, 150))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    widths = [[lengths[i] for i in batch] for batch in found]
    assert all(max(a) <= min(b) for a, b in itertools.pairwise(widths))
    assert all(len(w) == 1 or len(w) * max(w) * 150 <= 1_000_000 for w in widths)
    assert 5 < len(found) < 200 and len(found[-1]) == 1
    assert list(batches([], 9)) == []
