"""Spans as one tag a word, and back: IOB1, BIO (IOB2) and BIOES."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from corpus.sentence import Sentence, Span, Word

Scheme = Literal["IOB1", "BIO", "BIOES"]
SCHEMES: dict[Scheme, frozenset[str]] = {
    "IOB1": frozenset("IB"),
    "BIO": frozenset("BI"),
    "BIOES": frozenset("BIES"),
}
"""The prefixes of each scheme. IOB1 marks a beginning with B only right after a chunk of the same label."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A labelled sentence as words and tags, and what of its labels tags could not express."""

    words: tuple[Word, ...]
    """The sentence's words, cut where a span begins or ends inside one."""
    tags: tuple[str, ...]
    """One tag for each of `words`."""
    problems: tuple[str, ...]
    """One message for each span that was left out: which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Words `[start, stop)` that carry one label."""

    start: int
    stop: int
    label: str


def encode(sentence: Sentence, scheme: Scheme = "BIO") -> Encoded:
    """The tags of a labelled sentence; `decode` gives its spans back, exactly.

    A span that begins or ends inside a word cuts it. Blanks at a span's edges are left off. Of spans that
    overlap, `without_overlaps` decides which stay. Every span left out is named in `problems`.

    Raises ValueError if nobody has labelled the sentence (`spans` is None).
    """
    if sentence.spans is None:
        raise ValueError(f"task {sentence.id} has not been labelled: label it or leave it out")
    problems, placed = [], []
    for span in sentence.spans:
        trimmed = _on_words(span, sentence)
        if isinstance(trimmed, str):
            problems.append(f"{_named(span, sentence)} left out: {trimmed}")
        else:
            placed.append(trimmed)
    kept, dropped = without_overlaps(placed)
    for span in dropped:
        rival = kept[bisect_right(kept, span.start, key=lambda k: k.end)]
        problems.append(
            f"{_named(span, sentence)} left out: it overlaps '{rival.label}' [{rival.start}, {rival.end}), "
            "and a word has one tag only; remove one of the two or make them adjoin"
        )
    words = cut_words(sentence.words, sorted({edge for span in kept for edge in (span.start, span.end)}))
    starts = [word.start for word in words]
    chunks = [_Chunk(bisect_left(starts, span.start), bisect_left(starts, span.end), span.label) for span in kept]
    return Encoded(words, tuple(_tags(chunks, len(words), scheme)), tuple(problems))


def decode(
    words: Sequence[Word],
    tags: Sequence[str],
    scheme: Scheme = "BIO",
    confidences: Sequence[float] | None = None,
) -> list[Span]:
    """The spans that `tags` mark, in the order of the text.

    Tags in a wrong order are read as conlleval reads them: a tag that continues nothing begins a span.
    A span's confidence is the least of its words' `confidences`, None if none are given.

    Raises ValueError if the lengths differ or a tag is not one of `scheme`.
    """
    if len(words) != len(tags) or (confidences is not None and len(confidences) != len(words)):
        given = "" if confidences is None else f" and {len(confidences)} confidences"
        raise ValueError(f"{len(words)} words, but {len(tags)} tags{given}: give one for each word")
    return [
        Span(
            words[chunk.start].start,
            words[chunk.stop - 1].end,
            chunk.label,
            None if confidences is None else min(confidences[chunk.start : chunk.stop]),
        )
        for chunk in _chunks(tags, scheme)
    ]


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """The same chunks in another scheme. Raises ValueError if a tag is not one of `source`."""
    return _tags(_chunks(tags, source), len(tags), target)


def without_overlaps(spans: Iterable[Span]) -> tuple[list[Span], list[Span]]:
    """Spans that share no character, and those dropped for it, both in the order of the text.

    The rule: the longest first, then the earliest, then by label; a span stays if it overlaps none that
    stays already. So of nested spans the outer one stays, and of equal ones the first.
    """
    kept: list[Span] = []
    dropped: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start - s.end, s.start, s.label)):
        place = bisect_right(kept, span.start, key=lambda s: s.start)
        before_fits = place == 0 or kept[place - 1].end <= span.start
        after_fits = place == len(kept) or span.end <= kept[place].start
        if before_fits and after_fits:
            kept.insert(place, span)
        else:
            dropped.append(span)
    return kept, sorted(dropped)


def split_tag(tag: str, scheme: Scheme) -> tuple[str, str]:
    """Prefix and label of a tag: "B-from-loc" → ("B", "from-loc"), "O" → ("O", "").

    Raises ValueError if `tag` is not one of `scheme`.
    """
    if tag == "O":
        return "O", ""
    prefix, hyphen, label = tag.partition("-")
    if not hyphen or prefix not in SCHEMES[scheme]:
        known = ", ".join(f"{prefix}-…" for prefix in sorted(SCHEMES[scheme]))
        raise ValueError(f"{tag!r} is no tag of {scheme}, which knows O, {known}")
    return prefix, label


def _on_words(span: Span, sentence: Sentence) -> Span | str:
    """`span` without what belongs to no word at its edges, or why that is impossible."""
    if span.start >= span.end:
        return "it ends before it has begun; remove it or mark the text again"
    if span.start < 0 or span.end > len(sentence.text):
        return (
            f"it lies outside the text, which is {len(sentence.text)} characters long; "
            "mark the text again (was the text changed after it was labelled?)"
        )
    words = sentence.words
    first = bisect_right(words, span.start, key=lambda word: word.end)
    last = bisect_left(words, span.end, key=lambda word: word.start) - 1
    if first > last:
        return "it covers no word; remove it or mark a word"
    start, end = max(span.start, words[first].start), min(span.end, words[last].end)
    return Span(start, end, span.label, span.confidence)


def _named(span: Span, sentence: Sentence) -> str:
    return f"task {sentence.id}: span '{span.label}' [{span.start}, {span.end})"


def cut_words(words: Sequence[Word], edges: Sequence[int]) -> tuple[Word, ...]:
    """The words, cut at those of the ascending `edges` that lie inside one."""
    pieces = []
    for word in words:
        inner = edges[bisect_right(edges, word.start) : bisect_left(edges, word.end)]
        if not inner:
            pieces.append(word)
            continue
        for start, end in pairwise([word.start, *inner, word.end]):
            pieces.append(Word(word.text[start - word.start : end - word.start], start, end))
    return tuple(pieces)


def _chunks(tags: Sequence[str], scheme: Scheme) -> list[_Chunk]:
    """The chunks of any tag sequence. One rule reads all three schemes: B and S begin, E and S end."""
    chunks: list[_Chunk] = []
    begun, open_label = 0, None
    for place, tag in enumerate(tags):
        prefix, label = split_tag(tag, scheme)
        if open_label is not None and (prefix in "OBS" or label != open_label):
            chunks.append(_Chunk(begun, place, open_label))
            open_label = None
        if prefix == "O":
            continue
        if open_label is None:
            begun, open_label = place, label
        if prefix in "ES":
            chunks.append(_Chunk(begun, place + 1, open_label))
            open_label = None
    if open_label is not None:
        chunks.append(_Chunk(begun, len(tags), open_label))
    return chunks


def _tags(chunks: Iterable[_Chunk], length: int, scheme: Scheme) -> list[str]:
    """One tag a word for chunks in order that do not overlap."""
    tags = ["O"] * length
    previous = _Chunk(-1, -1, "")
    for chunk in chunks:
        size = chunk.stop - chunk.start
        prefixes = ["I"] * size
        adjoins = previous.stop == chunk.start and previous.label == chunk.label
        if scheme != "IOB1" or adjoins:
            prefixes[0] = "B"
        if scheme == "BIOES":
            prefixes[-1] = "E" if size > 1 else "S"
        tags[chunk.start : chunk.stop] = [f"{prefix}-{chunk.label}" for prefix in prefixes]
        previous = chunk
    return tags
