"""One vector a sentence, for the strategies that compare sentences, and how far vectors are from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corpus import Inference

RESOLUTION = 16 * float(np.finfo(np.float32).eps)
"""Squared distances below this share of the squared norms are rounding: the two vectors are one."""
_BLOCK = 2**22
"""Products held at a time: 16 MB."""


@dataclass(frozen=True, slots=True)
class OuterProducts:
    """N vectors a ⊗ b of A·H numbers each, kept as their factors: ⟨a ⊗ b, c ⊗ d⟩ = ⟨a, c⟩⟨b, d⟩, so that the long
    vectors are never made."""

    left_NA: NDArray[np.float32]
    right_NH: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.left_NA)

    def __getitem__(self, places: slice | list[int] | NDArray[np.int64]) -> OuterProducts:
        return OuterProducts(self.left_NA[places], self.right_NH[places])


Vectors = NDArray[np.float32] | OuterProducts
"""(N, d) what distances are between."""


def sentence_vectors(batch: Inference) -> NDArray[np.float32]:
    """(B, H) the state that enters the last layer, the mean of them where each word (or pair) has its own; zeros for a
    sentence without words.

    Raises ValueError if the model gave no hidden states.
    """
    if batch.state_BH is not None:
        return np.where(batch.lengths[:, None] > 0, batch.state_BH, np.float32(0))
    if batch.hidden_BTH is None:
        raise ValueError("sentence vectors need hidden states, and this batch has none")
    # sentence by sentence: summed over padding, the rounding would depend on the batch
    means = [
        h_TH[:n].sum(axis=0, dtype=np.float64) / max(n, 1)
        for h_TH, n in zip(batch.hidden_BTH, batch.lengths, strict=True)
    ]
    largest = np.finfo(np.float32).max
    return np.clip(np.stack(means), -largest, largest).astype(np.float32)


def normalised(vectors_Nd: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, d) the vectors at length 1; zeros stay zeros."""
    # in double precision: the squares of any float32 fit
    wide = vectors_Nd.astype(np.float64)
    norms = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def binary_exponent(*arrays: NDArray[np.float32]) -> int:
    """The e at which all components times 2^-e can be squared and summed in float32: 0 for all but extreme vectors,
    which then need no copy.
    """
    largest = max((max(abs(float(a.max())), abs(float(a.min()))) for a in arrays if a.size), default=0.0)
    exponent = int(np.frexp(largest)[1])
    return exponent if abs(exponent) > 32 else 0


def squared_norms(vectors_Nd: Vectors) -> NDArray[np.float64]:
    """(N,) ‖x‖²."""
    if isinstance(vectors_Nd, OuterProducts):
        return squared_norms(vectors_Nd.left_NA) * squared_norms(vectors_Nd.right_NH)
    norms: NDArray[np.float64] = np.einsum("nd,nd->n", vectors_Nd, vectors_Nd, dtype=np.float64)
    return norms


def inner_products(
    vectors_Nd: Vectors, others_Kd: Vectors, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(N, K) ⟨x, y⟩ of vectors of one kind, written to `out` if there is one."""
    if isinstance(vectors_Nd, OuterProducts):
        assert isinstance(others_Kd, OuterProducts)
        products_NK = inner_products(vectors_Nd.left_NA, others_Kd.left_NA, out)
        products_NK *= inner_products(vectors_Nd.right_NH, others_Kd.right_NH)
        return products_NK
    assert not isinstance(others_Kd, OuterProducts)
    return np.matmul(vectors_Nd, others_Kd.T, out=out)


def squared_distances(vectors_Nd: NDArray[np.float32], norms_N: NDArray[np.float64], one: int) -> NDArray[np.float64]:
    """(N,) squared distances to one of the vectors; exactly 0 for itself and its copies. `norms_N` are squared."""
    norms = norms_N + norms_N[one]
    distances = norms - 2.0 * (vectors_Nd @ vectors_Nd[one])
    distances[distances < RESOLUTION * norms] = 0.0
    distances[one] = 0.0
    return distances


def nearest(
    vectors_Nd: Vectors, norms_N: NDArray[np.float64], centres_Kd: Vectors
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(N,) which of the centres is nearest to each vector, and the squared distance to it, 0 for its copies.

    `norms_N` are squared. One matrix product, taken in blocks that stay in the cache: O(N·K·d) time, O(N) memory.
    """
    centre_norms = squared_norms(centres_Kd)
    halves = (centre_norms / 2).astype(np.float32)
    rows = min(max(_BLOCK // len(centres_Kd), 16), 1024)
    block = np.empty((rows, len(centres_Kd)), np.float32)
    places, closeness = np.empty(len(vectors_Nd), np.int64), np.empty(len(vectors_Nd), np.float32)
    for start in range(0, len(vectors_Nd), rows):
        part = vectors_Nd[start : start + rows]
        products = inner_products(part, centres_Kd, out=block[: len(part)])
        products -= halves  # ‖x − c‖² = ‖x‖² − 2 (x·c − ‖c‖²/2)
        best = products.argmax(axis=1)
        places[start : start + rows] = best
        closeness[start : start + rows] = products[np.arange(len(part)), best]
    distances = norms_N - 2.0 * closeness
    distances[distances < RESOLUTION * (norms_N + centre_norms[places])] = 0.0
    return places, distances
