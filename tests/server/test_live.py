"""A project's annotations as what the loop learns from, by the kinds of marks that its label config asks for."""

from __future__ import annotations

from typing import Any

import pytest

from corpus import Choice, Relation, Span
from labelstudio.records import AnnotationRecord, TaskRecord
from learning.database import Project
from learning.intake import put_annotations, put_tasks
from learning.settings import ProjectSettings
from server.live import LiveVenue

TEXT = "Ada lives in Oslo"
MIXED = (
    '<View><Relations><Relation value="lives in"/></Relations>'
    '<Labels name="who" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>'
    '<Text name="text" value="$text"/></View>'
)
MOOD = {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}}
ADA, OSLO = Span(0, 3, "PER"), Span(13, 17, "LOC")
SPANS = [
    {"id": id, "from_name": "who", "to_name": "text", "type": "labels", "value": value}
    for id, value in (
        ("a", {"start": 0, "end": 3, "labels": ["PER"]}),
        ("o", {"start": 13, "end": 17, "labels": ["LOC"]}),
    )
]
ARROW = {"type": "relation", "from_id": "a", "to_id": "o", "direction": "right", "labels": ["lives in"]}


@pytest.fixture
def collected(workspace):
    """What is collected of a project with these annotations, and one task without any; `control` as in the settings."""

    def collect(*results: list[dict[str, Any]], control: str | None = None):
        with workspace.db.write() as session:
            project = Project(key="2.1700000000", external_id=2, label_config=MIXED)
            session.add(project)
            session.flush()
            put_tasks(session, project, [TaskRecord(id, {"text": TEXT}, "2026") for id in range(len(results) + 1)], 0)
            put_annotations(
                session, project, [AnnotationRecord(id, id, result, "2026") for id, result in enumerate(results)]
            )
            settings = ProjectSettings(tagger="crf", holdout_share=0, control=control)
            made = project.id
        return LiveVenue(workspace, made, settings).snapshot()

    return collect


def test_every_kind_of_mark_is_collected(collected):
    found = collected([ARROW, *SPANS, MOOD], [MOOD])
    assert found.kinds == ("spans", "choices", "relations")
    first, second = found.labelled
    assert first.spans == (ADA, OSLO)
    assert first.choices == second.choices == (Choice("good"),)
    assert first.relations == (Relation(ADA, OSLO, "lives in"),)
    assert (second.spans, second.relations) == ((), ())
    (waiting,) = found.pool
    assert (waiting.spans, waiting.choices, waiting.relations) == (None, None, None)
    assert found.problems == []


def test_an_annotation_without_a_choice_still_teaches_spans(collected):
    found = collected(SPANS)
    (sentence,) = found.labelled
    assert (sentence.spans, sentence.choices) == ((ADA, OSLO), None)


def test_where_only_a_choice_is_asked_an_annotation_without_one_teaches_nothing_and_is_named(collected):
    found = collected([], [MOOD], control="mood")
    assert found.kinds == ("choices",)
    assert [(s.id, s.spans, s.choices) for s in found.labelled] == [("1", None, (Choice("good"),))]
    assert [s.id for s in found.pool] == ["2"]
    assert len(found.problems) == 1 and "Task 0: its annotation makes no choice" in found.problems[0]
