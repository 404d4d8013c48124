"""The runs of one plan, side by side: how far they are, and on what common ground they compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from experiments.corpora import Corpus
from experiments.curves import area, common_range
from experiments.measures import coverage, knn_density, mean_entropy, vocabulary_overlap
from experiments.plan import FULL, Plan
from experiments.results import Run


@dataclass(frozen=True)
class Comparison:
    """All runs of one plan."""

    name: str
    plan: Plan
    all_runs: Sequence[Run]
    """Also those that have not begun; one for each strategy and seed."""
    corpus: Corpus | None = None
    vectors: NDArray[np.float32] | None = None
    """(N, d) of the corpus's pool, in its order (`measures.encoder_vectors`)."""

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """By strategy those that have begun; the largest mean area first, at the end what has no curve yet."""
        means = {name: float(np.mean(self.areas.get(name, -1.0))) for name in self._begun}
        return {name: self._begun[name] for name in sorted(means, key=lambda name: (-means[name], name))}

    @cached_property
    def _begun(self) -> dict[str, list[Run]]:
        begun: dict[str, list[Run]] = {}
        for run in sorted(self.all_runs, key=lambda run: run.seed):
            if run.iterations and run.strategy != FULL:
                begun.setdefault(run.strategy, []).append(run)
        return begun

    @property
    def _curves(self) -> dict[str, list[Run]]:
        """Strategies all runs of which have more than a point."""
        return {name: runs for name, runs in self._begun.items() if all(len(run.iterations) > 1 for run in runs)}

    @cached_property
    def full(self) -> list[Run]:
        """The runs on everything that are done."""
        return [run for run in self.all_runs if run.strategy == FULL and run.iterations]

    @property
    def full_f1(self) -> float | None:
        """Their mean F1."""
        return float(np.mean([run.f1[-1] for run in self.full])) if self.full else None

    @property
    def measure(self) -> str:
        """What a run's F1 is."""
        if self.plan.kind == "spans":
            return "F1"
        each = [iteration.scores for run in self.all_runs for iteration in run.iterations]
        return "accuracy" if each and all(scores.get("accuracy") for scores in each) else "micro F1"

    @property
    def pool_labels(self) -> int | None:
        """Size of the whole pool in the plan's unit, where it is known."""
        return self.pool_words if self.plan.unit == "words" else self.pool_sentences

    @property
    def pool_words(self) -> int | None:
        """Words of the whole pool, where they are known."""
        if self.full:
            return self.full[0].iterations[-1].words
        return sum(map(len, self.corpus.train)) if self.corpus else None

    @property
    def pool_sentences(self) -> int | None:
        """Sentences of the whole pool, where they are known."""
        if self.full:
            return self.full[0].iterations[-1].sentences
        return len(self.corpus.train) if self.corpus else None

    @cached_property
    def reached(self) -> dict[str, int]:
        """The last round that all begun runs of a strategy have finished."""
        return {name: min(len(run.iterations) for run in runs) - 1 for name, runs in self.runs.items()}

    @property
    def shared(self) -> int:
        """The last round that all begun runs of all strategies have finished."""
        return min(self.reached.values())

    @cached_property
    def area_range(self) -> tuple[int, int] | None:
        """The labels (words or sentences) that all curves share; None if there is no such range."""
        try:
            return common_range([run for runs in self._curves.values() for run in runs])
        except ValueError:
            return None

    @cached_property
    def areas(self) -> dict[str, list[float]]:
        """By strategy the area under each run's curve, over `area_range`; without those that have no curve yet."""
        if self.area_range is None:
            return {}
        low, high = self.area_range
        return {name: [area(run, high, low) for run in runs] for name, runs in self._curves.items()}

    def unfinished(self) -> list[str]:
        """Each run that has not come to its end, and where it stands."""
        standing = []
        for run in self.all_runs:
            if not run.finished:
                done = len(run.iterations) - 1
                where = f"round {done} of {run.rounds - 1} done" if run.iterations else "nothing done yet"
                failed = ", ended with an error" if (run.folder / "error.txt").is_file() else ""
                standing.append(f"{run.strategy}, seed {run.seed} ({where}{failed})")
        return standing

    def step_seconds(self) -> dict[str, dict[str, float]]:
        """By strategy and step the mean seconds of an iteration, over the rounds that all have finished."""
        means: dict[str, dict[str, float]] = {}
        for name, runs in self.runs.items():
            spent: dict[str, list[float]] = {}
            for iteration in (iteration for run in runs for iteration in run.iterations[: self.shared + 1]):
                for step, seconds in iteration.seconds.items():
                    spent.setdefault(step, []).append(seconds)
            means[name] = {step: float(np.mean(of)) for step, of in spent.items()}
        return means

    @cached_property
    def batches(self) -> dict[str, list[list[list[str]]]]:
        """By strategy, for each of its runs, the ids in each batch, until the round that all have finished.

        Raises ValueError if the corpus is another than the one that was run on.
        """
        known = None if self.corpus is None else {sentence.id for sentence in self.corpus.train}
        found: dict[str, list[list[list[str]]]] = {}
        for name, runs in self.runs.items():
            for run in runs:
                batches = [iteration.batch for iteration in run.iterations[: self.shared + 1] if iteration.batch]
                strange = [] if known is None else [id for batch in batches for id in batch if id not in known]
                if strange:
                    raise ValueError(
                        f"{run.folder} chose sentence {strange[0]!r}, which the corpus {self.plan.data!r} does not "
                        "have: give the one that it was run on"
                    )
                found.setdefault(name, []).append(batches)
        return found

    @cached_property
    def batch_points(self) -> dict[str, list[tuple[float, float]]]:
        """By strategy (uncertainty, diversity) of each batch of its first seed (Yuan et al. 2020, eq. 4 and 3).

        Uncertainty is that of the model of all data; the rest of the pool is what no batch had until then.
        Empty without the corpus or that model's entropies.
        """
        kept = [path for run in self.full if (path := run.folder / "entropies.npz").is_file()]
        if self.corpus is None or not kept:
            return {}
        with np.load(kept[0]) as stored:
            entropies = dict(zip(stored["ids"].tolist(), stored["entropies"].tolist(), strict=True))
        points: dict[str, list[tuple[float, float]]] = {}
        for name, of_runs in self.batches.items():
            rest = {sentence.id: sentence for sentence in self.corpus.train}
            for ids in of_runs[0]:
                batch = [rest.pop(id) for id in ids]
                overlap = vocabulary_overlap(batch, rest.values())
                points.setdefault(name, []).append((mean_entropy([entropies[id] for id in ids]), overlap))
        return points

    @cached_property
    def batch_geometry(self) -> dict[str, list[tuple[float, float]]]:
        """By strategy (diversity, density) of each batch of its first seed, by Seo et al. 2022, eq. 7 and 9, over the
        whole pool. Empty without its vectors."""
        if self.corpus is None or self.vectors is None:
            return {}
        places = {sentence.id: i for i, sentence in enumerate(self.corpus.train)}
        geometry: dict[str, list[tuple[float, float]]] = {}
        for name, of_runs in self.batches.items():
            for ids in of_runs[0]:
                chosen = np.array([places[id] for id in ids])
                density = knn_density(self.vectors, chosen)
                geometry.setdefault(name, []).append((coverage(self.vectors, chosen), density))
        return geometry

    def versions(self) -> dict[str, list[str]]:
        """By library the versions that the runs were begun with."""
        found: dict[str, set[str]] = {}
        for run in self.all_runs:
            for library, version in json.loads((run.folder / "run.json").read_text())["versions"].items():
                found.setdefault(library, set()).add(version)
        return {library: sorted(known) for library, known in found.items()}
