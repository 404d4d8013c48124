import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from corpus import Choice, Relation, Sentence, Span
from learning.metrics import bootstrap_f1, counts, main_kind, scores, span_scores
from tests.learning.texts import texts

TEXT = "Ada met Zoë-Marie in New York 😀 and Oslo"


def spans_over(text: str) -> st.SearchStrategy[tuple[Span, ...]]:
    """Spans that touch no other, anywhere in the text, not made of blanks only at an edge."""
    edges = [i for i in range(len(text)) if not text[i].isspace()]
    cut = st.lists(st.sampled_from(edges), min_size=0, max_size=8, unique=True).map(sorted)
    return st.tuples(cut, st.lists(st.sampled_from("AB"), min_size=8, max_size=8)).map(
        lambda drawn: tuple(
            Span(start, end + 1, label)
            for start, end, label in zip(drawn[0][::2], drawn[0][1::2], drawn[1], strict=False)
        )
    )


@given(st.lists(st.tuples(spans_over(TEXT), spans_over(TEXT)), min_size=1, max_size=4))
def test_scores_equal_counting_exact_matches(pairs):
    sentences = [Sentence.from_text(str(i), TEXT, gold) for i, (gold, _) in enumerate(pairs)]
    predicted = [found for _, found in pairs]
    scores = span_scores(sentences, predicted, np.random.default_rng(0))
    right = sum(len(set(gold) & set(found)) for gold, found in pairs)
    gold_n, found_n = sum(len(gold) for gold, _ in pairs), sum(len(found) for _, found in pairs)
    assert scores.precision == pytest.approx(right / found_n if found_n else 0)
    assert scores.recall == pytest.approx(right / gold_n if gold_n else 0)
    assert scores.f1 == pytest.approx(2 * right / (gold_n + found_n) if gold_n + found_n else 0)
    assert scores.spans == gold_n
    for label in "AB":
        if label in scores.per_label:
            mine = [span for gold, _ in pairs for span in gold if span.label == label]
            assert scores.per_label[label].support == len(mine)


def test_a_span_one_character_off_is_wrong():
    sentence = Sentence.from_text("1", "Ada-Maria sang", (Span(0, 9, "PER"),))
    scores = span_scores([sentence], [[Span(0, 8, "PER")]], np.random.default_rng(0))
    assert (scores.precision, scores.recall, scores.f1) == (0, 0, 0)


def test_gold_labels_are_required():
    with pytest.raises(ValueError, match="task 7"):
        span_scores([Sentence.from_text("7", "x")], [[]], np.random.default_rng(0))


def test_interval_covers_the_truth_as_often_as_it_says():
    """95% intervals of F1 over samples of a known population hold its F1 in about 95% of the cases."""
    rng = np.random.default_rng(1)
    population = np.stack([rng.integers(0, 4, 20_000), rng.integers(0, 4, 20_000), np.zeros(20_000)], 1).astype(int)
    population[:, 2] = rng.binomial(np.minimum(population[:, 0], population[:, 1]), 0.7)
    truth = 2 * population[:, 2].sum() / population[:, :2].sum()
    held = 0
    for _ in range(200):
        low, high = bootstrap_f1(population[rng.integers(0, 20_000, 100)], rng, draws=300)
        held += low <= truth <= high
    assert 0.88 <= held / 200 <= 0.99


def test_interval_is_reproducible_and_says_nothing_of_nothing():
    counts = np.array([[2, 2, 1], [1, 0, 0], [3, 3, 3]])
    assert bootstrap_f1(counts, np.random.default_rng(5)) == bootstrap_f1(counts, np.random.default_rng(5))
    assert bootstrap_f1(np.zeros((0, 3), dtype=np.int64), np.random.default_rng(0)) == (0.0, 1.0)


def test_perfect_predictions_score_one():
    sentences = texts(30)
    scores = span_scores(sentences, [list(s.spans or ()) for s in sentences], np.random.default_rng(0))
    assert (scores.f1, scores.low, scores.high) == (1, 1, 1)
    assert set(scores.per_label) == {"PER", "LOC"}


def chosen(id: str, labels: str) -> Sentence:
    return Sentence.from_text(id, "any text").marked([Choice(label) for label in labels], ["choices"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=12))
def test_with_one_choice_a_text_f1_is_the_accuracy(pairs):
    gold, found = [a for a, _ in pairs], [b for _, b in pairs]
    made = scores(
        "choices",
        [chosen(str(i), label) for i, label in enumerate(gold)],
        [[Choice(label, 0.5)] for label in found],
        np.random.default_rng(0),
    )
    assert made.f1 == made.precision == made.recall == pytest.approx(accuracy_score(gold, found))
    assert made.accuracy and made.kind == "choices" and made.spans == len(gold)
    each = f1_score(gold, found, average=None, labels=sorted({*gold, *found}), zero_division=0)
    assert [label.f1 for label in made.per_label.values()] == pytest.approx(list(each))
    assert made.low <= made.f1 <= made.high


SEVERAL = st.sets(st.sampled_from("abcd")).map("".join)


@given(st.lists(st.tuples(SEVERAL, SEVERAL), min_size=1, max_size=8))
def test_several_choices_are_scored_as_scikit_learn_does(pairs):
    made = scores(
        "choices",
        [chosen(str(i), gold) for i, (gold, _) in enumerate(pairs)],
        [[Choice(label) for label in found] for _, found in pairs],
        np.random.default_rng(0),
    )
    binary = MultiLabelBinarizer(classes=list("abcd"))
    gold_NL, found_NL = binary.fit_transform([a for a, _ in pairs]), binary.fit_transform([b for _, b in pairs])
    assert made.f1 == pytest.approx(f1_score(gold_NL, found_NL, average="micro", zero_division=0))


ADA, ACME, OSLO = Span(0, 3, "PER"), Span(14, 18, "ORG"), Span(22, 26, "LOC")
RELATED = Sentence.from_text("1", "Ada works for Acme in Oslo").marked(
    [ADA, ACME, OSLO, Relation(ADA, ACME, "works_for"), Relation(ACME, OSLO, "based_in")], ["spans", "relations"]
)


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (Relation(ADA, ACME, "works_for", 0.3), 1),
        (Relation(ACME, ADA, "works_for"), 0),
        (Relation(ADA, ACME, "based_in"), 0),
        (Relation(Span(0, 3, "ORG"), ACME, "works_for"), 0),
        (Relation(Span(0, 9, "PER"), ACME, "works_for"), 0),
    ],
)
def test_a_relation_is_right_with_both_its_spans_direction_and_label(found, right):
    marks = [ADA, ACME, found]
    assert counts("relations", RELATED, marks) == (2, 1, right)
    made = scores("relations", [RELATED], [marks], np.random.default_rng(0))
    assert (made.precision, made.recall, made.f1) == (right, right / 2, pytest.approx(2 * right / 3))
    assert not made.accuracy
    assert counts("spans", RELATED, marks) == (3, 2, 2), "of marks of several kinds each is counted by itself"


def test_choices_nobody_has_made_are_no_gold():
    with pytest.raises(ValueError, match=r"task 7 .* nobody has labelled its choices"):
        scores("choices", [Sentence.from_text("7", "x", ())], [[]], np.random.default_rng(0))


def test_a_project_is_judged_by_what_stands_on_the_rest():
    assert main_kind(["spans", "relations", "choices"]) == "relations"
    assert main_kind(["choices", "spans"]) == "spans"
    assert main_kind(["choices"]) == "choices"
