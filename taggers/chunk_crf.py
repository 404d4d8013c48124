"""A CRF that tells where spans begin and end by five kinds of tags, and is spoken to in three (BIO)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from taggers.crf_layer import CRFLayer
from taggers.crf_maths import FORBIDDEN, Chains, Floats, solve
from taggers.layers import inside
from taggers.warm_start import Axis


class ChunkCRF(nn.Module):
    """A linear chain over BIOES (begin, inside, outside, end, single), which Ratinov and Roth 2009, sec. 5, find better
    than BIO, in which no span breaks off or begins in its middle.

    Each BIO path that means anything is one BIOES path, so probabilities in BIO are exact: that of a path is the same,
    B's is that of B and S, I's that of I and E. A BIO path in which I follows no B or I of its label has none.
    Axes: B texts, T words (padded), C tags in the order of `labels.bio_tags`, S states.
    """

    _state_CC: Tensor

    def __init__(self, tags: int) -> None:
        super().__init__()
        names = ["O", *(f"{kind}-{label}" for label in range(tags // 2) for kind in "BI")]
        states = states_of(names)
        self.states = len(states)
        self.chain = CRFLayer(len(states))
        self._tag_S = np.array([names.index(_tag(state)) for state in states])
        of_step = [[states.index(_state(tag, after)) for after in names] for tag in names]
        self.register_buffer("_state_CC", torch.tensor(of_step), persistent=False)
        self._rule_out(states)

    @torch.no_grad()
    def _rule_out(self, states: Sequence[str]) -> None:
        begins, ends = ([state[0] not in kinds for state in states] for kinds in ("IE", "BI"))
        goes_on = [[a[0] in "BI" and b[0] in "IE" and a[2:] == b[2:] for b in states] for a in states]
        allowed_SS = (torch.tensor(ends)[:, None] & torch.tensor(begins)) | torch.tensor(goes_on)
        self.chain.start_C[~torch.tensor(begins)] = FORBIDDEN
        self.chain.between_CC[~allowed_SS] = FORBIDDEN
        self.chain.stop_C[~torch.tensor(ends)] = FORBIDDEN

    def loss(self, emissions_BTS: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        """() mean over all words of −log P(tags|x) in nats. The padding is not read."""
        tags_BT = tags_BT * inside(lengths_B, tags_BT.shape[1])  # what stands behind a text is O
        after_BT = torch.cat([tags_BT[:, 1:], torch.zeros_like(tags_BT[:, :1])], dim=1)
        return self.chain.loss(emissions_BTS, lengths_B, self._state_CC[tags_BT, after_BT])

    def solve(self, emissions_BTS: Floats, lengths_B: NDArray[np.int64]) -> Chains:
        """The best path, its probability, and the probability of every tag, in BIO; zero in the padding."""
        chains = solve(emissions_BTS, lengths_B, self.chain.transitions())
        inside_BT = np.arange(emissions_BTS.shape[1]) < lengths_B[:, None]
        of_tag_SC = np.eye(len(self._state_CC))[self._tag_S]
        return Chains(self._tag_S[chains.path_BT] * inside_BT, chains.log_prob_B, chains.marginals_BTC @ of_tag_SC)

    @staticmethod
    def axes(tags: Axis) -> dict[str, Sequence[Axis]]:
        """The axes along states, by the name of the parameter, for the tags of two models."""
        states = state_axis(tags)
        return {"chain.start_C": [states], "chain.between_CC": [states, states], "chain.stop_C": [states]}


def states_of(tags: Sequence[str]) -> list[str]:
    """The BIOES tags of the labels that these BIO tags name."""
    return ["O", *(f"{kind}-{tag[2:]}" for tag in tags if tag.startswith("B-") for kind in "BIES")]


def state_axis(tags: Axis) -> Axis:
    """The rows along states, now and before."""
    return Axis(states_of(tags.now), states_of(tags.before))


def _tag(state: str) -> str:
    """The BIO tag that a BIOES tag amounts to."""
    return {"S": "B", "E": "I"}.get(state[0], state[0]) + state[1:]


def _state(tag: str, after: str) -> str:
    """The BIOES tag of a word, by its BIO tag and the next word's."""
    if tag == "O" or after == f"I-{tag[2:]}":
        return tag
    return f"{'S' if tag[0] == 'B' else 'E'}-{tag[2:]}"
