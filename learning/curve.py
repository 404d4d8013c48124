"""The learning curve continued: an inverse power law through its points, and what twice the labels would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.advice import Point, Z

Floats = NDArray[np.float64]

MIN_POINTS = 4
"""The law has three parameters."""
MIN_STRETCH = 1.5
"""Words at the last point over words at the first: less says nothing about the bend of the curve."""
WIDE = 0.1
"""A gain whose 95% interval is wider than this (F1 in [0, 1]) is told in words, but not drawn."""
DRAWS = 400
STEPS = 40
EXPONENTS = np.geomspace(0.02, 4, 80)
"""Tried as c, 7% apart; the loss is so flat in c that what lies between makes no difference to F1."""
SUREST = 0.005
"""No point's interval is taken for narrower than ± this: a round that found every span is not infinitely sure."""


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """F1 = a − b·(words/unit)^(−c) with a ≤ 1, b ≥ 0, c > 0 (Figueroa et al. 2012, eq. 1). Axes: D laws, W words."""

    a_D: Floats
    """F1 with endless labels."""
    b_D: Floats
    c_D: Floats
    unit: float

    def at(self, words_W: Floats) -> Floats:
        """(D, W): F1 that so many words bring."""
        decay_DW = (words_W / self.unit) ** -self.c_D[:, None]
        return np.maximum(self.a_D[:, None] - self.b_D[:, None] * decay_DW, 0)

    def words_for(self, f1_D: Floats) -> Floats:
        """(D,): words that bring this F1; infinite where the law never does."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio_D = self.b_D / np.maximum(self.a_D - f1_D, 0)
            words_D = self.unit * ratio_D ** (1 / self.c_D)
        return np.where(f1_D < self.a_D, words_D, np.inf)


@dataclass(frozen=True, slots=True)
class Forecast:
    """F1 in [0, 1] that so many words bring according to the law, with its 95% interval."""

    words: int
    f1: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The curve from its first point to twice the last one's words; no line where it would say nothing."""

    text: str
    """What doubling the labels would bring, or why that cannot be told."""
    line: tuple[Forecast, ...] = ()
    gain: tuple[float, float, float] | None = None
    """F1 that doubling would bring, with the ends of its 95% interval; None where the curve is too short to tell."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values: {text, line: [{words, f1, low, high}]}."""
        line = [{"words": at.words, "f1": at.f1, "low": at.low, "high": at.high} for at in self.line]
        return {"text": self.text, "line": line}


def fitted(points: Sequence[Point]) -> Fit | None:
    """The law through the points of the newest one's method, oldest first; None for fewer than MIN_POINTS of them.

    Weighted least squares, each point by its interval (Figueroa et al. 2012, "Predicting sample size required for
    classification performance", BMC Medical Informatics and Decision Making 12:8). The 95% band is a parametric
    bootstrap: noise as the intervals have it is laid over the fitted law, DRAWS times, and each is fitted again; the
    same points always give the same band. It holds if the curve goes on as it has, which it may not.
    """
    points = [point for point in points if point.method == points[-1].method]
    words_T = np.array([point.words for point in points], dtype=np.float64)
    if len(points) < MIN_POINTS or words_T.min() <= 0:
        return None
    first, last = int(words_T.min()), int(words_T.max())
    if last < MIN_STRETCH * first:
        return Fit(
            f"The curve covers only {first:,} to {last:,} words: too short a stretch to tell what twice the labels "
            "would bring."
        )
    f1_T = np.array([point.f1 for point in points])
    covariance_TT = _covariance(points)
    weight_T = 1 / np.diag(covariance_TT)
    law = least_squares(words_T, f1_T[None], weight_T)
    noise_TT = covariance_TT + np.eye(len(points)) * restlessness(f1_T - law.at(words_T)[0], covariance_TT)
    rng = np.random.default_rng(0)
    drawn_DT = rng.multivariate_normal(law.at(words_T)[0], noise_TT, DRAWS, method="eigh", check_valid="ignore")
    laws = least_squares(words_T, drawn_DT, weight_T)
    places = np.unique(np.geomspace(first, 2 * last, STEPS).round())
    low_W, high_W = np.percentile(laws.at(places), [2.5, 97.5], axis=0)
    line = tuple(
        Forecast(int(at), float(f1), float(min(low, f1)), float(max(high, f1)))
        for at, f1, low, high in zip(places, law.at(places)[0], low_W, high_W, strict=True)
    )
    ends = np.array([last, 2 * last], dtype=np.float64)
    gain, gains_D = float(np.diff(law.at(ends))[0, 0]), np.diff(laws.at(ends))[:, 0]
    low, high = (float(end) for end in np.percentile(gains_D, [2.5, 97.5]))
    low, high = min(low, gain), max(high, gain)
    if high - low > WIDE:
        return Fit(
            f"The curve does not show yet what twice the labels would bring: anything from {_points(low)} to "
            f"{_points(high)} F1 points would fit.",
            gain=(gain, low, high),
        )
    return Fit(
        f"Twice as many labels ({2 * last:,} words) would bring about {_points(gain)} F1 points (95% interval "
        f"{_points(low)} to {_points(high)}), if the curve goes on as it has.",
        line,
        (gain, low, high),
    )


def least_squares(words_T: Floats, f1_DT: Floats, weight_T: Floats) -> PowerLaw:
    """The power laws of least weighted squares through D sets of F1 at the same T words.

    For a given c the law is linear in a and b (variable projection, Golub & Pereyra 1973), so every c of EXPONENTS is
    solved exactly, bounds included, and the best one taken.
    """
    unit = float(words_T.min())
    x_CT = (words_T / unit) ** -EXPONENTS[:, None]
    weight_T = weight_T / weight_T.sum()
    x_C, xx_C = x_CT @ weight_T, x_CT**2 @ weight_T
    y_D, yy_D = (f1_DT @ weight_T)[:, None], (f1_DT**2 @ weight_T)[:, None]
    xy_DC = (f1_DT * weight_T) @ x_CT.T

    def loss(a_DC: Floats, b_DC: Floats) -> Floats:
        return yy_D - 2 * a_DC * y_D + 2 * b_DC * xy_DC + a_DC**2 - 2 * a_DC * b_DC * x_C + b_DC**2 * xx_C

    b_DC = (x_C * y_D - xy_DC) / np.maximum(xx_C - x_C**2, 1e-12)
    a_DC = y_D + b_DC * x_C
    outside = (a_DC > 1) | (b_DC < 0)  # then the best lies on one of the two bounds
    ceiling_DC = np.maximum((x_C - xy_DC) / xx_C, 0)
    level_DC = np.broadcast_to(np.minimum(y_D, 1), b_DC.shape)
    flat = loss(level_DC, np.zeros_like(b_DC)) <= loss(np.ones_like(b_DC), ceiling_DC)
    a_DC = np.where(outside, np.where(flat, level_DC, 1), a_DC)
    b_DC = np.where(outside, np.where(flat, 0, ceiling_DC), b_DC)
    best_D = loss(a_DC, b_DC).argmin(1)
    rows = np.arange(len(f1_DT))
    return PowerLaw(a_DC[rows, best_D], b_DC[rows, best_D], EXPONENTS[best_D], unit)


def _covariance(points: Sequence[Point]) -> Floats:
    """(T, T) of the points' F1, its diagonal as their intervals have it.

    Rounds are evaluated on nearly the same tasks, so their errors are alike, and the curve's shape is surer than its
    height. How alike shows where rounds have counted spans task by task: by linearisation,
    dF_t,i = (2 right − F_t (gold + predicted)) / mean(gold + predicted). Without counts: independent, so the band is
    too wide rather than too narrow.
    """
    deviation_T = np.array([max((point.high - point.low) / 2, SUREST) / Z for point in points])
    like_TT = np.eye(len(points))
    if points[-1].method == "hold-out" and all(point.counts for point in points):
        place = {task: i for i, task in enumerate(sorted({task for point in points for task in point.counts}))}
        change_TN = np.zeros((len(points), len(place)))
        for row, point in zip(change_TN, points, strict=True):
            counts_N3 = np.array(list(point.counts.values()), dtype=np.float64)
            found, right = counts_N3[:, 0] + counts_N3[:, 1], 2 * counts_N3[:, 2]
            row[[place[task] for task in point.counts]] = right - right.sum() / max(found.sum(), 1) * found
        length_T = np.maximum(np.linalg.norm(change_TN, axis=1), 1e-9)
        like_TT = change_TN @ change_TN.T / np.outer(length_T, length_T)
        np.fill_diagonal(like_TT, 1)
    return deviation_T[:, None] * like_TT * deviation_T


def restlessness(rest_T: Floats, covariance_TT: Floats) -> float:
    """The variance by which F1 jumps from round to round beyond what the hold-out explains: training is random too."""
    T = len(rest_T)
    apart = (np.trace(covariance_TT) - covariance_TT.sum() / T) / (T - 1)  # what is not common to all points
    return max(float(rest_T @ rest_T) / max(T - 3, 1) - float(apart), 0.0)


def _points(f1: float) -> str:
    return f"{100 * f1:+z.1f}"
