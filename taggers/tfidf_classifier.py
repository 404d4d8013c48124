"""TF-IDF and logistic regression: a classifier of texts that learns in a second, as a quick baseline."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from corpus import Inference, Sentence
from taggers import base
from taggers.base import OnProgress, Progress, Tagger, no_progress
from taggers.classifier import Classifier

AT_ONCE = 4096
"""Texts in a batch."""
MOST_FEATURES = 200_000
"""Of more, those that occur most often are kept."""
LONGEST_WORD = 64
"""Characters of a word that are looked at in parts; a longer word is no language."""
VOCABULARY, WEIGHTS = "vocabulary.json", "weights.safetensors"


class TfidfOptions(base.Options):
    """Settings of the logistic regression."""

    l2: float = Field(0.1, gt=0)
    """Weight of the penalty, ½ Σ w², beside the sum of the texts' losses."""
    characters: bool = True
    """Whether the characters of words count as well: worth 2 points of accuracy on SST-2 and TREC with 300 labels."""
    iterations: int = Field(300, ge=1)


class TfidfClassifier(Classifier):
    """Logistic regression on TF-IDF weights, 1 + ln tf, of words, pairs of neighbouring words and parts of words.

    Of one choice a text the regression is multinomial, of several each label has its own. scikit-learn learns both.
    """

    name: ClassVar[str] = "tfidf-classifier"
    Options = TfidfOptions
    options: TfidfOptions
    uses_dev: ClassVar[bool] = False
    packages = ("scikit-learn", "numpy")

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        super().__init__(options, seed=seed)
        self._vectorizer: TfidfVectorizer | None = None
        self._weights_LF: NDArray[np.float32]
        self._intercept_L: NDArray[np.float32]

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """Learn from `train`; `dev` is not looked at. Progress is told once, at the end."""
        base.check_fit(self, train, dev, start)
        self._vectorizer = None
        self._learn_labels(train)
        read = [sentence for sentence in train if sentence.words]
        vectorizer = self._new_vectorizer(max_features=MOST_FEATURES)
        texts_NF = vectorizer.fit_transform(map(_words, read))
        targets_NL = self.alternatives.targets(read)
        if self.alternatives.several:
            learned = [self._regression(texts_NF, targets_N) for targets_N in targets_NL.T]
        else:
            learned = [self._regression(texts_NF, targets_NL.argmax(axis=1))]
        shape = (len(self.alternatives.labels), texts_NF.shape[1])
        self._weights_LF = np.concatenate([np.empty((0, shape[1])), *(w for w, _ in learned)]).astype(np.float32)
        self._intercept_L = np.concatenate([np.empty(0), *(b for _, b in learned)]).astype(np.float32)
        self._vectorizer = vectorizer
        on_progress(Progress(1, 1))

    def _new_vectorizer(self, **settings: Any) -> TfidfVectorizer:
        analyzer = _features if self.options.characters else _words_and_pairs
        return TfidfVectorizer(analyzer=analyzer, sublinear_tf=True, dtype=np.float32, **settings)

    def _regression(self, texts_NF: Any, targets_N: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weights and intercepts, a row for each class but of yes and no, which share one.

        Of a single class: 0, and of a label that all texts have the odds by Laplace's rule of succession.
        """
        binary = targets_N.dtype == bool
        classes = np.unique(targets_N)
        if len(classes) == 1:
            return np.zeros((1, texts_NF.shape[1])), np.array([math.log(len(targets_N) + 1) if binary else 0.0])
        model = LogisticRegression(C=1 / self.options.l2, max_iter=self.options.iterations)
        model.fit(texts_NF, targets_N)
        if binary or len(classes) > 2:
            return model.coef_, model.intercept_
        return np.concatenate([0 * model.coef_, model.coef_]), np.array([0, *model.intercept_])

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """See `Tagger.infer`; there is no state and no dropout."""
        self._dropout(passes, dropout)
        if self._vectorizer is None:
            raise RuntimeError("this tagger has no model yet: call `fit` or `load` first")
        for start in range(0, len(sentences), AT_ONCE):
            some = sentences[start : start + AT_ONCE]
            texts_BF = self._vectorizer.transform(map(_words, some))
            scores_BL = texts_BF @ self._weights_LF.T + self._intercept_L
            read_B = np.array([bool(sentence.words) for sentence in some])
            yield self.alternatives.told(np.arange(start, start + len(some)), read_B, scores_BL)

    def _write(self, folder: Path) -> None:
        if self._vectorizer is None:
            raise RuntimeError("this tagger has no model yet: call `fit` or `load` first")
        super()._write(folder)
        terms = self._vectorizer.get_feature_names_out().tolist()
        (folder / VOCABULARY).write_text(json.dumps(terms))
        idf_F = self._vectorizer.idf_.astype(np.float32)
        save_file({"weights": self._weights_LF, "intercept": self._intercept_L, "idf": idf_F}, folder / WEIGHTS)

    def _read(self, folder: Path) -> None:
        super()._read(folder)
        stored = load_file(folder / WEIGHTS)
        self._weights_LF, self._intercept_L = stored["weights"], stored["intercept"]
        self._vectorizer = self._new_vectorizer(vocabulary=json.loads((folder / VOCABULARY).read_text()))
        self._vectorizer.idf_ = stored["idf"]


def _words(sentence: Sentence) -> list[str]:
    return [word.text.lower() for word in sentence.words]


def _words_and_pairs(words: Sequence[str]) -> list[str]:
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))]


def _features(words: Sequence[str]) -> list[str]:
    return [*_words_and_pairs(words), *(part for word in words for part in _parts(word))]


@functools.lru_cache(maxsize=1 << 16)
def _parts(word: str) -> tuple[str, ...]:
    """Its 2 to 5 neighbouring characters, its edges being characters as well; marked, so that they are no words."""
    edged = f" {word} "[:LONGEST_WORD]
    return tuple(f"\t{edged[i : i + n]}" for n in range(2, 6) for i in range(len(edged) - n + 1))
