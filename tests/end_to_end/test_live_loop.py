"""The whole loop against a real Label Studio: what annotators, and their leads, would see."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import select

from corpus import Sentence
from labelstudio.documents import document
from labelstudio.schema import read_schema
from learning.database import Annotation, Database
from learning.models import ModelStore
from tests.end_to_end.backend import RunningBackend
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.learning.texts import texts

pytestmark = pytest.mark.slow

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)


def distinct(n: int) -> list[Sentence]:
    """Labelled texts, no two alike, some with emoji and blanks before the first word."""
    made = []
    for number, sentence in enumerate(texts(n)):
        tail = f" 👩‍🚀 {number}" if number % 3 == 0 else f" on day {number} of {number % 7} weeks"
        made.append(Sentence.from_text(sentence.id, sentence.text + tail, sentence.spans))
    return made


def regions(sentence: Sentence) -> list[dict]:
    return [
        {
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": s.start, "end": s.end, "labels": [s.label]},
        }
        for s in sentence.spans or ()
    ]


class Annotated:
    """A project whose first texts are annotated with their gold labels."""

    def __init__(self, studio: RunningLabelStudio, title: str, n: int, labelled: int) -> None:
        self.studio = studio
        self.id = studio.create_project(title, CONFIG)
        self.sentences = distinct(n)
        ids = studio.import_tasks(self.id, [{"text": s.text} for s in self.sentences])
        self.by_task = dict(zip(ids, self.sentences, strict=True))
        for task in ids[:labelled]:
            self.annotate(task)
        self.unlabelled = ids[labelled:]

    def annotate(self, task: int, **fields) -> int:
        return self.studio.annotate(task, regions(self.by_task[task]), **fields)


def version_of(studio: RunningLabelStudio, project: int) -> str:
    return studio.call("GET", f"/api/projects/{project}")["model_version"]


def stored_annotations(backend: RunningBackend) -> list[Annotation]:
    db = Database.in_folder(backend.folder / "data")
    with db.read() as session:
        return list(session.scalars(select(Annotation)))


def test_the_queue_is_served_in_exactly_the_strategys_order(label_studio, backend):
    project = Annotated(label_studio, "order", 70, 40)
    parameters = {"strategy": "mnlp", "holdout_share": 0, "round_size": 500}
    label_studio.connect_backend(project.id, backend.url, parameters)
    cold = backend.round_after(project.id)
    assert cold["kind"] == "cold start"  # 40 labels were there, fewer than a round
    label_studio.call("POST", f"/api/ml/{first_backend(label_studio, project.id)}/train")
    done = backend.round_after(project.id, cold["number"], "fit")

    # (a) every task has one prediction under the new version
    assert version_of(label_studio, project.id) == done["version"]
    for task in project.by_task:
        versions = [p["model_version"] for p in label_studio.predictions(task)]
        assert versions.count(done["version"]) == 1

    # (b) the order, computed here from the stored model by the definition of MNLP
    (folder,) = (backend.folder / "data/models").glob(f"*/{done['version']}")
    tagger = ModelStore(folder.parent.parent).load(int(folder.parent.name), done["version"])
    sentences = [Sentence.from_text(str(task), project.by_task[task].text) for task in project.unlabelled]
    score = {}
    for batch in tagger.infer(sentences):
        for i, log_prob in zip(batch.indices, batch.log_prob_B, strict=True):
            score[project.unlabelled[i]] = -log_prob / len(sentences[i])
    served = []
    for _ in project.unlabelled:
        task = label_studio.next_task(project.id)
        served.append(task)
        project.annotate(task)
    assert sorted(served) == project.unlabelled
    assert len(set(score.values())) > 20  # few ties, whose order is free
    assert [score[task] for task in served] == sorted(score.values(), reverse=True)
    assert done["metrics"]["evaluation"]["f1"] > 0.8


def first_backend(studio: RunningLabelStudio, project: int) -> int:
    return studio.call("GET", "/api/ml/", params={"project": project})[0]["id"]


def test_annotating_starts_rounds_and_the_second_project_is_untouched(label_studio, backend):
    first = Annotated(label_studio, "first", 60, 0)
    other_config = CONFIG.replace("PER", "DRUG").replace("LOC", "DOSE")
    second = label_studio.create_project("second", other_config)
    second_tasks = label_studio.import_tasks(second, [{"text": f"take {n} aspirin"} for n in range(5)])
    for project in (first.id, second):
        label_studio.connect_backend(project, backend.url, {"round_size": 20})
        backend.round_after(project)
    untouched = version_of(label_studio, second)
    before = [label_studio.predictions(task) for task in second_tasks]
    for _ in range(20):
        first.annotate(label_studio.next_task(first.id))
    done = backend.round_after(first.id, kind="fit")
    assert done["reason"] == "20 newly annotated tasks"
    assert version_of(label_studio, first.id) == done["version"]
    assert version_of(label_studio, second) == untouched
    assert [label_studio.predictions(task) for task in second_tasks] == before
    # (e) exact offsets, emoji and all
    found = 0
    for task, sentence in first.by_task.items():
        for prediction in label_studio.predictions(task):
            for region in prediction["result"]:
                value = region["value"]
                assert sentence.text[value["start"] : value["end"]] == value["text"]
                assert value["labels"][0] in ("PER", "LOC")
                found += value["text"] in [sentence.text[s.start : s.end] for s in sentence.spans or ()]
    assert found > 40


def test_the_hold_out_is_queued_at_random_and_evaluated_on(label_studio, backend):
    project = Annotated(label_studio, "hold-out", 120, 0)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 60, "holdout_share": 0.5})
    backend.round_after(project.id)
    for _ in range(60):
        project.annotate(label_studio.next_task(project.id))
    done = backend.round_after(project.id, kind="fit")
    metrics = done["metrics"]
    assert metrics["train_sentences"] + metrics["holdout_sentences"] == 60
    assert 18 <= metrics["holdout_sentences"] <= 42
    assert metrics["evaluation"]["method"] == "hold-out"
    assert metrics["evaluation"]["sentences"] == metrics["holdout_sentences"]


def test_a_killed_trainer_loses_nothing(label_studio, backend):
    """(d) SIGKILL to the trainer and its child in the middle of a round."""
    project = Annotated(label_studio, "kill", 60, 0)
    parameters = {"tagger": "transformer", "tagger_options": {"epochs": 4}, "round_size": 25}
    label_studio.connect_backend(project.id, backend.url, parameters)
    backend.round_after(project.id)
    tasks = list(project.by_task)
    for task in tasks[:25]:
        project.annotate(task)

    def fitting() -> bool:
        state = backend.project(project.id)
        return state["state"] == "training" and state["rounds"][0]["progress"].get("epoch", 0) >= 1

    backend.wait_for(fitting, "the fit of the round")
    number = backend.newest(project.id)
    backend.kill_trainer()
    for task in tasks[25:28]:  # people go on annotating
        project.annotate(task)
    done = backend.round_after(project.id, number, "fit", seconds=300)
    states = {this["number"]: this["state"] for this in backend.project(project.id)["rounds"]}
    assert states[number] == "interrupted"
    kept = {a.task_id for a in stored_annotations(backend) if a.task_id in project.by_task}
    assert kept == set(tasks[:28])
    assert done["metrics"]["train_sentences"] + done["metrics"]["holdout_sentences"] == 28
    assert version_of(label_studio, project.id) == done["version"]
    models = {p.name for p in (backend.folder / "data/models").glob("*/*")}
    assert done["version"] in models
    assert not [name for name in models if name.startswith(".")]


def test_what_happens_unseen_is_caught_up(label_studio, backend):
    """Tasks from before connecting, a missed deletion, several annotators, ground truth, skips, drafts."""
    project = Annotated(label_studio, "unseen", 40, 12)
    tasks = list(project.by_task)
    project.annotate(tasks[0])  # a second annotation of the same task
    project.studio.annotate(tasks[12], [], was_cancelled=True)
    project.annotate(tasks[13], ground_truth=True)
    draft = {"result": regions(project.by_task[tasks[14]]), "lead_time": 1}
    label_studio.call("POST", f"/api/tasks/{tasks[14]}/drafts", json=draft)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 12, "holdout_share": 0})
    done = backend.round_after(project.id, kind="fit")
    metrics = done["metrics"]
    assert (metrics["train_sentences"], metrics["holdout_sentences"]) == (12, 1)
    assert metrics["pool_sentences"] == 40 - 13
    state = backend.project(project.id)
    assert (state["tasks"], state["labelled"]) == (40, 13)
    label_studio.delete_task(tasks[39])
    backend.wait_for(lambda: backend.project(project.id)["tasks"] == 39, "the deletion")


def test_new_tasks_join_the_queue(label_studio, backend):
    project = Annotated(label_studio, "later", 40, 20)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 20})
    first = backend.round_after(project.id, kind="fit")
    late = label_studio.import_tasks(project.id, [{"text": "Ada lives in a place named Xyzzy now"}])
    done = backend.round_after(project.id, first["number"], "rank")
    assert version_of(label_studio, project.id) == done["version"]
    (prediction,) = [p for p in label_studio.predictions(late[0]) if p["model_version"] == done["version"]]
    assert 0 <= prediction["score"] <= 1
    assert {r["value"]["text"] for r in prediction["result"]} >= {"Ada"}


def test_the_label_next_tab_shows_the_queue(label_studio, backend):
    project = Annotated(label_studio, "tab", 30, 15)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 15, "holdout_share": 0})
    backend.round_after(project.id, kind="fit")
    views = label_studio.call("GET", "/api/dm/views/", params={"project": project.id})
    (tab,) = [view for view in views if view["data"].get("title") == "Label next"]
    listed = label_studio.call("GET", "/api/tasks", params={"view": tab["id"], "page_size": 100, "fields": "all"})[
        "tasks"
    ]
    assert {task["id"] for task in listed} == set(project.unlabelled)
    columns = label_studio.call("GET", "/api/dm/columns/", params={"project": project.id})["columns"]
    shown = {f"tasks:{c['id']}" for c in columns if not c.get("parent")} - set(tab["data"]["hiddenColumns"]["explore"])
    assert shown == {"tasks:id", "tasks:data", "tasks:predictions_score", "tasks:predictions_model_versions"}
    scores = [task["predictions_score"] for task in listed]
    assert scores == sorted(scores)
    assert label_studio.next_task(project.id) == listed[0]["id"]


HYPERTEXT = (
    '<View><HyperTextLabels name="ner" toName="page"><Label value="PER"/><Label value="LOC"/></HyperTextLabels>'
    '<HyperText name="page" value="$html"/></View>'
)
PARAGRAPHS = (
    '<View><ParagraphLabels name="ner" toName="talk"><Label value="PER"/><Label value="LOC"/></ParagraphLabels>'
    '<Paragraphs name="talk" value="$talk" layout="dialogue"/></View>'
)


def as_page(sentence: Sentence) -> dict:
    words = sentence.text.replace("&", "&amp;")
    return {"html": f"<div><p>😀 &amp; co</p><p>{words.replace('Oslo', '<b>Oslo</b>')}</p></div>"}


def as_talk(sentence: Sentence) -> dict:
    return {"talk": [{"author": "A", "text": "Hi 😀"}, {"author": "B", "text": sentence.text}]}


@pytest.mark.parametrize(("config", "data_of"), [(HYPERTEXT, as_page), (PARAGRAPHS, as_talk)], ids=["page", "talk"])
def test_other_texts_are_read_and_written_in_their_own_formats(label_studio, backend, config, data_of):
    schema = read_schema(config)
    project = label_studio.create_project(f"format {schema.object_type}", config)
    sentences = distinct(40)
    datas = [data_of(sentence) for sentence in sentences]
    tasks = label_studio.import_tasks(project, datas)
    gold = {}
    for task, sentence, data in zip(tasks, sentences, datas, strict=True):
        doc = document(schema, data)
        shift = doc.text.index(sentence.text)
        gold[task] = {(s.start + shift, s.end + shift, s.label) for s in sentence.spans or ()}
        if task in tasks[:30]:
            result = [
                {
                    "from_name": "ner",
                    "to_name": schema.object,
                    "type": schema.control_type,
                    "value": {
                        **doc.place(type(s)(s.start + shift, s.end + shift, s.label)),
                        schema.control_type: [s.label],
                    },
                }
                for s in sentence.spans or ()
            ]
            label_studio.annotate(task, result)
    label_studio.connect_backend(project, backend.url, {"round_size": 20, "holdout_share": 0})
    done = backend.round_after(project, kind="fit")
    assert done["problems"] == []
    right = 0
    for task, data in zip(tasks, datas, strict=True):
        doc = document(schema, data)
        (prediction,) = [p for p in label_studio.predictions(task) if p["model_version"] == done["version"]]
        found = set()
        for region in prediction["result"]:
            assert region["type"] == schema.control_type
            start, end = doc.locate(region["value"])
            assert doc.text[start:end] == region["value"]["text"]
            found.add((start, end, region["value"][schema.control_type][0]))
        right += found == gold[task]
    assert right >= 36


def test_a_vanished_label_studio_gets_its_queue_when_it_is_back(label_studio, backend):
    project = Annotated(label_studio, "vanish", 40, 20)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 30})
    first = backend.round_after(project.id)
    for task in project.unlabelled[:9]:
        project.annotate(task)
    label_studio.stop()
    key = backend.project(project.id)["key"]
    send_annotation(backend, project, key, project.unlabelled[9])
    try:
        backend.wait_for(lambda: backend.project(project.id)["state"] == "error", "the failed publishing")
        assert "cannot be reached" in str(backend.project(project.id)) or "Unreachable" in str(
            backend.project(project.id)
        )
    finally:
        label_studio.start()
    done = backend.round_after(project.id, first["number"], "fit")
    assert version_of(label_studio, project.id) == done["version"]


def send_annotation(backend: RunningBackend, project: Annotated, key: str, task: int) -> None:
    """The webhook that Label Studio sent just before it went away."""
    born = "2026-01-01T00:00:00Z"
    id, _, made = key.partition(".")
    from datetime import UTC, datetime

    created = datetime.fromtimestamp(int(made), UTC).isoformat()
    payload = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": int(id), "created_at": created, "label_config": CONFIG},
        "task": {"id": task, "data": {"text": project.by_task[task].text}, "created_at": born},
        "annotation": {"id": 10**6, "task": task, "result": regions(project.by_task[task]), "updated_at": born},
    }
    assert httpx.post(f"{backend.url}/webhook", json=payload).status_code == 200


def test_requests_are_answered_in_time_while_a_round_trains(label_studio, backend):
    """Label Studio's own limits, with both cores busy: /health 1 s, /webhook 1 s, /setup 3 s, /predict 100 s."""
    project = Annotated(label_studio, "busy", 120, 60)
    parameters = {"tagger": "transformer", "tagger_options": {"epochs": 6}, "round_size": 50}
    label_studio.connect_backend(project.id, backend.url, parameters)
    backend.wait_for(lambda: backend.project(project.id)["state"] == "training", "training")
    slowest = dict.fromkeys(("health", "setup", "webhook", "predict"), 0.0)
    key = backend.project(project.id)["key"]
    config = {"project": key, "schema": CONFIG, "label_config": CONFIG}
    tasks = [
        {"id": id, "data": {"text": s.text}, "created_at": "2026-01-01T00:00:00Z"} for id, s in project.by_task.items()
    ]
    bodies = {
        "setup": {**config, "hostname": label_studio.url, "access_token": "", "extra_params": parameters},
        "webhook": {"action": "PROJECT_UPDATED", "project": whole_project(label_studio, project.id)},
        "predict": {**config, "tasks": tasks[:100], "params": {}},
    }
    asked = 0
    while backend.project(project.id)["state"] == "training" and asked < 20:
        asked += 1
        for name in slowest:
            if name == "health":
                response = httpx.get(f"{backend.url}/health", timeout=30)
            else:
                response = httpx.post(f"{backend.url}/{name}", json=bodies[name], timeout=120)
            assert response.status_code == 200, response.text
            slowest[name] = max(slowest[name], response.elapsed.total_seconds())
    assert asked >= 3
    limits = {"health": 1.0, "setup": 3.0, "webhook": 1.0, "predict": 100.0}
    assert all(slowest[name] < limits[name] for name in limits), slowest


def whole_project(studio: RunningLabelStudio, project: int) -> dict:
    return studio.call("GET", f"/api/projects/{project}")
