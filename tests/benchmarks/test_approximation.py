"""Approximations are held against what they approximate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from benchmarks import approximation, clusterings, neighbours, pools
from benchmarks.approximation import Found
from benchmarks.objectives import Objective, covering, objectives, potential, spread
from benchmarks.ways import MadeUp

pytestmark = pytest.mark.slow

VECTORS = pools.vectors(300, 12)
CHOSEN = np.array([3, 50, 200])


def test_objectives_by_their_definitions() -> None:
    away = cdist(VECTORS, VECTORS[CHOSEN]).min(axis=1)
    assert potential(VECTORS).of(CHOSEN) == pytest.approx((away**2).mean(), rel=1e-5)
    known = VECTORS[100:110]
    nearer = np.minimum(away, cdist(VECTORS, known).min(axis=1))
    radius, mean = covering(VECTORS, known)
    assert radius.of(CHOSEN) == pytest.approx(nearer.max(), rel=1e-5)
    assert mean.of(CHOSEN) == pytest.approx(nearer.mean(), rel=1e-5)
    parallelepiped = np.linalg.det(VECTORS[CHOSEN].astype(float) @ VECTORS[CHOSEN].T.astype(float))
    assert spread(VECTORS).of(CHOSEN) == pytest.approx(-np.log(parallelepiped) / 3, rel=1e-5)


def test_scores_chosen_highest_first_are_the_least_objective() -> None:
    pool = MadeUp(200)
    (sought,) = objectives("mnlp", pool, MadeUp(10))
    best = approximation.choosing(approximation.Way("mnlp"), approximation.made_up(200, 0), 10)(0).chosen
    others = np.random.default_rng(0).choice(200, 10, replace=False)
    assert sought.of(best) < sought.of(others)


@pytest.mark.parametrize("way", clusterings.WAYS)
def test_every_way_of_clustering_beats_chance_and_tells_its_inertia(way: str) -> None:
    chosen, inertia, seconds = clusterings.representatives(clusterings.WAYS[way], VECTORS, 8, 0)
    assert len(np.unique(chosen)) == 8 and seconds > 0
    medoids = (cdist(VECTORS, VECTORS[chosen]).min(axis=1) ** 2).mean()
    chance = (cdist(VECTORS, VECTORS[:8]).min(axis=1) ** 2).mean()
    assert inertia < medoids < chance * 1.1
    assert clusterings.inertia_of(VECTORS, VECTORS[chosen]) == pytest.approx(medoids, rel=1e-4)


def test_an_index_finds_most_of_what_the_whole_search_finds() -> None:
    anchors = VECTORS[:5]
    exact, index = (neighbours.found(search, anchors, VECTORS, 10)[0] for search in neighbours.WAYS.values())
    by_hand = np.unique(np.argsort(-(anchors @ VECTORS.T), axis=1)[:, :10])
    np.testing.assert_array_equal(exact, by_hand)
    assert len(np.intersect1d(exact, index)) / len(exact) > 0.5


def test_tables_tell_what_is_kept_of_the_gain_over_chance() -> None:
    sought = Objective("badness", lambda chosen: float(chosen.sum()))
    trials = {
        "exact": lambda seed: Found(np.array([0, 1]), 2.0),
        "half": lambda seed: Found(np.array([0, 500]), 1.0, read=1.25, kept=0.25),
    }
    *_, exact, half, chance = approximation.table(1_000, 2, 40, [sought], trials).splitlines()
    assert "| 1 | 100% | 1 ± 0 | 100% |" in exact
    assert "| 1.25 | 25.0% | 1 | 0.5 | 50% | 500 ± 0 |" in half
    assert 40 <= int(half.split("|")[-2].strip(" %")) <= 60  # chance: 999 on average
    assert "| 0% |" in chance


def test_no_gain_is_told_where_the_exact_choice_is_no_better_than_chance() -> None:
    noise = Objective("noise", lambda chosen: float(np.random.default_rng(chosen).normal()))
    trials = {"exact": lambda seed: Found(np.array([seed, 999]), 1.0)}
    table = approximation.table(1_000, 2, 30, [noise], trials)
    assert table.splitlines()[-1].endswith("| – |")
