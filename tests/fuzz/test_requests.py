"""Label Studio's own requests and the status page's, with something hostile at one place."""

from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.hostile import VALUES, body, check, paths, replaced
from tests.server.conftest import BORN, CONFIG, KEY, Sender

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
FORGER = Sender(None)  # type: ignore[arg-type]
PROJECT = {"id": 4, "created_at": BORN, "label_config": CONFIG, "title": "t"}
TASK, ANNOTATION = FORGER.task(70), FORGER.annotation(70, 70)
API = f"/api/projects/{KEY}"
REQUESTS = {
    "setup": (
        "/setup",
        {
            "project": KEY,
            "schema": CONFIG,
            "hostname": None,
            "access_token": None,
            "extra_params": {"strategy": "mnlp", "strategy_options": {}, "tagger_options": {}, "round_size": 10},
        },
    ),
    "predict": (
        "/predict",
        {
            "tasks": [{**TASK, "annotations": [ANNOTATION]}],
            "project": KEY,
            "label_config": CONFIG,
            "params": {"login": None, "context": None},
        },
    ),
    "annotated": (
        "/webhook",
        {"action": "ANNOTATION_CREATED", "project": PROJECT, "task": TASK, "annotation": ANNOTATION},
    ),
    "all annotated": (
        "/webhook",
        {"action": "ANNOTATIONS_CREATED", "project": PROJECT, "task": [TASK], "annotation": [ANNOTATION]},
    ),
    "tasks": ("/webhook", {"action": "TASKS_CREATED", "project": PROJECT, "tasks": [TASK]}),
    "deleted": ("/webhook", {"action": "TASKS_DELETED", "project": PROJECT, "tasks": [{"id": 1_000}]}),
    "taken back": ("/webhook", {"action": "ANNOTATIONS_DELETED", "project": PROJECT, "annotations": [{"id": 1_000}]}),
    "train": ("/webhook", {"action": "START_TRAINING", "project": 4}),
    "pause": (f"{API}/pause", {"paused": False}),
    "settings": (f"{API}/settings", {"strategy": "mnlp", "round_size": 10, "seed": 0}),
    "rollback": (f"{API}/rollback", {"version": "v1"}),
    "simulate": (
        f"{API}/simulations",
        {"strategies": ["mnlp"], "seeds": 1, "tagger": "crf", "tagger_options": {}, "start": "10%", "budget": "10%"},
    ),
}
PAGES = ["", "/queue", "/suspects", "/simulations"]


def shoot(sender, data) -> None:
    path, sound = REQUESTS[data.draw(st.sampled_from(sorted(REQUESTS)))]
    place = data.draw(st.sampled_from(paths(sound)))
    hostile = replaced(sound, place, data.draw(VALUES))
    check(sender.client.post(path, content=body(hostile), headers=JSON))
    if data.draw(st.integers(0, 9)) == 0:  # what was kept of it must be good to look at
        check(sender.client.get(API + data.draw(st.sampled_from(PAGES))))


def settled(max_examples: int):
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@settled(150)
@given(st.data())
def test_one_hostile_place(sender, data):
    shoot(sender, data)


@settled(2_000)
@given(st.data())
def test_one_hostile_place_at_length(sender, data):
    shoot(sender, data)


@settled(100)
@given(st.sampled_from(sorted({path for path, _ in REQUESTS.values()})), st.binary(max_size=60) | VALUES.map(body))
def test_any_body(sender, path, content):
    check(sender.client.post(path, content=content, headers=JSON))


@settled(60)
@given(
    st.text(min_size=1, max_size=30), st.sampled_from(["", "/queue", "/checks", "/simulations/1/report", "/suspects"])
)
def test_any_address(sender, key, rest):
    check(sender.client.get(f"/api/projects/{quote(key, safe='', errors='replace')}{rest}"))
