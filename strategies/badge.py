"""BADGE and W-BADGE: sentences whose gradients are large and unlike each other (Ash et al. 2020; Kim 2020, sec. 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first
from strategies.seeding import kmeans_plus_plus
from strategies.sketch import sketch
from strategies.vectors import OuterProducts, Vectors, binary_exponent, sentence_vectors, squared_norms

TOGETHER = 256
"""Sentences whose gradients are held at once, C·H numbers each."""
_YES_OR_NO = ("O", "yes")
"""The tags of a classifier of several choices, whose loss has one logit a label."""


class Badge(Strategy):
    """`badge`: k-means++ seeding over the gradient embeddings (Ash et al. 2020; for sequences Kim 2020).

    Embeddings of C·H numbers are kept as they are up to `dimensions`, and sketched down to that many
    above, so a pool takes 4·N·`dimensions` bytes. `seed` fixes the sketch.
    A classifier's gradients are outer products, residuals ⊗ state (Ash et al. 2020, eq. 1): they are kept exactly, as
    their two factors, and never sketched.
    """

    needs = frozenset({"marginals", "hidden"})

    def __init__(self, dimensions: int = 256, seed: int = 0) -> None:
        if type(dimensions) is not int or dimensions < 1:
            raise ValueError(f"dimensions must be a whole number of at least 1, not {dimensions!r}")
        if type(seed) is not int or seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, not {seed!r}")
        self.dimensions = dimensions
        self.seed = seed

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, d) gradient embeddings, d = min(C·H, dimensions); of a classifier (B, A + H) their factors side by side,
        A being T·C, or T if it says yes or no to each of T labels.

        Raises ValueError if the tagger gave no hidden states.
        """
        if batch.state_BH is not None:
            return np.column_stack([_residuals(batch), sentence_vectors(batch)])
        if batch.hidden_BTH is None:
            raise ValueError("gradient embeddings need the tagger's hidden states, and this batch has none")
        lengths_B = batch.lengths
        tags, states = batch.marginals_BTC.shape[2], batch.hidden_BTH.shape[2]
        embeddings_Bd = np.zeros((len(lengths_B), min(tags * states, self.dimensions)), np.float32)
        # one length at a time: in one product with the padding, the rounding would depend on the batch
        for n in np.unique(lengths_B):
            alike = np.flatnonzero(lengths_B == n)
            for start in range(0, len(alike), TOGETHER):
                some = alike[start : start + TOGETHER]
                embeddings_Bd[some] = self._embeddings(batch.marginals_BTC[some, :n], batch.hidden_BTH[some, :n])
        return embeddings_Bd

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """First `limit` sentences by k-means++ seeding, then the rest, and what k-means++ finds to be
        copies of those chosen, by priority: the squared norm of the gradient (for `w-badge` weighted).
        """
        if not len(pool):
            return Ranking(np.zeros(0, np.int64), np.zeros(0))
        vectors_Nd, exponent = _embedded(pool)
        norms_N = squared_norms(vectors_Nd)
        weights_N = self._weights(pool.lengths)
        chosen = kmeans_plus_plus(vectors_Nd, norms_N, weights_N, len(pool) if limit is None else limit, rng)
        priority = weights_N * np.ldexp(norms_N, 2 * exponent)
        return Ranking(highest_first(priority, pool.lengths, rng, chosen), priority)

    def _embeddings(self, p_NTC: NDArray[np.float32], h_NTH: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, d) of N sentences of T words each, held at the ends of float32."""
        embeddings_Nd: NDArray[np.float64] = gradient(p_NTC, h_NTH).reshape(len(p_NTC), -1)
        if embeddings_Nd.shape[1] > self.dimensions:
            embeddings_Nd = sketch(embeddings_Nd, self.dimensions, self.seed)
        largest = float(np.finfo(np.float32).max)
        return np.clip(embeddings_Nd, -largest, largest)

    def _weights(self, lengths_N: NDArray[np.int64]) -> NDArray[np.float64]:
        return (lengths_N > 0).astype(np.float64)


class WBadge(Badge):
    """`w-badge`: the same with p(x) ∝ w(x)·d(x)² and w(x) = ℓ(x)²/Σℓ², ℓ in words (Kim 2020, eq. 5).

    The paper leaves the first centre open; here it is the largest w(x)·‖g‖². All texts of a classifier are of one
    length, as many as it decides about each, so there it chooses as `badge` does.
    """

    def _weights(self, lengths_N: NDArray[np.int64]) -> NDArray[np.float64]:
        squares = lengths_N.astype(np.float64) ** 2
        return squares / max(squares.sum(), 1.0)


def gradient(p_NTC: NDArray[np.float32], h_NTH: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, C, H) gradients of the cross-entropy, summed over words, in the last layer's weights, were each
    word's likeliest tag right: Σ_t (p_t − onehot(argmax p_t)) ⊗ h_t (Kim 2020, sec. 4.1).
    """
    return residual(p_NTC).swapaxes(1, 2) @ h_NTH.astype(np.float64)


def residual(p_NTC: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, T, C) gradients of the cross-entropy in the logits, were the likeliest tags right: p − onehot(argmax p)."""
    residual_NTC = p_NTC.astype(np.float64)
    residual_NTC -= np.arange(p_NTC.shape[2]) == p_NTC.argmax(axis=2)[..., None]
    return residual_NTC


def _residuals(batch: Inference) -> NDArray[np.float32]:
    """(B, A) what a classifier's gradients are in its logits, zeros for a text without words."""
    residual_BTC = residual(batch.marginals_BTC)
    if batch.tags == _YES_OR_NO:
        residual_BTC = residual_BTC[..., 1:]  # that of "O" is its opposite
    residual_BA = residual_BTC.reshape(len(residual_BTC), -1)
    return np.where(batch.lengths[:, None] > 0, residual_BA, 0.0).astype(np.float32)


def _embedded(pool: Measured) -> tuple[Vectors, int]:
    """(N, d) the gradient embeddings over a power of two, by which nothing is rounded, and its exponent."""
    values_Nd = pool.values.astype(np.float32, copy=False)
    if pool.state_size:
        left_NA, right_NH = np.split(values_Nd, [-pool.state_size], axis=1)
        (left_NA, left), (right_NH, right) = _scaled(left_NA), _scaled(right_NH)
        return OuterProducts(left_NA, right_NH), left + right
    return _scaled(values_Nd)


def _scaled(values_Nd: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    exponent = binary_exponent(values_Nd)
    return (np.ldexp(values_Nd, -exponent) if exponent else values_Nd), exponent
