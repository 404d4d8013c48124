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
from strategies.batch_bald import JointLabels, distribution_together
from strategies.variation import mutual_information
from tests.strategies.conftest import (
    PASSES,
    first_word,
    inference,
    measured,
    one_choice,
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
    pool = [one_choice(sentence) for sentence in pool]
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


def test_passes_of_batch_and_strategy_must_agree() -> None:
    with pytest.raises(ValueError, match=f"set to 10 passes, and this batch has {PASSES}"):
        strategy("batch-bald").measure(inference([wordless()]))


def test_batch_without_passes_is_refused() -> None:
    with pytest.raises(ValueError, match="this batch has none"):
        strategy("batch-bald").measure(replace(inference([wordless()]), samples_BMTC=None))


@pytest.mark.parametrize("option", ["configurations", "text_configurations"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_configurations_are_checked(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least 1, not {value!r}"):
        strategy("batch-bald", **{option: value})


def test_one_configuration_is_enough_to_run() -> None:
    assert sorted(rank(texts(20, seed=23), configurations=1).order) == list(range(20))


# several decisions a text


def decisions(n: int, seed: int, several: int, classes: int = 3, passes: int = PASSES, spread: float = 0.7):
    """n texts of 1 to `several` pairs of entities; the first has them all."""
    rng = np.random.default_rng(seed)
    counts = [several, *rng.integers(1, several + 1, n - 1)]
    logits = [2 * rng.standard_normal((count, classes)) for count in counts]
    samples = [softmax(of + spread * rng.standard_normal((passes, *of.shape))) for of in logits]
    return [tagged(p.mean(axis=0), np.zeros((p.shape[1], 2)), samples=p) for p in samples]


def together(pool) -> list[np.ndarray]:
    """Of each text (1, M, C^T): the probability of all that may be decided on it, one decision after another."""
    found = []
    for sentence in pool:
        p_MS = np.ones((len(sentence.samples), 1))
        for p_MC in sentence.samples.astype(np.float64).transpose(1, 0, 2):
            p_MS = (p_MS[:, :, None] * p_MC[:, None, :]).reshape(len(p_MS), -1)
        found.append(p_MS[None])
    return found


def information_of(whole: list[np.ndarray]) -> float:
    """What these texts' labels tell of the passes: `joint_information`, of texts with different numbers of labels."""
    most = max(p.shape[2] for p in whole)
    return joint_information(np.concatenate([np.pad(p, [(0, 0), (0, 0), (0, most - p.shape[2])]) for p in whole]))


def chosen_of(pool, limit: int, **options) -> Ranking:
    chosen = strategy("batch-bald", passes=len(pool[0].samples), **options)
    return chosen.rank(measured(chosen, pool, size=3), None, limit, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(3))
def test_choice_is_greedy_on_what_all_decisions_of_all_texts_tell(seed: int) -> None:
    pool = decisions(8, seed, several=3)
    whole = together(pool)
    expected: list[int] = []
    for _ in range(3):
        left = [i for i in range(8) if i not in expected]
        expected.append(max(left, key=lambda i: information_of([whole[j] for j in [*expected, i]])))
    found = chosen_of(pool, 3, configurations=30_000)
    assert list(found.order[:3]) == expected
    np.testing.assert_allclose(found.priority, [information_of([p]) for p in whole], atol=1e-6)


def test_several_choices_are_decided_together() -> None:
    pool = [wordless(), *random_pool(6, seed=24)]
    seen = [several_choices(sentence) for sentence in pool]
    expected = [0.0, *(information_of([p]) for p in together(seen[1:]))]
    np.testing.assert_allclose(chosen_of(seen, 3).priority, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("several", "classes", "configurations", "apart"), [(5, 4, 64, 0.12), (9, 2, 64, 0.12), (5, 4, 256, 0.06)]
)
def test_of_many_decisions_a_sample_tells_nearly_as_much_as_all(several, classes, configurations, apart) -> None:
    """Of 40 texts the standard deviation of the relative error, and its mean."""
    pool = [s for s in decisions(120, 30, several, classes, passes=10) if classes ** len(s) > configurations][:40]
    exact = np.array([mutual_information(p.transpose(1, 0, 2))[0] for p in together(pool)])
    found = chosen_of(pool, 1, text_configurations=configurations).priority
    errors = found / exact - 1
    assert 0 < errors.std() < apart
    assert abs(errors.mean()) < apart / 2
    assert np.corrcoef(found, exact)[0, 1] > 0.96


def test_points_in_equal_parts_are_better_than_any(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = [s for s in decisions(150, 31, 6, 4, passes=10) if len(s) > 3]
    exact = np.array([mutual_information(p.transpose(1, 0, 2))[0] for p in together(pool)])

    def error() -> float:
        return float(np.sqrt(np.mean((chosen_of(pool, 1).priority / exact - 1) ** 2)))

    ours = error()
    independent = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        monkeypatch.setattr("strategies.batch_bald._points", lambda size, count, rng=rng: rng.random((size, count)))
        independent.append(error())
    assert ours < min(independent)


def test_a_sample_is_a_distribution_in_each_pass() -> None:
    p = decisions(1, 32, several=40, classes=6, passes=10, spread=2)[0].samples
    for size in (1, 4, 64):
        found = distribution_together(p, size)
        assert found.shape == (10, size)
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_labels_that_cannot_be_are_never_drawn() -> None:
    """Passes that agree on all that can be, and each of which knows one more thing for sure, tell log M nats."""
    sure = np.full((4, 9, 4), 1 / 3, np.float32)
    sure[:, :, 3] = 0
    sure[:, 0] = np.eye(4)
    with np.errstate(all="raise"):
        found = distribution_together(sure, 64)
        assert mutual_information(found[:, None, :])[0] == pytest.approx(math.log(4), abs=1e-6)
        alike = np.repeat(sure[:1], 4, axis=0)
        assert mutual_information(distribution_together(alike, 64)[:, None, :])[0] == pytest.approx(0, abs=1e-12)


def test_what_one_of_two_like_texts_tells_is_not_counted_again() -> None:
    """Twice four pairs of which one tells the passes' halves apart, and four that tell other halves, less surely."""
    halves, others = np.arange(10) < 5, np.arange(10) % 2
    texts_ = []
    for half, sure in ((halves, 0.97), (halves, 0.97), (others, 0.9)):
        p = np.full((10, 4, 4), 0.25)
        p[:, 2] = (1 - sure) / 3
        p[np.arange(10), 2, half.astype(int)] = sure
        texts_.append(tagged(p.mean(axis=0), np.zeros((4, 2)), samples=p))
    found = chosen_of(texts_, 2)
    assert found.priority[0] == found.priority[1] > found.priority[2]
    assert found.order[1] == 2


def test_one_decision_beside_several_is_its_own_distribution() -> None:
    pool = decisions(2, 35, several=5)
    pool[1] = first_word(pool[1])
    values = measured(strategy("batch-bald", passes=PASSES), pool).values.reshape(2, PASSES, -1)
    np.testing.assert_array_equal(values[1, :, :3], pool[1].samples[:, 0])
    assert values.shape[2] == 64
    assert not values[1, :, 3:].any()
