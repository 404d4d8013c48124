"""batch-bald against its definition: the joint distribution of all labels, enumerated in plain Python."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from strategies import Measured, Ranking, strategy
from strategies.batch_bald import JointLabels
from strategies.variation import mutual_information
from tests.strategies.conftest import (
    PASSES,
    first_word,
    inference,
    measured,
    random_pool,
    several_choices,
    softmax,
    tagged,
    wordless,
)


def texts(n: int, seed: int, classes: int = 3, passes: int = 4, spread: float = 1.5) -> np.ndarray:
    """(n, passes, classes)"""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, 1, classes)) + spread * rng.standard_normal((n, passes, classes))
    return softmax(logits).astype(np.float32)


def rank(p_NMC, limit: int | None = None, seed: int = 0, configurations: int = 100_000) -> Ranking:
    n, passes, _ = np.shape(p_NMC)
    pool = Measured(np.array(p_NMC, dtype=np.float32).reshape(n, -1), np.ones(n, np.int64))
    chosen = strategy("batch-bald", passes=passes, configurations=configurations)
    return chosen.rank(pool, None, limit, np.random.default_rng(seed))


def joint_information(p_BMC: np.ndarray) -> float:
    """I(y_1, …, y_B; parameters) = H(y_1, …, y_B) − Σ_b mean_m H(y_b | m), over all C^B configurations."""
    texts_, passes, classes = p_BMC.shape
    p = p_BMC.tolist()
    joint = 0.0
    for labels in itertools.product(range(classes), repeat=texts_):
        probability = sum(math.prod(p[b][m][y] for b, y in enumerate(labels)) for m in range(passes)) / passes
        if probability > 0:
            joint -= probability * math.log(probability)
    conditional = -sum(q * math.log(q) for text in p for drawn in text for q in drawn if q > 0) / passes
    return joint - conditional


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes, k", [(2, 5), (3, 4), (4, 3)])
def test_choice_is_greedy_on_the_joint_information(seed: int, classes: int, k: int) -> None:
    p = texts(9, seed, classes)
    expected: list[int] = []
    for _ in range(k):
        left = [i for i in range(9) if i not in expected]
        expected.append(max(left, key=lambda i: joint_information(p[[*expected, i]])))
    found = rank(p, limit=k)
    assert list(found.order[:k]) == expected
    alone = [joint_information(p[[i]]) for i in range(9)]
    np.testing.assert_allclose(found.priority, alone, atol=1e-6)
    assert list(found.order[k:]) == sorted(set(range(9)) - set(expected), key=lambda i: -alone[i])


def test_gain_is_the_growth_of_the_joint_information() -> None:
    p = texts(6, seed=10)
    rng = np.random.default_rng(0)
    labels = JointLabels(passes=4)
    for chosen in range(5):
        before = joint_information(p[:chosen]) if chosen else 0.0
        expected = [joint_information(p[[*range(chosen), i]]) - before for i in range(6)]
        np.testing.assert_allclose(labels.gains(p), expected, atol=1e-6)
        assert len(labels) == 3**chosen
        labels.extend(p[chosen], 1000, rng)


def sampled_gains(p: np.ndarray, chosen: int, configurations: int, seed: object) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = JointLabels(p.shape[1])
    for text in p[:chosen]:
        labels.extend(text, configurations, rng)
    assert len(labels) <= configurations
    return labels.gains(p[chosen:])


def test_sampled_gains_are_right_on_average() -> None:
    p = texts(12, seed=11, classes=4, passes=6, spread=0.7)
    exact = sampled_gains(p, 6, 4**6, 0)
    found = np.array([sampled_gains(p, 6, 100, [1, seed]) for seed in range(300)])
    error = found.std(axis=0) / math.sqrt(len(found))
    assert (error > 0).all()
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - exact), 4 * error)


@pytest.mark.parametrize("configurations", [50, 400])
def test_sampled_gains_are_as_good_as_those_of_independent_samples(configurations: int) -> None:
    """Against configurations drawn one by one from their exact joint distribution, as in the paper."""
    p = texts(12, seed=12, classes=4, passes=6, spread=0.7)
    exact = sampled_gains(p, 6, 4**6, 0)
    whole = JointLabels(6)
    for text in p[:6]:
        whole.extend(text, 4**6, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    independent = []
    for _ in range(100):
        drawn = JointLabels(6)
        taken = rng.choice(len(whole), configurations, p=whole.weights_K / whole.weights_K.sum())
        drawn.posteriors_KM = whole.posteriors_KM[taken]
        drawn.weights_K = np.full(configurations, 1 / configurations)
        independent.append(drawn.gains(p[6:]))
    ours = [sampled_gains(p, 6, configurations, [2, seed]) for seed in range(100)]
    errors = [np.sqrt(np.mean((np.array(gains) - exact) ** 2)) for gains in (ours, independent)]
    assert 0 < errors[0] < errors[1]


def test_sampled_choice_tells_as_much_as_the_exact_one() -> None:
    """In a pool of three versions of each text, of which the highest by BALD say the same."""
    p = np.concatenate([texts(10, seed=13, passes=8) ** power for power in (0.95, 1.0, 1.05)])
    p /= p.sum(axis=-1, keepdims=True)
    found = rank(p, 6)
    informed, by_bald = (joint_information(p[c]) for c in (found.order[:6], np.argsort(-found.priority)[:6]))
    assert by_bald < 0.97 * informed
    for seed in range(5):
        sampled = rank(p, 6, seed, configurations=60)
        assert joint_information(p[sampled.order[:6]]) > 0.985 * informed


def test_duplicates_are_not_taken_together_as_bald_does() -> None:
    """Three copies of the best text, and two others that tell of other passes."""
    best = [[0.95, 0.05], [0.95, 0.05], [0.05, 0.95], [0.05, 0.95]]
    other = [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]]
    dull = [[0.7, 0.3], [0.6, 0.4], [0.65, 0.35], [0.6, 0.4]]
    p = np.array([best, other, best, dull, best], dtype=np.float32)
    for seed in range(20):
        pool = Measured(mutual_information(p.transpose(1, 0, 2)), np.ones(5, np.int64))
        by_bald = strategy("bald").rank(pool, None, 2, np.random.default_rng(seed)).order
        assert set(by_bald[:2]) < {0, 2, 4}
        order = rank(p, 2, seed).order
        assert order[0] in {0, 2, 4}
        assert order[1] == 1


def test_equal_texts_are_chosen_by_lot() -> None:
    p = np.repeat(texts(1, seed=14), 4, axis=0)
    firsts = Counter(int(rank(p, 2, seed).order[0]) for seed in range(400))
    seconds = Counter(int(rank(p, 2, seed).order[1]) for seed in range(400))
    for counted in (firsts, seconds):
        assert chisquare([counted[i] for i in range(4)]).pvalue > 1e-3


def test_ends_when_the_passes_are_told_apart() -> None:
    """One text that tells all; then even a text that is chosen last by BALD would be no worse than the second best."""
    telling = np.eye(3)
    half = [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.9, 0.05]]
    less = [[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.4, 0.4, 0.2]]
    with np.errstate(all="raise"):
        found = rank([less, half, telling])
    assert list(found.order) == [2, 1, 0]
    assert found.priority[2] == pytest.approx(math.log(3))


def test_what_an_earlier_choice_tells_is_not_counted_again() -> None:
    """y of the best text splits the passes in two halves; the second best by BALD would split them the same way."""
    a, b = [0.99, 0.01], [0.01, 0.99]
    c, d = [0.97, 0.03], [0.03, 0.97]
    e, f = [0.95, 0.05], [0.05, 0.95]
    p = [[a, a, b, b], [c, c, d, d], [e, f, e, f]]
    assert list(rank(p, 3).order) == [0, 2, 1]
    assert list(np.argsort(-rank(p, 3).priority)) == [0, 1, 2]


def test_many_choices_stay_finite() -> None:
    """The probability of 300 labels together is nearly below the smallest number there is."""
    p = texts(300, seed=15, classes=8, passes=5, spread=0.05)
    p[::7, :, 0], p[::7, :, 1:] = 1, 0
    with np.errstate(all="raise"):
        found = rank(p, None, configurations=200)
    assert sorted(found.order) == list(range(300))
    assert np.isfinite(found.priority).all()


def test_pass_may_be_excluded_as_often_as_you_like() -> None:
    """Its posterior probability given the labels falls to 1e-45 to the tenth."""
    p = np.repeat(np.array([[[1e-45, 1], [0.4, 0.6], [0.6, 0.4]]], np.float32), 10, axis=0)
    with np.errstate(all="raise"):
        assert sorted(rank(p).order) == list(range(10))


def test_labels_that_tell_the_pass_are_let_go() -> None:
    """Of three labels the first tells that it was the first pass, the second that it was one of the others."""
    labels = JointLabels(3)
    labels.extend(np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]], np.float32), 100, np.random.default_rng(0))
    assert len(labels) == 2
    assert labels.gains(np.array([np.eye(3)], np.float32)) == pytest.approx(2 / 3 * math.log(2))
    labels.extend(np.eye(3, dtype=np.float32), 100, np.random.default_rng(0))
    assert len(labels) == 0
    assert labels.gains(np.array([np.eye(3)], np.float32)) == [0]


def test_sampled_gains_are_never_negative() -> None:
    """However few the configurations, and little as there is to gain."""
    p = texts(40, seed=24, classes=4, passes=6, spread=0.7)
    p[20:] = texts(20, seed=25, classes=4, passes=6, spread=0.01)
    for seed in range(20):
        assert (sampled_gains(p, 10, 5, seed) > -1e-12).all()


def test_result_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    p = texts(60, seed=16, classes=4, passes=6)
    expected = rank(p, 6)
    monkeypatch.setattr("strategies.batch_bald._BLOCK", 50)
    found = rank(p, 6)
    np.testing.assert_array_equal(found.order, expected.order)
    np.testing.assert_allclose(found.priority, expected.priority, rtol=1e-12, atol=1e-15)


def test_sampling_is_seeded() -> None:
    p = texts(300, seed=17, classes=4, passes=10)
    orders = [tuple(rank(p, 20, seed, configurations=10).order) for seed in (0, 0, 1, 2)]
    assert orders[0] == orders[1]
    assert len(set(orders)) == 3


@pytest.mark.parametrize(
    "p", [texts(5, seed=18, passes=1), texts(5, seed=18, classes=1)], ids=["one pass", "one class"]
)
def test_where_nothing_can_be_told_any_order_is_right(p: np.ndarray) -> None:
    found = rank(p)
    np.testing.assert_array_equal(found.priority, 0)
    assert {int(rank(p, seed=seed).order[0]) for seed in range(50)} == set(range(5))


def test_memory_is_bounded() -> None:
    """No array of all texts by all configurations."""
    p = texts(5000, seed=19, classes=5, passes=10)
    tracemalloc.start()
    rank(p, 5, configurations=5**4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * (p.shape[0] * 5 * 5**4 * 8)


# measuring


def test_measures_one_distribution_a_text() -> None:
    pool = [first_word(s) for s in random_pool(7, seed=20)] + [wordless()]
    values = measured(strategy("batch-bald", passes=PASSES), pool, size=3).values
    assert values.shape == (8, PASSES * 5)
    for row, sentence in zip(values, pool, strict=True):
        np.testing.assert_array_equal(row, sentence.samples.ravel() if len(sentence) else 0)


def test_first_choice_is_that_of_bald() -> None:
    pool = [first_word(s) for s in random_pool(30, seed=21)]
    values = measured(strategy("bald"), pool).values
    chosen = strategy("batch-bald", passes=PASSES)
    found = chosen.rank(measured(chosen, pool), None, 5, np.random.default_rng(0))
    assert found.order[0] == values.argmax()
    np.testing.assert_allclose(found.priority, values, rtol=1e-12)


def test_padding_is_never_read() -> None:
    batch = inference([first_word(random_pool(1, seed=22)[0]), wordless()])
    soiled = replace(batch, samples_BMTC=batch.samples_BMTC.copy())
    soiled.samples_BMTC[1] = np.nan
    chosen = strategy("batch-bald", passes=PASSES)
    np.testing.assert_array_equal(chosen.measure(soiled), chosen.measure(batch))


def test_sequences_are_refused_with_what_to_take_instead() -> None:
    pool = [tagged([[0.5, 0.5]], [[1]]), tagged([[0.5, 0.5]] * 3, np.ones((3, 1)))]
    with pytest.raises(ValueError, match=r"position 1 has 3 .*'bald', or 'power-bald'"):
        strategy("batch-bald", passes=PASSES).measure(inference(pool))


def test_several_choices_are_refused_too() -> None:
    pool = [several_choices(sentence) for sentence in [wordless(), *random_pool(2, seed=24)]]
    with pytest.raises(ValueError, match=r"position 1 has 5 \(.* a label of several choices, .*'power-bald'"):
        strategy("batch-bald", passes=PASSES).measure(inference(pool))


def test_passes_of_batch_and_strategy_must_agree() -> None:
    with pytest.raises(ValueError, match=f"set to 10 passes, and this batch has {PASSES}"):
        strategy("batch-bald").measure(inference([wordless()]))


def test_batch_without_passes_is_refused() -> None:
    with pytest.raises(ValueError, match="this batch has none"):
        strategy("batch-bald").measure(replace(inference([wordless()]), samples_BMTC=None))


@pytest.mark.parametrize("configurations", [0, -1, 1.5, "10", True])
def test_configurations_are_checked(configurations: object) -> None:
    with pytest.raises(
        ValueError, match=f"configurations must be a whole number of at least 1, not {configurations!r}"
    ):
        strategy("batch-bald", configurations=configurations)


def test_one_configuration_is_enough_to_run() -> None:
    assert sorted(rank(texts(20, seed=23), configurations=1).order) == list(range(20))
