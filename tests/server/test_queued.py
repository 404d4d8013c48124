import numpy as np
import pytest
from sqlalchemy import select

import learning.models
from learning.database import Annotation, Prediction, Task
from learning.serving import UNTRAINED
from server import queued
from tests.server.test_app import annotate_and_train, the_project, train


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
