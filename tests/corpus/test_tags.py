"""No label is dropped or moved by tags, or it is said; ill-formed tags are read as conlleval reads them."""

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from corpus import Scheme, Sentence, Span, Word
from corpus.tags import SCHEMES, convert, decode, encode, without_overlaps
from tests.corpus.texts import labelled, labels

SEQEVAL = {"IOB1": IOB1, "BIO": IOB2, "BIOES": IOBES}
crowded = st.builds(
    lambda start, size, label: Span(start, start + size, label), st.integers(0, 20), st.integers(1, 8), labels
)
every_scheme = pytest.mark.parametrize("scheme", get_args(Scheme))

BY_HAND = {
    "IOB1": "O I-X I-X B-X I-X I-Y O I-Y B-Y B-Y",
    "BIO": "O B-X I-X B-X I-X B-Y O B-Y B-Y B-Y",
    "BIOES": "O B-X E-X B-X E-X S-Y O S-Y S-Y S-Y",
}


def tag_sequences(scheme: Scheme) -> st.SearchStrategy[list[str]]:
    """Tags of a scheme in any order, ill-formed ones too."""
    known = [f"{prefix}-{label}" for prefix in sorted(SCHEMES[scheme]) for label in ("X", "Y", "from-loc")]
    return st.lists(st.sampled_from(["O", *known]), max_size=12)


def words_for(tags: list[str]) -> tuple[Word, ...]:
    return Sentence.from_words("1", ["word"] * len(tags)).words


def chunks_of(spans: list[Span], words: tuple[Word, ...]) -> list[tuple[str, int, int]]:
    """Label, first and last word, as seqeval counts."""
    first = {word.start: place for place, word in enumerate(words)}
    last = {word.end: place for place, word in enumerate(words)}
    return [(span.label, first[span.start], last[span.end]) for span in spans]


def trimmed(span: Span, sentence: Sentence) -> Span | None:
    """The definition: from the first to the last character of the span that is part of a word."""
    in_words = {place for word in sentence.words for place in range(word.start, word.end)}
    inside = in_words & set(range(span.start, span.end))
    if span.start < 0 or span.end > len(sentence.text) or not inside:
        return None
    return Span(min(inside), max(inside) + 1, span.label)


@every_scheme
@given(sentence=labelled())
def test_spans_come_back_exactly_or_are_reported(scheme: Scheme, sentence: Sentence) -> None:
    encoded = encode(sentence, scheme)
    usable = [t for span in sentence.spans or () if (t := trimmed(span, sentence))]
    kept, _ = without_overlaps(usable)
    assert decode(encoded.words, encoded.tags, scheme) == kept
    assert len(encoded.problems) == len(sentence.spans or ()) - len(kept)


@given(labelled())
def test_words_are_cut_at_the_edges_of_spans_and_nowhere_else(sentence: Sentence) -> None:
    encoded = encode(sentence)
    kept = decode(encoded.words, encoded.tags)
    edges = {edge for word in sentence.words for edge in (word.start, word.end)}
    edges |= {edge for span in kept for edge in (span.start, span.end)}
    assert {edge for word in encoded.words for edge in (word.start, word.end)} == edges
    assert "".join(word.text for word in encoded.words) == "".join(word.text for word in sentence.words)
    assert all(word.text == sentence.text[word.start : word.end] for word in encoded.words)


def test_a_span_that_cuts_a_word_keeps_its_place() -> None:
    sentence = Sentence.from_text("1", "die Berlinreise", (Span(4, 10, "LOC"),))
    before = sentence.words
    encoded = encode(sentence)
    assert [word.text for word in encoded.words] == ["die", "Berlin", "reise"]
    assert encoded.tags == ("O", "B-LOC", "O")
    assert sentence.words is before


@every_scheme
def test_adjoining_spans_of_one_label_stay_two(scheme: Scheme) -> None:
    spans = (Span(0, 3, "X"), Span(4, 7, "X"), Span(7, 9, "X"))
    encoded = encode(Sentence.from_text("1", "one twothree", spans), scheme)
    assert decode(encoded.words, encoded.tags, scheme) == list(spans)


def test_a_sentence_without_labels_is_all_o_and_an_unlabelled_one_is_refused() -> None:
    nothing_in_it = Sentence.from_text("task-7", "Hello there", ())
    assert encode(nothing_in_it).tags == ("O", "O")
    with pytest.raises(ValueError, match="task-7"):
        encode(nothing_in_it.unlabelled())


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        (Span(2, 4, "X"), "covers no word"),
        (Span(3, 3, "X"), "ends before"),
        (Span(5, 1, "X"), "ends before"),
        (Span(-1, 2, "X"), "outside the text, which is 13 characters"),
        (Span(9, 14, "X"), "outside the text"),
        (Span(4, 10, "X"), "overlaps 'PER' [5, 13)"),
    ],
)
def test_problems_name_task_span_and_remedy(span: Span, reason: str) -> None:
    sentence = Sentence.from_text("task-7", "Hi   New York", (Span(4, 13, "PER"), span))
    (problem,) = encode(sentence).problems
    assert problem.startswith("task task-7: span 'X' [")
    assert reason in problem
    assert any(remedy in problem for remedy in ("remove", "mark the text again"))


def test_spans_that_share_only_blanks_both_stay() -> None:
    sentence = Sentence.from_text("1", "New  York", (Span(0, 5, "A"), Span(3, 9, "B")))
    encoded = encode(sentence)
    assert encoded.tags == ("B-A", "B-B")
    assert encoded.problems == ()


@given(st.lists(crowded, max_size=10))
def test_overlaps_go_by_the_rule(spans: list[Span]) -> None:
    def rank(span: Span) -> tuple[int, int, str]:
        return (span.start - span.end, span.start, span.label)

    def overlap(one: Span, other: Span) -> bool:
        return bool(set(range(one.start, one.end)) & set(range(other.start, other.end)))

    kept, dropped = without_overlaps(spans)
    assert sorted(kept + dropped) == sorted(spans)
    assert kept == sorted(kept)
    assert not any(overlap(one, other) for one, other in pairwise(kept))
    for span in dropped:
        assert any(overlap(span, other) and rank(other) <= rank(span) for other in kept)


def test_overlaps_by_hand() -> None:
    outer, inner, first, second = Span(0, 9, "Z"), Span(2, 4, "A"), Span(10, 14, "B"), Span(10, 14, "C")
    kept, dropped = without_overlaps([second, inner, first, outer, Span(13, 17, "A")])
    assert kept == [outer, first]
    assert dropped == [inner, second, Span(13, 17, "A")]


@given(labelled())
def test_overlaps_do_not_depend_on_the_order_of_the_spans(sentence: Sentence) -> None:
    backwards = sentence.labelled(tuple(reversed(sentence.spans or ())))
    assert encode(sentence).tags == encode(backwards).tags


@every_scheme
@given(data=st.data())
def test_any_tags_are_read_as_conlleval_reads_them(scheme: Scheme, data: st.DataObject) -> None:
    tags = data.draw(tag_sequences(scheme))
    words = words_for(tags)
    assert chunks_of(decode(words, tags, scheme), words) == get_entities(tags)


@pytest.mark.parametrize("source", get_args(Scheme))
@pytest.mark.parametrize("target", get_args(Scheme))
def test_schemes_by_hand(source: Scheme, target: Scheme) -> None:
    assert convert(BY_HAND[source].split(), source, target) == BY_HAND[target].split()


@pytest.mark.parametrize("source", get_args(Scheme))
@pytest.mark.parametrize("target", get_args(Scheme))
@given(data=st.data())
def test_converted_tags_are_strictly_the_same_entities(source: Scheme, target: Scheme, data: st.DataObject) -> None:
    tags = data.draw(tag_sequences(source))
    converted = convert(tags, source, target)
    if tags:
        strict = Entities([converted], SEQEVAL[target]).entities[0]
        assert [(e.tag, e.start, e.end - 1) for e in strict] == get_entities(tags)
    assert convert(convert(converted, target, source), source, target) == converted


def test_confidence_is_the_least_of_a_spans_words() -> None:
    tags = ["B-X", "I-X", "O", "B-Y"]
    found = decode(words_for(tags), tags, "BIO", confidences=[0.9, 0.5, 0.1, 0.7])
    assert [(span.label, span.confidence) for span in found] == [("X", 0.5), ("Y", 0.7)]
    assert [span.confidence for span in decode(words_for(tags), tags)] == [None, None]


@pytest.mark.parametrize(("tag", "scheme"), [("PER", "BIO"), ("E-PER", "BIO"), ("S-PER", "IOB1"), ("", "BIOES")])
def test_a_tag_of_another_scheme_is_refused(tag: str, scheme: Scheme) -> None:
    with pytest.raises(ValueError, match=f"'{tag}' is no tag of {scheme}"):
        decode(words_for([tag]), [tag], scheme)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 words, but 1 tags"):
        decode(words_for(["O", "O"]), ["O"])
    with pytest.raises(ValueError, match="1 words, but 1 tags and 2 confidences"):
        decode(words_for(["O"]), ["O"], confidences=[1.0, 1.0])
