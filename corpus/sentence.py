"""Text as words with exact character offsets, and what people and models mark in it: spans, choices, relations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: `text == sentence.text[start:end]`, offsets in Python code points."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled stretch of text, `[start, end)` in code points.

    `confidence` is the tagger's probability in [0, 1], None for a person's annotation.
    It takes no part in comparisons: two spans are equal when place and label are.
    """

    start: int
    end: int
    label: str
    confidence: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Choice:
    """A label of the text as a whole. `confidence` as in `Span`."""

    label: str
    confidence: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """A labelled arrow from one span of a text to another. `confidence` as in `Span`.

    An arrow with two heads is two relations, one each way.
    """

    head: Span
    tail: Span
    label: str
    confidence: float | None = field(default=None, compare=False)


Mark = Span | Choice | Relation
"""What is marked in a text."""
Kind = Literal["spans", "choices", "relations"]
"""A kind of mark, by the field of `Sentence` that holds it."""
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which they are found: relations need spans."""
_KIND_OF: dict[type, Kind] = {Span: "spans", Choice: "choices", Relation: "relations"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One text to label: a sentence, a message or a whole document.

    `words` is the natural split of the text; spans never change it (see `corpus.tags.encode`, which
    cuts words at span edges for training only).
    `spans`, `choices` and `relations` are each None when nobody has labelled the text so, and empty when somebody has
    and found nothing.
    """

    id: str
    text: str
    words: tuple[Word, ...]
    spans: tuple[Span, ...] | None = None
    choices: tuple[Choice, ...] | None = None
    relations: tuple[Relation, ...] | None = None
    entities: tuple[Span, ...] | None = None
    """What relations are sought between, where that is given with the text or found already: no label."""

    @classmethod
    def from_text(cls, id: str, text: str, spans: tuple[Span, ...] | None = None) -> Sentence:
        """Split `text` into words (any script) and keep `spans` as they are."""
        from corpus.words import split_words

        return cls(id, text, split_words(text), spans)

    @classmethod
    def from_words(cls, id: str, words: list[str], spans: tuple[Span, ...] | None = None) -> Sentence:
        """Join ready-made words by single blanks (for corpora that come tokenised)."""
        placed, start = [], 0
        for text in words:
            placed.append(Word(text, start, start + len(text)))
            start += len(text) + 1
        return cls(id, " ".join(words), tuple(placed), spans)

    def labelled(self, spans: tuple[Span, ...]) -> Sentence:
        """The same text with these spans."""
        return replace(self, spans=spans)

    def marked(self, marks: Iterable[Mark], kinds: Collection[Kind]) -> Sentence:
        """The same text with these marks as its labels of these kinds, and without any of others."""
        by_kind: dict[Kind, list[Mark]] = {kind: [] for kind in kinds}
        for mark in marks:
            by_kind[_KIND_OF[type(mark)]].append(mark)
        labels: dict[str, tuple[Mark, ...]] = {kind: tuple(found) for kind, found in by_kind.items()}
        return replace(self.unlabelled(), **labels)  # type: ignore[arg-type]

    def marks(self, kind: Kind) -> tuple[Mark, ...] | None:
        """Its labels of one kind."""
        found: tuple[Mark, ...] | None = getattr(self, kind)
        return found

    def unlabelled(self) -> Sentence:
        """The same text with its labels taken off: what a tagger or a strategy may see of the pool."""
        return replace(self, spans=None, choices=None, relations=None)

    def __len__(self) -> int:
        """Length in words."""
        return len(self.words)


def kind_of(mark: Mark) -> Kind:
    """Which kind of mark it is."""
    return _KIND_OF[type(mark)]
