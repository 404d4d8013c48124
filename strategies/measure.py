"""From batches back to the pool."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured

Values = NDArray[np.float64] | NDArray[np.float32]


def join(batches: Iterable[tuple[Inference, Values]], n: int) -> Measured:
    """Put what `measure` gave for each batch into the order of the n sentences that were given to `infer`; a batch
    without words measures 0.

    Raises ValueError if a sentence is missing, measured twice or not among the n, or if a measure is
    not finite.
    """
    values: Values = np.zeros(n)
    state_size = 0
    lengths = np.zeros(n, dtype=np.int64)
    times = np.zeros(n, dtype=np.int64)
    worded = False
    for batch, measured in batches:
        places = batch.indices
        _refuse("not among those given", places[(places < 0) | (places >= n)], n)
        if not worded:  # only a batch with words tells in how many columns it is measured
            values = np.zeros((n, *measured.shape[1:]), dtype=measured.dtype)
            state_size = 0 if batch.state_BH is None else batch.state_BH.shape[1]
        if batch.lengths.any():
            values[places] = measured
            worded = True
        lengths[places] = batch.lengths
        np.add.at(times, places, 1)
        finite = np.isfinite(measured).reshape(len(places), -1).all(axis=1)
        _refuse("measured as NaN or infinite (did the tagger diverge?)", places[~finite], n)
    _refuse("measured more than once", np.flatnonzero(times > 1), n)
    _refuse("not measured", np.flatnonzero(times == 0), n)
    return Measured(values, lengths, state_size)


def _refuse(fault: str, places: NDArray[np.int64], n: int) -> None:
    if len(places):
        shown = ", ".join(map(str, places[:5])) + (", …" if len(places) > 5 else "")
        raise ValueError(f"{len(places)} of {n} sentences {fault}: positions {shown}")
