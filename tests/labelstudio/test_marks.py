"""Choices, taxonomies and relations in results: read, written, and left out with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from corpus import Choice, Relation, Sentence, Span
from labelstudio.documents import document
from labelstudio.results import Labels, labels_of, prediction, result_of
from labelstudio.schema import read_schema

CONFIG = """
<View>
  <Relations><Relation value="knows"/><Relation value="born in"/></Relations>
  <Labels name="ner" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
  <Choices name="tone" toName="text" choice="single"><Choice value="good"/><Choice value="bad"/></Choices>
  <Taxonomy name="topic" toName="text">
    <Choice value="Life"><Choice value="Bird" alias="B"/></Choice><Choice value="Stone"/>
  </Taxonomy>
  <Text name="text" value="$text"/>
</View>
"""
SCHEMA = read_schema(CONFIG)
SEVERAL = read_schema(CONFIG.replace('"single"', '"multiple"'))
TOPICS = read_schema(CONFIG, "topic")
DOC = document(SCHEMA, {"text": "Anna met Bo in Oslo"})
ANNA, BO, OSLO = Span(0, 4, "PER"), Span(9, 11, "PER"), Span(15, 19, "LOC")


def chosen(*labels: object, control: str = "tone", type: str = "choices") -> dict[str, Any]:
    return {"id": "c1", "from_name": control, "to_name": "text", "type": type, "value": {type: list(labels)}}


def region(span: Span, id: str, labels: tuple[str, ...] = ()) -> dict[str, Any]:
    value = {"start": span.start, "end": span.end, "labels": [*(labels or (span.label,))]}
    return {"id": id, "from_name": "ner", "to_name": "text", "type": "labels", "value": value}


REGIONS = [region(ANNA, "a"), region(ANNA, "double"), region(BO, "b"), region(OSLO, "o")]


def arrow(start: object, end: object, *labels: object, **more: Any) -> dict[str, Any]:
    ends = {"from_id": start, "to_id": end, "direction": "right"}
    return {"type": "relation", **ends, "labels": [*labels], **more}


def related(*arrows: Any) -> tuple[tuple[Relation, ...] | None, tuple[str, ...]]:
    labels, problems = labels_of(SCHEMA, DOC, [*arrows, *REGIONS], 31)
    assert labels.spans == (ANNA, BO, OSLO)
    return labels.relations, problems


# -- choices ---------------------------------------------------------------------------------------------------


def test_a_choice_is_read_and_set_on_the_sentence() -> None:
    labels, problems = labels_of(SCHEMA, DOC, [chosen("bad")], 31)
    assert (labels, problems) == (Labels((), (Choice("bad"),), ()), ())
    sentence = labels.on(Sentence.from_text("31", DOC.text))
    assert (sentence.spans, sentence.choices, sentence.relations) == ((), (Choice("bad"),), ())
    assert labels_of(SEVERAL, DOC, [chosen("good", "bad")], 31)[0].choices == (Choice("bad"), Choice("good"))


def test_no_answer_and_none_of_them_are_told_apart() -> None:
    assert labels_of(SCHEMA, DOC, [], 31)[0].choices is None
    assert labels_of(SEVERAL, DOC, [], 31)[0].choices == ()
    labels, problems = labels_of(SCHEMA, DOC, [chosen("good", "bad")], 31)
    assert labels.choices is None
    assert len(problems) == 1 and "Task 31: 2 choices" in problems[0] and "allow several" in problems[0]


def test_what_the_project_does_not_ask_stays_none() -> None:
    labels, problems = labels_of(TOPICS, DOC, [*REGIONS, arrow("a", "b", "knows"), chosen("good")], 31)
    assert (labels, problems) == (Labels(None, (), None), ())


def test_taxonomy_paths() -> None:
    both = chosen(["Life", "B"], ["Stone"], control="topic", type="taxonomy")
    choices = (Choice("Life > B"), Choice("Stone"))
    assert labels_of(TOPICS, DOC, [both], 31) == (Labels(None, choices, None), ())
    (made,) = result_of(TOPICS, DOC, choices)
    assert made["value"] == {"taxonomy": [["Life", "B"], ["Stone"]]}
    assert (made["type"], made["from_name"], made["to_name"]) == ("taxonomy", "topic", "text")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (chosen("awful"), "'awful' is not in the label config any more"),
        (chosen(["good"]), None),  # as the editor writes nested choices
        (chosen(["good", "very"]), "'good > very'"),
        (chosen(3), "should be a list of choices"),
        (chosen(), "should be a list of choices"),
        (chosen([3]), "should be a list of choices"),
        ({**chosen("good"), "value": {"choices": "good"}}, "should be a list of choices"),
        ({**chosen("good"), "value": None}, "should be a JSON object"),
        ({**chosen("good"), "from_name": "mood"}, "'mood' is not in the label config any more"),
        ({**chosen("good"), "from_name": ["tone"]}, "not in the label config"),
    ],
)
def test_choices_that_cannot_be_read_are_reported(bad: dict[str, Any], said: str | None) -> None:
    labels, problems = labels_of(SCHEMA, DOC, [bad, *REGIONS], 31)
    assert labels.spans == (ANNA, BO, OSLO)
    assert len(problems) == (said is not None) and all(p.startswith("Task 31, region 'c1'") for p in problems)
    assert said is None or (said in problems[0] and labels.choices is None)


def test_choices_are_one_region_with_the_least_score() -> None:
    made = result_of(SEVERAL, DOC, [Choice("good", 0.9), Choice("bad", 0.6), Choice("gone", 0.1)])
    assert [r["value"] for r in made] == [{"choices": ["bad", "good"]}]
    assert made[0]["score"] == 0.6
    assert result_of(SCHEMA, DOC, [Choice("good", 0.4), Choice("bad", 0.6)])[0]["value"] == {"choices": ["bad"]}
    assert "score" not in result_of(SCHEMA, DOC, [Choice("good")])[0]
    assert result_of(SCHEMA, DOC, [Choice("gone")]) == []


# -- relations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "ends"), [("right", [(ANNA, OSLO)]), ("left", [(OSLO, ANNA)]), ("bi", [(ANNA, OSLO), (OSLO, ANNA)])]
)
def test_directions(direction: str, ends: list[tuple[Span, Span]]) -> None:
    found, problems = related(arrow("a", "o", "born in", direction=direction))
    assert found == tuple(Relation(*both, "born in") for both in ends)
    assert problems == ()


def test_several_labels_and_doubles() -> None:
    found, _ = related(arrow("a", "b", "knows", "born in"), arrow("a", "b", "knows"))
    assert found == (Relation(ANNA, BO, "born in"), Relation(ANNA, BO, "knows"))


def test_a_region_with_several_labels_is_related_by_its_first() -> None:
    regions = [region(ANNA, "a", ("LOC", "PER")), region(BO, "b")]
    labels, _ = labels_of(SCHEMA, DOC, [*regions, arrow("a", "b", "knows")], 31)
    assert labels.relations == (Relation(Span(0, 4, "LOC"), BO, "knows"),)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (arrow("a", "nobody", "knows"), "'nobody' is no region"),
        (arrow(["a"], "b", "knows"), r"is no region"),
        (arrow(None, "b", "knows"), "is no region"),
        ({"type": "relation"}, "None is no region"),
        (arrow("a", "a", "knows"), "to itself"),
        (arrow("a", "double", "knows"), "to its double"),
        (arrow("a", "b", "knows", direction="up"), "right, left, bi and is 'up'"),
        (arrow("a", "b", "knows", direction=["bi"]), "right, left, bi"),
        (arrow("a", "b"), "Give it a label"),
        (arrow("a", "b", labels=None), "Give it a label"),
        (arrow("a", "b", 3), "Give it a label"),
        (arrow("a", "b", "hates"), "'hates' is not in the label config any more"),
    ],
)
def test_relations_that_cannot_be_read_are_reported(bad: dict[str, Any], said: str) -> None:
    found, problems = related(bad, arrow("b", "o", "born in"))
    assert found == (Relation(BO, OSLO, "born in"),)
    assert len(problems) == 1 and problems[0].startswith("Task 31, relation from ") and said in problems[0]


def test_relations_to_regions_of_other_tags_are_none_of_ours() -> None:
    assert related(arrow("c1", "b", "knows"), chosen("good")) == ((), ())
    labels, problems = labels_of(read_schema(CONFIG.replace("Relation", "Style")), DOC, [arrow("x", "y")], 31)
    assert (labels.relations, problems) == (None, ())


def test_a_relation_to_a_region_that_is_left_out_goes_with_it() -> None:
    gone = {**region(Span(0, 99, "PER"), "far")}
    labels, problems = labels_of(SCHEMA, DOC, [gone, *REGIONS, arrow("far", "b", "knows")], 31)
    assert labels.relations == ()
    assert len(problems) == 1 and "'far'" in problems[0]


def test_an_arrow_is_as_the_editor_writes_it_and_one_bears_all_labels() -> None:
    marks = [
        ANNA,
        BO,
        Relation(ANNA, BO, "knows", 0.9),
        Relation(ANNA, BO, "born in", 0.7),
        Relation(BO, ANNA, "knows"),
    ]
    *regions, first, second = result_of(SCHEMA, DOC, marks)
    anna, bo = (r["id"] for r in regions)
    ends = {"type": "relation", "from_id": anna, "to_id": bo, "direction": "right"}
    assert first == {**ends, "labels": ["born in", "knows"], "score": 0.7}
    assert second == {**ends, "from_id": bo, "to_id": anna, "labels": ["knows"]}
    assert result_of(SCHEMA, DOC, reversed(marks)) == [*regions, first, second]


def test_a_relation_without_both_its_regions_or_a_known_label_is_left_out() -> None:
    marks = [ANNA, BO, Relation(ANNA, OSLO, "born in"), Relation(ANNA, BO, "hates")]
    assert [r["type"] for r in result_of(SCHEMA, DOC, marks)] == ["labels", "labels"]


SPANS = st.lists(st.sampled_from([ANNA, BO, OSLO, Span(0, 11, "LOC")]), min_size=2, max_size=4, unique=True)


@given(SPANS, st.data())
def test_there_and_back(spans: list[Span], data: st.DataObject) -> None:
    ends = st.sampled_from([(head, tail) for head in spans for tail in spans if head != tail])
    relations = data.draw(
        st.lists(st.builds(lambda pair, label: Relation(*pair, label), ends, st.sampled_from(SCHEMA.relations or ())))
    )
    choices = data.draw(st.lists(st.sampled_from([Choice("good"), Choice("bad")]), unique=True))
    result = result_of(SEVERAL, DOC, [*spans, *choices, *relations])
    expected = Labels(tuple(sorted(spans)), tuple(sorted(choices)), tuple(sorted(set(relations))))
    assert labels_of(SEVERAL, DOC, result, 1) == (expected, ())


def test_predictions_pass_the_sdks_own_validation() -> None:
    marks = [ANNA, OSLO, Choice("good", 0.8), Relation(ANNA, OSLO, "born in", 0.5), Relation(OSLO, ANNA, "knows", 0.5)]
    made = prediction(4, result_of(SCHEMA, DOC, marks), 0.25, "v3")
    assert len(made["result"]) == 5
    assert LabelInterface(CONFIG).validate_prediction(made, return_errors=True) == []
    made = prediction(4, result_of(TOPICS, DOC, [Choice("Life > B", 0.8), Choice("Life")]), 0.25, "v3")
    assert LabelInterface(CONFIG).validate_prediction(made, return_errors=True) == []
