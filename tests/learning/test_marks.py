"""Marks as they are stored."""

import json

from hypothesis import given
from hypothesis import strategies as some

from corpus import Choice, Relation, Span
from learning.marks import as_json, from_json

CONFIDENCE = some.none() | some.floats(0, 1)
SPANS = some.builds(Span, some.integers(0, 99), some.integers(100, 200), some.text(), CONFIDENCE)
MARKS = (
    SPANS | some.builds(Choice, some.text(), CONFIDENCE) | some.builds(Relation, SPANS, SPANS, some.text(), CONFIDENCE)
)


@given(some.lists(MARKS))
def test_what_is_stored_is_read_again(marks):
    read = from_json(json.loads(json.dumps(as_json(marks))))
    assert read == marks  # a mark's confidence is no part of that
    assert [mark.confidence for mark in read] == [mark.confidence for mark in marks]


def test_spans_stay_as_they_were_stored_before_there_were_other_marks():
    assert as_json([Span(0, 3, "PER", 0.5), Span(4, 5, "LOC")]) == [[0, 3, "PER", 0.5], [4, 5, "LOC", None]]
    assert from_json([[0, 3, "PER", 0.5]]) == [Span(0, 3, "PER")]


def test_a_relation_names_its_two_spans():
    ada, oslo = Span(0, 3, "PER", 0.9), Span(13, 17, "LOC", 0.8)
    assert as_json([Relation(oslo, ada, "home of", 0.7), Choice("home > abroad")]) == [
        [13, 17, "LOC", 0, 3, "PER", "home of", 0.7],
        ["home > abroad", None],
    ]
