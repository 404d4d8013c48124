"""batl against equations 3 to 6 of its paper, triplet by triplet in plain Python."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from strategies import Measured
from strategies.batl import Batl, embedding_gradient, pairwise_distances, triplet_loss
from tests.strategies.conftest import (
    first_words,
    inference,
    measured,
    one_choice,
    random_pool,
    several_choices,
    tagged,
    wordless,
)

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def rows(n: int, seed: int, labels: int = 3, units: int = 6) -> Measured:
    """Vectors around one centre a label, target losses and labels, as `measure` leaves them."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, labels, n)
    features = rng.standard_normal((labels, units))[label] + rng.standard_normal((n, units))
    values = np.column_stack([features, rng.exponential(size=n), label]).astype(np.float32)
    return Measured(values, np.ones(n, dtype=np.int64))


def priority(strategy: Batl, pool: Measured, seed: int = 0) -> NDArray[np.float64]:
    return strategy.rank(pool, None, None, np.random.default_rng(seed)).priority


def triplet_by_hand(points: list[list[float]], labels: list[float], anchor: int, margin: float) -> float:
    """One term of eq. 5, hinged, with the triplet that eq. 3 and 4 ask for."""
    others = range(len(points))
    d = [math.dist(points[anchor], points[i]) for i in others]
    d_ap = max(d[i] for i in others if labels[i] == labels[anchor])
    negatives = [d[i] for i in others if labels[i] != labels[anchor]]
    if not negatives:
        return 0.0
    semi_hard = [x for x in negatives if x > d_ap]
    return max(0.0, margin + d_ap - (min(semi_hard) if semi_hard else max(negatives)))


# what is measured


def test_measure_by_hand() -> None:
    pool = random_pool(20, seed=40)
    batch = inference(pool)
    rng = np.random.default_rng(0)
    path = rng.choice(5, batch.path_BT.shape, p=[0.5, 0.2, 0.1, 0.1, 0.1])  # as of a CRF: not the likeliest tags
    found = Batl().measure(dataclasses.replace(batch, tags=TAGS, path_BT=path))
    for row, sentence, tags in zip(found, pool, path, strict=True):
        n, states = len(sentence), [[float(x) for x in h] for h in sentence.hidden]
        entities = [t for t in range(n) if tags[t] != 0]
        counts = {kind: sum(TAGS[tags[t]][2:] == kind for t in entities) for kind in ("PER", "LOC")}
        mean = [sum(h[k] for h in states) / n for k in range(7)]
        task = [sum(states[t][k] for t in entities) / len(entities) if entities else 0.0 for k in range(7)]
        loss = sum(-math.log(sentence.marginals[t, tags[t]]) for t in range(n)) / n
        label = 0 if not entities else 1 if counts["PER"] >= counts["LOC"] else 2
        np.testing.assert_allclose(row, [*mean, *(task if n > 1 else mean), loss, label], rtol=1e-5, atol=1e-6)
    assert set(found[:, -1]) == {0, 1, 2}


def test_text_with_one_distribution_has_its_state_twice_and_its_class_as_label() -> None:
    batch = first_words(inference(random_pool(12, seed=41)))
    batch = dataclasses.replace(
        batch, tags=("sport", "news", "O", "B-side", "trade")
    )  # whatever the classes are called
    found = Batl().measure(batch)
    assert batch.hidden_BTH is not None
    np.testing.assert_array_equal(found[:, :7], batch.hidden_BTH[:, 0])
    np.testing.assert_array_equal(found[:, 7:14], batch.hidden_BTH[:, 0])
    np.testing.assert_array_equal(found[:, -1], batch.path_BT[:, 0])
    np.testing.assert_allclose(found[:, -2], -np.log(batch.marginals_BTC[:, 0].max(axis=1)), rtol=1e-6)


def test_classified_text_has_its_state_twice_and_its_class_as_label() -> None:
    pool = [one_choice(sentence) for sentence in [*random_pool(12, seed=41), wordless()]]
    # which are names of classes and not of entities
    batch = dataclasses.replace(inference(pool), tags=("B-side", "I-side", "O", "other", "trade"))
    found = Batl().measure(batch)
    np.testing.assert_array_equal(found[:, :7], batch.state_BH)
    np.testing.assert_array_equal(found[:, 7:14], batch.state_BH)
    np.testing.assert_array_equal(found[:, -1], batch.path_BT[:, 0])
    assert {0, 1} < set(found[:, -1])
    np.testing.assert_allclose(found[:-1, -2], -np.log(batch.marginals_BTC[:-1, 0].max(axis=1)), rtol=1e-6)
    np.testing.assert_array_equal(found[-1], 0)


@pytest.mark.parametrize("labels", [3, 60])
def test_label_of_several_choices_is_their_set(labels: int) -> None:
    rng = np.random.default_rng(labels)
    sets = rng.random((5, labels)) < 0.5
    pool = [several_choices(tagged([np.where(sets[i % 5], 0.8, 0.3)], [[float(i)]])) for i in range(15)]
    found = Batl().measure(inference(pool))
    assert len(np.unique(sets, axis=0)) == len(np.unique(found[:, -1])) >= 3
    for row, label in enumerate(found[:, -1]):
        assert label == found[row % 5, -1]
        chosen = sets[row % 5].sum()
        loss = -(chosen * math.log(0.8) + (labels - chosen) * math.log(0.7)) / labels
        assert found[row, -2] == pytest.approx(loss, rel=1e-5)


def test_text_of_pairs_is_as_those_that_are_related() -> None:
    """Its label is their most frequent relation; a text whose pairs all are unrelated is an "O"."""
    p = np.eye(4, dtype=np.float32)
    pool = [tagged(p[[0, 2, 1, 2]], [[9.0], [1], [2], [3]]), tagged(p[[0, 0]], [[4.0], [6]]), wordless(4, 1)]
    batch = dataclasses.replace(inference(pool), tags=("O", "<born_in", ">born_in", ">works_for"))
    found = Batl().measure(batch)
    np.testing.assert_allclose(found[:, 0], [15 / 4, 5, 0])
    np.testing.assert_allclose(found[:, 1], [2, 0, 0])
    np.testing.assert_array_equal(found[:, -1], [2, 0, 0])


def test_impossible_path_has_a_finite_loss() -> None:
    batch = inference([tagged([[1.0, 0.0]], [[1.0]]), wordless(2, 1)])
    found = Batl().measure(dataclasses.replace(batch, path_BT=np.ones_like(batch.path_BT)))
    assert 80 < found[0, -2] < 100
    np.testing.assert_array_equal(found[1], 0)


# triplets


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("labels", [1, 2, 4, 30])
def test_triplets_by_hand(margin: float, labels: int) -> None:
    rng = np.random.default_rng(labels)
    points = rng.standard_normal((40, 3)) + np.repeat(rng.standard_normal((8, 3)), 5, axis=0)
    points[:3] = points[3]  # copies, with one label and with several
    y = rng.integers(0, labels, 40).astype(np.float32)
    found, _ = triplet_loss(pairwise_distances(points), y, margin)
    expected = [triplet_by_hand(points.tolist(), y.tolist(), i, margin) for i in range(40)]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-6)


def test_triplets_that_the_paper_leaves_open() -> None:
    line = np.array([[0.0], [1.0], [3.0], [3.5], [10.0]])
    distances = pairwise_distances(line)

    def losses(labels: list[float]) -> list[float]:
        return [float(x) for x in triplet_loss(distances, np.array(labels), 1.0)[0]]

    assert losses([7, 7, 7, 7, 7]) == [0, 0, 0, 0, 0]  # no negative: no triplet
    # all negatives nearer than the positive: the furthest of them; the hinge closes for an easy triplet
    assert losses([0, 1, 1, 1, 0])[0] == pytest.approx(1 + 10 - 3.5)
    assert losses([0, 0, 1, 1, 1])[0] == 0
    # alone with its label: its own positive
    assert losses([0, 0, 2, 3, 3])[2] == pytest.approx(1 + 0 - 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_gradient_of_the_layer_by_finite_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, layer = rng.standard_normal((20, 6)), rng.standard_normal((6, 4))
    x[1] = x[0]  # a distance of 0 has no gradient
    y = rng.integers(0, 3, 20)

    def mean_loss(w: NDArray[np.float64]) -> float:
        return float(triplet_loss(pairwise_distances(x @ w), y.astype(np.float64), 0.7)[0].mean())

    distances = pairwise_distances(x @ layer)
    _, pull = triplet_loss(distances, y.astype(np.float64), 0.7)
    found = x.T @ embedding_gradient(x @ layer, distances, pull)
    step = 1e-6
    for f, u in np.ndindex(layer.shape):
        moved = np.zeros_like(layer)
        moved[f, u] = step
        slope = (mean_loss(layer + moved) - mean_loss(layer - moved)) / (2 * step)
        assert found[f, u] == pytest.approx(slope, abs=1e-6)


# ranking


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_ranking_by_hand_with_an_untrained_layer(weight: float) -> None:
    """In one mini-batch, all random is the layer."""
    pool = rows(30, seed=50)
    strategy = Batl(margin=0.8, weight=weight, units=5, epochs=0)
    found = strategy.rank(pool, None, 3, np.random.default_rng(9))
    layer = np.random.default_rng(9).standard_normal((6, 5)) / math.sqrt(5)
    x = pool.values[:, :6].astype(np.float64)
    x = x - x.mean(axis=0)
    x /= math.sqrt((x**2).sum(axis=1).mean())
    z, y = (x @ layer).tolist(), pool.values[:, -1].tolist()
    expected = [float(pool.values[i, -2]) + weight * triplet_by_hand(z, y, i, 0.8) for i in range(30)]
    np.testing.assert_allclose(found.priority, expected, rtol=1e-9)
    assert list(found.order) == sorted(range(30), key=lambda i: -expected[i])


def test_layer_learns_to_keep_labels_apart() -> None:
    pool = rows(600, seed=51, units=60)
    triplet = [(priority(Batl(epochs=epochs), pool) - pool.values[:, -2]).mean() for epochs in (0, 3, 20)]
    assert triplet[0] > 2 * triplet[1] > 10 * triplet[2]


def test_sentence_among_another_label_comes_first() -> None:
    """Equal target losses: the triplets decide. Two clusters, and one sentence in the wrong one."""
    rng = np.random.default_rng(52)
    x = rng.standard_normal((40, 5)) * 0.1 + np.repeat([[0.0], [3.0]], 20, axis=0)
    y = np.repeat([1, 2], 20)
    y[7] = 2
    pool = Measured(np.column_stack([x, np.full(40, 0.5), y]).astype(np.float32), np.ones(40, dtype=np.int64))
    for seed in range(10):
        # (the others have it as their hardest positive, so they are not far behind)
        first = Batl(epochs=0).rank(pool, None, 1, np.random.default_rng(seed)).order[:21]
        assert 7 in first
        assert set(first) <= {7, *range(20, 40)}


def test_no_sentence_is_left_alone_in_a_mini_batch() -> None:
    """Alone it would have no triplet; with this margin every triplet shows."""
    for n, batch_size in ((65, 64), (7, 3), (129, 64)):
        pool = rows(n, seed=53, labels=n)
        pool.values[:, -1] = np.arange(n)
        gained = priority(Batl(margin=100.0, batch_size=batch_size), pool) - pool.values[:, -2]
        assert gained.min() > 50


@pytest.mark.parametrize("factor", [2.0**-60, 2.0**60])
def test_scale_of_the_states_does_not_matter(factor: float) -> None:
    pool = rows(200, seed=54)
    scaled = pool.values.copy()
    scaled[:, :-2] *= factor
    np.testing.assert_allclose(priority(Batl(), Measured(scaled, pool.lengths)), priority(Batl(), pool), rtol=1e-6)


def test_sentences_without_words_take_no_part() -> None:
    """Dozens of them, each a zero vector of one label, would change every triplet."""
    pool = random_pool(20, seed=55)
    alone = measured(Batl(), pool)
    crowd = Measured(np.vstack([alone.values, np.zeros((60, 16), np.float32)]), np.append(alone.lengths, [0] * 60))
    found, expected = priority(Batl(epochs=0), crowd), priority(Batl(epochs=0), alone)
    np.testing.assert_allclose(found[:20], expected)
    np.testing.assert_array_equal(found[20:], 0)


@pytest.mark.parametrize(
    "options",
    [
        {"margin": -1.0},
        {"margin": math.nan},
        {"weight": math.inf},
        {"weight": "1"},
        {"batch_size": 2},
        {"units": 0},
        {"epochs": -1},
        {"epochs": 1.5},
    ],
)
def test_options_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        Batl(**options)  # type: ignore[arg-type]
