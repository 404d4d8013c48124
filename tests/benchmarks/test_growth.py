"""Slopes, what they predict, and the tables and pictures of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth
from benchmarks.growth import Cost

pytestmark = pytest.mark.slow


def power(p: float, of_bytes: float = 1.0) -> dict[int, Cost]:
    return {n: Cost(2e-6 * n**p, 1e-6 * n**p, 5e3 * n**of_bytes) for n in (1_000, 10_000, 100_000)}


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_the_slope_of_a_power_is_its_exponent(p: float) -> None:
    sizes = [100, 3_000, 50_000]
    assert growth.slope(sizes, [7 * n**p for n in sizes]) == pytest.approx(p)
    assert math.isnan(growth.slope(sizes[:1], [1.0]))


def test_a_square_is_predicted_as_a_square() -> None:
    cost = growth.predicted(power(2.0), 1_000_000)
    assert cost.seconds == pytest.approx(2e-6 * 1e12)
    assert cost.bytes == pytest.approx(5e9)


def test_growth_is_never_predicted_below_proportion() -> None:
    """A constant part hides at small sizes how the rest grows."""
    costs = {n: Cost(1.0 + 1e-5 * n, 0.0, 5e7 + 1e3 * n) for n in (1_000, 10_000)}
    cost = growth.predicted(costs, 1_000_000)
    assert cost.seconds >= 100 * costs[10_000].seconds
    assert cost.bytes >= 100 * costs[10_000].bytes


def test_what_would_take_too_long_or_too_much_is_refused_with_the_reason() -> None:
    assert growth.refusal({}, 10**9, 1, 1) is None
    assert growth.refusal(power(1.0), 1_000_000, 600, 1e10) is None
    slow = growth.refusal(power(2.0), 1_000_000, 600, 1e10)
    assert slow is not None and f"{2e-6 * 1e12 / 86_400:.3g} days" in slow and "GB" not in slow
    large = growth.refusal(power(1.0), 1_000_000, 600, 1e9)
    assert large is not None and "5 GB" in large and " s" not in large.replace("slope", "")


@pytest.mark.parametrize(("seconds", "shown"), [(90, "90 s"), (600, "10 min"), (3 * 3_600, "3 h"), (2e6, "23.1 days")])
def test_durations_in_their_unit(seconds: float, shown: str) -> None:
    assert growth.duration(seconds) == shown


def test_tables_tell_slopes_and_what_was_refused() -> None:
    sizes = [1_000, 10_000, 100_000, 1_000_000]
    shown = growth.tables({"slow": power(2.0)}, sizes, {("slow", 1_000_000): "not run: about 3 h"}, {"slow": 40})
    seconds, memory = shown.split("\n\n")
    row = seconds.splitlines()[-1]
    assert (
        row.startswith("| slow | 2 (1) | 200 (1e+02) |")
        and "not run: about 3 h" in row
        and row.endswith("2.00 | 2.00 |")
    )
    assert memory.splitlines()[-1].startswith("| slow | 40 | 0.01 | 0.05 | 0.50 |")


def test_pictures_show_every_line(tmp_path: Path) -> None:
    growth.draw({"one": power(1.0), "two": power(2.0), "none": {}}, "seconds", tmp_path / "picture")
    svg = (tmp_path / "picture.svg").read_text()
    assert (tmp_path / "picture.png").stat().st_size > 1_000
    assert all(f">{name}</" in svg for name in ("one", "two")) and ">none</" not in svg


def test_least_memory_keeps_logarithms_finite() -> None:
    costs = {n: Cost(1e-3, 0.0, 0.0) for n in (10, 100)}
    assert np.isfinite(growth.predicted(costs, 1_000).bytes)
