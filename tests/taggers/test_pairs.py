"""Pairs of entities: which there are, and that a class says all that relates them."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import Relation, Sentence, Span
from taggers.pairs import Pair, candidates, classes, relations_of

TEXT = "Ada of Bergen met Grace, who had come from Lima by sea."
ADA, BERGEN, GRACE, LIMA = Span(0, 3, "person"), Span(7, 13, "town"), Span(18, 23, "person"), Span(43, 47, "town")


def text(*spans: Span, entities: tuple[Span, ...] | None = None) -> Sentence:
    from dataclasses import replace

    return replace(Sentence.from_text("1", TEXT, spans), entities=entities)


def spelled(name: str) -> list[Relation]:
    return relations_of(Pair(ADA, BERGEN), name)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Sentence, list[Relation]]:
    """A text with spans anywhere, overlapping, nested or the same twice, and relations between any two of them."""
    place = st.tuples(st.integers(0, len(TEXT)), st.integers(0, len(TEXT))).map(sorted)
    span = st.builds(lambda at, label: Span(*at, label), place, st.sampled_from("ab"))
    spans = draw(st.lists(span, min_size=2, max_size=6))
    label = st.one_of(
        st.sampled_from(["in", "O", "", "<", ">", "|", "\\", "\\|", ">a|<b", "a\nb"]), st.text(max_size=5)
    )
    relation = st.builds(Relation, st.sampled_from(spans), st.sampled_from(spans), label)
    return text(*spans), draw(st.lists(relation, max_size=8))


@given(labelled())
def test_classes_give_all_relations_back(case: tuple[Sentence, list[Relation]]) -> None:
    sentence, relations = case
    pairs = candidates(sentence).pairs
    names, homeless = classes(pairs, relations)
    back = [relation for pair, name in zip(pairs, names, strict=True) for relation in relations_of(pair, name)]
    assert set(back) | set(homeless) == set(relations)
    assert not set(back) & set(homeless)
    assert len(back) == len(set(back))


@given(labelled())
def test_only_relations_without_two_entities_are_left_over(case: tuple[Sentence, list[Relation]]) -> None:
    sentence, relations = case
    with_words = {s for s in sentence.spans or () if any(w.start < s.end and s.start < w.end for w in sentence.words)}
    _, homeless = classes(candidates(sentence).pairs, relations)
    for relation in homeless:
        assert relation.head == relation.tail or not {relation.head, relation.tail} <= with_words


@given(st.sets(st.tuples(st.booleans(), st.text(max_size=4)), max_size=4), st.randoms())
def test_equal_sets_of_relations_have_equal_names_and_others_have_others(arrows: set[tuple[bool, str]], random) -> None:  # type: ignore[no-untyped-def]
    def name(arrows: list[tuple[bool, str]]) -> str:
        relations = [Relation(*((ADA, LIMA) if forth else (LIMA, ADA)), label) for forth, label in arrows]
        return classes([Pair(ADA, LIMA)], relations)[0][0]

    ordered, shuffled = list(arrows), list(arrows)
    random.shuffle(shuffled)
    assert name(ordered) == name(shuffled)
    for arrow in ordered:
        assert name([other for other in ordered if other != arrow]) != name(ordered)


def test_names_are_as_documented() -> None:
    pairs = [Pair(ADA, BERGEN), Pair(ADA, GRACE), Pair(BERGEN, GRACE)]
    relations = [Relation(ADA, BERGEN, "from"), Relation(GRACE, ADA, "knows"), Relation(ADA, GRACE, "knows")]
    assert classes(pairs, relations) == ([">from", "<knows|>knows", "O"], [])


def test_direction_is_kept() -> None:
    assert spelled(">home") == [Relation(ADA, BERGEN, "home")]
    assert spelled("<home") == [Relation(BERGEN, ADA, "home")]
    assert spelled("O") == []


def test_a_label_that_looks_like_no_relation_is_one() -> None:
    [name], _ = classes([Pair(ADA, BERGEN)], [Relation(ADA, BERGEN, "O")])
    assert name != "O"
    assert spelled(name) == [Relation(ADA, BERGEN, "O")]


def test_confidence_goes_to_each_relation() -> None:
    found = relations_of(Pair(ADA, GRACE), "<knows|>knows", 0.75)
    assert [relation.confidence for relation in found] == [0.75, 0.75]


def test_candidates_are_all_pairs_in_the_order_of_the_text() -> None:
    found = candidates(text(LIMA, ADA, GRACE, BERGEN)).pairs
    assert found == tuple(Pair(*two) for two in combinations([ADA, BERGEN, GRACE, LIMA], 2))


def test_entities_that_are_given_go_before_spans() -> None:
    assert candidates(text(ADA, LIMA, entities=(BERGEN, GRACE))).pairs == (Pair(BERGEN, GRACE),)
    assert candidates(text(ADA, LIMA, entities=())).pairs == ()


def test_the_same_span_twice_is_one_entity() -> None:
    assert candidates(text(ADA, ADA, LIMA)).pairs == (Pair(ADA, LIMA),)


def test_one_place_with_two_labels_is_two_entities() -> None:
    author = Span(0, 3, "author")
    assert candidates(text(ADA, author)).pairs == (Pair(author, ADA),)


def test_nothing_labelled_has_no_pairs() -> None:
    assert candidates(Sentence.from_text("1", TEXT)).pairs == ()


def test_an_entity_without_words_is_none() -> None:
    assert candidates(text(ADA, Span(3, 4, "gap"), LIMA)).pairs == (Pair(ADA, LIMA),)


@pytest.mark.parametrize(("words", "expected"), [(0, 0), (1, 2), (2, 2), (4, 3)])
def test_words_between_are_counted(words: int, expected: int) -> None:
    """Between Ada and Bergen there is "of", between Bergen and Grace "met"; of Ada and Grace three words are apart."""
    assert len(candidates(text(ADA, BERGEN, GRACE), max_words_between=words).pairs) == expected


def test_of_too_many_pairs_the_nearest_stay_in_their_order() -> None:
    found = candidates(text(ADA, BERGEN, GRACE, LIMA), most=3)
    assert found.pairs == (Pair(ADA, BERGEN), Pair(ADA, GRACE), Pair(BERGEN, GRACE))
    assert found.left_out == 3
