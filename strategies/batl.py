"""BATL: the model's own loss and a triplet loss, the highest first (Seo et al. 2022)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first
from strategies.vectors import sentence_vectors

_RATE = 0.1
"""Learning rate of the linear layer; its inputs have a mean squared norm of 1."""
_LABELS = 2**24 - 3
"""Labels are counted modulo this prime: float32 holds whole numbers up to 2²⁴."""
_RESOLUTION = 16 * float(np.finfo(np.float32).eps)
"""Squared distances below this share of the squared norms are rounding: the two embeddings are one."""


class Batl(Strategy):
    """`batl`: L_final = L_target + λ·L_triplet (eq. 6), highest first (Algorithm 1).

    L_target is the cross-entropy with the predicted tags. L_triplet of an anchor is max(0, m + D_ap − D_an) in a
    mini-batch drawn at random, over a linear layer that first learns by SGD on the same triplets (L_target does not
    depend on it). Where the paper is silent:

    - eq. 5 has no hinge and can fall below 0, where an easy triplet hides the target loss; here it has the usual one
      (Schroff et al. 2015).
    - An anchor that is alone with its label is its own positive (D_ap = 0): rare labels are not left out.
    - Without a semi-hard negative (eq. 4) it is the furthest one: all of them violate eq. 3, this one least.
    - Without any negative there is no triplet, and L_triplet = 0.
    - The label of a sentence is its most frequent predicted type (of entities, or of relations between pairs of them),
      O if there is none; of a text with several choices it is the set of those predicted.

    `weight` is λ, `units` the width of the layer, `epochs` how often it passes over the pool.
    """

    needs = frozenset({"marginals", "hidden"})

    def __init__(
        self, margin: float = 1.0, weight: float = 1.0, batch_size: int = 64, units: int = 128, epochs: int = 1
    ) -> None:
        for name, value in (("margin", margin), ("weight", weight)):
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")
        for name, value, least in (("batch_size", batch_size, 3), ("units", units, 1), ("epochs", epochs, 0)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
        self.margin = margin
        self.weight = weight
        self.batch_size = batch_size
        self.units = units
        self.epochs = epochs

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, 2·H + 2) rows of sentence vector (H), task vector (H), target loss in nats a word, and label.

        The sentence vector is the mean of h over the words; the task vector over those tagged other than O, 0 if
        there are none. So it is with pairs and those predicted to be related. A text with a single distribution, or a
        single word, has its h in both; a classifier's text has its one state in both.
        Raises ValueError if the tagger gave no hidden states.
        """
        sentence_BH = sentence_vectors(batch)
        if batch.state_BH is not None:
            return _of_texts(batch, sentence_BH)
        assert batch.hidden_BTH is not None
        types, type_C = _types(batch.tags)
        rows_Bd = np.zeros((len(sentence_BH), 2 * sentence_BH.shape[1] + 2), np.float32)
        for row, sentence_H, n, h_TH, p_TC, path_T in zip(
            rows_Bd, sentence_BH, batch.lengths, batch.hidden_BTH, batch.marginals_BTC, batch.path_BT, strict=True
        ):
            typed_T = type_C[path_T[:n]]
            entities_T = typed_T != types.get("O", -1)
            task_H = _mean(h_TH[:n][entities_T]) if n > 1 else sentence_H
            label = np.bincount(typed_T[entities_T]).argmax() if entities_T.any() else types.get("O", 0)
            row[:] = np.concatenate([sentence_H, task_H, [_target_loss(p_TC[:n], path_T[:n]), label]])
        return rows_Bd

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """Highest final loss first; priority = that loss, 0 for a sentence without words."""
        places = np.flatnonzero(pool.lengths)
        loss_N = self._final_loss(pool.values, places, rng) if len(places) else np.zeros(len(pool))
        return Ranking(highest_first(loss_N, pool.lengths, rng), loss_N)

    def _final_loss(
        self,
        rows_Nd: NDArray[np.float32] | NDArray[np.float64],
        places: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """(N,) L_final of the sentences at `places`, 0 elsewhere."""
        features_NF, labels_N = rows_Nd[:, :-2], rows_Nd[:, -1]
        mean_F, scale = _moments(features_NF, places)
        # variance 1/units: the layer keeps distances, so the margin means the same at any width
        layer_FU = rng.standard_normal((features_NF.shape[1], self.units)) / math.sqrt(self.units)
        loss_N = np.zeros(len(rows_Nd))
        loss_N[places] = rows_Nd[places, -2]
        for epoch in range(self.epochs + 1):
            for mini in np.array_split(rng.permutation(places), math.ceil(len(places) / self.batch_size)):
                x_kF = (features_NF[mini] - mean_F) * scale
                z_kU = x_kF @ layer_FU
                distances_kk = pairwise_distances(z_kU)
                loss_k, pull_kk = triplet_loss(distances_kk, labels_N[mini], self.margin)
                if epoch < self.epochs:
                    layer_FU -= _RATE * (x_kF.T @ embedding_gradient(z_kU, distances_kk, pull_kk))
                else:
                    loss_N[mini] += self.weight * loss_k
        return loss_N


def _of_texts(batch: Inference, state_BH: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, 2·H + 2) rows of a classifier: its target loss in nats a decision; as label the number of its class, or
    that of the set of its choices.

    Of T decisions among C this is Σ_t y_t·Cᵗ, which no two sets share up to 23 choices, and hardly ever beyond.
    """
    _, decisions, classes = batch.marginals_BTC.shape
    digits_T = np.array([pow(classes, t, _LABELS) for t in range(decisions)], dtype=np.int64)
    worded_B1 = batch.lengths[:, None] > 0
    label_B = (np.where(worded_B1, batch.path_BT, 0) @ digits_T) % _LABELS
    loss_B = [
        _target_loss(p_TC[:n], path_T[:n])
        for p_TC, path_T, n in zip(batch.marginals_BTC, batch.path_BT, batch.lengths, strict=True)
    ]
    return np.column_stack([state_BH, state_BH, loss_B, label_B]).astype(np.float32)


def pairwise_distances(z_kU: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, k) Euclidean distances D of eq. 3; exactly 0 between copies."""
    norms_k = np.einsum("ku,ku->k", z_kU, z_kU)
    norms_kk = norms_k[:, None] + norms_k
    squares_kk = norms_kk - 2.0 * (z_kU @ z_kU.T)
    squares_kk[squares_kk <= _RESOLUTION**2 * norms_kk] = 0.0
    np.fill_diagonal(squares_kk, 0.0)
    return np.sqrt(squares_kk)


def triplet_loss(
    distances_kk: NDArray[np.float64], labels_k: NDArray[np.float32] | NDArray[np.float64], margin: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(k,) max(0, m + D_ap − D_an) of each anchor with its hardest positive and its semi-hard negative (eq. 3-5),
    and (k, k) how much their mean grows with each distance: +1/k at (a, p) and −1/k at (a, n) where the hinge is open.
    """
    anchors = np.arange(len(labels_k))
    same_kk = labels_k[:, None] == labels_k
    positive = np.where(same_kk, distances_kk, -1.0).argmax(axis=1)
    d_ap = distances_kk[anchors, positive]
    semi_hard_kk = ~same_kk & (distances_kk > d_ap[:, None])
    nearest = np.where(semi_hard_kk, distances_kk, np.inf).argmin(axis=1)
    furthest = np.where(same_kk, -1.0, distances_kk).argmax(axis=1)
    negative = np.where(semi_hard_kk.any(axis=1), nearest, furthest)
    loss_k = np.maximum(0.0, margin + d_ap - distances_kk[anchors, negative])
    loss_k[same_kk.all(axis=1)] = 0.0
    pull_kk = np.zeros_like(distances_kk)
    violated = np.flatnonzero(loss_k)
    pull_kk[violated, positive[violated]] += 1 / len(labels_k)
    pull_kk[violated, negative[violated]] -= 1 / len(labels_k)
    return loss_k, pull_kk


def embedding_gradient(
    z_kU: NDArray[np.float64], distances_kk: NDArray[np.float64], pull_kk: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(k, U) gradient of Σ_ij pull_ij·D_ij in the embeddings; a distance of 0 gives none.

    With S_ij = pull_ij/D_ij + pull_ji/D_ji it is Σ_j S_ij (z_i − z_j) in z_i.
    """
    slope_kk = np.divide(pull_kk, distances_kk, where=distances_kk > 0, out=np.zeros_like(pull_kk))
    slope_kk = slope_kk + slope_kk.T
    return slope_kk.sum(axis=1)[:, None] * z_kU - slope_kk @ z_kU


def _types(tags: tuple[str, ...]) -> tuple[dict[str, int], NDArray[np.int64]]:
    """Each entity type's number, and (C,) the number of each tag's type: "B-PER" and "I-PER" are both PER."""
    bare = [tag[2:] if tag[:2] in ("B-", "I-") else tag for tag in tags]
    types = {name: number for number, name in enumerate(dict.fromkeys(bare))}
    return types, np.array([types[name] for name in bare], dtype=np.int64)


def _mean(h_TH: NDArray[np.float32]) -> NDArray[np.float64]:
    largest = float(np.finfo(np.float32).max)  # which rounding can pass by a hair
    return np.clip(h_TH.sum(axis=0, dtype=np.float64) / max(len(h_TH), 1), -largest, largest)


def _target_loss(p_TC: NDArray[np.float32], path_T: NDArray[np.int64]) -> float:
    """Mean cross-entropy with the predicted tags, in nats a word; finite where a probability underflowed to 0."""
    p_T = p_TC[np.arange(len(path_T)), path_T].astype(np.float64)
    return float(-np.log(np.clip(p_T, np.finfo(np.float32).tiny, 1.0)).sum() / max(len(path_T), 1))


def _moments(
    features_NF: NDArray[np.float32] | NDArray[np.float64], places: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """(F,) the mean of the rows at `places`, and what brings their mean squared norm around it to 1 (1.0 if all are
    the same). In float64, where the squares of float32 neither overflow nor vanish; in blocks, so little is copied.
    """
    blocks = np.array_split(places, math.ceil(len(places) / 4096))
    mean_F = np.sum([features_NF[b].sum(axis=0, dtype=np.float64) for b in blocks], axis=0) / len(places)
    total = sum(float(np.square(features_NF[b] - mean_F).sum()) for b in blocks)
    rounding = _RESOLUTION**2 * float(np.square(mean_F).sum()) * len(places)
    return mean_F, math.sqrt(len(places) / total) if total > rounding else 1.0
