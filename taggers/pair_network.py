"""The network of the relation classifier: a pre-trained encoder or decoder, the pair's state in it, a linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from taggers.pair_reading import OPENS_FIRST, OPENS_SECOND, ROLES, Input
from taggers.transformer_network import FineTuned
from taggers.word_pieces import PieceBatch


class PairNetwork(FineTuned):
    """One state of a pair, from which its class is read.

    What a piece is to the pair is added to its vector, as BERT adds segments; from zero, so that learning begins with
    the encoder as it was pre-trained. The state is, in an encoder, the mean over the pieces ("distre") or the states
    of the two opening marks side by side ("markers"); in a decoder, whose pieces see none that follow, the last one.
    """

    weights: Tensor
    """(C,) of each class in the loss."""

    def __init__(self, encoder: PreTrainedModel, classes: int, labels: int, input: Input) -> None:
        super().__init__(encoder, classes, capitalisation=False, crf=False)
        table = cast(nn.Embedding, encoder.get_input_embeddings())
        self.kinds = nn.Embedding(len(ROLES) * (labels + 1), table.embedding_dim)
        nn.init.zeros_(self.kinds.weight)
        self._labels, self._last = labels + 1, reads_backwards_only(encoder)
        self._marked = input == "markers" and not self._last
        if self._marked:
            self.head = nn.Linear(2 * self.head.in_features, classes)
        self.register_buffer("weights", torch.ones(classes), persistent=False)

    def forward(self, batch: PieceBatch) -> Tensor:
        """(R, H) float32 states of the pairs."""
        vectors_RPE = self.encoder.get_input_embeddings()(batch.pieces_RP) + self.kinds(batch.kinds_RP)
        states_RPH = self.encoder(inputs_embeds=vectors_RPE, attention_mask=batch.mask_RP).last_hidden_state.float()
        if self._last:
            rows_R = torch.arange(len(states_RPH), device=states_RPH.device)
            return states_RPH[rows_R, batch.mask_RP.sum(dim=1) - 1]
        if not self._marked:
            return (states_RPH * batch.mask_RP[:, :, None]).sum(dim=1) / batch.mask_RP.sum(dim=1, keepdim=True)
        roles_RP = batch.kinds_RP // self._labels
        return torch.cat([states_RPH[roles_RP == opens] for opens in (OPENS_FIRST, OPENS_SECOND)], dim=1)

    def loss(self, batch: PieceBatch, lengths_R: Sequence[int], tags_N: Tensor) -> Tensor:
        """Mean over the pairs of −log P(class) in nats, by the classes' weights."""
        states_RH = self(batch)
        with torch.autocast(states_RH.device.type, enabled=False):
            return cross_entropy(self.head(self.dropout(states_RH)), tags_N, self.weights)


@torch.inference_mode()
def reads_backwards_only(model: PreTrainedModel) -> bool:
    """Whether a piece's state knows nothing of the pieces that follow: so it is in decoders (GPT and its kin)."""
    table = cast(nn.Embedding, model.get_input_embeddings())
    vectors_RPE = torch.zeros(2, 3, table.embedding_dim, device=table.weight.device, dtype=table.weight.dtype)
    vectors_RPE[1, -1, ::2] = 1.0
    first_RH = model.eval()(inputs_embeds=vectors_RPE).last_hidden_state[:, 0]
    return torch.allclose(first_RH[0], first_RH[1])
