"""A small model of relations for tests of the loop: it counts which word stands in front of the second entity."""

from __future__ import annotations

import json
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest

import taggers
from corpus import Inference
from taggers.base import Progress, Tagger, check_fit, no_progress
from taggers.pairs import candidates, classes, relations_of


class WordBetween(Tagger):
    """p(class | word) = (count + 1/2) / (total + C/2). Its hidden state is that distribution."""

    name = "word-between"
    kind = "relations"
    uses_dev: ClassVar[bool] = False
    packages = ()

    def fit(self, train, dev, *, start=None, on_progress=no_progress):
        check_fit(self, train, dev, start)
        self.counts = {}
        for sentence in train:
            pairs = candidates(sentence).pairs
            for pair, name in zip(pairs, classes(pairs, sentence.relations)[0], strict=True):
                self.counts.setdefault(self._word(sentence, pair), Counter())[name] += 1
        names = {name for counter in self.counts.values() for name in counter}
        self.tags = ("O", *sorted(names - {"O"}))
        on_progress(Progress(1, 1))

    @staticmethod
    def _word(sentence, pair):
        return next((word.text for word in reversed(sentence.words) if word.end <= pair.second.start), "")

    def _probabilities(self, sentence, pair):
        counter = self.counts.get(self._word(sentence, pair), {})
        counts = np.array([counter.get(tag, 0) + 0.5 for tag in self.tags])
        return counts / counts.sum()

    def infer(self, sentences, *, passes=0, dropout=None):
        for index, sentence in enumerate(sentences):
            pairs = candidates(sentence).pairs
            p_TC = np.array([self._probabilities(sentence, pair) for pair in pairs]).reshape(-1, len(self.tags))
            yield Inference(
                indices=np.array([index]),
                lengths=np.array([len(pairs)]),
                tags=self.tags,
                path_BT=p_TC.argmax(1)[None],
                log_prob_B=np.array([np.log(p_TC.max(1)).sum() if len(pairs) else 0.0]),
                marginals_BTC=p_TC[None].astype(np.float32),
                hidden_BTH=p_TC[None].astype(np.float32),
            )

    def marks(self, batch, sentences):
        return [
            [
                relation
                for pair, tag, p_C in zip(candidates(sentences[i]).pairs, path_T, p_TC, strict=True)
                for relation in relations_of(pair, batch.tags[tag], float(p_C[tag]))
            ]
            for i, path_T, p_TC in zip(batch.indices, batch.path_BT, batch.marginals_BTC, strict=True)
        ]

    def _write(self, folder):
        (folder / "counts.json").write_text(json.dumps(self.counts))

    def _read(self, folder):
        stored = json.loads((folder / "counts.json").read_text())
        self.counts = {word: Counter(counter) for word, counter in stored.items()}


@pytest.fixture(autouse=True)
def relations_by_a_word(monkeypatch):
    """The model is known by its name as any other, in the modules that import this."""
    entry = taggers.Registered(
        __name__,
        WordBetween.__name__,
        frozenset({"log_prob", "marginals", "hidden", "per_text"}),
        kind="relations",
    )
    monkeypatch.setitem(taggers.TAGGERS, WordBetween.name, entry)
