"""k-means++ seeding at its edges; its distribution is tested with badge."""

from __future__ import annotations

import numpy as np

from strategies.seeding import kmeans_plus_plus


class Lowest(np.random.Generator):
    """A generator that draws exactly 0."""

    def random(self, *args: object, **kwargs: object) -> float:  # type: ignore[override]
        return 0.0


class Highest(np.random.Generator):
    """A generator that draws the largest number below 1."""

    def random(self, *args: object, **kwargs: object) -> float:  # type: ignore[override]
        return float(np.nextafter(1.0, 0.0))


def chosen(points: list[list[float]], weights: list[float], k: int, rng: np.random.Generator) -> list[int]:
    vectors = np.array(points, dtype=np.float32)
    norms = (vectors.astype(np.float64) ** 2).sum(axis=1)
    return kmeans_plus_plus(vectors, norms, np.array(weights), k, rng).tolist()


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
