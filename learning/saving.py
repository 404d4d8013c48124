"""What the strategy's order has saved against random order, estimated from the hold-out, a random sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import Kind, Mark, Sentence
from learning.curve import least_squares, restlessness
from learning.loop import fit, labelled_so
from learning.metrics import counts
from learning.settings import ProjectSettings
from taggers import Tagger

Floats = NDArray[np.float64]

MIN_HOLDOUT_SENTENCES = 100
"""Labelled hold-out tasks, and MIN_HOLDOUT_MARKS in them, below which no estimate is tried."""
MIN_HOLDOUT_MARKS = 50
FOLDS = 5
PARTS = np.geomspace(0.18, 2, 8)
"""Words of the ordered trainings, as a share of those of a random one."""
MIN_PARTS = 5
"""Ordered trainings below which they are no curve; with so few the ordered words just exceed half the random ones."""
DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class Saving:
    """The share of the words that the order has saved, at most 1 − PARTS[0]; negative where it has cost some."""

    share: float
    low: float
    high: float
    """The 95% interval."""
    random_words: int
    """Words of a random training, which the figures are about."""
    f1: float
    """What they bring, in [0, 1]."""

    @property
    def text(self) -> str:
        """The same in words."""
        interval = f"(95% interval {self.low:.0%} to {self.high:.0%})"
        basis = f"for the F1 of {self.f1:.2f} that {self.random_words:,} words labelled at random bring"
        if self.low > 0:
            return f"The order has saved about {self.share:.0%} of the words {interval}, {basis}."
        if self.high < 0:
            return f"The order has cost about {-self.share:.0%} more words than random order would {interval}, {basis}."
        return f"Whether the order saves words cannot be told yet: {self.share:.0%} {interval}, {basis}."

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {"text": self.text, **asdict(self)}


def trained_words(labelled: Sequence[Sentence], holdout: Sequence[Sentence], kind: Kind = "spans") -> float:
    """How many words `saving` would train on in all its trainings, to tell what it would cost; 0 where it is None."""
    labelled, holdout = labelled_so(labelled, kind), labelled_so(holdout, kind)
    parts = _parts(labelled, holdout, kind)
    return (FOLDS - 1) * _words(holdout) + sum(_words(part) for part in parts) if parts else 0.0


def saving(
    labelled: Sequence[Sentence],
    holdout: Sequence[Sentence],
    settings: ProjectSettings,
    rng: np.random.Generator,
    kind: Kind = "spans",
) -> Saving | None:
    """How many words the strategy's order needs for what random order brings, as a share saved; None if too little is
    labelled.

    labelled: what the strategy chose, in the order it was labelled. holdout: a random sample of all tasks, labelled.
    kind: what the taggers find; settings: with the tagger that finds it (`ProjectSettings.of`). Relations are sought
    between the entities that people marked.
    Random order: taggers with the project's settings, each trained on all but one of FOLDS parts of the hold-out and
    tested on that part. The strategy's: taggers trained on the first labelled texts, on PARTS as many words, tested on
    the whole hold-out; through their F1 goes the power law of `learning.curve`, and where it reaches random order's
    F1 are the words needed. The interval resamples the hold-out's tasks, for all trainings alike, and adds how much
    F1 jumps from training to training.

    What it is not: it looks at the beginning of the curve, at as many words as four fifths of the hold-out have,
    whereas strategies often save more later on. The first labelled texts were chosen before there was a model (by the
    cold start), which counts as the strategy's order here. One order was followed once: how another run would have
    gone is not in the interval. All trainings start from scratch, also where rounds start warm. Labels that changed
    since count at the time of the change. The result is cut off at the shortest and longest ordered training.
    """
    labelled, holdout = labelled_so(labelled, kind), labelled_so(holdout, kind)
    parts = _parts(labelled, holdout, kind)
    if not parts:
        return None
    random_words = _words(holdout) * (FOLDS - 1) / FOLDS
    found = [_crossed(holdout, settings, rng), *(_found(fit(part, settings, rng), holdout) for part in parts)]
    counts_TN3 = np.array(
        [[counts(kind, *pair) for pair in zip(holdout, marks, strict=True)] for marks in found], dtype=np.float64
    )
    words_P = np.array([_words(part) for part in parts], dtype=np.float64)
    N = len(holdout)
    f1_DT = _f1(rng.multinomial(N, np.full(N, 1 / N), DRAWS) @ counts_TN3)
    covariance_PP: Floats = np.cov(f1_DT[:, 1:].T).astype(np.float64)
    weight_P = 1 / np.maximum(np.diag(covariance_PP), 1e-6)
    f1_T = _f1(counts_TN3.sum(1, keepdims=True))
    law = least_squares(words_P, f1_T[:, 1:], weight_P)
    jumps = np.sqrt(restlessness(f1_T[0, 1:] - law.at(words_P)[0], covariance_PP))
    f1_DT += rng.normal(0, jumps, f1_DT.shape)
    shares_D = 1 - least_squares(words_P, f1_DT[:, 1:], weight_P).words_for(f1_DT[:, 0]) / random_words
    bounds = 1 - words_P[-1] / random_words, 1 - words_P[0] / random_words
    low, high = (float(end) for end in np.percentile(np.clip(shares_D, *bounds), [2.5, 97.5]))
    share = float(np.clip(1 - law.words_for(f1_T[:, 0])[0] / random_words, *bounds))
    return Saving(share, min(low, share), max(high, share), round(random_words), float(f1_T[0, 0]))


def _parts(labelled: Sequence[Sentence], holdout: Sequence[Sentence], kind: Kind) -> list[list[Sentence]]:
    """The beginnings of what the strategy chose that are trained on; none if there is too little of either."""
    marks = sum(len(sentence.marks(kind) or ()) for sentence in holdout)
    if len(holdout) < MIN_HOLDOUT_SENTENCES or marks < MIN_HOLDOUT_MARKS:
        return []
    words = np.cumsum([0, *(len(sentence) for sentence in labelled)])
    wanted = [part * _words(holdout) * (FOLDS - 1) / FOLDS for part in PARTS]
    sizes = [int(np.searchsorted(words, count)) for count in wanted if 0 < count <= words[-1]]
    return [list(labelled[:size]) for size in sizes] if len(set(sizes)) >= MIN_PARTS else []


def _crossed(holdout: Sequence[Sentence], settings: ProjectSettings, rng: np.random.Generator) -> list[list[Mark]]:
    """The hold-out's marks, each by a tagger that was trained on other parts of it."""
    marks: list[list[Mark]] = [[] for _ in holdout]
    for fold in np.array_split(rng.permutation(len(holdout)), FOLDS):
        outside = set(fold.tolist())
        tagger = fit([sentence for i, sentence in enumerate(holdout) if i not in outside], settings, rng)
        for i, found in zip(fold, _found(tagger, [holdout[i] for i in fold]), strict=True):
            marks[i] = found
    return marks


def _found(tagger: Tagger, sentences: Sequence[Sentence]) -> list[list[Mark]]:
    def bare(sentence: Sentence) -> Sentence:
        if tagger.kind != "relations" or sentence.entities is not None:
            return sentence.unlabelled()
        return replace(sentence.unlabelled(), entities=sentence.spans)

    return tagger.predict([bare(sentence) for sentence in sentences])


def _f1(counts_TD3: Floats) -> Floats:
    """(D, T): F1 of gold, predicted and right marks."""
    return (2 * counts_TD3[..., 2] / np.maximum(counts_TD3[..., 0] + counts_TD3[..., 1], 1)).T


def _words(sentences: Sequence[Sentence]) -> int:
    return sum(len(sentence) for sentence in sentences)
