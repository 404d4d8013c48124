"""A linear-chain CRF as a layer: the loss to train a network with; `crf_maths` finds its best paths and marginals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from taggers.crf_maths import Transitions

LEAST = 1e-150
"""A factor of a path that is less than this share of its best rival counts as this share: no sum vanishes."""


class CRFLayer(nn.Module):
    """Scores of the steps between tags, learned with the network that gives the emissions (Lample et al. 2016).

    Axes: B sentences, T words (padded), C tags.
    """

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.start_C = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))
        self.between_CC = nn.Parameter(torch.empty(tags, tags).uniform_(-0.1, 0.1))
        """[from, to]"""
        self.stop_C = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))

    def loss(self, emissions_BTC: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        """Mean over all words of −log P(tags|x) in nats, 0 if there are none. The padding is not read."""
        lengths_B, tags_BT = (x.to(emissions_BTC.device) for x in (lengths_B, tags_BT))
        log_z = log_partition(emissions_BTC, lengths_B, self.start_C, self.between_CC, self.stop_C)
        loss = (log_z - self._score(emissions_BTC, lengths_B, tags_BT)) / lengths_B.sum().clamp(min=1)
        return loss.to(self.start_C.dtype)

    def transitions(self) -> Transitions:
        """The parameters as `crf_maths.solve` takes them."""
        weights = (self.start_C, self.between_CC, self.stop_C)
        return Transitions(*(weight.detach().cpu().numpy().astype(np.float64) for weight in weights))

    def _score(self, emissions_BTC: Tensor, lengths_B: Tensor, tags_BT: Tensor) -> Tensor:
        """The sum over sentences of the scores of the paths `tags_BT`."""
        b, t = _inside(lengths_B, tags_BT.shape[1]).nonzero(as_tuple=True)  # the words, sentence after sentence
        tag_N = tags_BT[b, t]
        first_N, last_N = t == 0, t == lengths_B[b] - 1
        parts = (
            emissions_BTC[b, t, tag_N],
            self.start_C[tag_N[first_N]],
            self.between_CC[tag_N[~last_N], tag_N[~first_N]],
            self.stop_C[tag_N[last_N]],
        )
        return torch.cat(parts).double().sum()


def log_partition(
    emissions_BTC: Tensor, lengths_B: Tensor, start_C: Tensor, between_CC: Tensor, stop_C: Tensor
) -> Tensor:
    """log Z summed over the sentences, 0 for one without words, in float64; see `crf_maths.Transitions`.

    Its gradients are the expected counts of tags and steps (Sutton and McCallum 2012, sec. 5.1), which
    forward-backward gives at once, quicker than autograd along the words.
    """
    if emissions_BTC.shape[1] == 0:
        return emissions_BTC.double().sum()
    return _LogPartition.apply(emissions_BTC, lengths_B, start_C, between_CC, stop_C)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, emissions_BTC: Tensor, lengths_B: Tensor, start_C: Tensor, between_CC: Tensor, stop_C: Tensor
    ) -> Tensor:
        weights = (emissions_BTC, start_C, between_CC, stop_C)
        log_z, counts = _forward_backward(lengths_B, *(weight.double() for weight in weights))
        ctx.save_for_backward(*(count.to(weight.dtype) for count, weight in zip(counts, weights, strict=True)))
        return log_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tags_BTC, start_C, between_CC, stop_C = (count * grad.to(count.dtype) for count in ctx.saved_tensors)
        return tags_BTC, None, start_C, between_CC, stop_C


def _forward_backward(
    lengths_B: Tensor, emissions_BTC: Tensor, start_C: Tensor, between_CC: Tensor, stop_C: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """log Z of all sentences together, and what is to be expected of each weight: the tags, starts, steps, stops."""
    B, T, C = emissions_BTC.shape
    inside_BT1 = _inside(lengths_B, T)[:, :, None]
    at_BTC, at_max = _relative(emissions_BTC.masked_fill(~inside_BT1, 0), (2,))
    first_C, first_max = _relative(start_C, (0,))
    step_CC, step_max = _relative(between_CC, (0, 1))
    last_C, last_max = _relative(stop_C, (0,))

    # The sentences are read from both ends in one go; `mirror` lays the words read from the right end back in order.
    t_T = torch.arange(T, device=lengths_B.device)
    mirror_BTC = torch.where(inside_BT1[:, :, 0], lengths_B[:, None] - 1 - t_T, t_T)[:, :, None].expand(B, T, C)
    before_2BTC, upto_2BTC, log_norm_BT1 = _read(
        torch.stack([first_C, last_C]),
        torch.stack([step_CC, step_CC.T]),
        torch.stack([at_BTC, at_BTC.gather(1, mirror_BTC)]),
    )
    left_BTC = upto_2BTC[0]
    right_BTC, after_BTC = upto_2BTC[1].gather(1, mirror_BTC), before_2BTC[1].gather(1, mirror_BTC)

    # All paths pass through the tags of each word, so their mass there is Z, on a scale of the word's own.
    mass_BT1 = (left_BTC * after_BTC).sum(dim=2, keepdim=True)
    share_BTC = torch.where(inside_BT1, left_BTC / mass_BT1, 0)
    tags_BTC = share_BTC * after_BTC
    steps_CC = step_CC * torch.einsum("btc,btd->cd", share_BTC[:, :-1], right_BTC[:, 1:] * inside_BT1[:, 1:])

    b = lengths_B.nonzero()[:, 0]  # the sentences that have words
    last = lengths_B[b] - 1
    log_z = (
        ((at_max + log_norm_BT1) * inside_BT1).sum()
        + mass_BT1[b, last].log().sum()
        + step_max.sum() * last.sum()
        + (first_max + last_max).sum() * len(b)
    )
    return log_z, (tags_BTC, tags_BTC[b, 0].sum(dim=0), steps_CC, tags_BTC[b, last].sum(dim=0))


def _read(first_2C: Tensor, step_2CC: Tensor, at_2BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mass of all paths that reach a word's tags, (2, B, T, C) each: without the word, and with it and divided by
    its sum; and the log of that sum in the first of the two directions, (B, T, 1).
    """
    at_T2BC = at_2BTC.permute(2, 0, 1, 3).contiguous()
    before_T2BC, upto_T2BC = torch.empty_like(at_T2BC), torch.empty_like(at_T2BC)
    norm_T2B1 = at_T2BC.new_empty((*at_T2BC.shape[:3], 1))
    before_T2BC[0] = first_2C[:, None]
    words = zip(before_T2BC.unbind(), at_T2BC.unbind(), upto_T2BC.unbind(), norm_T2B1.unbind(), strict=True)
    reached = None
    for before, at, upto, norm in words:
        if reached is not None:
            torch.bmm(reached, step_2CC, out=before)
        torch.mul(before, at, out=upto)
        torch.sum(upto, dim=2, keepdim=True, out=norm)
        reached = upto.div_(norm)
    return before_T2BC.permute(1, 2, 0, 3), upto_T2BC.permute(1, 2, 0, 3), norm_T2B1[:, 0].log().transpose(0, 1)


def _relative(scores: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """exp(scores − their largest along `dims`), and that largest."""
    largest = scores.amax(dim=dims, keepdim=True)
    return (scores - largest).exp_().clamp_(min=LEAST), largest


def _inside(lengths_B: Tensor, T: int) -> Tensor:
    return torch.arange(T, device=lengths_B.device) < lengths_B[:, None]
