"""Made-up pools look like what they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import pools
from strategies import strategy

pytestmark = pytest.mark.slow


def test_inferences_are_distributions_with_zeros_beyond_the_sentence() -> None:
    for batch in pools.inferences(200):
        inside = np.arange(batch.marginals_BTC.shape[1]) < batch.lengths[:, None]
        np.testing.assert_allclose(batch.marginals_BTC.sum(axis=2), inside, atol=1e-5)
        assert batch.hidden_BTH is not None
        assert (batch.hidden_BTH.any(axis=2) == inside).all()


def test_gradients_differ_in_length_and_are_no_copies() -> None:
    pool = pools.measured(strategy("badge"), 500)
    norms = np.linalg.norm(pool.values, axis=1)
    assert np.percentile(norms, 90) > 3 * np.percentile(norms, 10)
    assert len(np.unique(pool.values, axis=0)) == 500


def test_surprisals_have_length_one_and_stand_at_few_places() -> None:
    drawn = pools.surprisals(300)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, rtol=1e-5)
    assert 0.05 < (drawn > 0).sum() / (pools.lengths(300) + 2).sum() < 0.3


def test_same_again() -> None:
    np.testing.assert_array_equal(pools.vectors(50, 8, seed=3), pools.vectors(50, 8, seed=3))
    np.testing.assert_array_equal(pools.passes(50, seed=3), pools.passes(50, seed=3))
