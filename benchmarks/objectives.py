"""What strategies optimise, taken over a whole pool whatever the choice was made from: lower is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.ways import Pool, measured_by
from strategies import Strategy, strategy
from strategies.badge import Badge
from strategies.vectors import nearest, squared_norms

Vectors = NDArray[np.float32]
_EVERY_COMPONENT = 1_000_000
"""More than any gradient has: they are not sketched."""


@dataclass(frozen=True, slots=True)
class Objective:
    """Of the sentences chosen, given by their positions in the pool."""

    name: str
    of: Callable[[NDArray[np.int64]], float]


def objectives(name: str, pool: Pool, labelled: Pool) -> list[Objective]:
    """Those of the strategy `name`, on what it measures of the whole pool, exactly."""
    if name == "badge":
        gradients_Nd = _vectors(Badge(_EVERY_COMPONENT), pool)
        return [potential(gradients_Nd), spread(gradients_Nd)]
    if name == "coreset":
        return covering(_vectors(strategy(name), pool), _vectors(strategy(name), labelled))
    if name in ("alps", "bert-km", "ft-bert-km"):
        return [potential(_vectors(strategy(name), pool))]
    scores_N = measured_by(strategy(name), pool).values
    return [Objective("− mean score", lambda chosen: float(-scores_N[chosen].mean()))]


def potential(vectors_Nd: Vectors) -> Objective:
    """k-means++ potential: the mean squared distance to the nearest chosen (Arthur & Vassilvitskii 2007)."""
    away_N = _away(vectors_Nd)
    return Objective("mean d² to the chosen", lambda chosen: float(away_N(vectors_Nd[chosen]).mean()))


def spread(vectors_Nd: Vectors) -> Objective:
    """The volume that the chosen span, large if they are long and unlike each other: what `badge` is after (Ash et al.
    2020, sec. 3)."""

    def of(chosen: NDArray[np.int64]) -> float:
        wide_Kd = vectors_Nd[chosen].astype(np.float64)
        return float(-np.linalg.slogdet(wide_Kd @ wide_Kd.T)[1] / len(chosen))

    return Objective("− log-determinant", of)


def covering(vectors_Nd: Vectors, labelled_Ld: Vectors) -> list[Objective]:
    """The largest distance to the nearest labelled or chosen sentence (Sener & Savarese 2018, eq. 5), and the mean,
    which one outlier does not decide."""
    away_N = _away(vectors_Nd)
    known_N = away_N(labelled_Ld)

    def distances(chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.sqrt(np.minimum(known_N, away_N(vectors_Nd[chosen])).clip(0))

    return [
        Objective("covering radius", lambda chosen: float(distances(chosen).max())),
        Objective("mean distance", lambda chosen: float(distances(chosen).mean())),
    ]


def _vectors(by: Strategy, pool: Pool) -> Vectors:
    return measured_by(by, pool).values.astype(np.float32, copy=False)


def _away(vectors_Nd: Vectors) -> Callable[[Vectors], NDArray[np.float64]]:
    """(N,) squared distances to the nearest of the centres given."""
    norms_N = squared_norms(vectors_Nd)
    return lambda centres_Kd: nearest(vectors_Nd, norms_N, centres_Kd)[1]
