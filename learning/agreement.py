"""How far two models agree on the same texts: Cohen's kappa over all that is decided in them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from corpus import Kind, Mark, Relation, Sentence, Span
from corpus.tags import without_overlaps
from learning.metrics import of_kind

OUTSIDE = ""
YES = "yes"
Place = tuple[int, int]
"""Where an entity lies; its label is no matter of the relations."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two models agree on a stop set: on each word, or each choice, or each pair of entities."""

    kappa: float
    words: int
    """Those of its texts; of choices and relations, what is decided in them."""
    sentences: int
    changed: int
    """Words (decisions) that the two label differently."""
    entity_words: int
    """Words inside an entity according to either model; choices made, or pairs related."""
    kind: Kind = "spans"
    """What both mark."""

    def as_json(self) -> dict[str, Any]:
        """The same as a dict of plain values."""
        return asdict(self)


def kappa(before: Sequence[str], after: Sequence[str]) -> float:
    """Cohen's kappa of two labellings of the same words: (observed − expected) / (1 − expected) agreement, Cohen 1960.

    1 where chance alone explains full agreement (both give every word the same one label) and for no words.
    Raises ValueError if the lengths differ.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} labels before, but {len(after)} after: give both for the same words")
    if not before:
        return 1.0
    n = len(before)
    labels, codes = np.unique([*before, *after], return_inverse=True)
    first, second = (np.bincount(part, minlength=len(labels)) for part in (codes[:n], codes[n:]))
    same, by_chance = int((codes[:n] == codes[n:]).sum()), int((first * second).sum())
    return 1.0 if by_chance == n * n else (n * same - by_chance) / (n * n - by_chance)


def word_labels(sentence: Sentence, spans: Iterable[Span]) -> list[str]:
    """Each word's label under `spans`, "" outside all of them; a word that a span only touches carries its label."""
    labels = [OUTSIDE] * len(sentence)
    kept, _ = without_overlaps(spans)
    for span in reversed(kept):  # of two spans that share a word, the first has it
        first = bisect_right(sentence.words, span.start, key=lambda word: word.end)
        stop = bisect_left(sentence.words, span.end, key=lambda word: word.start)
        labels[first:stop] = [span.label] * (stop - first)
    return labels


def agreement(
    sentences: Sequence[Sentence],
    before: Sequence[Sequence[Mark]],
    after: Sequence[Sequence[Mark]],
    kind: Kind = "spans",
) -> Agreement:
    """How far two models' marks of one kind agree on a stop set: Bloodgood & Vijay-Shanker 2009, section 3.

    Spans: every word is one point, its label is the type of the entity that holds it (B or I makes no difference), and
    words outside all entities count like any other, as in the paper. That most words lie outside does no harm: kappa
    takes off the agreement that chance would bring, so what is left is mostly about entities.
    Choices: every text is one point, as in the paper's text classification; where a text may have several, every label
    of every text is one, chosen or not. Relations: every pair of the entities that either model sees is one, its label
    is all that relates the two.
    The stop set must be the same in all rounds and never trained on: hold-out tasks, labelled or not.

    Raises ValueError if there are not as many predictions as sentences.
    """
    rows = [
        (sentence, of_kind(kind, one), of_kind(kind, other), [*of_kind("spans", one), *of_kind("spans", other)])
        for sentence, one, other in zip(sentences, before, after, strict=True)
    ]
    points: list[tuple[str, str]] = []
    several = any(len(marks) > 1 for _, *both, _ in rows for marks in both)
    labels = sorted({mark.label for _, *both, _ in rows for marks in both for mark in marks})
    for sentence, one, other, entities in rows:
        if kind == "spans":
            points += zip(word_labels(sentence, one), word_labels(sentence, other), strict=True)
        elif kind == "choices":
            points += zip(*(_choices(marks, labels if several else None) for marks in (one, other)), strict=True)
        else:
            points += _pairs(sentence, one, other, entities)
    first, second = [a for a, _ in points], [b for _, b in points]
    changed, marked = sum(a != b for a, b in points), sum(bool(a or b) for a, b in points)
    return Agreement(kappa(first, second), len(points), len(rows), changed, marked, kind)


def _choices(marks: Sequence[Mark], labels: Sequence[str] | None) -> list[str]:
    """The one choice of a text, or of each of these `labels` whether it was chosen."""
    chosen = [mark.label for mark in marks]
    if labels is None:
        return chosen or [OUTSIDE]
    return [YES if label in chosen else OUTSIDE for label in labels]


def _pairs(
    sentence: Sentence, before: Iterable[Relation], after: Iterable[Relation], entities: Iterable[Span]
) -> list[tuple[str, str]]:
    """What relates each pair of a text's entities according to two models."""
    first, second = _related(before), _related(after)
    known = {(span.start, span.end) for span in (*entities, *(sentence.entities or ()))}
    places = sorted(known | {place for pair in (*first, *second) for place in pair})
    return [(first.get(pair, OUTSIDE), second.get(pair, OUTSIDE)) for pair in combinations(places, 2)]


def _related(relations: Iterable[Relation]) -> dict[tuple[Place, Place], str]:
    """By pair, in the order of the text, all its relations in one word."""
    found: dict[tuple[Place, Place], set[str]] = defaultdict(set)
    for relation in relations:
        head, tail = ((span.start, span.end) for span in (relation.head, relation.tail))
        found[min(head, tail), max(head, tail)].add(f"{'>' if head <= tail else '<'}{relation.label}")
    return {pair: " ".join(sorted(labels)) for pair, labels in found.items()}
