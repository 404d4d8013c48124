"""The JSON export, with and without its label config."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from corpus import Choice, Relation, Span
from labelstudio.documents import BadTask
from labelstudio.export import BadExport, read_export
from labelstudio.schema import UnsupportedConfig
from tests.labelstudio.configs import DIALOGUE, PAGE, TEXT


def region(start: int, end: int, label: str, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": TEXTS["text"][start:end], "labels": [label]}
    return {"id": "r", "from_name": "label", "to_name": "text", "type": "labels", "value": value, **more}


TEXTS = {"text": "😀 Anna Berg in Oslo", "source": "the daily news"}


def annotation(id: int, *result: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "completed_by": 1,
        "result": list(result),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-06T01:00:00.000000Z",
        "updated_at": f"2026-03-06T01:00:00.{id:06}Z",
        "draft_created_at": None,
        **more,
    }


def task(id: int, *annotations: dict[str, Any], data: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": id,
        "annotations": list(annotations),
        "drafts": [],
        "predictions": [],
        "data": TEXTS if data is None else data,
        "meta": {},
        "created_at": "2026-03-05T05:06:07.000001Z",
        "project": 7,
    }


EXPORT = [
    task(1, annotation(11, region(15, 19, "LOC"), region(2, 11, "PER"))),
    task(2, annotation(12)),
    task(3),
    task(4, annotation(13, region(2, 6, "PER"), was_cancelled=True)),
    task(5, annotation(14, region(2, 6, "PER")), annotation(15, region(2, 11, "PER"))),
]
SPANS = [(Span(2, 11, "PER"), Span(15, 19, "LOC")), (), None, None, (Span(2, 11, "PER"),)]


@pytest.mark.parametrize("config", [TEXT, None])
def test_read(config: str | None, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps(EXPORT), encoding="utf-8")
    for source in (EXPORT, file, str(file)):
        sentences = read_export(source, config)  # type: ignore[arg-type]
        assert [s.id for s in sentences] == ["1", "2", "3", "4", "5"]
        assert [s.spans for s in sentences] == SPANS
        assert all(s.text == TEXTS["text"] for s in sentences)
        assert [w.text for w in sentences[0].words][-4:] == ["Anna", "Berg", "in", "Oslo"]


def test_what_cannot_be_read_is_logged_with_its_task(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sentences = read_export([task(8, annotation(1, region(2, 6, "GPE"), region(15, 19, "LOC")))], TEXT)
    assert sentences[0].spans == (Span(15, 19, "LOC"),)
    assert "Task 8" in caplog.text and "'GPE'" in caplog.text


def test_hypertext_and_paragraphs_with_and_without_config() -> None:
    path = "/p[1]/b[1]/text()[1]"
    value = {"start": path, "startOffset": 0, "end": path, "endOffset": 4, "hypertextlabels": ["PER"]}
    marked = {"from_name": "ner", "to_name": "page", "type": "hypertextlabels", "value": value}
    page = [task(1, annotation(1, marked), data={"html": "<p>😀 <b>Anna</b></p>"})]
    for config in (PAGE, None):
        (sentence,) = read_export(page, config)
        assert (sentence.text, sentence.spans) == ("😀 Anna", (Span(2, 6, "PER"),))
    value = {"start": "1", "startOffset": 3, "end": "1", "endOffset": 7, "paragraphlabels": ["PER"]}
    marked = {"from_name": "ner", "to_name": "talk", "type": "paragraphlabels", "value": value}
    said = [{"said": "hi", "text": "hi"}, {"said": "😀 Anna", "text": "😀 Anna"}]
    talk = [task(1, annotation(1, marked), data={"dialogue": said, "title": "x"})]
    for config in (DIALOGUE, None):
        (sentence,) = read_export(talk, config)
        assert (sentence.text, sentence.spans) == ("hi\n😀 Anna", (Span(5, 9, "PER"),))


def test_two_tags_without_config_need_a_choice() -> None:
    both = [task(1, annotation(1, region(2, 6, "PER"), region(15, 19, "X", from_name="other")))]
    with pytest.raises(BadExport, match=r"come from 'label', 'other'.*`label_config`.*`control`"):
        read_export(both)
    assert read_export(both, control="other")[0].spans == (Span(15, 19, "X"),)
    with pytest.raises(BadExport, match=r"to read as 'third'.*'label', 'other'"):
        read_export(both, control="third")


def test_nothing_to_infer_from() -> None:
    with pytest.raises(BadExport, match=r"come from none.*`label_config`"):
        read_export([task(1), task(2, annotation(3))])
    assert read_export([]) == []


def test_an_unclear_field() -> None:
    twice = {"text": TEXTS["text"], "copy": TEXTS["text"]}
    with pytest.raises(BadExport, match=r"several fit.*'text', 'copy'.*Pass the project's label config"):
        read_export([task(1, annotation(1, region(2, 6, "PER")), data=twice)])
    with pytest.raises(BadExport, match=r"none fits.*'n'"):
        read_export([task(1, annotation(1, region(2, 6, "PER")), data={"n": None})])


def test_errors_pass_through() -> None:
    with pytest.raises(BadTask, match=r"Task 6: .*no data field 'text'"):
        read_export([*EXPORT, task(6, data={"body": ""}) | {"id": 6}], TEXT)
    with pytest.raises(UnsupportedConfig):
        read_export(EXPORT, "<View/>")
    with pytest.raises(UnsupportedConfig, match=r"'nobody' does not exist"):
        read_export(EXPORT, TEXT, control="nobody")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ('{"a": 1}', "should be a list of tasks and is a dict"),
        ('[{"id": 1, "text": "x", "label": []}]', 'entry 0 is no task.*again as "JSON"'),  # JSON-MIN
        ('[{"data": {}, "annotations": []}]', "entry 0: .*`id`"),
        (
            '[{"id": 1, "data": {}, "annotations": [{"id": 2}]}]',
            "entry 0: Annotation 2 of task 1 should have a list as `result`",
        ),
    ],
)
def test_other_files(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(BadExport, match=message) as caught:
        read_export(file)
    assert "other.json" in str(caught.value)
    assert 'Export the project again as "JSON"' in str(caught.value)


MIXED = TEXT.replace(
    "<View>",
    '<View><Relations><Relation value="in"/></Relations>'
    '<Choices name="tone" toName="text"><Choice value="dry"/><Choice value="warm"/></Choices>',
)


def chosen(*labels: str, **more: Any) -> dict[str, Any]:
    return {"from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": [*labels]}, **more}


@pytest.mark.parametrize("config", [MIXED, None])
def test_choices_and_relations(config: str | None) -> None:
    arrow = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right", "labels": ["in"]}
    regions = [region(2, 6, "PER", id="a"), region(15, 19, "LOC", id="b")]
    export = [
        task(1, annotation(11, arrow, *regions, chosen("dry"))),
        task(2, annotation(12, chosen("warm"))),
        task(3, annotation(13)),
        task(4),
    ]
    sentences = read_export(export, config)
    assert [s.choices for s in sentences] == [(Choice("dry"),), (Choice("warm"),), None, None]
    anna, oslo = Span(2, 6, "PER"), Span(15, 19, "LOC")
    assert [s.relations for s in sentences] == [(Relation(anna, oslo, "in"),), (), (), None]
    assert [s.spans for s in sentences] == [(anna, oslo), (), (), None]


def test_choices_alone_without_config() -> None:
    data = {"text": "dry", "n": 3}
    export = [task(1, annotation(11, chosen("dry", "warm")), data=data), task(2, annotation(12), data=data)]
    assert [s.choices for s in read_export(export)] == [(Choice("dry"), Choice("warm")), ()]
    paths = {"type": "taxonomy", "value": {"taxonomy": [["a", "b"], ["c"]]}}
    export = [task(1, annotation(11, chosen(**paths)), data=data)]
    assert read_export(export)[0].choices == (Choice("a > b"), Choice("c"))
    with pytest.raises(BadExport, match=r"several fit"):
        read_export([task(1, annotation(11, chosen("dry")), data={"text": "dry", "title": "x"})])


def test_choices_of_a_region_are_not_those_of_the_text() -> None:
    inside = chosen("dry")
    inside["value"] |= {"start": 2, "end": 6, "text": "Anna"}
    assert read_export([task(1, annotation(1, region(2, 6, "PER"), inside))])[0].choices is None


def test_two_tags_of_choices_need_a_choice() -> None:
    both = [task(1, annotation(1, chosen("dry"), chosen("old", from_name="age")), data={"text": "x"})]
    with pytest.raises(BadExport, match=r"come from 'age', 'tone'"):
        read_export(both)
    assert read_export(both, control="age")[0].choices == (Choice("old"),)
