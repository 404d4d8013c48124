"""BatchBALD: the texts whose labels together tell most of the model's parameters (Kirsch et al. 2019)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking
from strategies.ordering import highest_first
from strategies.variation import StochasticPasses, drawn, mutual_information

_NOTHING = 1e-9
"""Nats below which two gains are one, and a gain is none: above the rounding, below all that matters."""
_BLOCK = 1 << 18
"""Numbers in the largest intermediate array of a step: 2 MB, which stays in the processor's cache."""
_IMPOSSIBLE = 1e-200
"""Stands for a probability of 0, whose logarithm is infinite: p log p is 0 with it as well, to all digits."""


class BatchBald(StochasticPasses):
    """`batch-bald`: greedy on the joint mutual information of the chosen texts' labels and the parameters, for
    decisions on texts (Kirsch et al. 2019, sec. 3).

    The joint labels of the chosen texts are enumerated as long as there are at most `configurations` of them, and
    sampled beyond; so are, up to `text_configurations`, those of one text on which several things are decided (each of
    several choices, each pair of entities). The paper uses 100 `passes` and more: M passes can tell log M nats at most,
    in all.
    """

    needs = frozenset({"samples", "per_text"})

    def __init__(
        self,
        passes: int = 10,
        dropout: str | None = None,
        configurations: int = 1_000,
        text_configurations: int = 64,
    ) -> None:
        super().__init__(passes, dropout)
        for name, value in (("configurations", configurations), ("text_configurations", text_configurations)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        self.configurations = configurations
        self.text_configurations = text_configurations

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, M·S) each text's distribution over its joint labels in each pass, zeros for a text without words. S is C
        where a text has one of C classes; else, the tags having an "O", `text_configurations`, or C if that is more.

        Raises ValueError if the batch has not as many passes as the strategy.
        """
        p_BMTC = drawn(batch)
        texts, passes, _, classes = p_BMTC.shape
        if passes != self.passes:
            raise ValueError(f"batch-bald was set to {self.passes} passes, and this batch has {passes}")
        size = max(classes, self.text_configurations) if "O" in batch.tags else classes
        p_BMS = np.zeros((texts, passes, size), np.float32)
        one = batch.lengths == 1
        if one.any():
            p_BMS[one, :, :classes] = p_BMTC[one, :, 0]
        for row in np.flatnonzero(batch.lengths > 1):
            p_MS = distribution_together(p_BMTC[row, :, : batch.lengths[row]], size)
            p_BMS[row, :, : p_MS.shape[1]] = p_MS
        return p_BMS.reshape(texts, -1)

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """First up to `limit` texts by the greedy choice, which ends early when no text adds information, then the
        rest by priority: what each text tells by itself (of one decision, `bald`).
        """
        if not len(pool):
            return Ranking(np.zeros(0, np.int64), np.zeros(0))
        p_NMC = pool.values.astype(np.float32, copy=False).reshape(len(pool), self.passes, -1)
        size = max(1, _BLOCK // p_NMC[0].size)
        blocks = (p_NMC[start : start + size].transpose(1, 0, 2) for start in range(0, len(pool), size))
        priority = np.concatenate([mutual_information(p_MRC) for p_MRC in blocks])
        with np.errstate(under="ignore"):  # so improbable that it is 0
            chosen = greedy(p_NMC, priority, len(pool) if limit is None else limit, self.configurations, rng)
        return Ranking(highest_first(priority, pool.lengths, rng, chosen), priority)


def distribution_together(p_MTC: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """(M, S) the probability of each joint label of one text's T decisions, which are independent given a pass.

    All C^T joint labels if they are no more than `size`; else `size` of them, the same number drawn by each pass, which
    together tell of the passes what all would: each weighted by how seldom all passes draw it (deterministic mixture
    weights, Owen & Zhou 2000), and scaled to sum to 1 in each pass.
    """
    p = p_MTC.astype(np.float64)
    passes, decisions, classes = p.shape
    each_T = np.arange(decisions)
    if classes**decisions <= size:
        labels_ST = np.arange(classes**decisions)[:, None] // classes**each_T % classes
        enumerated: NDArray[np.float64] = p[:, each_T, labels_ST].prod(axis=2)
        return enumerated
    by_pass_S = np.arange(size) % passes
    cumulative_MTC = p.cumsum(axis=2)
    upto_STC = (cumulative_MTC / cumulative_MTC[..., -1:])[by_pass_S, :, :-1]
    labels_ST = (_points(size, decisions)[..., None] >= upto_STC).sum(axis=2)
    log_MS = np.log(np.maximum(p, _IMPOSSIBLE))[:, each_T, labels_ST].sum(axis=2)
    share_M = np.bincount(by_pass_S, minlength=passes) / size
    with np.errstate(under="ignore"):  # so improbable that it is 0
        relative_MS = np.exp(log_MS - log_MS.max(axis=0))
        log_MS -= log_MS.max(axis=0) + np.log(share_M @ relative_MS)
        weights_MS = np.exp(log_MS - log_MS.max(axis=1, keepdims=True))
        return weights_MS / weights_MS.sum(axis=1, keepdims=True)


@lru_cache(maxsize=256)
def _points(size: int, decisions: int) -> NDArray[np.float64]:
    """(S, T) points in [0, 1), in each column one in each of S equal parts (a Latin hypercube, McKay et al. 1979).

    Always the same ones: a text is measured alike in whatever batch and process.
    """
    rng = np.random.default_rng([size, decisions])
    parts_ST = rng.permuted(np.tile(np.arange(size)[:, None], decisions), axis=0)
    points_ST: NDArray[np.float64] = (parts_ST + rng.random((size, decisions))) / size
    points_ST.flags.writeable = False
    return points_ST


def greedy(
    p_NMC: NDArray[np.float32],
    bald_N: NDArray[np.float64],
    k: int,
    configurations: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(at most k,) positions of the chosen texts in the order chosen, ties at random.

    What a text adds can only fall as others are chosen (submodularity, sec. 3.1), so that its last known gain is a
    bound, and only texts whose bound is above the best gain found are looked at again (Minoux 1978).
    """
    ties_N = rng.random(len(p_NMC))
    bounds_N = bald_N.copy()
    labels = JointLabels(p_NMC.shape[1])
    chosen: list[int] = []
    while len(chosen) < min(k, len(p_NMC)):
        _tighten(bounds_N, labels, p_NMC)
        best = bounds_N.max()
        if best <= _NOTHING:
            break
        tied = np.flatnonzero(bounds_N >= best - _NOTHING)
        new = int(tied[ties_N[tied].argmax()])
        chosen.append(new)
        bounds_N[new] = -np.inf
        labels.extend(p_NMC[new], configurations, rng)
    return np.array(chosen, dtype=np.int64)


def _tighten(bounds_N: NDArray[np.float64], labels: JointLabels, p_NMC: NDArray[np.float32]) -> None:
    """Replace bounds by gains, from the highest on, until no bound left can be the best gain or tie with it."""
    order = np.flatnonzero(bounds_N > _NOTHING)
    order = order[np.argsort(-bounds_N[order])]
    _, passes, classes = p_NMC.shape
    size = max(1, _BLOCK // (max(len(labels), passes) * classes))
    best = 0.0
    for start in range(0, len(order), size):
        block = order[start : start + size]
        if bounds_N[block[0]] < best - _NOTHING:
            return
        bounds_N[block] = labels.gains(p_NMC[block])
        best = max(best, bounds_N[block].max())


class JointLabels:
    """The labels that the chosen texts may have together: K configurations, each with its probability and what it
    would tell of the passes, as their posterior probabilities given those labels.

    Configurations that tell the pass (to less than rounding) are left out: no further text can add to them.
    """

    def __init__(self, passes: int) -> None:
        self.weights_K = np.ones(1)
        self.posteriors_KM = np.full((1, passes), 1 / passes)

    def __len__(self) -> int:
        return len(self.weights_K)

    def gains(self, p_RMC: NDArray[np.float32]) -> NDArray[np.float64]:
        """(R,) nats that each of R texts' label would add: H(y | labels) − mean_m H(p^m), in expectation.

        H(y | labels) is what the joint entropy of the paper's sec. 3.3 grows by: what it leaves out is the same for
        every text. A configuration's share of it needs no tiny joint probabilities, one product of matrices
        (K × M) (M × R·C) gives them all.
        """
        texts, passes, classes = p_RMC.shape
        p_MRC = np.maximum(p_RMC.transpose(1, 0, 2).astype(np.float64, order="C").reshape(passes, -1), _IMPOSSIBLE)
        passes_M = self.weights_K @ self.posteriors_KM
        known_RC = passes_M @ (p_MRC * np.log(p_MRC))
        mixed_KRC = self.posteriors_KM @ p_MRC
        mixed_RC = self.weights_K @ (mixed_KRC * np.log(mixed_KRC))
        added: NDArray[np.float64] = (known_RC - mixed_RC).reshape(texts, classes).sum(axis=1)
        return added

    def extend(self, p_MC: NDArray[np.float32], configurations: int, rng: np.random.Generator) -> None:
        """Each configuration with each label of one more text; of more than `configurations` a sample."""
        p = p_MC.astype(np.float64)
        joint_KC = self.weights_K[:, None] * (self.posteriors_KM @ p)
        taken, weights = _stratified_sample(joint_KC.ravel(), configurations, rng)
        before, label = np.divmod(taken, p.shape[1])
        posteriors = self.posteriors_KM[before] * p.T[label]
        posteriors /= posteriors.sum(axis=1, keepdims=True)
        entropies = -(posteriors * np.log(np.maximum(posteriors, _IMPOSSIBLE))).sum(axis=1)
        untold = weights * entropies > _NOTHING / configurations
        self.weights_K, self.posteriors_KM = weights[untold], posteriors[untold]


def _stratified_sample(
    weights_N: NDArray[np.float64], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of at most `size` of the weights above 0, and new weights for them, whose expectation is the old ones.

    All of them if they are no more than `size`; else one at a random place in each of `size` equal parts of their sum.
    (At equal distances, all children of a sample would be taken by the same draw.)
    """
    possible = np.flatnonzero(weights_N)
    if len(possible) <= size:
        return possible, weights_N[possible]
    cumulative = np.cumsum(weights_N[possible])
    steps = (np.arange(size) + rng.random(size)) * (cumulative[-1] / size)
    drawn, counts = np.unique(np.searchsorted(cumulative, steps, side="right"), return_counts=True)
    return possible[np.minimum(drawn, len(possible) - 1)], counts * (cumulative[-1] / size)
