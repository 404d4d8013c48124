"""What training is made of, whatever network learns: batches of like length, the learning rate, the best epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAST_EPOCHS, MOST_EPOCHS = 5, 30
SHUFFLED = 50
"""Batches' worth of texts that are sorted by length together: like lengths meet, but not the same texts each time."""


@contextmanager
def whole_or_none(tagger: Any) -> Iterator[None]:
    """A fit: within, torch draws from the tagger's seed; if it is not brought to its end, the tagger has no network."""
    tagger._network = None
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(tagger.seed)
            yield
    except BaseException:
        tagger._network = None
        raise


def bucketed(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Each index once, in batches of like length, in random order."""
    shuffled = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(shuffled), SHUFFLED * size):
        alike = sorted(shuffled[start : start + SHUFFLED * size], key=lambda i: lengths[i])
        batches += [[int(i) for i in alike[i : i + size]] for i in range(0, len(alike), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def epoch_plan(texts: int, largest: int, steps: int) -> tuple[int, int]:
    """Texts a step and passes over them, such that an epoch has `steps` steps at least.

    Few texts go in smaller batches than `largest`, down to 4 (Shelmanov et al. 2021, appendix C); very few are read
    several times an epoch.
    """
    size = min(largest, max(4, texts // steps))
    return size, math.ceil(steps / math.ceil(texts / size))


def suited(words: int) -> tuple[int, int]:
    """Epochs, and texts a step, for so many words to learn from: fewer labels are read more often, in smaller steps.

    Fitted to 2, 10 and 100% of CoNLL-2003 (4,000, 20,000 and 204,000 words: 29, 15 and 6 epochs).
    """
    epochs = round(15 * (20_000 / max(words, 1)) ** 0.4)
    return min(max(epochs, LEAST_EPOCHS), MOST_EPOCHS), 8 if words < 10_000 else 16 if words < 100_000 else 32


def warm_up_and_decay(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear climb over the first tenth of all steps, then linearly down to 0."""
    warm_up = max(1, steps // 10)
    return (step + 1) / warm_up if step < warm_up else (steps - step) / max(1, steps - warm_up)


class BestEpoch:
    """The weights of the epoch that was best on the dev set; the later one if two were."""

    def __init__(self, network: nn.Module, patience: int) -> None:
        self._network, self._patience = network, patience
        self._f1, self._worse = -1.0, 0
        self._weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def ends(self, f1: float | None) -> bool:
        """Take note of an epoch's dev F1; whether `patience` epochs in a row have now been worse than the best.

        Without a dev set (None) no epoch is better than another, and there is no end.
        """
        if f1 is None:
            return False
        if f1 < self._f1:
            self._worse += 1
            return self._worse >= self._patience
        self._f1, self._worse = f1, 0
        learning = ((name, weight) for name, weight in self._network.named_parameters() if weight.requires_grad)
        self._weights = {name: weight.detach().clone() for name, weight in learning}
        return False

    def restore(self) -> None:
        """Give the network the best epoch's weights; without a dev set it keeps those it has."""
        self._network.load_state_dict(self._weights, strict=False)
