"""Hostile input, case by case, through the real application; and a round over tasks of which some are hostile."""

import json
import time

import pytest
from sqlalchemy import select

from labelstudio.fields import LONGEST
from learning.database import Annotation, Project, Round, Task
from tests.fuzz.hostile import DEEP, body, check
from tests.server.conftest import CONFIG, Sender
from tests.server.test_app import annotate_and_train, stored, the_project, train

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>'
    + CONFIG.replace("PER", "&c;")
)
OUTSIDE = '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + CONFIG.replace("PER", "&a;")
PAGE = (
    '<View><HyperTextLabels name="label" toName="text"><Label value="PER"/></HyperTextLabels>'
    '<HyperText name="text" value="$text"/></View>'
)
HOSTILE_DATA = {
    "no field": {},
    "null": {"text": None},
    "list": {"text": ["Ada"]},
    "object": {"text": {"a": 1}},
    "boolean": {"text": True},
    "nested": {"text": "Ada lives in Oslo", "more": DEEP},
    "NaN": {"text": float("nan")},
    "number": {"text": 10**30},
    "nothing visible": {"text": "\u200b\u200d\ufeff\0 \n"},
    "zero width": {"text": "A\u200bda liv\u200des in Os\u00adlo"},
    "NUL": {"text": "Ada\0lives\0in\0Oslo"},
    "half characters": {"text": "Ada \ud83d lives in \udfffOslo"},
    "too long": {"text": "Ada lives in Oslo. " * (10_000_000 // 19)},
    "one word": {"text": "a" * (LONGEST - 1)},
}
UNREADABLE = ("no field", "null", "list", "object", "boolean", "NaN", "too long")


@pytest.mark.parametrize(
    "config", [BOMB, OUTSIDE, "<View>" * 300 + CONFIG + "</View>" * 300, "x" * 1_000_001, "\0", "<"]
)
def test_hostile_label_configs_are_refused_in_words(client, workspace, config):
    began = time.process_time()
    answer = Sender(client, config=config).setup()
    assert answer.status_code == 422 and "label config" in answer.json()["detail"]
    check(answer)
    assert "root:" not in answer.text and time.process_time() - began < 10
    assert stored(workspace, Project) == []


def test_a_label_config_of_a_megabyte_with_thousands_of_labels_is_read(client, workspace):
    labels = "".join(f'<Label value="L{i}" hint="{"x" * 162}"/>' for i in range(5_000))
    config = CONFIG.replace('<Label value="PER"/>', labels)
    sender = Sender(client, config=config)
    assert 900_000 < len(config) < 1_000_000
    began = time.process_time()
    assert sender.setup().status_code == 200
    sender.webhook("TASKS_CREATED", tasks=[sender.task(1)])
    annotation = sender.annotation(1, 1, [(0, 3, "L4999"), (4, 9, "L5000")])
    assert sender.webhook("ANNOTATION_CREATED", task=sender.task(1), annotation=annotation).status_code == 200
    detail = client.get(f"/api/projects/{sender.key}").json()
    assert time.process_time() - began < 20
    counts = {row["label"]: row["labelled"] for row in detail["label_scores"]}
    assert len(counts) == 5_001 and counts["L4999"] == 1 and "L5000" not in counts


@pytest.mark.parametrize("content", ["", "[]", '"text"', "5", "null", "NaN", "{", "[" * 100_000, '{"a":' * 50_000])
@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/api/projects/4/settings"])
def test_bodies_that_are_no_objects(client, path, content):
    answer = client.post(path, content=content.encode(), headers=JSON)
    check(answer)
    assert answer.status_code in (400, 422)


def test_bodies_that_are_no_json(client):
    for content in (b"\xff\xfe{", b'{"project": "\xff"}', b"\x00"):
        answer = client.post("/webhook", content=content, headers=JSON)
        check(answer)
        assert answer.status_code in (400, 422)
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ):
        answer = client.post("/webhook", content=b'{"action": "START_TRAINING"}', headers={"Content-Type": kind})
        check(answer)
        assert answer.status_code == 415


@pytest.mark.parametrize("number", [2**63, 10**400, -1, 1.5, "9" * 5_000, "²", True, None, [], float("inf")])
def test_numbers_that_are_no_ids(sender, number):
    sender.setup()
    for task in ({**sender.task(1), "id": number}, sender.task(1)):
        annotation = {**sender.annotation(1, 1), "id": number}
        answer = sender.client.post(
            "/webhook",
            content=body({"action": "ANNOTATION_CREATED", "project": 4, "task": task, "annotation": annotation}),
            headers=JSON,
        )
        check(answer)
        assert answer.status_code == 422
    answer = sender.client.post("/setup", content=body({"project": number, "schema": CONFIG}), headers=JSON)
    check(answer)
    assert answer.status_code == 422
    asked = {"project": sender.key, "label_config": CONFIG, "tasks": [{**sender.task(1), "id": number}, sender.task(2)]}
    answer = sender.client.post("/predict", content=body(asked), headers=JSON)
    check(answer)
    assert len(answer.json()["results"]) == 2


@pytest.mark.parametrize("key", ["9" * 19, "9" * 5_000, "²", "4.1.1", "..", "%00", "%ff"])
def test_keys_of_no_project(client, key):
    answer = client.get(f"/api/projects/{key}")
    check(answer)
    assert answer.status_code in (404, 422)


def test_secrets_and_values_are_not_echoed(client):
    answer = client.post("/setup", json={"project": "4", "schema": 5, "access_token": ["secret"]})
    assert answer.status_code == 422 and "secret" not in answer.text and "label_config" not in answer.text
    assert answer.json()["detail"].startswith("body.schema: ")


def test_half_characters_are_answered_as_they_were_sent(sender, workspace):
    sender.setup()
    annotate_and_train(sender, workspace)
    text = "Ada \ud83d lives in \udfffOslo now"
    asked = {"project": sender.key, "label_config": CONFIG, "tasks": [sender.task(900, text)]}
    answer = sender.client.post("/predict", content=body(asked), headers=JSON)
    check(answer)
    (result,) = answer.json()["results"]
    found = {(r["value"]["start"], r["value"]["end"]) for r in result["result"]}
    assert found == {(0, 3), (text.index("Oslo"), text.index("Oslo") + 4)}
    project = {"id": 4, "created_at": "2026-01-01T00:00:00.500000Z", "title": "half \ud83d\0"}
    answer = sender.client.post(
        "/webhook", content=body({"action": "PROJECT_UPDATED", "project": project}), headers=JSON
    )
    assert answer.status_code == 200 and the_project(workspace).title == "half ?"


def test_every_task_gets_its_result_whatever_the_others_are(sender, workspace):
    annotate_and_train(sender, workspace)
    tasks = [{**sender.task(900 + i), "data": data} for i, data in enumerate(HOSTILE_DATA.values())]
    odd = [{}, {"id": None, "data": 5}, {**sender.task(990), "annotations": [{"id": "x"}]}]
    good = sender.task(999, "Ada lives in Lima now")
    asked = {"project": sender.key, "label_config": CONFIG, "tasks": [*tasks, *odd, good]}
    began = time.process_time()
    answer = sender.client.post("/predict", content=body(asked), headers=JSON)
    assert time.process_time() - began < 60
    check(answer)
    results = answer.json()["results"]
    assert len(results) == len(tasks) + 4
    found = dict(zip([*HOSTILE_DATA, "", "no data", "no annotation", "good"], results, strict=True))
    assert all(found[name]["result"] == [] and found[name]["score"] == 1.0 for name in UNREADABLE)
    labels = [
        [region["value"]["labels"][0] for region in found[name]["result"]] for name in ("good", "half characters")
    ]
    assert labels == [["PER", "LOC"]] * 2


def test_a_round_over_hostile_tasks_completes_and_names_them(sender, workspace):
    sentences = annotate_and_train(sender, workspace)
    hostile = {500 + i: name for i, name in enumerate(HOSTILE_DATA)}
    tasks = [{**sender.task(id), "data": HOSTILE_DATA[name]} for id, name in hostile.items()]
    for task in tasks:
        event = {"action": "TASKS_CREATED", "project": 4, "tasks": [task]}
        assert sender.client.post("/webhook", content=body(event), headers=JSON).status_code == 200
    regions = {
        "outside": {"start": 5, "end": 5_000, "labels": ["PER"]},
        "backwards": {"start": 5, "end": 2, "labels": ["PER"]},
        "empty": {"start": 3, "end": 3, "labels": ["PER"]},
        "negative": {"start": -3, "end": 3, "labels": ["PER"]},
        "half way": {"start": 0.5, "end": 3, "labels": ["PER"]},
        "text for numbers": {"start": "0", "end": "3", "labels": ["PER"]},
        "endless": {"start": 0, "end": float("inf"), "labels": ["PER"]},
        "unknown label": {"start": 0, "end": 3, "labels": ["NOBODY"]},
        "no labels": {"start": 0, "end": 3},
        "a number for labels": {"start": 0, "end": 3, "labels": 5},
        "lists for labels": {"start": 0, "end": 3, "labels": [["PER"]]},
        "no place": {"labels": ["PER"]},
        "no value": None,
    }
    tag = {"from_name": "label", "to_name": "text", "type": "labels"}
    result = [{"id": name, **tag, "value": value} for name, value in regions.items()]
    others = [
        {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}},
        {"from_name": ["label"], "to_name": {}, "type": [], "value": 5},
        {"type": "relation", "from_id": "a", "to_id": "b"},
        *("text", None, 5, []),
    ]
    good = {"id": "good", **tag, "value": {"start": 0.0, "end": 3.0, "labels": ["PER"]}}
    annotation = {**sender.annotation(800, 60), "result": [*result, *others, good]}
    on_hostile = [sender.annotation(900 + id, id) for id in hostile]
    for one, task in [(annotation, sender.task(60, sentences[59].text)), *zip(on_hostile, tasks, strict=True)]:
        event = {"action": "ANNOTATION_CREATED", "project": 4, "task": task, "annotation": one}
        assert sender.client.post("/webhook", content=body(event), headers=JSON).status_code == 200
    sender.webhook("START_TRAINING")
    before = {a.id for a in stored(workspace, Annotation)}
    train(workspace)
    with workspace.db.read() as session:
        last = session.scalars(select(Round).order_by(Round.number.desc())).first()
    assert (last.kind, last.state, last.error) == ("fit", "done", None)
    told = "\n".join(last.problems)
    named = {name for id, name in hostile.items() if f"task {id}: " in told}
    assert named == {*UNREADABLE, "nothing visible"}, "the last has a span, which covers no word"
    assert all(f"'{name}'" in told for name in regions)
    assert {a.id for a in stored(workspace, Annotation)} == before >= {800, *(900 + id for id in hostile)}
    assert len(stored(workspace, Task)) == len(sentences) + len(hostile)
    for page in ("", "/queue?limit=200", "/suspects"):
        answer = sender.client.get(f"/api/projects/{sender.key}{page}")
        assert answer.status_code == 200
        check(answer)
    queue = sender.client.get(f"/api/projects/{sender.key}/queue?limit=200").json()["tasks"]
    assert not {hostile.get(task["id"]) for task in queue} & set(UNREADABLE)


def test_pages_that_would_take_the_square_of_their_length(client, workspace):
    sender = Sender(client, config=PAGE)
    sender.setup()
    pages = [
        "<p>" + "".join(f"<b id={i}>" for i in range(2_400)) + "</p>" + "<p>x</p>" * 2_400,
        "<i>x" * 40_000,
        "<p " + " ".join(f"a{i}" for i in range(100_000)) + ">x</p>",
        '<a "' * 100_000,
        "<table><tr><td>" * 20_000,
        "<p>Ada</p>" * 10_000,
    ]
    began = time.process_time()
    answer = sender.predict(*[sender.task(i, page) for i, page in enumerate(pages)])
    assert answer.status_code == 200 and len(answer.json()["results"]) == len(pages)
    assert time.process_time() - began < 20
    assert json.loads(answer.text)["results"][-1]["score"] == 0.0, "the last is an ordinary page"
