"""Pairs of entities, and the relations between them as one class a pair."""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from corpus import Relation, Sentence, Span

UNRELATED = "O"
"""The class of a pair between which there is nothing."""
_FORTH, _BACK, _AND = ">", "<", "|"
_ARROW = re.compile(r"([<>])((?:[^\\|]|\\.)*)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two entities of one text, the one that begins first in front; which is head and which tail its class tells."""

    first: Span
    second: Span


@dataclass(frozen=True, slots=True)
class Candidates:
    """The pairs of a text that are asked about, in the order of the text."""

    pairs: tuple[Pair, ...]
    left_out: int
    """How many more there are than may be asked about."""


def candidates(sentence: Sentence, most: int | None = None, max_words_between: int | None = None) -> Candidates:
    """Every two of the text's entities: those that are given, else its spans. One without a word is none.

    With `max_words_between`, only those with so few words between them are candidates at all. Of more than `most`,
    those stay that stand nearest to each other, the earlier ones of such as are equally near.
    """
    starts, ends = [word.start for word in sentence.words], [word.end for word in sentence.words]

    def has_words(entity: Span) -> bool:
        return bisect_right(ends, entity.start) < bisect_left(starts, entity.end)

    def between(pair: Pair) -> int:
        return max(0, bisect_left(starts, pair.second.start) - bisect_left(starts, pair.first.end))

    entities = set(sentence.spans or () if sentence.entities is None else sentence.entities)
    pairs = [Pair(*two) for two in combinations(sorted(filter(has_words, entities)), 2)]
    if max_words_between is not None:
        pairs = [pair for pair in pairs if between(pair) <= max_words_between]
    if most is None or len(pairs) <= most:
        return Candidates(tuple(pairs), 0)
    return Candidates(tuple(sorted(heapq.nsmallest(most, pairs, key=between))), len(pairs) - most)


def classes(pairs: Sequence[Pair], relations: Iterable[Relation]) -> tuple[list[str], list[Relation]]:
    """What relates each pair, as one name that `relations_of` reads, and the relations that join none of the pairs.

    The name is "O", or the labels of all relations of the pair, each with its direction: ">" from the first entity to
    the second, "<" back; in alphabetical order with "|" between them, so that equal sets have equal names.
    """
    arrows: dict[Pair, set[str]] = {pair: set() for pair in pairs}
    homeless = []
    for relation in relations:
        forth = relation.head < relation.tail
        pair = Pair(*((relation.head, relation.tail) if forth else (relation.tail, relation.head)))
        if pair in arrows:
            arrows[pair].add((_FORTH if forth else _BACK) + _escaped(relation.label))
        else:
            homeless.append(relation)
    return [_AND.join(sorted(arrows[pair])) or UNRELATED for pair in pairs], homeless


def relations_of(pair: Pair, name: str, confidence: float | None = None) -> list[Relation]:
    """The relations of a pair whose class is called `name`, in the order of the name; none for "O"."""
    if name == UNRELATED:
        return []
    return [
        Relation(
            *((pair.first, pair.second) if way == _FORTH else (pair.second, pair.first)), _plain(label), confidence
        )
        for way, label in _ARROW.findall(name)
    ]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace(_AND, "\\" + _AND)


def _plain(label: str) -> str:
    return re.sub(r"\\(.)", r"\1", label, flags=re.DOTALL)
