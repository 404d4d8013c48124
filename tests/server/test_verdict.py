"""The sentence for the person who labels, on curves drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.comparison import Comparison
from experiments.plan import FULL, Plan
from experiments.results import Iteration, Run
from server.verdict import verdict

PLAN = Plan(data="x", rounds=2)
WORDS = (100, 200, 300)


def run(strategy: str, seed: int, *f1: float, words=WORDS) -> Run:
    points = [
        Iteration(i, i, at, {"f1": value}, 0.0, {}, ["more"])
        for i, (at, value) in enumerate(zip(words, f1, strict=False))
    ]
    return Run(Path(strategy) / str(seed), PLAN, strategy, seed, tuple(points))


def told(*runs: Run, full: float = 0.8) -> dict:
    everything = run(FULL, 0, full, words=(1000,))
    return verdict(Comparison("x", PLAN, [everything, *runs]), 1250)


def test_numbers_of_a_clear_difference():
    random = [run("random", seed, 0.2, 0.4, 0.76) for seed in (0, 1, 2)]
    better = [run("mnlp", seed, 0.2, 0.76, 0.76 + seed / 100) for seed in (0, 1, 2)]
    result = told(*random, *better)
    mnlp, baseline = result["strategies"]["mnlp"], result["strategies"]["random"]
    by_seed = np.array([((0.2 + 0.76) / 2 + (0.76 + 0.76 + seed / 100) / 2) / 2 for seed in (0, 1, 2)])
    assert mnlp["area"] == pytest.approx(by_seed.mean())
    differences = by_seed - ((0.2 + 0.4) / 2 + (0.4 + 0.76) / 2) / 2
    low, high = stats.t.interval(0.95, 2, differences.mean(), stats.sem(differences))
    expected = {"mean": differences.mean(), "low": low, "high": high, "p": 2 / 2**3, "seeds": 3}
    assert mnlp["difference"] == pytest.approx(expected)
    assert (baseline["difference"], baseline["needed"]["mean"]) == (None, pytest.approx(0.3))
    assert mnlp["needed"] == {"mean": pytest.approx(0.2), "seeds": 3, "unreached": 0}
    assert result["advice"] == (
        "On the 1,250 texts labelled so far, `mnlp` would have reached 95% of the F1 that all of them give (80.0) with "
        "20% of the words; `random` needed 30% of the words. The difference is clear with 3 seeds: `mnlp` is better."
    )


def test_the_best_of_several_is_advised():
    runs = [run(name, 0, 0.2, middle, 0.7) for name, middle in (("lc", 0.5), ("mnlp", 0.6), ("random", 0.65))]
    result = told(*runs)
    assert list(result["strategies"]) == ["random", "mnlp", "lc"]
    assert "`mnlp` would have" in result["advice"]


def test_random_may_be_better():
    runs = [
        run(name, seed, 0.2, middle + seed / 100, 0.76)
        for name, middle in (("mnlp", 0.3), ("random", 0.5))
        for seed in (0, 1)
    ]
    assert told(*runs)["advice"].endswith("The difference is clear with 2 seeds: `random` is better.")


def test_no_clear_difference():
    better, worse = (run("mnlp", seed, 0.2, middle, 0.76) for seed, middle in ((0, 0.5), (1, 0.3)))
    baseline = [run("random", seed, 0.2, 0.4, 0.76) for seed in (0, 1)]
    assert told(better, worse, *baseline)["advice"].endswith("The difference is not clear with 2 seeds.")


def test_one_seed_and_a_goal_not_reached():
    result = told(run("mnlp", 0, 0.2, 0.5, 0.7), run("random", 0, 0.2, 0.4, 0.6))
    assert (result["strategies"]["mnlp"]["difference"]["low"], result["strategies"]["mnlp"]["needed"]["unreached"]) == (
        None,
        1,
    )
    assert "with more than 30% of the words; `random` needed more than 30% of the words." in result["advice"]
    assert "One seed does not tell" in result["advice"]


def test_where_nothing_can_be_compared():
    assert "learns nothing" in told(run("mnlp", 0, 0, 0, 0), run("random", 0, 0, 0, 0), full=0)["advice"]
    assert "cannot be compared" in told(run("mnlp", 0, 0.5), run("random", 0, 0.5))["advice"]
    assert told(run("random", 0, 0.2, 0.4, 0.76))["advice"].endswith(
        "`random` needed 30% of the words for 95% of the F1 that all of them give (80.0)."
    )
