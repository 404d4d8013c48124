"""The transformer tagger without its transformer: a head over vectors that were computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from corpus import Word
from taggers.frozen_vectors import FrozenVectors
from taggers.standardised import Standardised
from taggers.transformer_network import TransformerNetwork
from taggers.word_pieces import CAPITALISATIONS, capitalisation

KINDS = 16
"""Units that say how a word is capitalised."""


@dataclass(frozen=True, slots=True)
class FrozenText:
    """A text as this network reads it, whole."""

    vectors_TF: NDArray[np.float16]
    kinds: list[int]
    """Of each word, its capitalisation."""
    start: int = 0

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def words(self) -> int:
        return len(self.kinds)


@dataclass(frozen=True, slots=True)
class FrozenBatch:
    """The words of several texts in a row."""

    vectors_NF: Tensor
    kinds_N: Tensor

    def to(self, device: torch.device) -> FrozenBatch:
        return FrozenBatch(self.vectors_NF.to(device), self.kinds_N.to(device))


class FrozenReader:
    """Reads words as their frozen vectors, and how they are capitalised."""

    def __init__(self, vectors: FrozenVectors) -> None:
        self._vectors = vectors

    def read(self, texts: Sequence[Sequence[Word]]) -> list[list[FrozenText]]:
        """One part for each text; none for a text without words."""
        words = [[word.text for word in text] for text in texts]
        vectors = self._vectors.of([text for text in words if text])
        of_text = iter(vectors)
        return [[FrozenText(next(of_text), [*map(capitalisation, text)])] if text else [] for text in words]

    def batch(self, texts: Sequence[FrozenText]) -> FrozenBatch:
        vectors_NF = torch.from_numpy(np.concatenate([text.vectors_TF for text in texts]))
        return FrozenBatch(vectors_NF, torch.tensor([kind for text in texts for kind in text.kinds]))


class Frozen(TransformerNetwork):
    """Standardised vectors, and an embedding of each word's capitalisation beside them."""

    def __init__(self, width: int, tags: int, *, capitalisation: bool, crf: bool) -> None:
        super().__init__(width + (KINDS if capitalisation else 0), tags, crf)
        self.standardised = Standardised(width)
        self.capitalisation = nn.Embedding(len(CAPITALISATIONS), KINDS) if capitalisation else None

    def forward(self, batch: FrozenBatch) -> Tensor:
        states_NF: Tensor = self.standardised(batch.vectors_NF)
        if self.capitalisation is None:
            return states_NF
        return torch.cat([states_NF, self.capitalisation(batch.kinds_N)], dim=1)
