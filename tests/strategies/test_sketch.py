"""The product sketch: unbiased, linear, and the same everywhere."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from strategies.sketch import product_sketch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("tags", "states"), [(5, 40), (12, 12), (1, 30), (30, 1)])
def test_squared_norms_are_right_on_average(tags: int, states: int) -> None:
    """For a dense matrix, for one of rank 1, and for the diagonal that equal signs on both sides would inflate."""
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((tags, states))
    for matrix in (dense, np.outer(dense[:, 0], dense[0]), np.eye(tags, states)):
        norms = [(product_sketch(matrix, 64, seed) ** 2).sum() for seed in range(400)]
        error = math.sqrt(8 / 64)
        assert np.mean(norms) / (matrix**2).sum() == pytest.approx(1, abs=4 * error / math.sqrt(400))
        # the spread itself is estimated from 400 draws, hence the tenth
        assert np.std(norms) / (matrix**2).sum() < 1.1 * error


def test_linear() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 4, 9))
    together = product_sketch(2 * a - b, 16, seed=0)
    np.testing.assert_allclose(together, 2 * product_sketch(a, 16, 0) - product_sketch(b, 16, 0), atol=1e-12)


def test_same_in_another_process() -> None:
    code = (
        "import numpy as np; from strategies.sketch import product_sketch;"
        "print(product_sketch(np.arange(12.0).reshape(3, 4), 5, seed=7).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    here = product_sketch(np.arange(12.0).reshape(3, 4), 5, seed=7)
    assert run.stdout.strip() == str(here.tolist())
