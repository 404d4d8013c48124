"""What a tagger says about a batch of sentences, as plain arrays: the meeting point of taggers and strategies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Inference:
    """One length-bucketed batch. Axes: B sentences, T words (padded), C tags, H hidden units.

    What is decided once a word by a tagger is decided once a text by a classifier, once a label by one of several
    choices, and once a pair of entities by a model of relations: their T counts those decisions. C are then the
    classes, or "O" (no) and "yes", or "O" (not related) and what relates a pair.
    Fields beyond a sentence's length (`[b, lengths[b]:]`) are zero in every array.
    Word pieces never show: a word's numbers are those of its first piece.
    """

    indices: NDArray[np.int64]
    """(B,) position of each sentence in the list that was given to `infer`."""
    lengths: NDArray[np.int64]
    """(B,) words (decisions) in each sentence; may be 0."""
    tags: tuple[str, ...]
    """The C tags, of taggers in BIO notation with "O" among them."""
    path_BT: NDArray[np.int64]
    """(B, T) the best tag sequence, as indices into `tags`."""
    log_prob_B: NDArray[np.float64]
    """(B,) natural log of the probability of that sequence, at most 0; 0 for a sentence without words."""
    marginals_BTC: NDArray[np.float32]
    """(B, T, C) probability of each tag at each word; sums to 1 over C inside the sentence."""
    hidden_BTH: NDArray[np.float32] | None = None
    """(B, T, H) the state that enters the last linear layer, None if the tagger has none."""
    samples_BMTC: NDArray[np.float32] | None = None
    """(B, M, T, C) the probability of each tag in each of M stochastic passes (dropout on), None if none were asked
    for. They live as long as the batch: strategies reduce them before the next one comes."""
    sample_paths_BMT: NDArray[np.int64] | None = None
    """(B, M, T) the best tag sequence of each stochastic pass, as indices into `tags`."""
    surprisal_BL: NDArray[np.float32] | None = None
    """(B, L) what a masked-language model found surprising (Yuan et al. 2020, sec. 4): for each of the first L word
    pieces the cross-entropy against itself in nats, 0 where it was not evaluated; None from every other model."""
    state_BH: NDArray[np.float32] | None = None
    """(B, H) the state that enters a classifier's last layer, one for all decisions on a text; `hidden_BTH` is then
    None. Zeros for a text without words."""
