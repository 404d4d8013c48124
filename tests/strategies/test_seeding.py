"""k-means++ seeding: its distribution against the definition, and its edges."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from strategies import seeding
from strategies.seeding import kmeans_plus_plus
from strategies.vectors import squared_norms


class Lowest(np.random.Generator):
    """A generator that draws exactly 0."""

    def random(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return np.zeros(size)


class Highest(np.random.Generator):
    """A generator that draws the largest number below 1."""

    def random(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
        return np.full(size, np.nextafter(1.0, 0.0))


def chosen(points: list[list[float]], weights: list[float], k: int, rng: np.random.Generator) -> list[int]:
    vectors = np.array(points, dtype=np.float32)
    return kmeans_plus_plus(vectors, squared_norms(vectors), np.array(weights), k, rng).tolist()


def chances(points: NDArray[np.float64], weights: NDArray[np.float64], k: int) -> dict[tuple[int, ...], float]:
    """The probability of every choice of k, in its order, centre by centre as the definition has it."""
    first = int((weights * (points**2).sum(axis=1)).argmax())
    squares = ((points[:, None] - points) ** 2).sum(axis=2)
    found = {}
    for rest in permutations(set(range(len(points))) - {first}, k - 1):
        centres, chance = [first], 1.0
        for new in rest:
            mass = weights * squares[centres].min(axis=0)
            chance *= mass[new] / mass.sum()
            centres.append(new)
        found[tuple(centres)] = chance
    return found


@pytest.mark.slow
@pytest.mark.parametrize("weights", [[1.0] * 6, [1.0, 9, 4, 16, 1, 4]])
@pytest.mark.parametrize("at_once", [1, seeding.CANDIDATES])
def test_distribution(weights: list[float], at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups that are far apart, so that most of what is drawn in advance has to be refused."""
    monkeypatch.setattr(seeding, "CANDIDATES", at_once)
    points = [[0.2, 0.0], [0.3, 0.4], [0.0, 0.3], [5, 0.2], [5.3, 0.0], [4.9, 0.5]]
    draws = 4000
    counts = Counter(tuple(chosen(points, weights, 4, np.random.default_rng([5, seed]))) for seed in range(draws))

    def fit(expected: dict[tuple[int, ...], float]) -> float:
        """The p-value of the chi-square test, which asks that rare choices be counted together."""
        usual = [order for order, p in expected.items() if p * draws >= 5]
        observed, wanted = [counts[order] for order in usual], [expected[order] * draws for order in usual]
        return float(chisquare([*observed, draws - sum(observed)], [*wanted, draws - sum(wanted)]).pvalue)

    exact = chances(np.array(points), np.array(weights), 4)
    assert sum(exact.values()) == pytest.approx(1)
    assert fit(exact) > 1e-3
    # and the test has the power to notice points that lie a little elsewhere
    assert fit(chances(np.array(points) * [1.0, 1.4], np.array(weights), 4)) < 1e-6


def test_float32_takes_copies_for_copies() -> None:
    """Of gradients as long as they come, whatever blocks their products are taken in."""
    rng = np.random.default_rng(2)
    kinds = rng.standard_normal((300, 3456)).astype(np.float32) * rng.lognormal(0, 3, (300, 1)).astype(np.float32)
    vectors = kinds[rng.permutation(np.arange(1500) % 300)]
    found = kmeans_plus_plus(vectors, squared_norms(vectors), np.ones(1500), 1500, rng)
    assert len(found) == len(np.unique(vectors[found], axis=0)) == 300


def test_extreme_draws_never_hit_what_has_no_chance() -> None:
    """The ends of the line are a vector of weight 0 and a copy of the first centre."""
    points = [[0.1, 0.9], [1, 0], [0, 0.5], [0.2, 0], [1, 0]]
    weights = [0.0, 1, 1, 1, 1]
    bits = np.random.PCG64(0)
    for rng, second in ((Lowest(bits), 2), (Highest(bits), 3)):
        found = chosen(points, weights, 5, rng)
        assert found[0] in (1, 4)
        assert found[1] == second
        assert sorted(found[1:]) == [2, 3]


def test_nothing_to_choose() -> None:
    rng = np.random.default_rng(0)
    assert chosen([[1, 0], [0, 1]], [1, 1], 0, rng) == []
    assert chosen([[0, 0], [0, 0]], [1, 1], 2, rng) == []
    assert chosen([[1, 0], [0, 1]], [0, 0], 2, rng) == []
    assert chosen([[1, 0]], [1], 7, rng) == [0]


def test_close_to_each_other_far_from_nought() -> None:
    """float32 loses the digits of distances that are small beside the norms; none may come out below 0."""
    rng = np.random.default_rng(1)
    points = 1 + 1e-4 * rng.standard_normal((200, 300))
    found = chosen(points.tolist(), [1.0] * 200, 200, rng)
    assert len(set(found)) == len(found)
