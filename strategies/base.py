"""The contract of every query strategy: measure each sentence, then rank the pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from corpus import Inference


@dataclass(frozen=True, slots=True)
class Measured:
    """What `measure` left of N sentences, batches joined and put back in order."""

    values: NDArray[np.float64] | NDArray[np.float32]
    """(N,) scores, or (N, d) vectors."""
    lengths: NDArray[np.int64]
    """(N,) words (decisions) in each sentence."""
    state_size: int = 0
    """H of a classifier, which has one state a text; 0 where each word has its own."""

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which sentences to label next."""

    order: NDArray[np.int64]
    """(N,) a permutation of the pool's indices, the one to label first at the front."""
    priority: NDArray[np.float64]
    """(N,) what the strategy thinks each sentence is worth, in its own unit; higher = sooner.
    For one-at-a-time choices (badge) it is the standing of the sentence on its own; `order` decides."""


class Strategy(ABC):
    """Which sentences to label next: `measure` is a map over batches, `rank` a choice over small arrays.

    Neither sees the labels of the pool. Every random choice comes from the generator given to `rank`.
    What is said of words holds of whatever a model decides one at a time: of a classifier's one decision a text, or its
    yes or no to each label, and of each pair between which a relation is sought (see `Inference`).
    """

    reads: ClassVar[str] = "tagger"
    """Whose output `measure` gets: the project's "tagger", or a model that has learned from no label, the pre-trained
    "encoder" or a "masked-lm". Strategies that read these need no first round."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What `measure` reads of `Inference`; compared with what the tagger provides."""
    uses_labelled: ClassVar[bool] = False
    """Whether `rank` wants the labelled set measured too."""
    passes: int = 0
    """Stochastic passes that `measure` reads; `needs` then names "samples"."""
    dropout: str | None = None
    """Which of the tagger's dropouts is on in them; None = its usual one."""

    @abstractmethod
    def measure(self, batch: Inference) -> NDArray[np.float64] | NDArray[np.float32]:
        """(B,) scores or (B, d) vectors of the batch's sentences, in the batch's order."""

    @abstractmethod
    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """Order the pool. `limit` is how many sentences will be labelled before the next ranking: one-at-a-time
        choices may stop there and order the rest by `priority`. None = choose them all.
        """
