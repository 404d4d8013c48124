"""From words in their context to tags: each by itself, as a chain (CRF), or one after another (LSTM).

Axes: B texts, T words (padded, at least 1), E numbers of an encoded word, H those that enter the last linear layer,
C tags. What stands in the padding of an argument changes no result; what stands there in a result means nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from taggers.chunk_crf import ChunkCRF, state_axis
from taggers.layers import LockedDropout, inside
from taggers.warm_start import Axis

TAG_UNITS = 32
"""Numbers in the vector that is learned for each tag."""
GO = "GO"
"""Stands before the first tag; no tag has this name."""

Axes = dict[str, Sequence[Axis]]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The tags of B texts."""

    path_BT: Tensor
    log_prob_B: Tensor
    """float64: the log-probability of the path."""
    marginals_BTC: Tensor
    """float32"""
    hidden_BTH: Tensor
    """What enters the last linear layer, before any dropout."""


class TagDecoder(nn.Module, ABC):
    """The last layer and what is made of its answers. In training mode `last_dropout` drops before that layer."""

    def __init__(self, width: int, answers: int, dropout: float) -> None:
        super().__init__()
        self.last_dropout = LockedDropout(dropout)
        self.head = nn.Linear(width, answers)

    @abstractmethod
    def loss(self, encoded_BTE: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        """() mean over all words of −log P(tags|x) in nats."""

    @abstractmethod
    def decode(self, encoded_BTE: Tensor, lengths_B: Tensor) -> Decoded:
        """The best path that can be found."""

    def tag_axes(self, tags: Axis) -> Axes:
        """The axes along tags, by the name of the parameter."""
        return {"head.weight": [tags], "head.bias": [tags]}


class SoftmaxDecoder(TagDecoder):
    """Tags are independent given the text: log P(path|x) = Σ_t log p_t."""

    def loss(self, encoded_BTE: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        return _tag_loss(self.head(self.last_dropout(encoded_BTE)), lengths_B, tags_BT)

    def decode(self, encoded_BTE: Tensor, lengths_B: Tensor) -> Decoded:
        logits_BTC = self.head(self.last_dropout(encoded_BTE))
        return _along(logits_BTC.argmax(dim=2), logits_BTC, lengths_B, encoded_BTE)


class CRFDecoder(TagDecoder):
    """The tags of a text are chosen together (Lample et al. 2016, sec. 2.2), exactly. The last layer speaks of the
    CRF's states."""

    def __init__(self, width: int, tags: int, dropout: float) -> None:
        crf = ChunkCRF(tags)
        super().__init__(width, crf.states, dropout)
        self.crf = crf

    def loss(self, encoded_BTE: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        return self.crf.loss(self.head(self.last_dropout(encoded_BTE)), lengths_B, tags_BT)

    def decode(self, encoded_BTE: Tensor, lengths_B: Tensor) -> Decoded:
        emissions_BTS = self.head(self.last_dropout(encoded_BTE)).detach().double().cpu().numpy()
        chains = self.crf.solve(emissions_BTS, lengths_B.cpu().numpy())
        arrays = (chains.path_BT, chains.log_prob_B, chains.marginals_BTC.astype(np.float32))
        path_BT, log_prob_B, marginals_BTC = (torch.from_numpy(array).to(encoded_BTE.device) for array in arrays)
        return Decoded(path_BT, log_prob_B, marginals_BTC, encoded_BTE)

    def tag_axes(self, tags: Axis) -> Axes:
        of_crf = {f"crf.{name}": axes for name, axes in ChunkCRF.axes(tags).items()}
        return {**super().tag_axes(state_axis(tags)), **of_crf}


class LSTMDecoder(TagDecoder):
    """P(tags|x) = Π_t P(tag_t | tag_1 … tag_t−1, x), by an LSTM over each word's encoding and the tag of the word
    before it (Shen et al. 2017, sec. 2, "Tag Decoder"); H are its units.

    The best path cannot be computed: it is decoded greedily, from left to right, and the marginals are the
    distributions along that path.
    """

    def __init__(self, width: int, units: int, tags: int, dropout: float) -> None:
        super().__init__(units, tags, dropout)
        self.tags = nn.Embedding(tags + 1, TAG_UNITS)
        self.lstm = nn.LSTM(width + TAG_UNITS, units, batch_first=True)

    def loss(self, encoded_BTE: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        return _tag_loss(self.forced(encoded_BTE, tags_BT), lengths_B, tags_BT)

    def forced(self, encoded_BTE: Tensor, tags_BT: Tensor) -> Tensor:
        """(B, T, C) logits of each word's tag, those before it being `tags_BT`."""
        go_B1 = torch.full_like(tags_BT[:, :1], self.tags.num_embeddings - 1)
        before_BT = torch.cat([go_B1, tags_BT[:, :-1]], dim=1)
        states_BTH, _ = self.lstm(torch.cat([encoded_BTE, self.tags(before_BT)], dim=2))
        return self.head(self.last_dropout(states_BTH))

    def decode(self, encoded_BTE: Tensor, lengths_B: Tensor) -> Decoded:
        B = len(encoded_BTE)
        weight_GE, recurrent_GH, bias_G, recurrent_bias_G = self.lstm.all_weights[0]
        of_word_GE, of_tag_GE = weight_GE.split([encoded_BTE.shape[2], TAG_UNITS], dim=1)
        given_BTG = linear(encoded_BTE, of_word_GE, bias_G + recurrent_bias_G)
        after_tag_CG = linear(self.tags.weight, of_tag_GE)
        state_BH = cell_BH = encoded_BTE.new_zeros(B, self.lstm.hidden_size)
        mask_B1H = self.last_dropout.mask(state_BH[:, None])
        mask_BH = torch.ones_like(state_BH) if mask_B1H is None else mask_B1H[:, 0]
        tag_B = torch.full((B,), self.tags.num_embeddings - 1, device=encoded_BTE.device)
        states, logits, path = [], [], []
        for given_BG in given_BTG.unbind(dim=1):
            gates_BG = torch.addmm(given_BG + after_tag_CG[tag_B], state_BH, recurrent_GH.T)
            admit, keep, new, show = gates_BG.chunk(4, dim=1)  # in the order of torch.nn.LSTM
            cell_BH = keep.sigmoid() * cell_BH + admit.sigmoid() * new.tanh()
            state_BH = show.sigmoid() * cell_BH.tanh()
            logits_BC = self.head(state_BH * mask_BH)
            tag_B = logits_BC.argmax(dim=1)
            states.append(state_BH)
            logits.append(logits_BC)
            path.append(tag_B)
        return _along(torch.stack(path, dim=1), torch.stack(logits, dim=1), lengths_B, torch.stack(states, dim=1))

    def tag_axes(self, tags: Axis) -> Axes:
        return {**super().tag_axes(tags), "tags.weight": [Axis([*tags.now, GO], [*tags.before, GO])]}


def _tag_loss(logits_BTC: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
    within_BT = inside(lengths_B, tags_BT.shape[1])
    return cross_entropy(logits_BTC[within_BT], tags_BT[within_BT])


def _along(path_BT: Tensor, logits_BTC: Tensor, lengths_B: Tensor, hidden_BTH: Tensor) -> Decoded:
    """The distributions along a path, each given by its logits."""
    log_p_BTC = logits_BTC.double().log_softmax(dim=2)
    of_path_BT = log_p_BTC.gather(2, path_BT[:, :, None])[:, :, 0]
    log_prob_B = (of_path_BT * inside(lengths_B, path_BT.shape[1])).sum(dim=1)
    return Decoded(path_BT, log_prob_B, log_p_BTC.exp().float(), hidden_BTH)
