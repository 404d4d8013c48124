"""Layers that our own networks are made of. Axes: B texts, T words (padded), E numbers of a word, U units."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from taggers.word_features import UNKNOWN, WordFeatures


class LockedDropout(nn.Module):
    """Drops the same numbers of all words of a text (Gal and Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def mask(self, states_BTE: Tensor) -> Tensor | None:
        """(B, 1, E) to multiply with, None if nothing is dropped."""
        if not self.training or self.p == 0:
            return None
        shape = (len(states_BTE), 1, states_BTE.shape[2])
        return states_BTE.new_empty(shape).bernoulli_(1 - self.p).div_(1 - self.p)

    def forward(self, states_BTE: Tensor) -> Tensor:
        mask_B1E = self.mask(states_BTE)
        return states_BTE if mask_B1E is None else states_BTE * mask_B1E


class WordDropout(nn.Module):
    """Drops whole words."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, words_BTE: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return words_BTE
        return words_BTE * words_BTE.new_empty((*words_BTE.shape[:2], 1)).bernoulli_(1 - self.p)


class UnknownWords(nn.Module):
    """Words lose the vector that was learned for them and take that of words that nobody knows (Shen et al. 2017,
    sec. 2); what else is known of them, their characters say, stays."""

    def __init__(self, features: WordFeatures, p: float) -> None:
        super().__init__()
        if features.words is None:
            raise ValueError("words without a learned vector cannot become unknown: set word_units")
        self.p = p
        self._table = (features.words,)  # in a tuple, because its weights belong to the features

    def forward(self, words_BTE: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return words_BTE
        kept_BT1 = words_BTE.new_empty((*words_BTE.shape[:2], 1)).bernoulli_(1 - self.p)
        unknown_U = self._table[0].weight[UNKNOWN]
        learned_BTU, others = words_BTE.split([len(unknown_U), words_BTE.shape[2] - len(unknown_U)], dim=2)
        return torch.cat([torch.lerp(unknown_U.expand_as(learned_BTU), learned_BTU, kept_BT1), others], dim=2)


class WordEncoder(nn.Module, ABC):
    """Reads words in their context. What stands in the padding changes no result; what it says of it means nothing.

    In training mode it drops words by `word_dropout`, and numbers of all words of a text by `locked_dropout`.
    """

    def __init__(self, width: int, word_dropout: nn.Module, dropout: float) -> None:
        """`width`: of what it says of a word."""
        super().__init__()
        self.width = width
        self.word_dropout = word_dropout
        self.locked_dropout = LockedDropout(dropout)

    @abstractmethod
    def forward(self, words_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, T, width), T at least 1."""


class BiLSTM(nn.Module):
    """One layer of LSTM each way. Each text is read by itself: the backward LSTM begins at its last word.

    On padded batches that are turned round, which on a processor is quicker than packing them: torch reads those by a
    kernel of its own.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, units, batch_first=True)
        self.backwards = nn.LSTM(width, units, batch_first=True)

    def forward(self, states_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, T, 2U), at least one word wide; what it says of the padding means nothing."""
        turn_BT1 = turned(lengths_B, states_BTE.shape[1])[:, :, None]
        left_BTU, _ = self.forwards(states_BTE)
        right_BTU, _ = self.backwards(states_BTE.gather(1, turn_BT1.expand_as(states_BTE)))
        return torch.cat([left_BTU, right_BTU.gather(1, turn_BT1.expand_as(right_BTU))], dim=2)


def inside(lengths_B: Tensor, T: int) -> Tensor:
    """(B, T) where the words are, not the padding."""
    return torch.arange(T, device=lengths_B.device) < lengths_B[:, None]


def turned(lengths_B: Tensor, T: int) -> Tensor:
    """(B, T) the place of each word when the text is read from its end; the padding stays where it is."""
    places_T = torch.arange(T, device=lengths_B.device)
    return torch.where(inside(lengths_B, T), lengths_B[:, None] - 1 - places_T, places_T)
