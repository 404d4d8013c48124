"""Publishing: what goes wrong on a small stand-in, the queue itself on a real Label Studio."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from labelstudio.client import LabelStudio, LabelStudioError, Refused, Unreachable
from labelstudio.publish import HEAD, IN_ONE, Published, clean_up, publish, score_at
from tests.end_to_end.label_studio import RunningLabelStudio

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)


def prediction(task: int, version: str, score: float, result: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"task": task, "model_version": version, "score": score, "result": result or []}


def ranked(tasks: list[int], version: str) -> list[dict[str, Any]]:
    """Predictions that put `tasks` in this order, handed over in another."""
    return [prediction(task, version, score_at(place, len(tasks))) for place, task in enumerate(tasks)][::-1]


@pytest.mark.parametrize("length", [0, 1, 2, 7, 1_000, 200_000])
def test_scores_ascend_along_the_queue_and_are_distinct(length: int) -> None:
    found = np.array([score_at(place, length) for place in range(length)])
    assert np.all((found >= 0) & (found < 1))
    assert np.all(np.diff(found) > 0)


# -- what goes wrong ---------------------------------------------------------------------------------------


@dataclass
class StandIn:
    """A project in memory behind Label Studio's routes, as far as publishing goes."""

    tasks: set[int]
    predictions: list[dict[str, Any]] = field(default_factory=list)
    project: dict[str, Any] = field(
        default_factory=lambda: {
            "id": 1, "title": "p", "label_config": CONFIG, "sampling": "Sequential sampling",
            "model_version": "ours-1", "created_at": "2024-01-01T00:00:00Z",
        }
    )  # fmt: skip
    tabs: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda request: None
    """Called with "METHOD path" ahead of each request: may change the project, or raise."""

    @property
    def client(self) -> LabelStudio:
        return LabelStudio("http://stand-in.test", "0" * 40, transport=httpx.MockTransport(self.handle))

    def handle(self, request: httpx.Request) -> httpx.Response:
        called = f"{request.method} {request.url.path}"
        self.requests.append(called)
        self.before(called)
        body = json.loads(request.content) if request.content else None
        match called:
            case "GET /api/projects/1":
                return httpx.Response(200, json=self.project)
            case "PATCH /api/projects/1":
                self.project |= body
                return httpx.Response(200, json=self.project)
            case "GET /api/projects/1/model-versions/":
                return httpx.Response(200, json=self.versions())
            case "DELETE /api/projects/1/model-versions/":
                before = len(self.predictions)
                self.predictions = [p for p in self.predictions if p["model_version"] != body["model_version"]]
                if self.project["model_version"] == body["model_version"]:
                    self.project["model_version"] = None
                return httpx.Response(200, json={"deleted_predictions": before - len(self.predictions)})
            case "POST /api/projects/1/import/predictions":
                if strangers := [p["task"] for p in body if p["task"] not in self.tasks]:
                    return httpx.Response(400, json={"detail": f"task ID {strangers[0]} not found"})
                kept = [p for p in body if all(r["value"]["labels"] == ["PER"] for r in p["result"])]
                self.predictions += kept
                return httpx.Response(201, json={"created": len(kept)})
            case "POST /api/predictions/":
                if body["task"] not in self.tasks:
                    return httpx.Response(400, json={"task": ["Invalid pk - object does not exist."]})
                self.predictions.append(body)
                return httpx.Response(201, json=body)
            case "GET /api/predictions/":
                return httpx.Response(200, json=self.predictions)
            case "GET /api/tasks":
                last = json.loads(request.url.params["query"])["filters"]["items"][0]["value"]
                return httpx.Response(200, json={"tasks": [{"id": t} for t in sorted(self.tasks) if t > last]})
            case "GET /api/dm/views/":
                return httpx.Response(200, json=self.tabs)
            case "GET /api/dm/columns/":
                columns = [{"id": "id"}, {"id": "updated_at"}, {"id": "data"}, {"id": "text", "parent": "data"}]
                return httpx.Response(200, json={"columns": columns})
            case "POST /api/dm/views/":
                self.tabs.append({"id": len(self.tabs) + 1, "data": body["data"]})
                return httpx.Response(201, json=self.tabs[-1])
        return httpx.Response(404, json={"detail": called})

    def versions(self) -> dict[str, int]:
        counts = Counter(p["model_version"] for p in self.predictions)
        return {self.project["model_version"] or "": 0, **counts}

    def queue(self) -> list[int]:
        current = [p for p in self.predictions if p["model_version"] == self.project["model_version"]]
        return [p["task"] for p in sorted(current, key=lambda p: p["score"])]


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn({10, 11, 12, 13}, ranked([13, 12, 11, 10], "ours-1"))


def cut(at: str) -> Callable[[str], None]:
    def fail(request: str) -> None:
        if request.startswith(at):
            raise httpx.ConnectError("cut")

    return fail


def test_publishing_switches_the_queue_in_one_import(stand_in: StandIn) -> None:
    done = publish(stand_in.client, 1, "ours-2", ranked([11, 13, 10, 12], "ours-2"))
    assert done == Published("ours-2", created=4, vanished=(), tab=2)
    assert stand_in.queue() == [11, 13, 10, 12]
    assert stand_in.project["sampling"] == "Uncertainty sampling"
    assert stand_in.requests.count("POST /api/projects/1/import/predictions") == 1
    assert stand_in.tabs[-1]["data"]["hiddenColumns"] == {
        "explore": ["tasks:updated_at"],
        "labeling": ["tasks:updated_at"],
    }
    assert "GET /api/tasks" not in stand_in.requests


def test_the_users_sampling_can_be_left_alone(stand_in: StandIn) -> None:
    publish(stand_in.client, 1, "ours-2", ranked([11], "ours-2"), sampling=False)
    assert stand_in.project["sampling"] == "Sequential sampling"


@pytest.mark.parametrize(
    "at",
    [
        "GET /api/projects/1/model-versions",
        "POST /api/projects/1/import",
        "PATCH /api/projects/1",
        "GET /api/dm/views",
        "POST /api/dm/views",
    ],
)
def test_broken_off_anywhere_and_called_again_it_publishes_once(stand_in: StandIn, at: str) -> None:
    stand_in.before = cut(at)
    with pytest.raises(Unreachable):
        publish(stand_in.client, 1, "ours-2", ranked([11, 13, 10, 12], "ours-2"))
    assert stand_in.queue() in ([13, 12, 11, 10], [11, 13, 10, 12])
    stand_in.before = lambda request: None
    publish(stand_in.client, 1, "ours-2", ranked([11, 13, 10, 12], "ours-2"))
    assert stand_in.queue() == [11, 13, 10, 12]
    assert [tab["data"]["title"] for tab in stand_in.tabs] == ["Default", "Label next"]


def test_a_partial_import_is_completed_before_the_switch(stand_in: StandIn) -> None:
    whole = ranked([11, 13, 10, 12], "ours-2")
    stand_in.predictions += whole[:2]
    steps: list[str] = []
    assert publish(stand_in.client, 1, "ours-2", whole, on_progress=steps.append).created == 2
    assert stand_in.queue() == [11, 13, 10, 12]
    assert steps == ["importing 2 predictions of ours-2", "switching the queue to ours-2"]


def test_publishing_the_current_version_again_leaves_its_predictions(stand_in: StandIn) -> None:
    stand_in.tasks.add(14)
    stand_in.client.import_predictions(1, [prediction(14, "ours-1", 0.1)])
    publish(stand_in.client, 1, "ours-1", ranked([13, 12, 11, 10], "ours-1"))
    assert stand_in.queue() == [13, 14, 12, 11, 10]
    assert not any(request.startswith("DELETE") for request in stand_in.requests)


def test_tasks_that_vanish_during_publishing_are_dropped(stand_in: StandIn) -> None:
    doomed = [13, 10]

    def delete_one(request: str) -> None:
        if request.startswith("POST /api/projects/1/import") and doomed:
            stand_in.tasks.remove(doomed.pop())

    stand_in.before = delete_one
    done = publish(stand_in.client, 1, "ours-2", ranked([11, 13, 10, 12], "ours-2"))
    assert (done.created, sorted(done.vanished)) == (2, [10, 13])
    assert stand_in.queue() == [11, 12]


def test_it_gives_up_when_a_task_vanishes_at_every_attempt(stand_in: StandIn) -> None:
    doomed = [13, 10, 11]

    def delete_one(request: str) -> None:
        if request.startswith("POST /api/projects/1/import"):
            stand_in.tasks.remove(doomed.pop())

    stand_in.before = delete_one
    with pytest.raises(Refused, match="task ID 13"):
        publish(stand_in.client, 1, "ours-2", ranked([11, 13, 10, 12], "ours-2"))
    assert stand_in.project["model_version"] == "ours-1"


def test_when_no_task_is_left_the_queue_is_not_switched(stand_in: StandIn) -> None:
    with pytest.raises(LabelStudioError, match="none of the ranked tasks"):
        publish(stand_in.client, 1, "ours-2", ranked([1, 2], "ours-2"))
    assert stand_in.project["model_version"] == "ours-1"


def test_dropped_predictions_are_named_and_the_old_queue_stays(stand_in: StandIn) -> None:
    sent = ranked([11, 13, 10, 12], "ours-2")
    sent[1]["result"] = [{"value": {"labels": ["GONE"]}}]
    with pytest.raises(LabelStudioError, match=rf"kept 3 of 4 .* tasks {sent[1]['task']}: .*label config"):
        publish(stand_in.client, 1, "ours-2", sent)
    assert stand_in.queue() == [13, 12, 11, 10]
    sent[1]["result"] = []
    publish(stand_in.client, 1, "ours-2", sent)
    assert stand_in.queue() == [11, 13, 10, 12]


# -- large projects ----------------------------------------------------------------------------------------


@pytest.fixture
def large() -> StandIn:
    tasks = list(range(1, IN_ONE + 101))
    return StandIn(set(tasks), ranked(tasks, "ours-1"))


NEW_ORDER = [int(task) for task in np.random.default_rng(0).permutation(np.arange(1, IN_ONE + 101))]
IMPORT, ADD, SWITCH = "POST /api/projects/1/import/predictions", "POST /api/predictions/", "PATCH /api/projects/1"


def publish_large(stand_in: StandIn) -> Published:
    return publish(stand_in.client, 1, "ours-2", ranked(NEW_ORDER, "ours-2"))


def published_once(stand_in: StandIn) -> bool:
    return stand_in.queue() == NEW_ORDER and stand_in.versions()["ours-2"] == len(NEW_ORDER)


def test_a_large_queue_is_switched_as_soon_as_its_head_is_there(large: StandIn) -> None:
    at_the_switch = []

    def look(request: str) -> None:
        if request == SWITCH and not at_the_switch:
            at_the_switch.extend(p["task"] for p in large.predictions if p["model_version"] == "ours-2")

    large.before = look
    assert publish_large(large).created == len(NEW_ORDER)
    assert at_the_switch == NEW_ORDER[:HEAD]
    assert published_once(large)
    sent = [request for request in large.requests if request in (IMPORT, ADD, SWITCH)]
    assert sent == [ADD] * HEAD + [SWITCH, SWITCH, IMPORT]  # of version and sampling: one import, however many tasks


@pytest.mark.parametrize(
    ("at", "which"), [(ADD, 1), (ADD, 2), (ADD, HEAD), (SWITCH, 1), (SWITCH, 2), (IMPORT, 1), ("GET /api/dm/views/", 1)]
)
@pytest.mark.parametrize("answer_lost", [False, True])
def test_a_large_queue_broken_off_anywhere_and_published_again_is_whole(
    large: StandIn, at: str, which: int, answer_lost: bool
) -> None:
    """Before the request arrives, or after: then Label Studio has done what was asked, and nobody heard of it."""

    handle, calls = large.handle, Counter[str]()

    def handle_and_lose(request: httpx.Request) -> httpx.Response:
        called = f"{request.method} {request.url.path}"
        calls[called] += 1
        now = (called, calls[called]) == (at, which)
        response = None if now and not answer_lost else handle(request)
        if now or response is None:
            raise httpx.ConnectError("cut")
        return response

    large.handle = handle_and_lose  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        publish_large(large)
    assert large.queue()[:HEAD] in (list(range(1, HEAD + 1)), NEW_ORDER[:HEAD])  # never a queue without a head
    publish_large(large)
    assert published_once(large)
    assert publish_large(large).created == 0
    assert published_once(large)


def test_a_large_import_that_got_half_through_is_completed(large: StandIn) -> None:
    large.before = cut(IMPORT)
    with pytest.raises(Unreachable):
        publish_large(large)
    large.before = lambda request: None
    large.predictions += ranked(NEW_ORDER, "ours-2")[:200]  # Label Studio writes them in parts
    assert publish_large(large).created == len(NEW_ORDER) - HEAD - 200
    assert published_once(large)


def test_first_tasks_that_vanished_are_passed_over(large: StandIn) -> None:
    large.tasks -= set(NEW_ORDER[:5])
    done = publish_large(large)
    assert sorted(done.vanished) == sorted(NEW_ORDER[:5])
    assert large.queue() == NEW_ORDER[5:]
    assert large.requests.count(ADD) == HEAD + 5


def test_where_single_predictions_are_refused_all_are_imported_before_the_switch(large: StandIn) -> None:
    handle = large.handle

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400) if request.url.path == "/api/predictions/" else handle(request)

    large.handle = refuse  # type: ignore[method-assign]
    assert publish_large(large).created == len(NEW_ORDER)
    assert published_once(large)
    assert large.requests.index(IMPORT) < large.requests.index(SWITCH)


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predictions", "says"),
    [
        ([], "nothing to publish"),
        ([prediction(10, "v", 0.1), prediction(10, "v", 0.2)], "task 10: two predictions"),
        ([prediction(10, "w", 0.1)], "task 10: its prediction is of version 'w'"),
        ([prediction(10, "v", 1.1)], "task 10: score 1.1"),
        ([prediction(10, "v", float("nan"))], "task 10: score nan"),
    ],
)
def test_wrong_predictions_are_refused_before_any_request(
    stand_in: StandIn, predictions: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        publish(stand_in.client, 1, "v", predictions)
    assert stand_in.requests == []


def test_clean_up_deletes_our_old_versions_only(stand_in: StandIn) -> None:
    for version in ("ours-2", "ours-3", "another's"):
        stand_in.predictions += ranked([10, 11], version)
    assert clean_up(stand_in.client, 1, ours={"ours-1", "ours-2", "ours-3"}, keep={"ours-3"}) == ["ours-2"]
    assert stand_in.versions() == {"ours-1": 4, "ours-3": 2, "another's": 2}


# -- the real queue ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studio(label_studio: RunningLabelStudio) -> LabelStudio:
    return LabelStudio(label_studio.url, label_studio.personal_access_token())


def emoji_project(label_studio: RunningLabelStudio, title: str, count: int) -> tuple[int, list[int]]:
    project = label_studio.create_project(title, CONFIG)
    texts = [f"Zoë 👩‍🚀 met 李雷 in São Paulo 🇧🇷, {n}" for n in range(count)]
    return project, label_studio.import_tasks(project, [{"text": text} for text in texts])


def served(label_studio: RunningLabelStudio, project: int, count: int) -> list[int | None]:
    """The tasks that an annotator gets who labels each."""
    tasks: list[int | None] = []
    for _ in range(count):
        tasks.append(label_studio.next_task(project))
        if tasks[-1] is not None:
            label_studio.annotate(tasks[-1], [])
    return tasks


def shuffled(ids: list[int], seed: int) -> list[int]:
    return [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))]


@pytest.mark.slow
def test_real_queue_serves_exactly_the_published_order(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project, ids = emoji_project(label_studio, "order", 50)
    publish(studio, project, "r1", ranked(shuffled(ids, 1), "r1"))
    order = shuffled(ids, 2)
    words = {"start": 4, "end": 7, "labels": ["PER"]}  # the astronaut: three code points
    shown = [{"from_name": "label", "to_name": "text", "type": "labels", "value": words}]
    sent = [{**p, "result": shown} for p in ranked(order, "r2")]
    done = publish(studio, project, "r2", sent)
    assert (done.created, done.vanished) == (50, ())
    later = label_studio.import_tasks(project, [{"text": "came later 🐌"}])

    assert served(label_studio, project, 52) == [*order, *later, None]
    kept = {p["model_version"]: p for p in label_studio.predictions(order[0])}
    assert kept["r2"]["score"] == 0
    value = kept["r2"]["result"][0]["value"]
    assert (value["start"], value["end"], value["labels"]) == (4, 7, ["PER"])


@pytest.mark.slow
def test_real_queue_is_switched_between_two_tasks(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project, ids = emoji_project(label_studio, "switch", 8)
    publish(studio, project, "r1", ranked(ids, "r1"))
    assert served(label_studio, project, 2) == ids[:2]
    publish(studio, project, "r2", ranked(ids[2:][::-1], "r2"))
    [later] = label_studio.import_tasks(project, [{"text": "came later"}])
    assert studio.import_predictions(project, [prediction(later, "r2", 0.25)]) == 1
    # scores of r2 are 0, 1/6, 2/6, …: the later task belongs behind the second
    assert served(label_studio, project, 8) == [ids[7], ids[6], later, ids[5], ids[4], ids[3], ids[2], None]


@pytest.mark.slow
def test_real_large_queue_is_served_in_order_from_its_head_on(
    label_studio: RunningLabelStudio, studio: LabelStudio
) -> None:
    project, ids = emoji_project(label_studio, "large", IN_ONE + 20)
    publish(studio, project, "r1", ranked(ids, "r1"))
    order = shuffled(ids, 4)
    seen: list[int | None] = []

    def annotate_meanwhile(step: str) -> None:
        if step == f"importing {len(ids) - HEAD} predictions of r2":
            seen.extend(served(label_studio, project, 3))

    done = publish(studio, project, "r2", ranked(order, "r2"), on_progress=annotate_meanwhile)
    assert (done.created, done.vanished) == (len(ids), ())
    assert studio.model_versions(project) == {"r1": len(ids), "r2": len(ids)}
    assert studio.predicted_tasks(project, "r2") == set(ids)
    assert seen == order[:3]
    assert served(label_studio, project, HEAD) == order[3 : HEAD + 3]


@pytest.mark.slow
def test_real_single_prediction_of_a_task_that_is_gone(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    with pytest.raises(Refused) as caught:
        studio.add_prediction(prediction(10**9, "r1", 0.5))
    assert caught.value.status == 400


@pytest.mark.slow
def test_real_publishing_twice_and_after_a_break_leaves_one_prediction_a_task(
    label_studio: RunningLabelStudio, studio: LabelStudio
) -> None:
    project, ids = emoji_project(label_studio, "twice", 6)
    order = shuffled(ids, 3)
    studio.import_predictions(project, ranked(order, "r1")[:4])  # broken off
    assert publish(studio, project, "r1", ranked(order, "r1")).created == 2
    assert publish(studio, project, "r1", ranked(order, "r1")).created == 0
    assert studio.model_versions(project) == {"r1": 6}
    studio.import_predictions(project, ranked(order[::-1], "r2"))  # broken off before the switch
    assert publish(studio, project, "r2", ranked(order[::-1], "r2")).created == 0
    assert studio.project(project).model_version == "r2"
    assert served(label_studio, project, 6) == order[::-1]


@pytest.mark.slow
def test_real_task_deleted_during_publishing(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project, ids = emoji_project(label_studio, "vanishing", 6)

    def delete_a_task(step: str) -> None:
        if step.startswith("importing 6"):
            label_studio.delete_task(ids[1])

    order = shuffled(ids, 4)
    done = publish(studio, project, "r1", ranked(order, "r1"), on_progress=delete_a_task)
    assert (done.created, done.vanished) == (5, (ids[1],))
    assert served(label_studio, project, 6) == [*(id for id in order if id != ids[1]), None]


@pytest.mark.slow
def test_real_dropped_predictions_leave_the_old_queue(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project, ids = emoji_project(label_studio, "dropped", 4)
    publish(studio, project, "r1", ranked(ids, "r1"))
    sent = ranked(ids[::-1], "r2")
    value = {"start": 0, "end": 3, "labels": ["GONE"]}
    sent[2]["result"] = [{"from_name": "label", "to_name": "text", "type": "labels", "value": value}]
    with pytest.raises(LabelStudioError, match=rf"kept 3 of 4 .* tasks {sent[2]['task']}:"):
        publish(studio, project, "r2", sent)
    assert served(label_studio, project, 4) == ids


@pytest.mark.slow
def test_real_annotators_get_the_first_tasks_between_them(
    label_studio: RunningLabelStudio, studio: LabelStudio
) -> None:
    project, ids = emoji_project(label_studio, "annotators", 9)
    order = shuffled(ids, 5)
    publish(studio, project, "r1", ranked(order, "r1"))
    people = [
        label_studio.api,
        *(label_studio.sign_up(f"{name}@{project}.example.com") for name in ("bo", "cy")),
    ]
    first = [label_studio.next_task(project, by=person) for person in people]
    assert first == order[:3]
    for person, task in zip(people, order[:3], strict=True):
        label_studio.annotate(task, [], by=person)
    assert [label_studio.next_task(project, by=person) for person in people[::-1]] == order[3:6]


@pytest.mark.slow
def test_real_clean_up_leaves_the_queue_and_other_backends(
    label_studio: RunningLabelStudio, studio: LabelStudio
) -> None:
    project, ids = emoji_project(label_studio, "clean up", 4)
    studio.import_predictions(project, ranked(ids, "another's"))
    for round, version in enumerate(("r1", "r2", "r3")):
        publish(studio, project, version, ranked(shuffled(ids, round), version))
    assert set(clean_up(studio, project, ours=["r1", "r2", "r3"], keep=["r2"])) == {"r1"}
    assert studio.model_versions(project) == {"r2": 4, "r3": 4, "another's": 4}
    assert studio.project(project).model_version == "r3"
    assert served(label_studio, project, 4) == shuffled(ids, 2)
