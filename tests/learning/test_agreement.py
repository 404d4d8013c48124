import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from corpus import Choice, Relation, Sentence, Span
from learning.agreement import agreement, kappa, word_labels

LABELS = st.lists(st.tuples(st.sampled_from(["", "PER", "O", "LOC"]), st.sampled_from(["", "PER", "O", "LOC"])))


@given(LABELS)
def test_kappa_is_scikit_learns(pairs):
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    if len({*before, *after}) < 2:
        assert kappa(before, after) == 1  # where scikit-learn has no answer
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert kappa(before, after) == pytest.approx(cohen_kappa_score(before, after))


def test_kappa_where_its_formula_has_no_value():
    assert kappa([], []) == 1
    assert kappa(["O"] * 5, ["O"] * 5) == 1
    assert kappa(["O"] * 5, ["B-PER"] * 5) == 0
    with pytest.raises(ValueError, match="2 labels before, but 1 after"):
        kappa(["O", "O"], ["O"])


def test_kappa_sees_what_the_many_words_outside_hide():
    """One entity of two is lost: 99.9% of the words agree, kappa says 2/3."""
    before, after = ["PER"] * 2 + ["O"] * 998, ["PER"] + ["O"] * 999
    assert kappa(before, after) == pytest.approx(0.667, abs=0.001)


def test_words_carry_the_label_of_the_span_that_holds_them():
    sentence = Sentence.from_text("1", "Ada-Maria of New York sang")
    words = [word.text for word in sentence.words]
    spans = [Span(13, 21, "LOC"), Span(4, 9, "PER")]
    expected = {"New": "LOC", "York": "LOC", "Maria": "PER", "Ada-Maria": "PER"}
    assert word_labels(sentence, spans) == [expected.get(word, "") for word in words]
    assert word_labels(sentence, []) == [""] * len(words)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.sampled_from("AB")), max_size=6))
def test_word_labels_equal_looking_at_every_pair(drawn):
    text = "a bc def, ghij k lmn😀op qr st-uv wx yz and so"
    sentence = Sentence.from_text("1", text)
    spans: list[Span] = []
    for start, length, label in drawn:
        if all(start + length <= s.start or s.end <= start for s in spans):
            spans.append(Span(start, start + length, label))
    spans.sort()
    brute = [next((s.label for s in spans if s.start < w.end and w.start < s.end), "") for w in sentence.words]
    assert word_labels(sentence, spans) == brute


def test_agreement_counts_all_words_of_the_stop_set():
    sentences = [Sentence.from_words("1", ["Ada", "sang", "in", "Oslo"]), Sentence.from_words("2", ["nobody"])]
    before = [[Span(0, 3, "PER"), Span(12, 16, "LOC")], []]
    after = [[Span(0, 3, "PER"), Span(12, 16, "PER")], []]
    found = agreement(sentences, before, after)
    assert (found.words, found.sentences, found.changed, found.entity_words) == (5, 2, 1, 2)
    assert found.kappa == pytest.approx(cohen_kappa_score(["P", "", "", "L", ""], ["P", "", "", "P", ""]))
    assert agreement([], [], []).words == 0
    with pytest.raises(ValueError, match="zip"):
        agreement(sentences, before, after[:1])


def test_two_adjoining_entities_or_one_long_one_are_the_same_labels():
    sentence = Sentence.from_words("1", ["Ada", "Bob"])
    assert agreement([sentence], [[Span(0, 7, "PER")]], [[Span(0, 3, "PER"), Span(4, 7, "PER")]]).changed == 0


def texts(n: int) -> list[Sentence]:
    return [Sentence.from_words(str(i), ["Ada", "wrote", "it"]) for i in range(n)]


def test_a_text_with_one_choice_is_one_point():
    before, after = ["a", "b", "b", "c"], ["a", "b", "c", "c"]
    chosen = [[[Choice(label)] for label in labels] for labels in (before, after)]
    found = agreement(texts(4), *chosen, "choices")
    assert (found.words, found.changed, found.entity_words, found.kind) == (4, 1, 4, "choices")
    assert found.kappa == pytest.approx(cohen_kappa_score(before, after))


def test_of_several_choices_each_label_is_a_point_of_its_own():
    before = [[Choice("a"), Choice("b")], [Choice("c")], []]
    after = [[Choice("a")], [Choice("c"), Choice("b")], []]
    found = agreement(texts(3), before, after, "choices")
    assert (found.words, found.changed, found.entity_words) == (9, 2, 4)
    yes = [[1, 1, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 1, 0, 0, 0]]
    assert found.kappa == pytest.approx(cohen_kappa_score(*yes))


def test_every_pair_of_entities_that_either_model_sees_is_a_point():
    a, b, c = Span(0, 3, "PER"), Span(4, 9, "VERB"), Span(10, 12, "THING")
    before = [a, b, Relation(a, b, "does")]
    after = [a, b, c, Relation(b, a, "does"), Relation(b, c, "to")]
    found = agreement(texts(1), [before], [after], "relations")
    assert (found.words, found.changed, found.entity_words) == (3, 2, 2), "pairs a-b, a-c, b-c; a-b turned, b-c is new"
    same = agreement(texts(1), [before], [[Span(0, 3, "ORG"), b, Relation(Span(0, 3, "ORG"), b, "does")]], "relations")
    assert (same.words, same.changed) == (1, 0), "what an entity is called is the matter of spans"


def test_marks_of_other_kinds_are_passed_over():
    spans = [[Span(0, 3, "PER"), Choice("a")]]
    assert agreement(texts(1), spans, [[Span(0, 3, "PER"), Choice("b")]]).changed == 0
    assert agreement(texts(1), spans, [[Choice("a")]], "choices").changed == 0
