"""How well spans, choices and relations are found: precision, recall and F1, strict, with a bootstrap interval."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from corpus import Kind, Mark, Sentence, Span, kind_of
from corpus.tags import cut_words, encode


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Precision, recall and F1 in [0, 1] of one label; support is how often gold has it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores over all labels (micro average) and per label; `low` to `high` is F1's 95% bootstrap interval."""

    precision: float
    recall: float
    f1: float
    low: float
    high: float
    sentences: int
    spans: int
    """Gold marks, of whatever kind: stored rounds know them by this name."""
    per_label: dict[str, LabelScores] = field(default_factory=dict)
    kind: Kind = "spans"
    """What was found."""
    accuracy: bool = False
    """Whether F1 is the accuracy: every text has one choice and is given one."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain dicts and numbers."""
        return asdict(self)


MAIN: tuple[Kind, ...] = ("relations", "spans", "choices")
"""The first of these that a project marks is what its learning curve is about: relations stand on the spans."""


def main_kind(kinds: Collection[Kind]) -> Kind:
    """What a project with these kinds of marks is judged by."""
    return next(kind for kind in MAIN if kind in kinds)


def of_kind(kind: Kind, marks: Iterable[Mark]) -> list[Any]:
    """Those of them that are of one kind."""
    return [mark for mark in marks if kind_of(mark) == kind]


def scores(
    kind: Kind, sentences: Sequence[Sentence], predicted: Sequence[Sequence[Mark]], rng: np.random.Generator
) -> Scores:
    """Score the marks of one kind among `predicted` against those of labelled `sentences`.

    Spans as `span_scores` does. Choices and relations are right where they are exactly those of gold: of a relation
    both spans with their labels, the direction and its own label. With one choice a text on either side, micro F1 is
    the accuracy. The interval resamples whole sentences.

    Raises ValueError if a sentence has no gold labels of this kind.
    """
    found = [of_kind(kind, marks) for marks in predicted]
    if kind == "spans":
        return span_scores(sentences, found, rng)
    rows = [(_gold(kind, sentence), marks) for sentence, marks in zip(sentences, found, strict=True)]
    gold_n, found_n, right_n = (Counter[str]() for _ in range(3))
    for gold, marks in rows:
        gold_n.update(mark.label for mark in gold)
        found_n.update(mark.label for mark in set(marks))
        right_n.update(mark.label for mark in gold & set(marks))
    counts_N3 = np.array([_matches(*row) for row in rows], dtype=np.int64).reshape(-1, 3)
    low, high = bootstrap_f1(counts_N3, rng)
    total = _label_scores(*(int(count) for count in counts_N3.sum(0)))
    per_label = {
        label: _label_scores(gold_n[label], found_n[label], right_n[label]) for label in sorted({*gold_n, *found_n})
    }
    one_each = kind == "choices" and bool(rows) and bool((counts_N3[:, :2] == 1).all())
    return Scores(
        total.precision, total.recall, total.f1, low, high, len(rows), total.support, per_label, kind, one_each
    )


def counts(kind: Kind, sentence: Sentence, predicted: Iterable[Mark]) -> tuple[int, int, int]:
    """Gold, predicted and right marks of one kind in one labelled sentence, counted as in `scores`."""
    found = of_kind(kind, predicted)
    return _counts(*_tags(sentence, found)) if kind == "spans" else _matches(_gold(kind, sentence), found)


def span_scores(sentences: Sequence[Sentence], predicted: Sequence[Sequence[Span]], rng: np.random.Generator) -> Scores:
    """Score `predicted` against the spans of labelled `sentences` (seqeval, strict mode).

    A span counts when place and label are right to the character. Gold spans that a tag scheme cannot express
    (overlaps) are left out by the rule of `corpus.tags.encode`. The interval resamples whole sentences.
    """
    rows = [_tags(sentence, spans) for sentence, spans in zip(sentences, predicted, strict=True)]
    gold_tags, predicted_tags = [gold for gold, _ in rows], [found for _, found in rows]
    micro = _seqeval(gold_tags, predicted_tags, "micro")
    labels = sorted({tag[2:] for row in [*gold_tags, *predicted_tags] for tag in row if tag != "O"})
    per_label = {}
    if labels:
        columns = _seqeval(gold_tags, predicted_tags, None)
        per_label = {
            label: LabelScores(float(p), float(r), float(f), int(n))
            for label, p, r, f, n in zip(labels, *columns, strict=True)
        }
    counts_N3 = np.array([_counts(gold, found) for gold, found in rows], dtype=np.int64).reshape(-1, 3)
    low, high = bootstrap_f1(counts_N3, rng)
    return Scores(
        float(micro[0]), float(micro[1]), float(micro[2]), low, high, len(rows), int(counts_N3[:, 0].sum()), per_label
    )


def bootstrap_f1(counts_N3: NDArray[np.int64], rng: np.random.Generator, draws: int = 1_000) -> tuple[float, float]:
    """95% interval of micro F1 by resampling sentences with replacement.

    counts_N3: per sentence its gold, predicted and right marks. F1 = 2·right / (gold + predicted), 0 if
    there are none. (0, 1), which says nothing, for no sentences.
    """
    n = len(counts_N3)
    if n == 0:
        return 0.0, 1.0
    totals = rng.multinomial(n, np.full(n, 1 / n), size=draws) @ counts_N3
    f1 = 2 * totals[:, 2] / np.maximum(totals[:, 0] + totals[:, 1], 1)
    low, high = np.percentile(f1, [2.5, 97.5])
    return float(low), float(high)


def _gold(kind: Kind, sentence: Sentence) -> set[Any]:
    gold = sentence.marks(kind)
    if gold is None:
        raise ValueError(f"task {sentence.id} has no gold labels to score against: nobody has labelled its {kind}")
    return set(gold)


def _matches(gold: set[Any], found: Collection[Any]) -> tuple[int, int, int]:
    return len(gold), len(set(found)), len(gold & set(found))


def _label_scores(gold: int, found: int, right: int) -> LabelScores:
    f1 = 2 * right / (gold + found) if gold + found else 0.0
    return LabelScores(right / found if found else 0.0, right / gold if gold else 0.0, f1, gold)


def _tags(sentence: Sentence, predicted: Sequence[Span]) -> tuple[list[str], list[str]]:
    """Gold and predicted BIO tags over one split of the words that no span of either side cuts."""
    spans = _gold("spans", sentence)
    edges = {edge for span in (*spans, *predicted) for edge in (span.start, span.end)}
    whole = Sentence(sentence.id, sentence.text, cut_words(sentence.words, sorted(edges)))
    gold, found = (encode(whole.labelled(tuple(side))).tags for side in (sentence.spans or (), predicted))
    return list(gold), list(found)


def _counts(gold: list[str], found: list[str]) -> tuple[int, int, int]:
    gold_spans, found_spans = _spans(gold), _spans(found)
    return len(gold_spans), len(found_spans), len(gold_spans & found_spans)


def _spans(tags: list[str]) -> set[tuple[int, int, str]]:
    spans, start = set(), None
    for i, tag in enumerate([*tags, "O"]):
        if start is not None and not tag.startswith("I-"):
            spans.add((start, i, tags[start][2:]))
            start = None
        if tag.startswith("B-"):
            start = i
    return spans


def _seqeval(gold: list[list[str]], found: list[list[str]], average: str | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no predicted or no gold spans: 0 is what we want
        return precision_recall_fscore_support(gold, found, average=average, scheme=IOB2, zero_division=0)
