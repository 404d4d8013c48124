"""The pre-trained encoder as it comes: word vectors of a model that has learned from no label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from corpus import Inference, Sentence
from taggers.encoders import PACKAGED
from taggers.frozen_vectors import FrozenVectors
from taggers.reading import SORTED_AT_ONCE, TextBatch, untagged
from taggers.word_pieces import within_budget

WORDS_AT_ONCE = 4096
"""Words in a batch, padding included."""


class PretrainedEncoder:
    """Reads texts for the strategies that compare them before there is a tagger (Yuan et al. 2020, BERT-KM)."""

    def __init__(self, name: str = PACKAGED) -> None:
        """`name` as `FrozenVectors` takes it. Raises ValueError as that does."""
        self._vectors = FrozenVectors(name, layers="last")
        self.width = self._vectors.width

    def infer(self, sentences: Sequence[Sentence]) -> Iterator[Inference]:
        """Batches of like length as `Tagger.infer` gives them; every sentence occurs in exactly one.

        `hidden_BTH` is the last layer's state at each word's first piece, H the encoder's width; the only tag is "O".
        Texts longer than the encoder reads are windowed and merged.
        """
        lengths = np.array([len(sentence) for sentence in sentences], np.int64)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), SORTED_AT_ONCE):
            chosen = order[start : start + SORTED_AT_ONCE]
            vectors = self._vectors.of([[word.text for word in sentences[i].words] for i in chosen])
            for group in within_budget(lengths[chosen].tolist(), WORDS_AT_ONCE):
                indices = chosen[group.start : group.stop]
                batch = TextBatch(indices, lengths[indices], [])
                hidden_BTH = np.zeros((len(indices), int(batch.lengths.max(initial=0)), self.width), np.float32)
                for b, states_TH in enumerate(vectors[group.start : group.stop]):
                    hidden_BTH[b, : len(states_TH)] = states_TH
                yield untagged(batch, hidden_BTH=hidden_BTH)
