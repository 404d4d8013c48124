import numpy as np
import pytest
from sqlalchemy import select

import learning.models
from corpus import Choice, Relation, Span
from learning.database import Annotation, Prediction, Project, Round, Task, text_hash
from learning.marks import as_json
from learning.serving import UNTRAINED
from server import queued
from tests.server.conftest import CONFIG, Sender
from tests.server.test_app import annotate_and_train, the_project, train

pytestmark = pytest.mark.slow


def the_queue(sender, limit=50):
    answer = sender.client.get(f"/api/projects/4/queue?limit={limit}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(autouse=True)
def forgotten():
    queued._known.clear()


def test_nothing_is_queued_before_the_first_round(sender):
    sender.setup()
    assert the_queue(sender) == {"version": UNTRAINED, "tasks": []}


def test_the_tasks_come_in_the_order_of_the_ranking(sender, workspace):
    sentences = {int(s.id): s for s in annotate_and_train(sender, workspace)}
    told = the_queue(sender)
    assert told["version"] == sender.setup().json()["model_version"]
    with workspace.db.read() as session:
        ranked = session.scalars(select(Prediction).where(Prediction.position.is_not(None))).all()
    ranked.sort(key=lambda row: row.position)
    assert [task["id"] for task in told["tasks"]] == [row.task_id for row in ranked]
    for task, row in zip(told["tasks"], ranked, strict=True):
        assert (task["position"], task["priority"], task["holdout"]) == (row.position, row.priority, row.holdout)
        assert (task["text"], task["cut"], task["words"]) == (sentences[task["id"]].text, False, row.words)
        assert [[s["start"], s["end"], s["label"], s["confidence"]] for s in task["spans"]] == row.spans
        assert task["score"] == pytest.approx(row.position / 20)
        assert task["link"] == f"http://localhost:8080/projects/4/data?task={task['id']}"
    assert [task["id"] for task in the_queue(sender, 3)["tasks"]] == [row.task_id for row in ranked[:3]]


def test_uncertain_words_are_those_the_model_is_least_sure_of(sender, workspace):
    sentences = {int(s.id): s.unlabelled() for s in annotate_and_train(sender, workspace)}
    told = the_queue(sender)
    project = the_project(workspace)
    tagger = workspace.models.load(project.id, told["version"])
    marked = 0
    for task in told["tasks"]:
        sentence = sentences[task["id"]]
        (batch,) = tagger.infer([sentence])
        sure = np.take_along_axis(batch.marginals_BTC[0], batch.path_BT[0][:, None], 1)[:, 0]
        low = sorted(t for t in range(len(sentence)) if sure[t] < queued.SURE)
        low = sorted(sorted(low, key=lambda t: sure[t])[: queued.UNCERTAIN])
        assert [(w["start"], w["end"]) for w in task["uncertain"]] == [
            (sentence.words[t].start, sentence.words[t].end) for t in low
        ]
        assert [w["confidence"] for w in task["uncertain"]] == pytest.approx([float(sure[t]) for t in low])
        if low and not task["holdout"]:
            assert task["why"] == "Chosen by mnlp."
            marked += 1
    assert marked


def test_why_a_hold_out_task_comes(sender, workspace):
    annotate_and_train(sender, workspace)
    drawn = [task for task in the_queue(sender)["tasks"] if task["holdout"]]
    assert drawn and {task["why"] for task in drawn} == {"Drawn at random for the hold-out."}


def test_before_there_is_a_model(sender, workspace):
    sender.setup({"holdout_share": 0})
    sender.webhook("TASKS_CREATED", tasks=[sender.task(i, f"Ada is at {i}") for i in range(5)])
    train(workspace)
    tasks = the_queue(sender)["tasks"]
    assert len(tasks) == 5
    assert all(task["uncertain"] == [] and "random, before there is a model" in task["why"] for task in tasks)


def test_looking_again_costs_no_inference(sender, workspace, monkeypatch):
    annotate_and_train(sender, workspace)
    first = the_queue(sender)
    monkeypatch.setattr(learning.models.ModelStore, "load", None)  # to be called would fail
    assert the_queue(sender) == first
    assert the_queue(sender, 5)["tasks"] == first["tasks"][:5]


def test_what_is_labelled_meanwhile_is_gone(sender, workspace):
    annotate_and_train(sender, workspace)
    first, *others = (task["id"] for task in the_queue(sender)["tasks"])
    with workspace.db.read() as session:
        text = session.scalars(select(Task.data).where(Task.id == first)).one()["text"]
    sender.webhook("ANNOTATION_CREATED", annotation=sender.annotation(900, first), task=sender.task(first, text))
    assert [task["id"] for task in the_queue(sender)["tasks"]] == others


def test_a_model_that_is_gone_marks_nothing(sender, workspace):
    annotate_and_train(sender, workspace)
    workspace.models.prune(the_project(workspace).id, [])
    workspace.models._loaded.clear()
    tasks = the_queue(sender)["tasks"]
    assert len(tasks) == 20 and all(task["uncertain"] == [] for task in tasks)


def test_odd_texts(sender, workspace):
    annotate_and_train(sender, workspace)
    odd = {101: "Ada in Oslo " * 5_000, 102: "\u202eAda <script>alert(1)</script> 😀", 103: "Ada \ud800 Oslo", 104: ""}
    sender.webhook("TASKS_CREATED", tasks=[sender.task(id, "") for id in odd])
    with workspace.db.write() as session:  # httpx sends no half of a surrogate pair
        for id, text in odd.items():
            session.get_one(Task, (the_project(workspace).id, id)).data = {"text": text}
    train(workspace)
    told = {task["id"]: task for task in the_queue(sender)["tasks"]}
    assert (told[101]["text"], told[101]["cut"]) == (odd[101][:2_000], True)
    assert told[101]["words"] == 15_000 and told[101]["spans"]
    assert all(0 <= span["start"] < span["end"] <= 2_000 for span in told[101]["spans"])
    assert (told[102]["text"], told[102]["cut"]) == (odd[102], False)
    assert told[103]["text"] == "Ada ? Oslo"
    assert told[104]["text"] == ""


def test_a_text_that_changed_since_has_no_spans(sender, workspace):
    annotate_and_train(sender, workspace)
    id = next(task["id"] for task in the_queue(sender)["tasks"] if task["spans"])
    sender.webhook("TASKS_CREATED", tasks=[sender.task(id, "x")])
    (task,) = [task for task in the_queue(sender)["tasks"] if task["id"] == id]
    assert (task["text"], task["spans"]) == ("x", [])
    with workspace.db.read() as session:
        assert session.scalars(select(Annotation.task_id).where(Annotation.task_id == id)).all() == []


BOTH = CONFIG.replace(
    "</View>",
    '<Relations><Relation value="in"/></Relations>'
    '<Choices name="topic" toName="text"><Choice value="news"/><Choice value="other"/></Choices></View>',
)


def put_marks(workspace, marks):
    """A round without a model in the database, whose first task is 1 with these marks."""
    project = the_project(workspace)
    with workspace.db.write() as session:
        made = Round(project_id=project.id, number=1, version="v1", kind="fit", state="done", reason="", owner="")
        session.add(made)
        made.revision, made.metrics = 0, {"strategy": "mnlp"}
        session.flush()
        text = session.get_one(Task, (project.id, 1)).data["text"]
        row = {"task_id": 1, "text_hash": text_hash(text), "words": 4, "position": 0, "holdout": False}
        session.add(Prediction(round_id=made.id, spans=as_json(marks), **row))
        session.get_one(Project, project.id).current_round_id = made.id


def test_choices_and_relations_come_beside_the_spans(client, workspace):
    sender = Sender(client, config=BOTH)
    sender.setup()
    long = "Ada lives in Oslo " + "x " * 2_000 + "Bern"
    sender.webhook("TASKS_CREATED", tasks=[sender.task(1, long)])
    ada, oslo, bern = Span(0, 3, "PER", 0.9), Span(13, 17, "LOC", 0.8), Span(len(long) - 4, len(long), "LOC", 0.7)
    put_marks(
        workspace, [ada, oslo, bern, Choice("news", 0.6), Relation(ada, oslo, "in", 0.5), Relation(ada, bern, "in")]
    )
    (task,) = the_queue(sender)["tasks"]
    assert [span["label"] for span in task["spans"]] == ["PER", "LOC"]
    assert task["choices"] == [{"label": "news", "confidence": 0.6}]
    head, tail = {"start": 0, "end": 3, "label": "PER"}, {"start": 13, "end": 17, "label": "LOC"}
    shown = {"head": head, "tail": tail, "label": "in", "confidence": 0.5}
    assert task["relations"] == [shown], "what lies beyond the text that is shown is left out"
    told = sender.client.get("/api/projects/4").json()
    assert told["models"] == {
        "spans": "crf",
        "choices": "transformer-classifier",
        "relations": "relation-classifier",
    }
    assert told["tagger"] == "relation-classifier"
    assert [(label["kind"], label["value"]) for label in told["labels"]] == [
        *(("spans", "PER"), ("spans", "LOC"), ("choices", "news"), ("choices", "other"), ("relations", "in"))
    ]
    sender.webhook("TASKS_CREATED", tasks=[sender.task(1, "Another text")])
    (task,) = the_queue(sender)["tasks"]
    assert task["spans"] == task["choices"] == task["relations"] == []
