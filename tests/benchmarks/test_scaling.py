"""The benchmark as it is run, on small pools."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.growth import Cost
from benchmarks.ways import Way

pytestmark = pytest.mark.slow


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling", *arguments])
    scaling.main()


def test_sizes_that_cost_too_much_are_not_tried_and_known_ones_not_measured_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def cost(way: Way, size: int, limit: int, seed: int) -> Cost:
        tried.append((str(way), size))
        return Cost(1e-4 * size**2, 0.1, 100.0 * size)

    monkeypatch.setattr(scaling, "cost", cost)
    arguments = ("--sizes", "1000", "10000", "--strategy", "badge", "--filter", "ups", "--out", str(tmp_path))
    run(monkeypatch, *arguments)
    assert tried == [("badge", 1_000), ("badge after ups", 1_000)]  # 100 s, and at least ten times that
    run(monkeypatch, *arguments, "--limit-seconds", "20000")
    assert tried[2:] == [("badge", 10_000), ("badge after ups", 10_000)]
    assert "not run: about 16.7 min by its slope" in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} >= {
        "scaling.md", "scaling-seconds.png", "scaling-seconds-ups.svg", "scaling-memory.png",
    }  # fmt: skip


def test_what_a_strategy_keeps_of_a_sentence() -> None:
    assert scaling.kept_bytes(Way("mnlp")) == 16
    assert scaling.kept_bytes(Way("coreset")) == 384 * 4 + 8
    assert scaling.kept_bytes(Way("coreset", "ups")) == 16


def test_time_and_memory_are_those_of_a_process_of_its_own() -> None:
    small, large = (scaling.cost(Way("coreset"), size, 20, 0) for size in (2_000, 20_000))
    assert 0 < small.ranking < small.seconds < large.seconds
    assert large.bytes > 20_000 * 384 * 4
