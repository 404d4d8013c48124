"""ALPS, BERT-KM and FT-BERT-KM: the vectors, and the choice by k-means."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from strategies import Measured, clustering
from strategies.base import Ranking, Strategy
from strategies.clustering import Alps, BertKM, FtBertKM
from strategies.kmeans import kmeans
from strategies.vectors import normalised
from tests.strategies.conftest import inference, measured, random_pool, tagged, wordless

EVERY = pytest.mark.parametrize("kind", [Alps, BertKM, FtBertKM])


def rank(values: object, limit: int | None, seed: int = 0, lengths: object = None) -> Ranking:
    vectors = np.array(values, dtype=np.float32)
    words = np.ones(len(vectors), np.int64) if lengths is None else np.array(lengths)
    return Alps().rank(Measured(vectors, words), None, limit, np.random.default_rng(seed))


def clouds(sizes: list[int], seed: int, d: int = 12, width: float = 0.05) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Unit vectors around unit axes, shuffled, and whose cloud each one is of."""
    rng = np.random.default_rng(seed)
    cloud = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = np.eye(len(sizes), d)[cloud] + width * rng.standard_normal((len(cloud), d))
    return normalised(vectors.astype(np.float32)), cloud


def test_whose_output_they_read() -> None:
    assert [kind.reads for kind in (Alps, BertKM, FtBertKM)] == ["masked-lm", "encoder", "tagger"]
    assert [set(kind.needs) for kind in (Alps, BertKM, FtBertKM)] == [{"surprisal"}, {"hidden"}, {"hidden"}]


def test_alps_measures_surprisal_at_length_one() -> None:
    pool = [
        tagged(np.ones((2, 1)), np.ones((2, 1)), surprisal=[0, 3, 0, 4]),
        tagged(np.ones((1, 1)), np.ones((1, 1)), surprisal=[0, 0, 0, 0]),  # nothing was evaluated
    ]
    np.testing.assert_allclose(Alps().measure(inference(pool)), [[0, 0.6, 0, 0.8], [0, 0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("kind", [BertKM, FtBertKM])
def test_bert_measures_the_mean_state_at_length_one(kind: type[Strategy]) -> None:
    sentences = random_pool(3, seed=1)
    found = kind().measure(inference([*sentences, wordless()]))
    for vector, sentence in zip(found[:3], sentences, strict=False):
        mean = sentence.hidden.astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found[3], 0)


@pytest.mark.parametrize("magnitude", [1e-45, 1e-38, 1e-20, 1.0, 1e20, 3e38])
def test_length_one_at_any_magnitude(magnitude: float) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = normalised(np.array([[magnitude, 0, -magnitude], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(found, [[0.5**0.5, 0, -(0.5**0.5)], [0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_one_of_each_clear_cluster_the_largest_first(seed: int) -> None:
    sizes = [40, 7, 90, 3, 21]
    vectors, cloud = clouds(sizes, seed)
    found = rank(vectors, 5, seed)
    assert cloud[found.order[:5]].tolist() == [2, 0, 4, 1, 3]
    for chosen in found.order[:5]:
        members = vectors[cloud == cloud[chosen]].astype(np.float64)
        distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
        own = np.linalg.norm(vectors[chosen] - members.mean(axis=0))
        assert own == pytest.approx(distances.min(), abs=1e-5)


def test_chosen_are_the_nearest_of_their_clusters_on_unclear_ones() -> None:
    vectors = normalised(np.random.default_rng(2).standard_normal((400, 6)).astype(np.float32))
    found = rank(vectors, 20, seed=3)
    clusters = kmeans(vectors, 20, np.random.default_rng(3))
    assert len(set(found.order[:20].tolist())) == 20
    squared = ((vectors[:, None].astype(np.float64) - clusters.centres_Kd[None]) ** 2).sum(axis=2)
    own = squared.argmin(axis=1)
    expected = {int(np.where(own == c, squared[:, c], np.inf).argmin()) for c in range(20)}
    assert set(found.order[:20].tolist()) == expected
    sizes = np.bincount(own)[own[found.order[:20]]]
    assert (np.diff(sizes) <= 0).all()


def test_priority_is_nearness_and_orders_the_rest() -> None:
    vectors, cloud = clouds([30, 20, 10], seed=4, width=0.2)
    found = rank(vectors, 3)
    for c in range(3):
        members = vectors[cloud == c].astype(np.float64)
        expected = 1 - np.linalg.norm(members - members.mean(axis=0), axis=1) / 2
        np.testing.assert_allclose(found.priority[cloud == c], expected, rtol=1e-4)
    assert (np.diff(found.priority[found.order[3:]]) <= 0).all()
    assert 0 < found.priority.min() < found.priority.max() <= 1


def test_copies_only_when_nothing_else_is_left() -> None:
    rng = np.random.default_rng(5)
    distinct = normalised(rng.standard_normal((6, 50)).astype(np.float32))
    which = rng.permutation(np.repeat(np.arange(6), [50, 1, 30, 1, 8, 2]))
    for limit in (6, 9, 92, None):
        order = rank(distinct[which], limit).order
        assert sorted(order.tolist()) == list(range(92))
        assert which[order[:4]].tolist() == [0, 2, 4, 5]
        assert sorted(which[order[:6]].tolist()) == list(range(6))


def test_copies_are_equally_likely() -> None:
    vectors, cloud = clouds([9, 4], seed=6)
    vectors[cloud == 1] = vectors[np.flatnonzero(cloud == 1)[0]]
    counts = Counter(int(rank(vectors, 2, seed).order[1]) for seed in range(200))
    assert sorted(counts) == np.flatnonzero(cloud == 1).tolist()
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_choice_is_by_position_in_the_pool_also_with_wordless_sentences_in_it() -> None:
    vectors, cloud = clouds([12, 5], seed=7)
    lengths = np.ones(17, np.int64)
    lengths[[0, 3, 8]] = 0
    vectors[lengths == 0] = 0
    found = rank(vectors, 2, lengths=lengths)
    assert sorted(cloud[found.order[:2]].tolist()) == [0, 1]
    assert (lengths[found.order[:2]] > 0).all()
    assert set(found.order[-3:].tolist()) == {0, 3, 8}
    assert (found.priority[lengths == 0] == 0).all()
    assert (found.priority[lengths > 0] > 0.8).all()


def test_sentences_in_which_nothing_surprised_are_one_cluster() -> None:
    vectors, cloud = clouds([10, 10], seed=8)
    pool = np.concatenate([vectors, np.zeros((30, 12))])
    found = rank(pool, 3)
    assert found.order[0] >= 20
    assert sorted(cloud[found.order[1:3]].tolist()) == [0, 1]


def test_no_limit_means_clusters_up_to_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "_MOST", 20)
    vectors = normalised(np.random.default_rng(9).standard_normal((60, 4)).astype(np.float32))
    twenty = rank(vectors, 20).order
    for limit in (None, 60):
        order = rank(vectors, limit).order
        assert sorted(order.tolist()) == list(range(60))
        assert order.tolist() == twenty.tolist()


def test_nothing_to_choose_or_to_choose_from() -> None:
    vectors, _ = clouds([3, 3], seed=10)
    none = rank(vectors, 0)
    assert sorted(none.order.tolist()) == list(range(6))
    assert none.priority.tolist() == [1.0] * 6
    empty = Alps().rank(Measured(np.zeros(0), np.zeros(0, np.int64)), None, 5, np.random.default_rng(0))
    assert len(empty.order) == len(empty.priority) == 0
    assert rank(np.zeros((2, 3)), 5, lengths=[0, 0]).priority.tolist() == [0, 0]
    assert rank([[1.0, 0.0]], 1).priority.tolist() == [1.0]


@EVERY
def test_batches_do_not_matter(kind: type[Strategy]) -> None:
    pool = [*random_pool(30, seed=11), wordless()]
    whole = measured(kind(), pool, 31).values
    for size in (1, 3, 16):
        np.testing.assert_array_equal(measured(kind(), pool, size).values, whole)


@EVERY
def test_what_the_model_does_not_give_is_an_error(kind: type[Strategy]) -> None:
    batch = dataclasses.replace(inference(random_pool(2, seed=12)), hidden_BTH=None, surprisal_BL=None)
    with pytest.raises(ValueError, match=r"surprisal of a masked-language model|hidden states"):
        kind().measure(batch)


def test_iterations_over_the_whole_pool_only_settle_the_clusters() -> None:
    """On texts of three clear groups, samples alone find the same ones."""
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8, dtype=np.float32)
    values = centres[rng.integers(3, size=900)] + rng.normal(0, 0.05, (900, 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    pool = Measured(values, np.ones(900, np.int64))
    for iterations in (0, 12):
        order = FtBertKM(iterations).rank(pool, None, 3, np.random.default_rng(1)).order
        assert sorted((values[order[:3]] @ centres.T).argmax(axis=1)) == [0, 1, 2]


@pytest.mark.parametrize("iterations", [-1, 1.5, True, "12"])
def test_bad_iterations_are_refused(iterations: object) -> None:
    with pytest.raises(ValueError, match="iterations must be a whole number"):
        FtBertKM(iterations)  # type: ignore[arg-type]
