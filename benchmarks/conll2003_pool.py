"""CoNLL-2003 as a real pool: what a tagger says of the sentences that it has not learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.conll2003 import draw, read
from benchmarks.ways import Held
from corpus import Inference, Sentence
from taggers import tagger_class
from taggers.pretrained import PretrainedEncoder

SHARE = 0.05
"""Of the training words, what is labelled."""


def pool_and_labelled(folder: Path, tagger: str = "window", seed: int = 0) -> tuple[Held, Held, list[frozenset[str]]]:
    """The pool, the labelled sentences, and the labels in each of these; takes minutes, most of it for the encoder."""
    train, _, _ = read(folder)
    known = [s for s in draw(train, SHARE, np.random.default_rng(seed)) if len(s)]
    seen = {sentence.id for sentence in known}
    unseen = [sentence for sentence in train if sentence.id not in seen and len(sentence)]
    model = tagger_class(tagger)(seed=seed)
    model.fit(known, [])
    encoder = PretrainedEncoder()

    def held(sentences: Sequence[Sentence]) -> Held:
        texts = [sentence.unlabelled() for sentence in sentences]
        says: dict[str, Iterable[Inference]] = {"tagger": model.infer(texts), "encoder": encoder.infer(texts)}
        return Held(len(texts), {reads: list(batches) for reads, batches in says.items()})

    return held(unseen), held(known), [frozenset(span.label for span in s.spans or ()) for s in known]
