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

FORBIDDEN = -10_000.0
"""The weight of a step that cannot be: so low that it has no gradient and never learns."""
_CELLS = 1_000_000
"""Numbers in the largest temporary array of a batch: 8 MB stay near the processor."""


@dataclass(frozen=True, slots=True)
class Transitions:
    """The part of a chain's score that does not depend on the words.

    A path y scores start[y_1] + Σ_t emission[t, y_t] + Σ_t between[y_t, y_t+1] + stop[y_n]; P(y|x) is the
    softmax of that over all paths (Lafferty et al. 2001). A forbidden step weighs `FORBIDDEN` or less.
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
    step = _BestStep(transitions.between_CC, B)
    back_BTC = np.empty((B, T, C), dtype=np.uint16)
    best_BC = transitions.start_C + emissions_BTC[:, 0]
    for t in range(1, T):
        back_BTC[:, t], reached_BC = step(best_BC)
        best_BC = np.where(inside_BT[:, t, None], reached_BC + emissions_BTC[:, t], best_BC)
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


class _BestStep:
    """The best tag before each tag, and the score with it.

    Of BIOES tags half can only follow two others: those are looked at alone, which leaves a quarter of the steps.
    """

    def __init__(self, between_CC: Floats, rows: int) -> None:
        allowed_CC = between_CC > FORBIDDEN / 2
        many_C = allowed_CC.sum(axis=0) > 2
        self.many, self.few = np.flatnonzero(many_C), np.flatnonzero(~many_C)
        self.before = np.flatnonzero(allowed_CC[:, self.many].any(axis=1))
        # [to, from]: the maximum is over the last axis
        self.into_many = np.ascontiguousarray(between_CC[np.ix_(self.before, self.many)].T)
        self.two = np.argsort(between_CC[:, self.few].T, axis=1)[:, -2:]
        self.into_few = np.take_along_axis(between_CC[:, self.few].T, self.two, axis=1)
        # Kept for all steps: to get a new array takes longer than to fill it.
        self.through_many = np.empty((rows, *self.into_many.shape))
        self.through_few = np.empty((rows, *self.into_few.shape))

    def __call__(self, best_BC: Floats) -> tuple[NDArray[np.int64], Floats]:
        back_BC, score_BC = np.empty(best_BC.shape, np.int64), np.empty_like(best_BC)
        if len(self.many):
            through = np.add(best_BC[:, None, self.before], self.into_many, out=self.through_many)
            best = through.argmax(axis=2)
            back_BC[:, self.many] = self.before[best]
            score_BC[:, self.many] = np.take_along_axis(through, best[:, :, None], axis=2)[:, :, 0]
        if len(self.few):
            through = np.add(best_BC[:, self.two], self.into_few, out=self.through_few)
            best = through.argmax(axis=2)
            back_BC[:, self.few] = np.take_along_axis(self.two, best.T, axis=1).T
            score_BC[:, self.few] = np.take_along_axis(through, best[:, :, None], axis=2)[:, :, 0]
        return back_BC, score_BC


def _log_sum(x_BC: Floats) -> Floats:
    largest_B1 = x_BC.max(axis=1, keepdims=True)
    return np.log(np.exp(x_BC - largest_B1).sum(axis=1)) + largest_B1[:, 0]
