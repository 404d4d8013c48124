"""The networks of the transformer classifier: an encoder that learns, or vectors that do not, and a linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import PreTrainedModel

from taggers.dropout import kept
from taggers.frozen_network import Frozen
from taggers.transformer_network import HEADS_AT_ONCE, FineTuned, TransformerNetwork
from taggers.warm_start import Axis
from taggers.word_pieces import PieceBatch

Pooling = Literal["mean", "cls"]


class TextNetwork(TransformerNetwork):
    """Dropout and a linear layer over one state of a whole text; L labels, of which one is right, or several."""

    several: bool

    def loss(self, batch: Any, lengths_R: Sequence[int], targets: Tensor) -> Tensor:
        """Mean over the passages of −log P in nats: of the label, targets (R,); or of all L answers, targets (R, L)."""
        states_RH = self(batch)
        with torch.autocast(states_RH.device.type, enabled=False):
            scores_RL = self.head(self.dropout(states_RH))
            if self.several:
                return binary_cross_entropy_with_logits(scores_RL, targets, reduction="sum") / len(targets)
            return cross_entropy(scores_RL, targets)

    def dropped_heads(self, states_NH: Tensor, keys_NM: Tensor) -> Tensor:
        """(N, M, L): the scores of one state under M masks of the dropout before the head."""
        p, parts = self.dropout.p, []
        rows = max(1, HEADS_AT_ONCE[states_NH.device.type] // keys_NM.shape[1])
        for states_nH, keys_nM in zip(states_NH.split(rows), keys_NM.split(rows), strict=True):
            dropped_nMH = kept(keys_nM, states_nH.shape[1:], p).mul_(states_nH[:, None])
            parts.append(self.head(dropped_nMH / (1 - p)))
        return torch.cat(parts)

    def axes(self, now: Sequence[str], before: Sequence[str]) -> dict[str, Sequence[Axis]]:
        """See `TransformerNetwork.axes`; what has names here are the labels."""
        return {"head.weight": [Axis(now, before)], "head.bias": [Axis(now, before)]}


class FineTunedTexts(FineTuned, TextNetwork):
    """An encoder that learns. A passage's state is the mean over the words that it answers for, each the encoder's
    last state at its first piece, so that over all passages it is the mean of the text; or that of the first piece."""

    def __init__(self, encoder: PreTrainedModel, labels: int, *, several: bool, pooling: Pooling) -> None:
        super().__init__(encoder, max(1, labels), capitalisation=False, crf=False)
        self.several, self._pooling = several, pooling

    def forward(self, batch: PieceBatch) -> Tensor:
        """(R, H) a state of each passage."""
        R, P = batch.pieces_RP.shape
        if self._pooling == "cls":
            return super().forward(replace(batch, firsts_N=torch.arange(0, R * P, P, device=batch.firsts_N.device)))
        states_NH, row_N = super().forward(batch), batch.firsts_N // P
        sums_RH = states_NH.new_zeros(R, states_NH.shape[1]).index_add(0, row_N, states_NH)
        return sums_RH / row_N.bincount(minlength=R)[:, None]


class FrozenTexts(Frozen, TextNetwork):
    """Standardised vectors, one a text."""

    def __init__(self, width: int, labels: int, *, several: bool) -> None:
        super().__init__(width, max(1, labels), capitalisation=False, crf=False)
        self.several = several
