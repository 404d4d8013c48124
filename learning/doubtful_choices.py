"""Suspected errors among choices: texts whose given label a model that never saw them finds improbable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corpus import Sentence
from taggers import tagger_class

TAGGER = "tfidf-classifier"
"""Whatever the project's classifier is: it learns a fold in a moment."""

Doubt = tuple[int, str, float]
"""Which sentence, the label that is suggested, and its probability in [0, 1]."""


def single(sentences: Sequence[Sentence]) -> bool:
    """Whether every one of them has exactly one choice."""
    return all(sentence.choices is not None and len(sentence.choices) == 1 for sentence in sentences)


def doubtful_choices(sentences: Sequence[Sentence], rng: np.random.Generator, folds: int) -> list[Doubt]:
    """Confident learning (Northcutt et al. 2021) over sentences with one choice each, the worst first.

    Each label has a probability according to a TF-IDF classifier that was trained on the other folds. cleanlab's
    filter takes the texts that count off the diagonal of the confident joint: some other label is as probable there as
    it is on average where people gave it. Texts without words are passed over.
    """
    kept = [i for i, sentence in enumerate(sentences) if sentence.words]
    given = [choice.label for i in kept for choice in sentences[i].choices or ()]
    names = sorted(set(given))
    if len(names) < 2:
        return []
    number = {name: n for n, name in enumerate(names)}
    probability_NC = _held_out([sentences[i] for i in kept], number, rng, folds)
    best = probability_NC.argmax(1)
    return [
        (kept[n], names[best[n]], float(probability_NC[n, best[n]]))
        for n in _issues(np.array([number[label] for label in given]), probability_NC)
        if names[best[n]] != given[n]
    ]


def _held_out(
    sentences: Sequence[Sentence], number: dict[str, int], rng: np.random.Generator, folds: int
) -> NDArray[np.float64]:
    """(N, C) the probability of each label by a model that was not trained on the sentence."""
    probability_NC = np.zeros((len(sentences), len(number)))
    for fold in np.array_split(rng.permutation(len(sentences)), folds):
        outside = set(fold.tolist())
        classifier = tagger_class(TAGGER)()
        classifier.fit([sentence for i, sentence in enumerate(sentences) if i not in outside], [])
        for batch in classifier.infer([sentences[i].unlabelled() for i in fold]):
            columns = np.array([number[label] for label in batch.tags])
            probability_NC[fold[batch.indices][:, None], columns] = batch.marginals_BTC[:, 0]
    return probability_NC


def _issues(given_N: NDArray[np.int64], probability_NC: NDArray[np.float64]) -> list[int]:
    from cleanlab.filter import find_label_issues  # brings pandas: seconds

    found = find_label_issues(
        given_N,
        probability_NC,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return [int(n) for n in found]
