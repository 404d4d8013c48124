"""The baseline of every paper: any order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first


class Random(Strategy):
    """Every sentence with words is as likely as any other."""

    def measure(self, batch: Inference) -> NDArray[np.float64]:
        """(B,) zeros: nothing is asked of the tagger."""
        return np.zeros(len(batch.indices))

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """A uniformly random order; the priority of a sentence with words is its draw from [0, 1)."""
        priority = np.where(pool.lengths > 0, rng.random(len(pool)), 0.0)
        return Ranking(highest_first(priority, pool.lengths, rng), priority)
