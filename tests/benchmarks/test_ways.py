"""What is chosen from batches is what the strategy chooses from the whole, and filters and strategies get what they
read."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import pools
from benchmarks.scaling import ALIKE, SHOWN
from benchmarks.ways import MadeUp, Way, choose, classes_of, measured_by
from strategies import FILTERS, STRATEGIES, pool_filter, strategy

pytestmark = pytest.mark.slow

SIZE, LIMIT = 400, 20
POOL, LABELLED = MadeUp(SIZE), MadeUp(60)
CLASSES = classes_of(LABELLED.infer(strategy("random")), LABELLED.size)


@pytest.mark.parametrize("name", SHOWN)
def test_every_strategy_chooses_from_a_made_up_pool(name: str) -> None:
    found = choose(Way(name), POOL, LABELLED, CLASSES, LIMIT, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(found.order), np.arange(SIZE))
    assert found.measuring >= 0 and found.ranking > 0


def test_those_left_out_name_one_that_is_shown() -> None:
    assert set(ALIKE) | set(SHOWN) == set(STRATEGIES)
    assert set(ALIKE.values()) <= set(SHOWN)


@pytest.mark.parametrize("name", FILTERS)
def test_behind_a_filter_the_choice_is_that_from_the_sentences_kept(name: str) -> None:
    """Chosen again by hand, from whole arrays."""
    rng, filtering, chosen = np.random.default_rng(3), pool_filter(name), strategy("badge")
    known = measured_by(filtering, LABELLED) if filtering.uses_labelled else None
    kept = filtering.keep(measured_by(filtering, POOL), known, CLASSES, rng)
    whole = pools.measured(chosen, SIZE)
    rest = type(whole)(whole.values[kept], whole.lengths[kept])
    by_hand = kept[chosen.rank(rest, None, LIMIT, rng).order]

    found = choose(Way("badge", name), POOL, LABELLED, CLASSES, LIMIT, np.random.default_rng(3))
    np.testing.assert_array_equal(found.order, by_hand)
    assert name != "ups" or len(kept) < SIZE / 2


def test_made_up_probabilities_of_paths_are_those_of_their_tags() -> None:
    chosen = strategy("mnlp")
    batch = next(POOL.infer(chosen))
    best = np.prod([batch.marginals_BTC[0, t].max() for t in range(batch.lengths[0])], dtype=np.float64)
    assert np.exp(batch.log_prob_B[0]) == pytest.approx(best)


def test_made_up_passes_are_distributions_that_mostly_agree() -> None:
    chosen = strategy("bald", passes=5)
    for batch in POOL.infer(chosen):
        samples = batch.samples_BMTC
        assert samples is not None and samples.shape[1] == 5
        inside = np.arange(samples.shape[2]) < batch.lengths[:, None]
        np.testing.assert_allclose(samples.sum(axis=3), np.repeat(inside[:, None], 5, axis=1), atol=1e-5)
        agreeing = (batch.sample_paths_BMT == batch.path_BT[:, None]).transpose(0, 2, 1)[inside]
        assert 0.6 < agreeing.mean() < 0.99


def test_classes_are_the_types_that_are_found() -> None:
    batch = next(LABELLED.infer(strategy("random")))
    tags = [batch.tags[tag] for tag in batch.path_BT[5][: batch.lengths[5]]]
    assert CLASSES[5] == {tag[2:] for tag in tags if tag != "O"}
    assert len(frozenset().union(*CLASSES)) > 1
