"""Choices in a real Label Studio: learned, queued, pre-annotated, and ticked in its own editor."""

from __future__ import annotations

import pytest

from corpus import Choice
from labelstudio.documents import document
from labelstudio.results import Labels, labels_of
from labelstudio.schema import read_schema
from tests.end_to_end.marked import MarkedProject, open_predicted, submitted

pytestmark = pytest.mark.slow

TEXT = '<Text name="text" value="$text"/>'
MOODS = '<Choices name="mood" toName="text" choice="{}"><Choice value="good"/><Choice value="bad"/>{}</Choices>'
CHOICES = f"<View>{TEXT}{MOODS.format('single', '')}</View>"
THIRD = '<Choice value="Hard to say" alias="unclear"/>'
SEVERAL = f"<View>{TEXT}{MOODS.format('multiple', THIRD)}</View>"
TREE = (
    f'<View>{TEXT}<Taxonomy name="topic" toName="text"><Choice value="Life"><Choice value="Bird" alias="B"/>'
    '<Choice value="Fish"/></Choice><Choice value="Stone"/></Taxonomy></View>'
)
MIXED = CHOICES.replace(
    TEXT, f'<Labels name="who" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>{TEXT}'
)
QUICK = {"classifier": "tfidf-classifier", "holdout_share": 0}


def test_choices_are_learned_queued_and_pre_annotated(label_studio, backend):
    project = MarkedProject(label_studio, "choices", CHOICES, 60, 40)
    label_studio.connect_backend(project.id, backend.url, {**QUICK, "strategy": "entropy", "round_size": 40})
    done = backend.round_after(project.id, kind="fit")
    assert done["problems"] == []
    project.check_queue(done["version"])
    assert project.right("choices", done["version"]) >= 18
    for task in project.by_task:
        (region,) = project.predicted(task, done["version"])["result"]
        assert (region["type"], region["from_name"], region["to_name"]) == ("choices", "mood", "text")
        assert 0.5 <= region["score"] <= 1


def test_the_order_follows_new_choices(label_studio, backend):
    project = MarkedProject(label_studio, "more choices", CHOICES, 60, 20)
    label_studio.connect_backend(project.id, backend.url, {**QUICK, "round_size": 20})
    first = backend.round_after(project.id, kind="fit")
    project.check_queue(first["version"])
    for _ in range(20):
        task = label_studio.next_task(project.id)
        project.annotate(task)
        project.unlabelled.remove(task)
    second = backend.round_after(project.id, first["number"], "fit")
    assert second["version"] != first["version"]
    project.check_queue(second["version"])


def test_spans_and_choices_on_one_text(label_studio, backend):
    project = MarkedProject(label_studio, "spans and choices", MIXED, 60, 40)
    assert project.schema.kinds == ("spans", "choices")
    label_studio.connect_backend(project.id, backend.url, {**QUICK, "tagger": "crf", "round_size": 40})
    done = backend.round_after(project.id, kind="fit")
    project.check_queue(done["version"])
    assert project.right("choices", done["version"]) >= 16
    assert project.right("spans", done["version"]) >= 16
    assert set(done["metrics"].get("also", {})) <= {"choices"}


@pytest.mark.parametrize(
    ("config", "predicted", "changed", "expected"),
    [
        (CHOICES, ["bad"], "good", ["good"]),
        (CHOICES.replace('"single"', '"single-radio"'), ["bad"], "good", ["good"]),
        (SEVERAL, ["bad", "unclear"], "good", ["bad", "good", "unclear"]),
    ],
    ids=["single", "radio", "multiple"],
)
def test_predicted_choices_are_ticked_in_the_editor(label_studio, page, config, predicted, changed, expected):
    text, schema = "Ada is angry", read_schema(config)
    task = open_predicted(label_studio, page, config, text, [Choice(label, 0.9) for label in predicted])
    role = "radio" if "radio" in config else "checkbox"
    names = {"good": "good", "bad": "bad", "unclear": "Hard to say"}
    boxes = {label: page.get_by_role(role, name=names[label]) for label in schema.choices.labels}
    boxes["bad"].wait_for()
    assert {label for label, box in boxes.items() if box.is_checked()} == set(predicted)
    boxes[changed].click()
    labels, problems = labels_of(schema, document(schema, {"text": text}), submitted(label_studio, page, task), task)
    assert (labels, problems) == (Labels(choices=tuple(map(Choice, expected))), ())


def test_predicted_leaves_of_a_taxonomy_are_chosen_in_the_editor(label_studio, page):
    text, schema, predicted = "a bird of stone", read_schema(TREE), (Choice("Life > B"), Choice("Stone"))
    task = open_predicted(label_studio, page, TREE, text, predicted)
    chosen = page.locator(".ant-select-selection-item")
    chosen.nth(1).wait_for()
    assert chosen.all_text_contents() == ["Bird", "Stone"]
    labels, problems = labels_of(schema, document(schema, {"text": text}), submitted(label_studio, page, task), task)
    assert (labels, problems) == (Labels(choices=predicted), ())


def test_label_studio_still_drops_predictions_of_nested_choices(label_studio):
    """Why such configs are refused."""
    nested = '<Choice value="Life"><Choice value="Bird"/></Choice>'
    config = f'<View>{TEXT}<Choices name="topic" toName="text" allowNested="true">{nested}</Choices></View>'
    project = label_studio.create_project("nested", config)
    (task,) = label_studio.import_tasks(project, [{"text": "a bird"}])
    region = {"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [["Life", "Bird"]]}}
    sent = [{"task": task, "result": [region], "score": 0.5, "model_version": "v"}]
    assert label_studio.call("POST", f"/api/projects/{project}/import/predictions", json=sent)["created"] == 0
