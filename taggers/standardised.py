"""Vectors brought to one scale, so that what is put on top of them learns in a few steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LEAST_DEVIATION = 1e-2
"""A unit that hardly varies would be blown up by what little it does."""


class Standardised(nn.Module):
    """Each of F units less its mean, by its standard deviation, over the vectors that were learned from."""

    mean_F: Tensor
    deviation_F: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(width))
        self.register_buffer("deviation_F", torch.ones(width))

    def fit(self, parts: Iterable[NDArray[Any]]) -> None:
        """Take the means and deviations of the rows of all `parts`, each (words, F); of none, 0 and 1."""
        count, sum_F, squares_F = 0, np.zeros(len(self.mean_F)), np.zeros(len(self.mean_F))
        for part_NF in parts:
            wide_NF = part_NF.astype(np.float64)
            count += len(wide_NF)
            sum_F += wide_NF.sum(axis=0)
            squares_F += np.einsum("nf,nf->f", wide_NF, wide_NF)
        if count:
            mean_F = sum_F / count
            deviation_F = np.sqrt(np.maximum(squares_F / count - mean_F**2, 0))
            self.mean_F.copy_(torch.from_numpy(mean_F))
            self.deviation_F.copy_(torch.from_numpy(deviation_F).clamp_(min=LEAST_DEVIATION))

    def forward(self, vectors_NF: Tensor) -> Tensor:
        """(N, F) float32, of vectors of any precision."""
        return (vectors_NF.float() - self.mean_F) / self.deviation_F
