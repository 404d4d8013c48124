"""Linear-chain CRF mathematics over batches: log Z, marginals and the best path, in log-space, NumPy only.

Axes: B sentences, T words (padded), C tags. Exact for texts of any length: scores stay logarithms, and only
differences from each step's largest are exponentiated (of tags 745 nats apart the lesser counts as impossible).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CELLS = 1_000_000
"""Numbers in the largest temporary array of a batch: 8 MB stay near the processor."""


@dataclass(frozen=True, slots=True)
class Transitions:
    """The part of a chain's score that does not depend on the words.

    A path y scores start[y_1] + Σ_t emission[t, y_t] + Σ_t between[y_t, y_t+1] + stop[y_n]; P(y|x) is the
    softmax of that over all paths (Lafferty et al. 2001). A forbidden step weighs -10,000 or less.
    """

    start_C: Floats
    between_CC: Floats
    """[from, to]"""
    stop_C: Floats


@dataclass(frozen=True, slots=True)
class Chains:
    """What a CRF says about a batch; everything beyond a sentence's length is zero."""

    path_BT: NDArray[np.int64]
    log_prob_B: Floats
    """log P(path|x): its score less log Z, at most 0; 0 for a sentence without words."""
    marginals_BTC: Floats


def batches(lengths: Sequence[int], tags: int) -> Iterator[NDArray[np.int64]]:
    """Positions in `lengths`, grouped by like length so that a batch's arrays stay small; ties keep their order."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # Ascending lengths: a batch is as wide as its last sentence.
        rows = stop = max(1, _CELLS // (tags * tags))
        for stop in range(start + 1, min(start + rows, len(order)) + 1):
            if stop < len(order) and (stop + 1 - start) * lengths[order[stop]] * tags > _CELLS:
                break
        yield order[start:stop]
        start = stop


def solve(emissions_BTC: Floats, lengths_B: NDArray[np.int64], transitions: Transitions) -> Chains:
    """The best path of each sentence, the log of its probability, and the probability of every tag."""
    emissions_BTC = np.asarray(emissions_BTC, dtype=np.float64)
    if emissions_BTC.shape[1] == 0:
        rows = len(lengths_B)
        return Chains(np.zeros((rows, 0), np.int64), np.zeros(rows), np.zeros_like(emissions_BTC))
    marginals_BTC, log_z_B = forward_backward(emissions_BTC, lengths_B, transitions)
    path_BT, score_B = viterbi(emissions_BTC, lengths_B, transitions)
    log_prob_B = np.where(lengths_B > 0, np.minimum(score_B - log_z_B, 0.0), 0.0)
    return Chains(path_BT, log_prob_B, marginals_BTC)


def forward_backward(
    emissions_BTC: Floats, lengths_B: NDArray[np.int64], transitions: Transitions
) -> tuple[Floats, Floats]:
    """Marginals (B, T, C), zero in the padding, and log Z (B,); T is at least 1."""
    B, T, C = emissions_BTC.shape
    inside_BT = np.arange(T) < lengths_B[:, None]
    forward_BTC = np.empty((B, T, C))
    forward_BTC[:, 0] = transitions.start_C + emissions_BTC[:, 0]
    step = _LogProduct(transitions.between_CC)
    for t in range(1, T):
        reached_BC = step(forward_BTC[:, t - 1]) + emissions_BTC[:, t]
        forward_BTC[:, t] = np.where(inside_BT[:, t, None], reached_BC, forward_BTC[:, t - 1])
    log_z_B = _log_sum(forward_BTC[:, -1] + transitions.stop_C)

    backward_BTC = np.empty((B, T, C))
    backward_BTC[:, -1] = transitions.stop_C
    step_back = _LogProduct(transitions.between_CC.T)
    for t in range(T - 2, -1, -1):
        left_BC = step_back(backward_BTC[:, t + 1] + emissions_BTC[:, t + 1])
        backward_BTC[:, t] = np.where(inside_BT[:, t + 1, None], left_BC, transitions.stop_C)

    marginals_BTC = np.exp(forward_BTC + backward_BTC - log_z_B[:, None, None])
    marginals_BTC *= inside_BT[:, :, None]
    total_BT1 = marginals_BTC.sum(axis=2, keepdims=True)
    return np.divide(marginals_BTC, total_BT1, out=marginals_BTC, where=total_BT1 > 0), log_z_B


def viterbi(
    emissions_BTC: Floats, lengths_B: NDArray[np.int64], transitions: Transitions
) -> tuple[NDArray[np.int64], Floats]:
    """The best path (B, T), zero in the padding, and its score (B,); T is at least 1."""
    B, T, C = emissions_BTC.shape
    inside_BT = np.arange(T) < lengths_B[:, None]
    into_CC = np.ascontiguousarray(transitions.between_CC.T)  # [to, from]: the maximum is over the last axis
    back_BTC = np.empty((B, T, C), dtype=np.uint16)
    best_BC = transitions.start_C + emissions_BTC[:, 0]
    for t in range(1, T):
        through_BCC = best_BC[:, None, :] + into_CC
        back_BTC[:, t] = through_BCC.argmax(axis=2)
        best_BC = np.where(inside_BT[:, t, None], through_BCC.max(axis=2) + emissions_BTC[:, t], best_BC)
    final_BC = best_BC + transitions.stop_C

    path_BT = np.zeros((B, T), dtype=np.int64)
    tag_B = final_BC.argmax(axis=1)
    rows = np.arange(B)
    for t in range(T - 1, -1, -1):
        path_BT[:, t] = np.where(inside_BT[:, t], tag_B, 0)
        if t:
            tag_B = np.where(inside_BT[:, t], back_BTC[rows, t, tag_B], tag_B)
    return path_BT, final_BC.max(axis=1)


class _LogProduct:
    """log(exp(x) @ exp(weights)), as a matrix product: a tenth of the cost of B·C·C exponentials."""

    def __init__(self, weights_CC: Floats) -> None:
        self.largest = weights_CC.max()
        self.exp_CC = np.exp(weights_CC - self.largest)

    def __call__(self, x_BC: Floats) -> Floats:
        largest_B1 = x_BC.max(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):  # log 0 = -inf: a tag that cannot be reached
            return np.log(np.exp(x_BC - largest_B1) @ self.exp_CC) + (largest_B1 + self.largest)


def _log_sum(x_BC: Floats) -> Floats:
    largest_B1 = x_BC.max(axis=1, keepdims=True)
    return np.log(np.exp(x_BC - largest_B1).sum(axis=1)) + largest_B1[:, 0]
