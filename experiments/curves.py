"""Learning curves over what is labelled: what a run needed, its area, means over seeds, and strategies compared.

Labels are counted in the unit of the plan's budget, words or sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from corpus import Kind, Sentence
from experiments.results import Run

LEVELS = (0.90, 0.95, 0.98, 0.99)
"""Shares of the full-data F1 that the papers ask for."""
ALL_FLIPS = 16
"""Up to so many seeds the permutation test takes all 2^n flips; beyond, a sample of 2^16."""

_Curve = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShareNeeded:
    """Share of the pool's words (or sentences) labelled when `level` · full-data F1 was first reached, over seeds."""

    level: float
    mean: float
    """Over seeds. A lower bound where `unreached` is above 0: those runs count with what they had labelled last."""
    low: float
    high: float
    """95% t-interval; from -inf to inf where it says nothing: with one seed, or with a run that never got there."""
    seeds: int
    unreached: int
    """How many of the seeds never got there."""

    def __str__(self) -> str:
        if self.unreached:
            return f"more than {self.mean:.1%} (not reached by {self.unreached} of {self.seeds} seeds)"
        return f"{self.mean:.1%}" if self.seeds == 1 else f"{self.mean:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of a strategy minus that of another, seed by seed."""

    by_seed: tuple[float, ...]
    mean: float
    low: float
    high: float
    """95% t-interval; from -inf to inf for one seed."""
    p: float
    """Two-sided, of the sign-flip permutation test (`sign_flip_p`)."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two strategies compared over the seeds that both have; above 0 the first one is better."""

    seeds: tuple[int, ...]
    area: Difference
    """Of the areas under the curves (`area`), in F1."""
    end: Difference
    """Of the F1 at the end of the range of labels that all these runs share."""

    @property
    def n(self) -> int:
        """How many pairs."""
        return len(self.seeds)


def labels_needed(run: Run, target_f1: float) -> float:
    """Labels when the curve first reaches `target_f1`, linear between iterations.

    Those of the first point if it is there already; inf if the run never gets there.
    """
    reached = np.flatnonzero(run.f1 >= target_f1)
    if len(reached) == 0:
        return float("inf")
    i = int(reached[0])
    if i == 0:
        return float(run.labelled[0])
    return float(np.interp(target_f1, run.f1[i - 1 : i + 1], run.labelled[i - 1 : i + 1]))


def share_needed(
    runs: Sequence[Run], full_f1: float, total: int, levels: Sequence[float] = LEVELS
) -> list[ShareNeeded]:
    """For each of `levels` the share of `total` needed for level · `full_f1`, over runs of different seeds.

    Raises ValueError if there are no runs, or one without an iteration.
    """
    _check(runs)
    last = np.array([run.labelled[-1] for run in runs], np.float64)
    shares = []
    for level in levels:
        needed = np.array([labels_needed(run, level * full_f1) for run in runs])
        missing = np.isinf(needed)
        mean, low, high = map(float, t_interval(np.where(missing, last, needed) / total))
        if missing.any():
            low, high = -float("inf"), float("inf")
        shares.append(ShareNeeded(level, mean, low, high, len(runs), int(missing.sum())))
    return shares


def common_range(runs: Sequence[Run]) -> tuple[int, int]:
    """The range of labels over which all runs have a curve: the latest start and the earliest end.

    Raises ValueError if there are no runs, one without an iteration, or if they share no range.
    """
    _check(runs)
    begins, ends = max(runs, key=lambda run: run.labelled[0]), min(runs, key=lambda run: run.labelled[-1])
    low, high = int(begins.labelled[0]), int(ends.labelled[-1])
    if low > high:
        raise ValueError(
            f"the curves share no range of {begins.plan.unit}: that of {_named(ends)} ends at {high}, "
            f"that of {_named(begins)} begins at {low}; compare runs of like budgets"
        )
    return low, high


def area(run: Run, upto: float | None = None, start: float | None = None) -> float:
    """Area under the learning curve over labels, divided by its width: the mean F1, in [0, 1].

    Trapezoids from `start` (None = the first point) to `upto` (None = the last one), the curve interpolated
    there; on a width of 0 the F1 itself. Areas compare only over one range: see `common_range`.
    Raises ValueError where the run has no curve.
    """
    _check([run])
    low = float(run.labelled[0] if start is None else start)
    high = float(run.labelled[-1] if upto is None else upto)
    if low > high:
        raise ValueError(f"an area from {low:g} to {high:g} {run.plan.unit} is empty: give its ends in order")
    inside = run.labelled[(run.labelled > low) & (run.labelled < high)]
    labels = np.array([low, *inside, high])
    f1 = _f1_at(run, labels)
    return float(np.trapezoid(f1, labels) / (high - low)) if high > low else float(f1[0])


def mean_curve(runs: Sequence[Run], grid: ArrayLike) -> tuple[_Curve, _Curve, _Curve]:
    """(G,) mean F1 over seeds at each number of labels of `grid`, and its 95% t-interval: mean, low, high.

    Curves are interpolated. With one run the interval is from -inf to inf. Raises ValueError if there are no runs, or
    the grid leaves a run's range: take it from `common_range`.
    """
    _check(runs)
    labels = np.asarray(grid, np.float64)
    return t_interval(np.stack([_f1_at(run, labels) for run in runs]))


def paired(runs_a: Sequence[Run], runs_b: Sequence[Run]) -> Paired:
    """Compare two strategies, each seed of one with the same seed of the other; seeds of one side only are left out.

    All of the runs are compared over the range of labels that they share (`common_range`).
    Raises ValueError if no seed is on both sides, one is there twice, or the curves share no range.
    """
    by_seed_a, by_seed_b = _by_seed(runs_a), _by_seed(runs_b)
    seeds = sorted(by_seed_a.keys() & by_seed_b.keys())
    if not seeds:
        raise ValueError(
            f"no seed on both sides ({sorted(by_seed_a)} and {sorted(by_seed_b)}): "
            "run both strategies with the same seeds"
        )
    pairs = [(by_seed_a[seed], by_seed_b[seed]) for seed in seeds]
    low, high = common_range([run for pair in pairs for run in pair])
    areas = [area(a, high, low) - area(b, high, low) for a, b in pairs]
    ends = [float(_f1_at(a, high) - _f1_at(b, high)) for a, b in pairs]
    return Paired(tuple(seeds), _difference(areas), _difference(ends))


def t_interval(values_S: ArrayLike) -> tuple[_Curve, _Curve, _Curve]:
    """Mean over the first axis (S seeds) and its 95% Student t-interval, each of the shape of the other axes.

    mean ± t(0.975; S − 1) · s / √S, s the standard deviation with S − 1. From -inf to inf if S is 1.
    """
    values = np.asarray(values_S, np.float64)
    n, mean = len(values), values.mean(axis=0)
    if n == 1:
        return mean, np.full_like(mean, -np.inf), np.full_like(mean, np.inf)
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def sign_flip_p(differences_n: ArrayLike) -> float:
    """Two-sided p-value of the sign-flip permutation test (Fisher) that n paired differences are symmetric around 0.

    The share of sign flips whose sum is at least as far from 0 as the observed one: of all 2^n up to 16 differences
    (so the least p is 2/2^n: five seeds cannot show p < 0.05), else of 2^16, drawn with a fixed seed, the observed one
    among them.
    """
    differences = np.asarray(differences_n, np.float64)
    n = len(differences)
    if n <= ALL_FLIPS:
        signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (2**ALL_FLIPS, n))
        signs[0] = 1.0
    sums = np.abs(signs @ differences)
    rounding = 1e-12 * np.abs(differences).sum()
    return float(np.mean(sums >= abs(differences.sum()) - rounding))


def label_mix(sentences: Iterable[Sentence], kind: Kind = "spans") -> dict[str, int]:
    """Gold marks by label in a batch, the most frequent label first. Raises ValueError for an unlabelled sentence."""
    counts: Counter[str] = Counter()
    for sentence in sentences:
        marks = sentence.marks(kind)
        if marks is None:
            raise ValueError(f"task {sentence.id} has no gold labels to count")
        counts.update(mark.label for mark in marks)
    return _frequent_first(counts)


def group_mix(ids: Iterable[str], groups: Mapping[str, str]) -> dict[str, int]:
    """Sentences by group (genre, intent, domain) in a batch, the most frequent first; ids of no group are left out."""
    return _frequent_first(Counter(groups[id] for id in ids if id in groups))


def _frequent_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _difference(by_seed: list[float]) -> Difference:
    mean, low, high = map(float, t_interval(by_seed))
    return Difference(tuple(by_seed), mean, low, high, sign_flip_p(by_seed))


def _f1_at(run: Run, labels: ArrayLike) -> _Curve:
    """The run's F1 at these numbers of labels, interpolated, never extrapolated."""
    at = np.asarray(labels, np.float64)
    first, last = int(run.labelled[0]), int(run.labelled[-1])
    if at.size and (at.min() < first or at.max() > last):
        raise ValueError(
            f"the curve of {_named(run)} is known from {first} to {last} {run.plan.unit}, "
            f"not from {at.min():g} to {at.max():g}"
        )
    return np.asarray(np.interp(at, run.labelled, run.f1))


def _by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    by_seed = {run.seed: run for run in runs}
    if len(by_seed) < len(runs):
        twice = sorted(seed for seed, count in Counter(run.seed for run in runs).items() if count > 1)
        raise ValueError(f"two runs of seed {twice[0]} on one side: compare one strategy and plan at a time")
    return by_seed


def _check(runs: Sequence[Run]) -> None:
    if not runs:
        raise ValueError("no runs: there is no curve")
    for run in runs:
        if not run.iterations:
            raise ValueError(f"the run of {_named(run)} has no iteration yet: wait for it, or leave it out")


def _named(run: Run) -> str:
    return f"{run.strategy}, seed {run.seed} ({run.folder})"
