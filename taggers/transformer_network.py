"""The networks of the transformer tagger: an encoder that learns, or vectors that do not, and what reads tags off."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from taggers.chunk_crf import ChunkCRF, state_axis
from taggers.crf_maths import Chains
from taggers.dropout import KeyedDropout, kept
from taggers.unpadded import Unpadded, UnpaddedDropout
from taggers.warm_start import Axis
from taggers.word_pieces import CAPITALISATIONS, PieceBatch

HEADS_AT_ONCE = {"cpu": 2560, "cuda": 65536}
"""Words times passes that go through the head at once; a processor's cache again."""
_COPYING = threading.Lock()


class TransformerNetwork(nn.Module, ABC):
    """Dropout and a linear layer over the states of words, and perhaps a CRF over that (Lafferty et al. 2001).

    Axes: N words of all passages in a row, H their states' width, C tags, S what the linear layer speaks of: tags, or
    the CRF's states.
    """

    def __init__(self, width: int, tags: int, crf: bool) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(0.1)
        self.crf = ChunkCRF(tags) if crf else None
        self.head = nn.Linear(width, self.crf.states if self.crf else tags)

    @abstractmethod
    def forward(self, batch: Any) -> Tensor:
        """(N, H) float32 states, as learning needs them."""

    def states(self, batch: Any, dtype: torch.dtype) -> Tensor:
        """(N, H) float32 states as tagging needs them: computed in `dtype`, the same in every company."""
        return self(batch)

    drops_inside: ClassVar[bool] = False
    """Whether there is dropout besides that before the last layer."""

    def stochastic_states(self, batch: Any, dtype: torch.dtype, keys_R: Tensor, common: Tensor) -> Tensor:
        """The same with the dropout inside on, its masks by the keys of the R passages (see `KeyedDropout`)."""
        raise NotImplementedError

    def loss(self, batch: Any, lengths_R: Sequence[int], tags_N: Tensor) -> Tensor:
        """Mean over the words of −log P in nats: of each word's tag, or with a CRF of each passage's sequence."""
        states_NH = self(batch)
        with torch.autocast(states_NH.device.type, enabled=False):
            logits_NS = self.head(self.dropout(states_NH))
            if self.crf is None:
                return cross_entropy(logits_NS, tags_N)
            logits_RTS, tags_RT = (
                pad_sequence(parts.split([*lengths_R]), batch_first=True) for parts in (logits_NS, tags_N)
            )
            return self.crf.loss(logits_RTS, torch.tensor(lengths_R, device=tags_N.device), tags_RT)

    def dropped_heads(self, states_NH: Tensor, keys_NM: Tensor) -> Tensor:
        """(N, M, S): one state through the head under M masks of the dropout before it.

        Probabilities; logits if a CRF is to make something of them.
        """
        M, p = keys_NM.shape[1], self.dropout.p
        parts = []
        rows = max(1, HEADS_AT_ONCE[states_NH.device.type] // M)
        for states_nH, keys_nM in zip(states_NH.split(rows), keys_NM.split(rows), strict=True):
            dropped_nMH = kept(keys_nM, states_nH.shape[1:], p).mul_(states_nH[:, None])
            # Tags first: a softmax over the last, short axis cannot be vectorised.
            logits_SX = torch.addmm(self.head.bias[:, None], self.head.weight / (1 - p), dropped_nMH.flatten(0, 1).T)
            said_SX = logits_SX.softmax(dim=0) if self.crf is None else logits_SX
            parts.append(said_SX.view(-1, *keys_nM.shape).permute(1, 2, 0))
        return torch.cat(parts)

    def decode(self, logits_BTS: NDArray[np.float32], lengths_B: NDArray[np.int64]) -> Chains:
        """The best path of whole texts. Without a CRF tags are independent: the likeliest of each word."""
        if self.crf is not None:
            return self.crf.solve(logits_BTS.astype(np.float64), lengths_B)
        inside_BT = np.arange(logits_BTS.shape[1]) < lengths_B[:, None]
        path_BT = logits_BTS.argmax(axis=2) * inside_BT
        relative_BTC = logits_BTS - logits_BTS.max(axis=2, keepdims=True).astype(np.float64)
        marginals_BTC = np.exp(relative_BTC)
        total_BT = marginals_BTC.sum(axis=2)
        marginals_BTC *= (inside_BT / total_BT)[:, :, None]
        return Chains(path_BT, -(np.log(total_BT) * inside_BT).sum(axis=1), marginals_BTC)

    def decode_passes(
        self, said_BMTS: NDArray[np.float32], lengths_B: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(B, M, T, C) probabilities and (B, M, T) best paths of what `dropped_heads` has said."""
        if self.crf is None:
            return said_BMTS, said_BMTS.argmax(axis=3)
        of_passes = [self.decode(said_BMTS[:, m], lengths_B) for m in range(said_BMTS.shape[1])]
        marginals_BMTC = np.stack([chains.marginals_BTC for chains in of_passes], axis=1, dtype=np.float32)
        return marginals_BMTC, np.stack([chains.path_BT for chains in of_passes], axis=1)

    def own_weights(self) -> dict[str, Tensor]:
        """All weights but the encoder's, in place."""
        return {name: weight for name, weight in self.state_dict().items() if not name.startswith("encoder.")}

    def axes(self, now: Sequence[str], before: Sequence[str]) -> dict[str, Sequence[Axis]]:
        """Which axes stand for tags, for a start from a network of other tags."""
        tags = Axis(now, before)
        rows = [tags if self.crf is None else state_axis(tags)]
        of_crf = {} if self.crf is None else {f"crf.{name}": axes for name, axes in self.crf.axes(tags).items()}
        return {"head.weight": rows, "head.bias": rows, **of_crf}


class FineTuned(TransformerNetwork):
    """An encoder that learns; what an uncased one cannot see, each word's capitalisation, is added to its input."""

    drops_inside = True

    def __init__(self, encoder: PreTrainedModel, tags: int, *, capitalisation: bool, crf: bool) -> None:
        super().__init__(encoder.config.hidden_size, tags, crf)
        self.encoder = encoder
        self.capitalisation: nn.Embedding | None = None
        if capitalisation:
            table = cast(nn.Embedding, encoder.get_input_embeddings())
            self.capitalisation = nn.Embedding(len(CAPITALISATIONS), table.embedding_dim)
            # From zero, so that learning begins with the encoder as it was pretrained.
            nn.init.zeros_(self.capitalisation.weight)
        self._rough: tuple[FineTuned, ...] = ()  # in a tuple, which keeps it out of this module's weights

    def forward(self, batch: PieceBatch) -> Tensor:
        """The encoder's last state at the first piece of each word."""
        vectors_RPE = self.encoder.get_input_embeddings()(batch.pieces_RP)
        if self.capitalisation is not None:
            vectors_RPE = vectors_RPE + self.capitalisation(batch.kinds_RP)
        states_RPH = self.encoder(inputs_embeds=vectors_RPE, attention_mask=batch.mask_RP).last_hidden_state
        return states_RPH.flatten(0, 1)[batch.firsts_N].float()

    def states(self, batch: PieceBatch, dtype: torch.dtype) -> Tensor:
        reading = self._in(dtype)
        if batch.pieces_RP.is_cuda or min(batch.lengths) == max(batch.lengths):  # CUDA is slow at many lengths
            return reading(batch)
        with Unpadded(batch.lengths):
            return reading(batch)

    def stochastic_states(self, batch: PieceBatch, dtype: torch.dtype, keys_R: Tensor, common: Tensor) -> Tensor:
        """A ValueError tells of the rare encoder whose dropout cannot be keyed."""
        reading, device = self._in(dtype), batch.pieces_RP.device
        keys = (keys_R.to(device), common.to(device))
        dropout = KeyedDropout(*keys) if device.type == "cuda" else UnpaddedDropout(*keys, batch.lengths)
        # Training mode, because an encoder tells scaled dot-product attention its dropout in that only.
        reading.encoder.train()
        try:
            with dropout:
                return reading(batch)
        finally:
            reading.encoder.eval()

    def train(self, mode: bool = True) -> FineTuned:
        """Whenever learning begins or ends, the copy in another precision is out of date."""
        self._rough = ()
        return super().train(mode)

    def _in(self, dtype: torch.dtype) -> FineTuned:
        """This network, or its copy in `dtype`: quicker than autocast, which casts the weights each time."""
        if dtype == torch.float32:
            return self
        with _COPYING:
            if not self._rough or self._rough[0].head.weight.dtype != dtype:
                with torch.inference_mode(False):
                    self._rough = (copy.deepcopy(self).requires_grad_(False).to(dtype).eval(),)
            return self._rough[0]
