"""Projects with choices and relations in a real Label Studio: texts whose marks are known, and a task in the editor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from playwright.sync_api import Page

from corpus import Choice, Kind, Mark, Relation, Sentence, Span
from labelstudio.documents import document
from labelstudio.results import Labels, labels_of, prediction, result_of
from labelstudio.schema import read_schema
from tests.end_to_end.label_studio import RunningLabelStudio

VERSION = "ours"
PEOPLE = ["Ada", "Bo", "Cleo", "Dag", "Edda", "Finn", "Gro", "Hal"]
PLACES = ["Oslo", "Bergen", "Turku", "Lund", "Aarhus", "Narvik", "Visby"]
STORIES = [
    ("{} lives in {} and is happy there", True, "good"),
    ("{} never saw {} and is angry about it", False, "bad"),
    ("happy {} still lives in {} with friends", True, "good"),
    ("angry {} wrote a letter about {} again", False, "bad"),
]


def stories(n: int) -> list[Sentence]:
    """Texts with a person, a place, whether the one lives in the other, and a mood; no two alike."""
    made = []
    for number in range(n):
        person, place = PEOPLE[number % len(PEOPLE)], PLACES[number % len(PLACES)]
        story, lives, mood = STORIES[number % len(STORIES)]
        text = f"{story.format(person, place)} since day {number}"
        who, where = (
            Span(text.index(name), text.index(name) + len(name), label) for name, label in _named(person, place)
        )
        relations = (Relation(who, where, "lives in"),) if lives else ()
        made.append(
            replace(
                Sentence.from_text(str(number), text), spans=(who, where), choices=(Choice(mood),), relations=relations
            )
        )
    return made


def _named(person: str, place: str) -> list[tuple[str, str]]:
    return [(person, "PER"), (place, "LOC")]


class MarkedProject:
    """A project of such texts, the first of which are annotated."""

    def __init__(self, studio: RunningLabelStudio, title: str, config: str, n: int, labelled: int) -> None:
        self.studio, self.config, self.schema = studio, config, read_schema(config)
        self.id = studio.create_project(title, config)
        sentences = stories(n)
        ids = studio.import_tasks(self.id, [{"text": sentence.text} for sentence in sentences])
        self.by_task = dict(zip(ids, sentences, strict=True))
        self.unlabelled = ids[labelled:]
        for task in ids[:labelled]:
            self.annotate(task)

    def annotate(self, task: int) -> None:
        """Submit the text's known marks of the kinds that the project has."""
        sentence = self.by_task[task]
        marks = [mark for kind in self.schema.kinds for mark in sentence.marks(kind) or ()]
        doc = document(self.schema, {"text": sentence.text})
        self.studio.annotate(task, result_of(self.schema, doc, marks))

    @property
    def version(self) -> str:
        """What the project's queue follows."""
        return str(self.studio.call("GET", f"/api/projects/{self.id}")["model_version"])

    def predicted(self, task: int, version: str) -> dict[str, Any]:
        """The task's one prediction of a version."""
        (found,) = [p for p in self.studio.predictions(task) if p["model_version"] == version]
        return dict(found)

    def labels(self, task: int, version: str) -> Labels:
        """What it marks."""
        doc = document(self.schema, {"text": self.by_task[task].text})
        labels, problems = labels_of(self.schema, doc, self.predicted(task, version)["result"], task)
        assert problems == ()
        return labels

    def right(self, kind: Kind, version: str) -> int:
        """In how many of the unlabelled texts all marks of a kind are found and no others."""
        found = (
            (self.labels(task, version)._asdict()[kind], self.by_task[task].marks(kind)) for task in self.unlabelled
        )
        return sum(set(ours or ()) == set(gold or ()) for ours, gold in found)

    def check_queue(self, version: str) -> None:
        """The queue follows this version: every task has its prediction, and the lowest score is served first."""
        assert self.version == version
        scores = {task: self.predicted(task, version)["score"] for task in self.unlabelled}
        assert len(set(scores.values())) == len(scores)
        assert self.studio.next_task(self.id) == min(scores, key=scores.__getitem__)


def open_predicted(studio: RunningLabelStudio, page: Page, config: str, text: str, marks: Collection[Mark]) -> int:
    """Import marks as the prediction of a new project's one task, and open it in the editor; the task's id."""
    schema = read_schema(config)
    project = studio.create_project("predicted", config, show_collab_predictions=True)
    (task,) = studio.import_tasks(project, [{"text": text}])
    ours = [prediction(task, result_of(schema, document(schema, {"text": text}), marks), 0.5, VERSION)]
    assert studio.call("POST", f"/api/projects/{project}/import/predictions", json=ours)["created"] == 1
    studio.call("PATCH", f"/api/projects/{project}", json={"model_version": VERSION})
    page.goto(f"{studio.url}/projects/{project}/data?task={task}")
    page.wait_for_load_state("networkidle")
    return task


def submitted(studio: RunningLabelStudio, page: Page, task: int) -> Sequence[dict[str, Any]]:
    """Submit what the editor shows; the annotation's result."""
    with page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
        page.get_by_role("button", name="Submit").click()
    (annotation,) = studio.call("GET", f"/api/tasks/{task}/annotations/")
    return list(annotation["result"])
