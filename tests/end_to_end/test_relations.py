"""Relations in a real Label Studio: learned, queued, pre-annotated, and drawn as arrows in its own editor."""

from __future__ import annotations

import pytest

from corpus import Choice, Relation, Span
from labelstudio.documents import document
from labelstudio.results import labels_of
from labelstudio.schema import read_schema
from tests.end_to_end.marked import MarkedProject, open_predicted, submitted

pytestmark = pytest.mark.slow

CONFIG = (
    '<View><Relations><Relation value="lives in"/><Relation value="knows"/></Relations>'
    '<Labels name="who" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
MIXED = CONFIG.replace(
    "<Text", '<Choices name="mood" toName="text"><Choice value="good"/><Choice value="bad"/></Choices><Text'
)
DRAWN = """paths => paths.map(path => {
  const matrix = path.getScreenCTM(), regions = [...document.querySelectorAll('.htx-highlight')];
  const at = length => {
    const {x, y} = path.getPointAtLength(length).matrixTransform(matrix);
    const covers = box => box.left <= x && x <= box.right && box.top - 10 <= y && y <= box.bottom + 10;
    return regions.find(region => covers(region.getBoundingClientRect()))?.textContent;
  };
  return [at(0), path.parentElement.querySelector('text').textContent, at(path.getTotalLength())];
})"""
"""What each arrow leads from, its label, and what it leads to, by the places where its line begins and ends."""


def test_relations_are_learned_queued_and_pre_annotated(label_studio, backend):
    project = MarkedProject(label_studio, "relations", CONFIG, 60, 40)
    assert project.schema.kinds == ("spans", "relations")
    parameters = {"tagger": "crf", "holdout_share": 0, "round_size": 40}
    parameters |= {"strategy": "batch-bald", "queue_by": "relations"}
    label_studio.connect_backend(project.id, backend.url, parameters)
    done = backend.round_after(project.id, kind="fit", seconds=400)
    assert done["problems"] == []
    project.check_queue(done["version"])
    assert project.right("spans", done["version"]) >= 16
    assert project.right("relations", done["version"]) >= 14
    drawn = 0
    for task in project.by_task:
        result = project.predicted(task, done["version"])["result"]
        regions = {region["id"] for region in result if region["type"] == "labels"}
        for arrow in (entry for entry in result if entry["type"] == "relation"):
            drawn += 1
            assert {arrow["from_id"], arrow["to_id"]} <= regions
            assert (arrow["direction"], arrow["labels"]) == ("right", ["lives in"])
            assert 0 <= arrow["score"] <= 1
    assert drawn > 20


def test_predicted_relations_are_arrows_in_the_editor(label_studio, page):
    text, schema = "Anna met Bo while she stayed in the old town of Oslo", read_schema(MIXED)
    anna, bo = Span(0, 4, "PER", 0.9), Span(9, 11, "PER", 0.8)
    oslo = Span(text.index("Oslo"), len(text), "LOC", 0.7)
    relations = [Relation(anna, oslo, "lives in", 0.9), Relation(anna, oslo, "knows", 0.6), Relation(bo, anna, "knows")]
    task = open_predicted(label_studio, page, MIXED, text, [anna, bo, oslo, Choice("good", 0.7), *relations])
    arrows = page.locator("path[marker-end]")
    arrows.nth(1).wait_for()
    assert sorted(arrows.evaluate_all(DRAWN)) == [["Anna", "knows, lives in", "Oslo"], ["Bo", "knows", "Anna"]]
    assert page.locator("path[marker-start]").count() == 0  # each has its head at one end
    assert page.get_by_role("checkbox", name="good").is_checked()

    labels, problems = labels_of(schema, document(schema, {"text": text}), submitted(label_studio, page, task), task)
    assert problems == ()
    assert labels.spans == (anna, bo, oslo)
    assert labels.relations == tuple(sorted(relations))
    assert labels.choices == (Choice("good"),)


def test_a_relation_that_a_person_draws_is_read_as_drawn(label_studio, page):
    """By the keyboard: a region, Alt+R, the other region."""
    text, schema = "Anna lives in Oslo", read_schema(CONFIG)
    anna, oslo = Span(0, 4, "PER"), Span(14, 18, "LOC")
    task = open_predicted(label_studio, page, CONFIG, text, [anna, oslo])
    regions = page.locator(".htx-highlight")
    regions.nth(1).wait_for()
    regions.filter(has_text="Oslo").click()
    page.keyboard.press("Alt+r")
    regions.filter(has_text="Anna").click()
    page.locator("path[marker-end]").wait_for()
    *marked, arrow = submitted(label_studio, page, task)
    assert (arrow["type"], arrow["direction"], "labels" in arrow) == ("relation", "right", False)
    doc = document(schema, {"text": text})
    labels, problems = labels_of(schema, doc, [*marked, arrow], task)
    assert labels.relations == () and len(problems) == 1 and "Give it a label" in problems[0]
    labels, _ = labels_of(schema, doc, [*marked, arrow | {"labels": ["knows"]}], task)
    assert labels.relations == (Relation(oslo, anna, "knows"),)
