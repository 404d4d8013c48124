"""badge and w-badge: gradients against autograd, choices against the exact distribution and explicit outer products."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare

from strategies import Measured, strategy
from strategies.badge import gradient
from strategies.seeding import kmeans_plus_plus
from strategies.vectors import OuterProducts, nearest, squared_norms
from tests.strategies.conftest import (
    Tagged,
    inference,
    measured,
    one_choice,
    order,
    random_pool,
    several_choices,
    tagged,
    wordless,
)


def exact(pool: list[Tagged]) -> NDArray[np.float64]:
    """(N, C·H) gradient embeddings, word by word as the definition has it."""
    rows = []
    for sentence in pool:
        total = np.zeros((sentence.marginals.shape[1], sentence.hidden.shape[1]))
        for p, h in zip(sentence.marginals.astype(float), sentence.hidden.astype(float), strict=True):
            onehot = np.zeros(len(p))
            onehot[p.argmax()] = 1
            total += np.outer(p - onehot, h)
        rows.append(total.ravel())
    return np.array(rows)


@pytest.mark.parametrize("words", [1, 2, 9])
def test_embedding_is_the_gradient_of_the_last_layer(words: int) -> None:
    """Of the summed cross-entropy, in the weights, with the likeliest tags for labels."""
    generator = torch.Generator().manual_seed(words)
    layer = torch.nn.Linear(6, 4)
    torch.nn.init.normal_(layer.weight, generator=generator)
    hidden = torch.randn(words, 6, generator=generator)
    logits = layer(hidden)
    torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1), reduction="sum").backward()
    marginals = logits.softmax(dim=1).detach().numpy()
    assert layer.weight.grad is not None
    (found,) = gradient(marginals[None], hidden[None].numpy())
    np.testing.assert_allclose(found, layer.weight.grad.numpy(), atol=1e-5)

    (embedding,) = strategy("badge").measure(inference([tagged(marginals, hidden.numpy())]))
    np.testing.assert_allclose(embedding, layer.weight.grad.numpy().ravel(), atol=1e-5)


def test_embeddings_of_a_padded_batch() -> None:
    pool = random_pool(20, seed=40)
    np.testing.assert_allclose(measured(strategy("badge"), pool).values, exact(pool), rtol=1e-5, atol=1e-6)


def test_batches_do_not_matter_at_real_size() -> None:
    """To the last bit, also where products are large enough to be split."""
    pool = random_pool(40, seed=51, tags=9, states=384, words=[n for n in range(1, 11) for _ in range(4)])
    for dimensions in (256, 5000):
        acquisition = strategy("badge", dimensions=dimensions)
        whole = measured(acquisition, pool, size=40).values
        for size in (1, 3, 7):
            np.testing.assert_array_equal(measured(acquisition, pool, size).values, whole)


def test_sure_sentences_have_small_gradients() -> None:
    """Subtracting the one-hot from another row than the word's would turn this round."""
    h = [[0.6, 0.8]]
    sure, unsure = tagged([[0.01, 0.97, 0.02]], h), tagged([[0.4, 0.35, 0.25]], h)
    found = strategy("badge").rank(measured(strategy("badge"), [sure, unsure]), None, 1, np.random.default_rng(0))
    assert found.priority[0] == pytest.approx(0.01**2 + 0.03**2 + 0.02**2, rel=1e-4)
    assert found.priority[1] == pytest.approx(0.6**2 + 0.35**2 + 0.25**2, rel=1e-4)
    assert list(found.order) == [1, 0]


@pytest.mark.parametrize("name", ["badge", "w-badge"])
def test_first_is_the_largest(name: str) -> None:
    pool = random_pool(25, seed=41)
    norms = (exact(pool) ** 2).sum(axis=1)
    lengths = np.array([len(sentence) for sentence in pool])
    worth = norms * lengths**2 / (lengths**2).sum() if name == "w-badge" else norms
    for seed in range(5):
        found = strategy(name).rank(measured(strategy(name), pool), None, 6, np.random.default_rng(seed))
        np.testing.assert_allclose(found.priority, worth, rtol=1e-5)
        assert found.order[0] == worth.argmax()
        rest = found.order[6:]
        assert list(rest) == sorted(rest, key=lambda i: -worth[i])


def test_weights_move_the_first_centre() -> None:
    short = tagged([[0.5, 0.5]], [[3.0]])
    long = tagged([[0.5, 0.5]] * 4, [[0.5]] * 4)
    assert order(strategy("badge"), [short, long], limit=1) == [0, 1]
    assert order(strategy("w-badge"), [short, long], limit=1) == [1, 0]


def chances(
    vectors: NDArray[np.float64], first: int, weights: NDArray[np.float64], power: float
) -> dict[tuple[int, int], float]:
    """The probability of every (second, third) after `first` under p ∝ weight·distance^power."""

    def next_after(*chosen: int) -> NDArray[np.float64]:
        nearest = np.array([min(np.linalg.norm(x - vectors[c]) for c in chosen) for x in vectors])
        mass = weights * nearest**power
        return mass / mass.sum()

    rest = [i for i in range(len(vectors)) if i != first]
    return {(i, j): next_after(first)[i] * next_after(first, i)[j] for i, j in permutations(rest, 2)}


@pytest.mark.parametrize("name", ["badge", "w-badge"])
def test_choices_follow_the_exact_distribution(name: str) -> None:
    pool = random_pool(6, seed=44, tags=3, states=4, words=[2, 3, 4, 5, 6, 3])
    lengths = np.array([len(sentence) for sentence in pool], dtype=float)
    weights = {"badge": np.ones(6), "w-badge": lengths**2 / (lengths**2).sum()}[name]
    first = int((weights * (exact(pool) ** 2).sum(axis=1)).argmax())
    values, draws = measured(strategy(name), pool), 3000
    counts: Counter[tuple[int, int]] = Counter()
    for seed in range(draws):
        found = strategy(name).rank(values, None, 3, np.random.default_rng([43, seed]))
        assert found.order[0] == first
        counts[int(found.order[1]), int(found.order[2])] += 1

    def fit(weights: NDArray[np.float64], power: float) -> float:
        expected = {pair: p * draws for pair, p in chances(exact(pool), first, weights, power).items()}
        assert min(expected.values()) >= 5  # what the chi-square test asks for
        return float(chisquare([counts[pair] for pair in expected], list(expected.values())).pvalue)

    assert fit(weights, 2) > 1e-3
    # and the test has the power to notice distances or lengths that are not squared
    assert fit(weights, 1) < 1e-9
    assert name == "badge" or fit(lengths / lengths.sum(), 2) < 1e-9
    assert name == "w-badge" or fit(lengths**2, 2) < 1e-9


def test_copies_are_not_chosen_while_anything_else_is_left() -> None:
    """Also where float32 cannot tell a copy from its own rounding."""
    kinds = random_pool(4, seed=44, tags=9, states=50)
    pool = [kinds[i % 4] for i in range(80)]
    for name in ("badge", "w-badge"):
        for seed in range(25):
            chosen = order(strategy(name, dimensions=512), pool, limit=20, seed=seed)
            assert {i % 4 for i in chosen[:4]} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["badge", "w-badge"])
def test_once_only_copies_are_left_the_largest_come_next(name: str) -> None:
    kinds = random_pool(3, seed=45, words=[4, 4, 4])
    pool = [kinds[i % 3] for i in range(12)]
    norms = (exact(pool) ** 2).sum(axis=1)
    found = order(strategy(name), pool, limit=12)
    assert [norms[i] for i in found[3:]] == sorted((norms[i] for i in found[3:]), reverse=True)


def test_sure_sentences_may_be_chosen_for_being_different() -> None:
    """A gradient of 0 is far from a large one: k-means++ gives it a chance that the norm alone would not."""
    h = [[1.0, 0.0]]
    pool = [tagged([[0.5, 0.5]], h), tagged([[0.501, 0.499]], h), tagged([[1, 0]], h)]
    assert order(strategy("badge"), pool, limit=2)[1] == 2


@pytest.mark.parametrize("dimensions", [64, 256])
def test_sketch_keeps_distances(dimensions: int) -> None:
    """Unbiased, with at most the relative standard deviation that it claims, √(2/dimensions)."""
    pool = random_pool(40, seed=46, tags=9, states=60)
    full = exact(pool)
    pairs = np.triu_indices(40, 1)
    truth = ((full[pairs[0]] - full[pairs[1]]) ** 2).sum(axis=1)
    ratios = []
    for seed in range(30):
        values = measured(strategy("badge", dimensions=dimensions, seed=seed), pool).values
        assert values.shape == (40, dimensions)
        ratios.append(((values[pairs[0]] - values[pairs[1]]) ** 2).sum(axis=1) / truth)
    # pairs of one sketch hang together, so what is tested are means over the 30 independent sketches
    error = math.sqrt(2 / dimensions)
    assert np.mean(ratios) == pytest.approx(1, abs=4 * error / math.sqrt(30))
    assert np.sqrt(np.mean((np.array(ratios) - 1) ** 2)) <= error


def test_sketch_is_one_map_for_all_batches_and_processes() -> None:
    """Linear and fixed by the seed: two strategies made apart agree, another seed does not."""
    pool = random_pool(12, seed=47, tags=9, states=60)
    here = measured(strategy("badge", dimensions=64, seed=3), pool, size=12).values
    there = measured(strategy("badge", dimensions=64, seed=3), pool, size=1).values
    other = measured(strategy("badge", dimensions=64, seed=4), pool).values
    np.testing.assert_array_equal(here, there)
    assert not np.allclose(here, other)


def test_small_embeddings_are_kept_exact() -> None:
    pool = random_pool(5, seed=48, tags=4, states=16)
    np.testing.assert_allclose(
        measured(strategy("badge", dimensions=64), pool).values, exact(pool), rtol=1e-5, atol=1e-6
    )
    assert measured(strategy("badge", dimensions=63), pool).values.shape == (5, 63)


@pytest.mark.parametrize("magnitude", [1e-30, 1e30])
def test_magnitude_changes_nothing_but_the_priority(magnitude: float) -> None:
    """A power of two keeps every digit, so even the draws are the same."""
    scale = 2.0 ** round(math.log2(magnitude))
    values = measured(strategy("badge"), random_pool(30, seed=49))
    scaled = Measured((values.values * np.float32(scale)).astype(np.float32), values.lengths)
    for seed in range(5):
        here = strategy("badge").rank(values, None, 10, np.random.default_rng(seed))
        there = strategy("badge").rank(scaled, None, 10, np.random.default_rng(seed))
        np.testing.assert_array_equal(here.order, there.order)
        np.testing.assert_allclose(there.priority, here.priority * scale**2, rtol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 1])
def test_gradients_beyond_float32_are_held_at_its_end(dimensions: int) -> None:
    """Ten words at 3e38 add up to more than float32 can hold."""
    huge = tagged([[0.5, 0.5]] * 10, [[3e38]] * 10)
    pool = [huge, tagged([[0.5, 0.5]], [[1.0]])]
    for seed in range(6):  # some sketches take the difference of the two rows, others their sum, which is 0
        values = measured(strategy("badge", dimensions=dimensions, seed=seed), pool).values
        assert np.isin(np.abs(values[0]), [0, np.finfo(np.float32).max]).all()
    found = strategy("badge").rank(measured(strategy("badge"), pool), None, 2, np.random.default_rng(0))
    assert list(found.order) == [0, 1]
    assert 1e77 < found.priority[0] < np.inf


def test_batch_without_states_is_refused() -> None:
    batch = dataclasses.replace(inference(random_pool(2, seed=50)), hidden_BTH=None)
    with pytest.raises(ValueError, match="hidden states"):
        strategy("badge").measure(batch)


@pytest.mark.parametrize("dimensions", [0, -1, "256", 2.5])
def test_wrong_dimensions_are_refused(dimensions: object) -> None:
    with pytest.raises(ValueError, match="dimensions must be a whole number of at least 1"):
        strategy("badge", dimensions=dimensions)


# classifiers


def explicit(pool: Measured) -> NDArray[np.float32]:
    """(N, A·H) the embeddings that the factors stand for."""
    left, right = np.split(pool.values, [-pool.state_size], axis=1)
    return np.stack([np.outer(a, h).ravel() for a, h in zip(left, right, strict=True)])


@pytest.mark.parametrize("classes", [2, 5])
def test_one_choice_is_the_gradient_of_the_last_layer(classes: int) -> None:
    """Of the cross-entropy of the predicted class in the weights, from the state that enters them (Ash et al. 2020)."""
    generator = torch.Generator().manual_seed(classes)
    layer = torch.nn.Linear(6, classes)
    torch.nn.init.normal_(layer.weight, generator=generator)
    states = torch.randn(4, 6, generator=generator)
    pool, expected = [], []
    for state in states:
        logits = layer(state)
        layer.zero_grad()
        torch.nn.functional.cross_entropy(logits, logits.argmax()).backward()
        assert layer.weight.grad is not None
        expected.append(layer.weight.grad.numpy().copy())
        pool.append(one_choice(tagged(logits.softmax(dim=0).detach().numpy()[None], state.numpy()[None])))
    values = measured(strategy("badge", dimensions=3), pool)  # which is for sequences alone
    assert values.values.shape == (4, classes + 6)
    np.testing.assert_allclose(explicit(values), np.reshape(expected, (4, -1)), atol=1e-6)


@pytest.mark.parametrize("labels", [1, 4])
def test_several_choices_are_the_gradient_of_the_last_layer(labels: int) -> None:
    """Of the binary cross-entropies with the predicted choices, summed; its logits are one a label."""
    generator = torch.Generator().manual_seed(labels)
    layer = torch.nn.Linear(6, labels)
    torch.nn.init.normal_(layer.weight, generator=generator)
    states = torch.randn(4, 6, generator=generator)
    pool, expected = [], []
    for state in states:
        logits = layer(state)
        layer.zero_grad()
        predicted = (logits > 0).float()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, predicted, reduction="sum").backward()
        assert layer.weight.grad is not None
        expected.append(layer.weight.grad.numpy().copy())
        pool.append(several_choices(tagged(logits.sigmoid().detach().numpy()[None], state.numpy()[None])))
    values = measured(strategy("badge"), pool)
    assert values.values.shape == (4, labels + 6)
    np.testing.assert_allclose(explicit(values), np.reshape(expected, (4, -1)), atol=1e-6)


BOTH = pytest.mark.parametrize("shape", [one_choice, several_choices])


@BOTH
def test_classified_texts_are_chosen_as_by_their_outer_products(shape: Callable[[Tagged], Tagged]) -> None:
    """Draw for draw, and where there are copies and texts without words."""
    kinds = random_pool(20, seed=60, tags=7, states=12)
    pool = [shape(sentence) for sentence in [*kinds, *kinds[:5], wordless(7, 12)]]
    values = measured(strategy("badge"), pool)
    vectors = explicit(values)
    np.testing.assert_array_equal(vectors[-1], 0)
    norms = squared_norms(vectors)
    for seed in range(20):
        found = strategy("badge").rank(values, None, 25, np.random.default_rng(seed))
        np.testing.assert_allclose(found.priority, norms, rtol=1e-5)
        expected = kmeans_plus_plus(vectors, norms, (values.lengths > 0).astype(float), 25, np.random.default_rng(seed))
        np.testing.assert_array_equal(found.order[: len(expected)], expected)
        assert len(expected) == 20  # no copy


@BOTH
def test_w_badge_is_badge_where_texts_are_of_one_length(shape: Callable[[Tagged], Tagged]) -> None:
    pool = [shape(sentence) for sentence in [*random_pool(32, seed=61), wordless()]]
    for seed in range(10):
        assert order(strategy("w-badge"), pool, limit=12, seed=seed) == order(
            strategy("badge"), pool, limit=12, seed=seed
        )


def test_distances_between_outer_products() -> None:
    rng = np.random.default_rng(62)
    outer = OuterProducts(*(rng.standard_normal((30, d)).astype(np.float32) for d in (5, 8)))
    flat = np.stack([np.outer(a, h).ravel() for a, h in zip(outer.left_NA, outer.right_NH, strict=True)])
    centres = np.array([3, 17, 4])
    places, distances = nearest(outer, squared_norms(outer), outer[centres])
    by_hand = ((flat[:, None].astype(float) - flat[centres]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(places, by_hand.argmin(axis=1))
    np.testing.assert_allclose(distances, by_hand.min(axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(distances[centres], 0)


def test_float32_takes_copies_of_outer_products_for_copies() -> None:
    """Of many classes, and states as long as they come."""
    rng = np.random.default_rng(63)
    kinds = [
        rng.standard_normal((300, d)).astype(np.float32) * rng.lognormal(0, 2, (300, 1)).astype(np.float32)
        for d in (300, 1024)
    ]
    rows = rng.permutation(np.arange(1500) % 300)
    outer = OuterProducts(*(kind[rows] for kind in kinds))
    found = kmeans_plus_plus(outer, squared_norms(outer), np.ones(1500), 1500, rng)
    assert len(found) == len(set(rows[found])) == 300


@pytest.mark.parametrize("magnitude", [1e-30, 1e30])
def test_magnitude_of_states_changes_nothing_but_the_priority(magnitude: float) -> None:
    scale = 2.0 ** round(math.log2(magnitude))
    values = measured(strategy("badge"), [one_choice(sentence) for sentence in random_pool(30, seed=64)])
    scaled = values.values.copy()
    scaled[:, -values.state_size :] *= np.float32(scale)
    for seed in range(5):
        here = strategy("badge").rank(values, None, 10, np.random.default_rng(seed))
        there = strategy("badge").rank(
            dataclasses.replace(values, values=scaled), None, 10, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(here.order, there.order)
        np.testing.assert_allclose(there.priority, here.priority * scale**2, rtol=1e-6)
