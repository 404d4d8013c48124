"""A run's folder: its settings and versions in `run.json`, and a line of `results.jsonl` for each round."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.plan import FULL, Plan

START = "start.json"
VERSIONS_OF = ("torch", "transformers", "flair", "python-crfsuite", "numpy", "scikit-learn", "seqeval")


@dataclass(frozen=True)
class Iteration:
    """One round: a model trained on what was labelled until then, its scores, and the batch chosen with it."""

    round: int
    """0 for the model of the start."""
    sentences: int
    """Labelled when the model was trained."""
    words: int
    """In those."""
    scores: dict[str, Any]
    """Of the successor on the test set: `experiments.simulation.evaluated`."""
    calibration_error: float
    """Expected calibration error of the successor's decisions (tags, choices, pairs) on the test set, in [0, 1]."""
    seconds: dict[str, float]
    """"fit", "evaluate" and "query" (measuring and ranking the pool); "fit acquisition" and "pseudo-label" if done."""
    batch: list[str] = field(default_factory=list)
    """Ids of the sentences chosen, the first one first; empty at the end."""


@dataclass(frozen=True)
class Run:
    """A plan with a strategy and a seed, and what has come of it so far."""

    folder: Path
    plan: Plan
    strategy: str
    seed: int
    iterations: tuple[Iteration, ...] = ()

    @property
    def rounds(self) -> int:
        """How many iterations it will have, if the pool does not run dry before."""
        return 1 if self.strategy == FULL else self.plan.rounds + 1

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.iterations) == self.rounds or bool(self.iterations and not self.iterations[-1].batch)

    @cached_property
    def labelled(self) -> NDArray[np.int64]:
        """(n,) words or sentences labelled at each iteration: `Plan.unit`."""
        return np.array([getattr(iteration, self.plan.unit) for iteration in self.iterations], np.int64)

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """(n,) test F1 (of choices the accuracy, where each text has one) in [0, 1] at each iteration."""
        return np.array([iteration.scores["f1"] for iteration in self.iterations], np.float64)


def open_run(root: Path, plan: Plan, strategy: str, seed: int) -> Run:
    """The run's folder under `root`, made if it is new, with what it holds already.

    Raises ValueError if it was begun with other settings.
    """
    folder = root / strategy.replace(" ", "-") / f"seed-{seed}"
    settings = plan.model_dump(mode="json")
    if (folder / "run.json").is_file():
        before = read_run(folder).plan.model_dump(mode="json")
        differing = sorted(name for name in settings if before[name] != settings[name])
        if differing:
            raise ValueError(
                f"{folder} was begun with another {', '.join(differing)}: give this experiment another --name, "
                "or remove that folder"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in VERSIONS_OF}
        card = {"plan": settings, "strategy": strategy, "seed": seed, "versions": versions}
        _write(folder / "run.json", json.dumps(card, indent=1))
    return read_run(folder)


def read_run(folder: Path) -> Run:
    """What a folder holds. A last line that was being written when the process died does not count."""
    card = json.loads((folder / "run.json").read_text())
    iterations = []
    lines = (folder / "results.jsonl").read_text().splitlines() if (folder / "results.jsonl").is_file() else []
    for number, line in enumerate(lines):
        try:
            iterations.append(Iteration(**json.loads(line)))
        except ValueError:
            if number + 1 < len(lines):
                raise ValueError(f"{folder}/results.jsonl, line {number + 1}, is damaged: remove the folder") from None
    return Run(folder, Plan(**card["plan"]), card["strategy"], card["seed"], tuple(iterations))


def read_runs(root: Path) -> Iterator[Run]:
    """All runs in folders under `root`, in order of their names."""
    for card in sorted(root.rglob("run.json")):
        yield read_run(card.parent)


def started(run: Run) -> list[str] | None:
    """Ids of what was labelled before the first round, if a strategy has chosen that already."""
    found: list[str] | None = json.loads(kept.read_text()) if (kept := run.folder / START).is_file() else None
    return found


def keep_start(run: Run, ids: list[str]) -> None:
    """Write down what is labelled before the first round: a model that chooses it need not come to the same twice."""
    _write(run.folder / START, json.dumps(ids))


def add(run: Run, iteration: Iteration) -> Run:
    """Write an iteration down, on the disk when this returns; gives the run with it."""
    iterations = (*run.iterations, iteration)
    _write(run.folder / "results.jsonl", "".join(json.dumps(asdict(one)) + "\n" for one in iterations))
    return Run(run.folder, run.plan, run.strategy, run.seed, iterations)


def _write(path: Path, text: str) -> None:
    """The whole file or, after a crash, the old one."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
