"""The table of what approximations cost, from the runs that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cost_in_f1 import points, table
from experiments.curves import Difference

ROOT = Path(__file__).parents[2]


def test_the_docs_show_what_the_runs_say() -> None:
    assert table(ROOT / "experiments/results") in (ROOT / "docs/pools.md").read_text()


def test_runs_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"approx-mnlp-ups: no finished runs of mnlp; see experiments/README\.md"):
        table(tmp_path)


def test_points_without_a_sign_where_there_is_nothing() -> None:
    assert points(Difference((), -0.0004, -0.012, 0.011, 1.0)) == "+0.0 (-1.2 to 1.1)"
