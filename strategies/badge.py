"""BADGE and W-BADGE: sentences whose gradients are large and unlike each other (Kim 2020, sec. 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first
from strategies.seeding import kmeans_plus_plus
from strategies.sketch import product_sketch


class Badge(Strategy):
    """`badge`: k-means++ seeding over the gradient embeddings (Ash et al. 2020; for sequences Kim 2020).

    Embeddings of C·H numbers are kept as they are up to `dimensions`, and sketched down to that many
    above, so a pool takes 4·N·`dimensions` bytes. `seed` fixes the sketch.
    """

    needs = frozenset({"marginals", "hidden"})

    def __init__(self, dimensions: int = 256, seed: int = 0) -> None:
        if not isinstance(dimensions, int) or dimensions < 1:
            raise ValueError(f"dimensions must be a whole number of at least 1, not {dimensions!r}")
        self.dimensions = dimensions
        self.seed = seed

    def measure(self, batch: Inference) -> NDArray[np.float32]:
        """(B, d) gradient embeddings, d = min(C·H, dimensions).

        Raises ValueError if the tagger gave no hidden states.
        """
        if batch.hidden_BTH is None:
            raise ValueError("gradient embeddings need the tagger's hidden states, and this batch has none")
        # sentence by sentence: in one product with the padding, the rounding would depend on the batch
        embeddings = [
            self._embedding(p_TC[:n], h_TH[:n])
            for p_TC, h_TH, n in zip(batch.marginals_BTC, batch.hidden_BTH, batch.lengths, strict=True)
        ]
        largest = np.finfo(np.float32).max
        return np.clip(np.stack(embeddings), -largest, largest).astype(np.float32)

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """First `limit` sentences by k-means++ seeding, then the rest, and what k-means++ finds to be
        copies of those chosen, by priority: the squared norm of the gradient (for `w-badge` weighted).
        """
        if not len(pool):
            return Ranking(np.zeros(0, np.int64), np.zeros(0))
        exponent = int(np.frexp(np.abs(pool.values).max())[1])
        # a power of two: nothing is rounded, and float32 products can no longer overflow
        vectors_Nd = np.ldexp(pool.values, -exponent).astype(np.float32, copy=False)
        norms_N = np.einsum("nd,nd->n", vectors_Nd, vectors_Nd, dtype=np.float64)
        weights_N = self._weights(pool.lengths)
        chosen = kmeans_plus_plus(vectors_Nd, norms_N, weights_N, len(pool) if limit is None else limit, rng)
        priority = weights_N * np.ldexp(norms_N, 2 * exponent)
        return Ranking(highest_first(priority, pool.lengths, rng, chosen), priority)

    def _embedding(self, p_TC: NDArray[np.float32], h_TH: NDArray[np.float32]) -> NDArray[np.float64]:
        gradient_CH = gradient(p_TC, h_TH)
        if gradient_CH.size <= self.dimensions:
            return gradient_CH.ravel()
        return product_sketch(gradient_CH, self.dimensions, self.seed)

    def _weights(self, lengths_N: NDArray[np.int64]) -> NDArray[np.float64]:
        return (lengths_N > 0).astype(np.float64)


class WBadge(Badge):
    """`w-badge`: the same with p(x) ∝ w(x)·d(x)² and w(x) = ℓ(x)²/Σℓ², ℓ in words (Kim 2020, eq. 5).

    The paper leaves the first centre open; here it is the largest w(x)·‖g‖².
    """

    def _weights(self, lengths_N: NDArray[np.int64]) -> NDArray[np.float64]:
        squares = lengths_N.astype(np.float64) ** 2
        return squares / max(squares.sum(), 1.0)


def gradient(p_TC: NDArray[np.float32], h_TH: NDArray[np.float32]) -> NDArray[np.float64]:
    """(C, H) gradient of the cross-entropy, summed over words, in the last layer's weights, were each
    word's likeliest tag right: Σ_t (p_t − onehot(argmax p_t)) ⊗ h_t (Kim 2020, sec. 4.1).
    """
    residual_TC = p_TC.astype(np.float64)
    residual_TC[np.arange(len(p_TC)), p_TC.argmax(axis=1)] -= 1.0
    return residual_TC.T @ h_TH.astype(np.float64)
