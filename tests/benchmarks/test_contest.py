"""Contestants in processes of their own: their time, their memory, their mistakes."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contest import Clock, Task, compete
from benchmarks.limits import Limits, Work

pytestmark = pytest.mark.slow

MEGABYTE = 2**20


def sleeper(seconds: float, log: Path) -> Task:
    def run(clock: Clock, number: int) -> float:
        time.sleep(0.5)  # not timed
        for _ in range(2):
            with clock:
                time.sleep(seconds / 2)
        with log.open("a") as lines:
            lines.write(f"{seconds} {number}\n")
        return seconds * (number + 1)

    return run


def holder(before: int, during: int) -> Task:
    held = np.ones(before * MEGABYTE, np.uint8)

    def run(clock: Clock, number: int) -> float:
        with clock:
            return float(len(np.ones(during * MEGABYTE, np.uint8)) + len(held))

    return run


def failing() -> Task:
    raise ValueError("no such thing")


def test_turns_are_taken_and_only_what_is_clocked_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    short, long = compete([partial(sleeper, seconds, log) for seconds in (0.02, 0.2)], rounds=3)
    assert log.read_text().split("\n")[:-1] == [f"{s} {number}" for number in range(3) for s in (0.02, 0.2)]
    assert 0.02 <= short.seconds < 0.5
    assert 0.2 <= long.seconds < 0.7
    assert (short.result, long.result) == (pytest.approx(0.04), pytest.approx(0.4))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
def test_memory_of_a_run_is_apart_from_what_was_there() -> None:
    (outcome,) = compete([partial(holder, 200, 100)], rounds=2)
    assert 95 * MEGABYTE < outcome.extra_bytes < 130 * MEGABYTE
    assert outcome.peak_bytes > 300 * MEGABYTE


def test_what_went_wrong_is_told() -> None:
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        compete([failing], rounds=1)


def test_limit_is_reading_and_then_multiplying() -> None:
    assert Limits(bytes_per_second=10, flops_per_second=100).seconds(Work(bytes=20, flops=50)) == 2.5
