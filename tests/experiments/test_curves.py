import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from corpus import Sentence, Span
from experiments.curves import (
    LEVELS,
    area,
    common_range,
    group_mix,
    label_mix,
    labels_needed,
    mean_curve,
    paired,
    share_needed,
    sign_flip_p,
    t_interval,
)
from experiments.plan import Plan
from experiments.results import Iteration, Run


def run(points, seed=0, strategy="mnlp"):
    """A run whose curve goes through these points (words, F1)."""
    iterations = tuple(
        Iteration(i, words // 10, words, {"f1": f1}, 0.1, {"fit": 1.0}) for i, (words, f1) in enumerate(points)
    )
    return Run(Path("runs") / strategy / f"seed-{seed}", Plan(data="atis"), strategy, seed, iterations)


CURVES = st.lists(st.tuples(st.integers(1, 500), st.floats(0, 1)), min_size=1, max_size=12).map(
    lambda steps: run(zip(np.cumsum([step for step, _ in steps]).tolist(), (f1 for _, f1 in steps), strict=True))
)
BUMPY = run([(100, 0.2), (200, 0.6), (300, 0.5), (500, 0.9)])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (0.1, 100),  # the first point is beyond it already
        (0.2, 100),
        (0.3, 125),
        (0.55, 187.5),  # the first time, though the curve falls below it again
        (0.6, 200),
        (0.7, 400),
        (0.9, 500),
        (0.91, math.inf),
    ],
)
def test_labels_needed_worked_by_hand(target, words):
    assert labels_needed(BUMPY, target) == pytest.approx(words)


@given(CURVES, st.floats(0, 1), st.floats(0, 1))
def test_labels_needed_grow_with_the_target(curve, one, other):
    low, high = sorted([one, other])
    assert labels_needed(curve, low) <= labels_needed(curve, high)


@given(CURVES, st.floats(0, 1))
def test_the_curve_is_at_the_target_there_and_below_it_before(curve, target):
    needed = labels_needed(curve, target)
    before = curve.f1[curve.labelled < needed]
    assert (before < target).all()
    if math.isfinite(needed) and curve.f1[0] < target:
        assert np.interp(needed, curve.labelled, curve.f1) == pytest.approx(target, abs=1e-9)
    assert math.isfinite(needed) == (curve.f1.max() >= target)


def test_no_iteration_reaches_nothing():
    assert labels_needed(run([]), 0.0) == math.inf


def test_share_needed_worked_by_hand():
    runs = [run([(100, 0.0), (1100, 1.0)], 0), run([(100, 0.0), (600, 1.0)], 1), run([(200, 0.0), (1000, 0.88)], 2)]
    half, most = share_needed(runs, full_f1=0.8, total=10_000, levels=[0.5, 1.0 / 0.8 * 0.9])
    needed = np.array([500, 300, 200 + 800 * 0.4 / 0.88]) / 10_000
    assert (half.level, half.seeds, half.unreached) == (0.5, 3, 0)
    assert half.mean == pytest.approx(needed.mean())
    interval = stats.t.interval(0.95, 2, loc=needed.mean(), scale=stats.sem(needed))
    assert (half.low, half.high) == pytest.approx(interval)
    assert str(half).startswith("4.") and " to " in str(half)
    # 0.9 F1: the third run ends at 1000 words, below it
    assert most.unreached == 1
    assert most.mean == pytest.approx(np.mean([1000, 550, 1000]) / 10_000)
    assert (most.low, most.high) == (-math.inf, math.inf)
    assert str(most) == "more than 8.5% (not reached by 1 of 3 seeds)"


def test_share_needed_of_one_seed_has_no_interval():
    shares = share_needed([BUMPY], full_f1=0.8, total=1000)
    assert [share.level for share in shares] == list(LEVELS)
    assert [share.mean for share in shares] == pytest.approx([labels_needed(BUMPY, x * 0.8) / 1000 for x in LEVELS])
    assert all((share.low, share.high) == (-math.inf, math.inf) for share in shares)
    assert str(shares[0]) == "41.0%"
    with pytest.raises(ValueError, match="no runs"):
        share_needed([], 0.8, 1000)


@given(st.lists(CURVES, min_size=1, max_size=4), st.floats(0.1, 1))
def test_share_needed_is_never_less_at_a_higher_level(runs, full_f1):
    total = 10_000
    shares = share_needed(runs, full_f1, total)
    assert all(a.mean <= b.mean + 1e-12 for a, b in itertools.pairwise(shares))
    for share in shares:
        needed = [labels_needed(one, share.level * full_f1) / total for one in runs]
        assert share.unreached == sum(map(math.isinf, needed))
        assert share.mean <= np.mean(needed) + 1e-12  # a lower bound, and the mean itself where all got there
        assert share.unreached or share.mean == pytest.approx(np.mean(needed))


def test_area_worked_by_hand():
    # 0.4 on average over 100 words, 0.55 over 100, 0.7 over 200
    assert area(BUMPY) == pytest.approx((40 + 55 + 140) / 400)
    assert area(BUMPY, 300) == pytest.approx((40 + 55) / 200)
    assert area(BUMPY, 400) == pytest.approx((40 + 55 + 60) / 300)
    assert area(BUMPY, 400, 150) == pytest.approx((25 + 55 + 60) / 250)
    assert area(BUMPY, 150, 150) == pytest.approx(0.4)
    assert area(run([(50, 0.3)])) == 0.3


@given(CURVES, st.floats(0, 1), st.floats(0, 1))
def test_area_lies_between_least_and_most_and_equals_the_integral(curve, one, other):
    first, last = int(curve.labelled[0]), int(curve.labelled[-1])
    low, high = sorted([first + (last - first) * share for share in (one, other)])
    low, high = max(low, first), min(high, last)
    found = area(curve, high, low)
    assert curve.f1.min() - 1e-9 <= found <= curve.f1.max() + 1e-9
    if high - low > 1e-3:
        edges = [low, *curve.labelled[(curve.labelled > low) & (curve.labelled < high)], high]
        pieces = [
            integrate.fixed_quad(lambda x: np.interp(x, curve.labelled, curve.f1), a, b, n=2)[0]
            for a, b in itertools.pairwise(edges)
        ]
        assert found == pytest.approx(sum(pieces) / (high - low), abs=1e-6)


def test_area_is_not_guessed_beyond_the_curve():
    with pytest.raises(ValueError, match=r"mnlp, seed 0 .* known from 100 to 500 words, not from 100 to 501"):
        area(BUMPY, 501)
    with pytest.raises(ValueError, match="known from 100"):
        area(BUMPY, 500, 99)
    with pytest.raises(ValueError, match="give its ends in order"):
        area(BUMPY, 200, 300)
    with pytest.raises(ValueError, match="has no iteration yet"):
        area(run([]))


def test_common_range():
    runs = [run([(100, 0), (500, 1)]), run([(120, 0), (480, 1)], 1), run([(90, 0), (510, 1)], 2)]
    assert common_range(runs) == (120, 480)
    with pytest.raises(ValueError, match=r"of random, seed 9 .* ends at 80, that of mnlp, seed 1 .* begins at 120"):
        common_range([*runs, run([(20, 0), (80, 1)], 9, "random")])
    with pytest.raises(ValueError, match="no runs"):
        common_range([])
    with pytest.raises(ValueError, match=r"seed 3 .*has no iteration yet"):
        common_range([*runs, run([], 3)])


def test_mean_curve_is_the_mean_of_straight_lines():
    runs = [run([(0, 0.0), (50, 0.2), (100, 0.4)], 0), run([(0, 0.2), (100, 0.8)], 1), run([(0, 0.1), (100, 0.3)], 2)]
    mean, low, high = mean_curve(runs, [0, 25, 100])
    values = np.array([[0, 0.1, 0.4], [0.2, 0.35, 0.8], [0.1, 0.15, 0.3]])
    assert mean == pytest.approx(values.mean(axis=0))
    expected = stats.t.interval(0.95, 2, loc=values.mean(axis=0), scale=stats.sem(values))
    assert low == pytest.approx(expected[0])
    assert high == pytest.approx(expected[1])
    mean, low, high = mean_curve(runs[:1], [0, 25])
    assert (mean == [0, 0.1]).all()
    assert (low == -np.inf).all() and (high == np.inf).all()
    with pytest.raises(ValueError, match="known from 0 to 100"):
        mean_curve(runs, [0, 101])


def test_t_intervals_hold_the_truth_as_often_as_they_say():
    samples = np.random.default_rng(0).normal(0.7, 0.05, (5, 4_000))
    _, low, high = t_interval(samples)
    assert 0.94 < np.mean((low <= 0.7) & (high >= 0.7)) < 0.96


def test_equal_seeds_have_an_interval_of_no_width():
    mean, low, high = t_interval([0.5, 0.5, 0.5])
    assert (mean, low, high) == (0.5, 0.5, 0.5)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_p_equals_all_flips_counted(differences):
    """In whole numbers, where sums are exact and ties are many."""
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    expected = sum(flip >= abs(sum(differences)) for flip in flips) / len(flips)
    assert sign_flip_p([d / 10 for d in differences]) == expected


def mean_difference(a, b, axis):
    return np.mean(a - b, axis=axis)


def test_p_equals_scipys():
    rng = np.random.default_rng(0)
    for n in (2, 5, 10):
        differences = rng.normal(0.3, 1, n)
        theirs = stats.permutation_test(
            (differences, np.zeros(n)), mean_difference, permutation_type="samples", n_resamples=2**n, vectorized=True
        )
        assert sign_flip_p(differences) == pytest.approx(theirs.pvalue)


def test_p_of_many_seeds_is_sampled_always_the_same_and_close_to_the_t_tests():
    differences = np.random.default_rng(3).normal(0.2, 1, 40)
    assert sign_flip_p(differences) == sign_flip_p(differences)
    assert sign_flip_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert sign_flip_p(np.ones(40)) == 2**-16  # no draw is as extreme but the observed one, so never 0


def test_p_is_honest_under_the_null():
    """Where two strategies are alike, p <= 0.05 comes in at most 5% of the comparisons."""
    rng = np.random.default_rng(0)
    p = np.array([sign_flip_p(rng.normal(0, 1, 8)) for _ in range(1_500)])
    assert 0.03 < np.mean(p <= 0.05) < 0.065


def test_paired_worked_by_hand():
    a = [run([(100, 0.4), (200, 0.8)], seed, "mnlp") for seed in (3, 1, 2)]
    b = [run([(100, 0.4), (200, 0.8 - 0.1 * seed)], seed, "random") for seed in (1, 2, 3, 4)]
    found = paired(a, b)
    assert (found.seeds, found.n) == ((1, 2, 3), 3)
    assert found.end.by_seed == pytest.approx((0.1, 0.2, 0.3))
    assert found.area.by_seed == pytest.approx((0.05, 0.1, 0.15))
    assert found.area.mean == pytest.approx(0.1)
    interval = stats.t.interval(0.95, 2, loc=0.1, scale=stats.sem([0.05, 0.1, 0.15]))
    assert (found.area.low, found.area.high) == pytest.approx(interval)
    assert found.area.p == found.end.p == 2 / 8
    other = paired(b, a)
    assert other.area.mean == pytest.approx(-found.area.mean)
    assert (other.area.low, other.area.high) == pytest.approx((-found.area.high, -found.area.low))


def test_paired_compares_over_the_range_that_all_share():
    a = [run([(100, 0.5), (300, 0.7)], 0), run([(100, 0.5), (220, 0.62)], 1)]  # one line, cut at different ends
    b = [run([(140, 0.44), (300, 0.6)], seed, "random") for seed in (0, 1)]  # the same line, 0.1 lower
    found = paired(a, b)
    assert found.area.by_seed == pytest.approx((0.1, 0.1))
    assert found.end.by_seed == pytest.approx((0.1, 0.1))
    assert (found.end.low, found.end.high) == pytest.approx((0.1, 0.1))


def test_paired_with_one_seed_proves_nothing():
    found = paired([run([(100, 0.5), (200, 0.9)])], [run([(100, 0.5), (200, 0.7)], strategy="random")])
    assert found.n == 1
    assert found.area.mean == pytest.approx(0.1)
    assert (found.area.low, found.area.high, found.area.p) == (-math.inf, math.inf, 1)


def test_paired_refuses_what_is_no_pair():
    with pytest.raises(ValueError, match=r"no seed on both sides \(\[0\] and \[7\]\)"):
        paired([BUMPY], [run([(100, 0.5)], 7)])
    with pytest.raises(ValueError, match="two runs of seed 0"):
        paired([BUMPY, BUMPY], [BUMPY])


def test_mixes_count_spans_and_groups():
    batch = [
        Sentence.from_words("1", ["a", "b"], (Span(0, 1, "LOC"), Span(2, 3, "PER"))),
        Sentence.from_words("2", ["a"], (Span(0, 1, "PER"),)),
        Sentence.from_words("3", ["a"], ()),
    ]
    assert list(label_mix(batch).items()) == [("PER", 2), ("LOC", 1)]
    assert label_mix([]) == {}
    with pytest.raises(ValueError, match="task 4"):
        label_mix([Sentence.from_words("4", ["a"])])
    groups = {"1": "news", "2": "web", "3": "web", "9": "mail"}
    assert list(group_mix(["1", "2", "3", "4"], groups).items()) == [("web", 2), ("news", 1)]
    assert group_mix(["1"], {}) == {}
