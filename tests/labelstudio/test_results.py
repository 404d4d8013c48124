"""Regions to spans and back, which annotation holds, and predictions as Label Studio takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import Span
from labelstudio.documents import Document, document
from labelstudio.records import AnnotationRecord
from labelstudio.results import chosen, labels_of, prediction, result_of
from labelstudio.schema import Schema
from tests.labelstudio.configs import DIALOGUE, PAGE, TEXT, dialogue_schema, page_schema, text_schema

SCHEMA = text_schema()
DOC = document(SCHEMA, {"text": "😀 Anna Berg, Oslo"})
ANNA, BERG, OSLO = Span(2, 6, "PER"), Span(7, 11, "PER"), Span(13, 17, "LOC")


def region(start: object = 2, end: object = 6, labels: object = ("PER",), **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": "Anna", "labels": list(labels)}  # type: ignore[call-overload]
    return {
        "id": "r1",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "origin": "manual",
        "value": value,
        **more,
    }


def spans_of(schema: Schema, doc: Document, result: list[Any], task_id: int) -> tuple[Any, tuple[str, ...]]:
    labels, problems = labels_of(schema, doc, result, task_id)
    assert labels.choices is None and labels.relations is None
    return labels.spans, problems


def read(*result: Any) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    return spans_of(SCHEMA, DOC, list(result), 31)


def test_spans_are_sorted_and_without_confidence() -> None:
    spans, problems = read(region(13, 17, ["LOC"]), region(2, 6))
    assert spans == (ANNA, OSLO)
    assert problems == ()
    assert all(span.confidence is None for span in spans)


def test_several_labels_are_several_spans_in_one_place_and_doubles_are_one() -> None:
    assert read(region(labels=["PER", "ORG"]), region(labels=["PER"]))[0] == (Span(2, 6, "ORG"), ANNA)


def test_overlaps_and_nesting_are_kept() -> None:
    assert read(region(2, 11), region(2, 6), region(5, 9))[0] == (ANNA, Span(2, 11, "PER"), Span(5, 9, "PER"))


def test_other_tags_and_relations_are_none_of_ours() -> None:
    schema = replace(SCHEMA, controls=("label", "tone", "other"))
    others = [
        {"from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}},
        {"type": "relation", "from_id": "r1", "to_id": "r2", "direction": "right"},
        region(from_name="other"),
        region(to_name="another text"),
    ]
    assert spans_of(schema, DOC, others, 31) == ((), ())


def test_a_label_that_is_gone_is_reported() -> None:
    spans, problems = read(region(labels=["PER", "GPE"]))
    assert spans == (ANNA,)
    assert len(problems) == 1
    assert all(words in problems[0] for words in ("Task 31", "'r1'", "'GPE'", "Add it to the config again", "change"))


def test_a_tag_that_is_gone_is_reported() -> None:
    spans, problems = read(region(from_name="entities"))
    assert spans == ()
    assert len(problems) == 1 and "Task 31, region 'r1'" in problems[0] and "'entities'" in problems[0]
    assert "old name" in problems[0]


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        None,
        region(value=None),
        region(value={"start": 2, "end": 6}),
        region(labels=[]),
        region(labels=[3]),
        region(6, 2),
        region(2, 99),
        region("2", 6),
    ],
)
def test_what_cannot_be_read_is_reported_and_the_rest_is_kept(bad: Any) -> None:
    spans, problems = read(bad, region(13, 17, ["LOC"]))
    assert spans == (OSLO,)
    assert len(problems) == 1
    assert problems[0].startswith("Task 31")
    assert isinstance(bad, dict) == ("region 'r1'" in problems[0])


def test_hypertext_and_paragraphs() -> None:
    page = document(page_schema(), {"html": "<p>😀 <b>Anna</b> Berg</p>"})
    path = "/p[1]/b[1]/text()[1]"
    value = {"start": path, "startOffset": 0, "end": path, "endOffset": 4, "hypertextlabels": ["PER"]}
    marked = region(from_name="ner", to_name="page", type="hypertextlabels", value=value)
    assert spans_of(page_schema(), page, [marked], 1) == ((Span(2, 6, "PER"),), ())
    talk = document(dialogue_schema(), {"dialogue": [{"said": "hi"}, {"said": "😀 Anna"}]})
    value = {"start": "1", "startOffset": 3, "end": "1", "endOffset": 7, "paragraphlabels": ["PER"]}
    marked = region(from_name="ner", to_name="talk", type="paragraphlabels", value=value)
    assert spans_of(dialogue_schema(), talk, [marked], 1) == ((Span(5, 9, "PER"),), ())


# -- back ----------------------------------------------------------------------------------------------


def test_a_region_is_as_the_editor_writes_it() -> None:
    (made,) = result_of(SCHEMA, DOC, [Span(2, 6, "PER", 0.75)])
    id = made.pop("id")
    assert made == {
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "value": {"start": 2, "end": 6, "text": "Anna", "labels": ["PER"]},
        "score": 0.75,
    }
    assert isinstance(id, str) and id


def test_without_confidence_there_is_no_score() -> None:
    assert "score" not in result_of(SCHEMA, DOC, [ANNA])[0]


def test_ids_are_stable_and_differ_within_a_result() -> None:
    spans = [OSLO, ANNA, Span(2, 6, "ORG"), BERG]
    made = result_of(SCHEMA, DOC, spans)
    assert made == result_of(SCHEMA, DOC, reversed(spans))
    assert len({r["id"] for r in made}) == 4


def test_neighbours_of_one_label_stay_apart() -> None:
    touching = [Span(2, 4, "PER"), Span(4, 6, "PER")]
    assert spans_of(SCHEMA, DOC, result_of(SCHEMA, DOC, touching), 1)[0] == tuple(touching)


def test_a_label_that_the_config_lacks_and_a_place_that_is_gone_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = result_of(SCHEMA, DOC, [Span(2, 6, "GPE"), OSLO, Span(10, 40, "LOC")])
    assert [r["value"]["text"] for r in made] == ["Oslo"]
    assert "[10, 40)" in caplog.text


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(1, 17), st.sampled_from(SCHEMA.labels)), max_size=8))
def test_there_and_back(places: list[tuple[int, int, str]]) -> None:
    spans = {Span(start, end, label) for start, end, label in places if start < end}
    assert spans_of(SCHEMA, DOC, result_of(SCHEMA, DOC, spans), 1) == (tuple(sorted(spans)), ())


def test_predictions_pass_the_sdks_own_validation() -> None:
    from label_studio_sdk.label_interface.interface import LabelInterface

    for config, schema, data in [
        (TEXT, SCHEMA, {"text": "😀 Anna Berg, Oslo"}),
        (PAGE, page_schema(), {"html": "<p>😀 <b>Anna</b> Berg, Oslo</p>"}),
        (DIALOGUE, dialogue_schema(), {"dialogue": [{"said": "😀 Anna"}, {"said": "Berg, Oslo"}]}),
    ]:
        doc = document(schema, data)
        result = result_of(schema, doc, [Span(2, 6, "PER", 0.9), Span(2, 11, "LOC", 1.0), OSLO])
        made = prediction(4, result, 0.25, "v3")
        assert len(made["result"]) == 3
        assert (made["task"], made["score"], made["model_version"]) == (4, 0.25, "v3")
        assert LabelInterface(config).validate_prediction(made, return_errors=True) == []


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_scores_that_label_studio_drops_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match=r"Task 4: the score .* not in \[0, 1\]"):
        prediction(4, [], score, "v3")
    with pytest.raises(ValueError, match=r"Task 4"):
        prediction(4, result_of(SCHEMA, DOC, [replace(ANNA, confidence=score)]), 0.5, "v3")


# -- which annotation ----------------------------------------------------------------------------------


def annotation(id: int, second: int, **more: Any) -> AnnotationRecord:
    return AnnotationRecord(id, 31, [], f"2026-01-01T00:00:{second:02}.000000Z", **more)


def test_chosen() -> None:
    early, late = annotation(2, 1), annotation(1, 5)
    truth, skipped = annotation(3, 0, ground_truth=True), annotation(4, 9, cancelled=True)
    assert chosen([]) is None
    assert chosen([skipped]) is None
    assert chosen([late, early]) is late
    assert chosen([early, late, skipped, truth]) is truth
    assert chosen([truth, annotation(5, 3, ground_truth=True)]).id == 5  # type: ignore[union-attr]
    assert chosen([early, replace(truth, cancelled=True)]) is early
    assert chosen([early, annotation(7, 1)]).id == 7  # type: ignore[union-attr]
