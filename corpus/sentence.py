"""Text as words with exact character offsets, and labelled spans over it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


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


@dataclass(frozen=True, slots=True)
class Sentence:
    """One text to label: a sentence, a message or a whole document.

    `words` is the natural split of the text; spans never change it (see `corpus.tags.encode`, which
    cuts words at span edges for training only).
    `spans` is None when nobody has labelled the text, and empty when somebody has and found nothing.
    """

    id: str
    text: str
    words: tuple[Word, ...]
    spans: tuple[Span, ...] | None = None

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

    def unlabelled(self) -> Sentence:
        """The same text with its labels taken off: what a tagger or a strategy may see of the pool."""
        return replace(self, spans=None)

    def __len__(self) -> int:
        """Length in words."""
        return len(self.words)
