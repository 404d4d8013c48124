"""What the status page does, against a real Label Studio: settings live in its form, events come while a round runs."""

from __future__ import annotations

import json
import threading
import time

import httpx
import pytest

from tests.end_to_end.backend import RunningBackend, backend_of
from tests.end_to_end.test_live_loop import Annotated

pytestmark = pytest.mark.slow
LOGIN = {"basic_auth_user": "page", "basic_auth_pass": "secret word"}


@pytest.fixture(scope="module")
def closed(label_studio, tmp_path_factory):
    """One with a password."""
    login = {name.upper(): value for name, value in LOGIN.items()}
    with backend_of(label_studio, tmp_path_factory.mktemp("closed"), **login) as running:
        yield running


def form_of(studio, project: int) -> dict:
    (backend,) = studio.call("GET", "/api/ml", params={"project": project})
    return backend


def test_settings_are_changed_in_label_studios_form_and_hold_here(label_studio, backend):
    project = Annotated(label_studio, "settings", 20, 0)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 7, "holdout_share": 0})
    backend.round_after(project.id)
    address = f"{backend.url}/api/projects/{project.id}/settings"
    before = form_of(label_studio, project.id)

    answer = httpx.post(address, json={"strategy": "entropy"}, timeout=60)
    assert answer.status_code == 200, answer.text
    after = form_of(label_studio, project.id)
    assert after["extra_params"] == {"round_size": 7, "holdout_share": 0, "strategy": "entropy"}
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"extra_params", "updated_at", "model_version"}
    state = backend.project(project.id)
    assert (state["strategy"], state["settings"]["round_size"]) == ("entropy", 7)

    refused = httpx.post(address, json={"strategy": "badge"}, timeout=60)
    assert refused.status_code == 422 and "hidden states" in refused.json()["detail"]
    assert form_of(label_studio, project.id)["extra_params"] == after["extra_params"]

    httpx.post(address, json={"strategy": None}, timeout=60).raise_for_status()
    assert "strategy" not in form_of(label_studio, project.id)["extra_params"]
    assert backend.project(project.id)["strategy"] == "mnlp"


def test_the_forms_password_stays(label_studio, closed):
    project = Annotated(label_studio, "closed", 5, 0)
    label_studio.connect_backend(project.id, closed.url, {}, auth_method="BASIC_AUTH", **LOGIN)
    login = (LOGIN["basic_auth_user"], LOGIN["basic_auth_pass"])
    address = f"{closed.url}/api/projects/{project.id}"
    assert httpx.post(f"{address}/settings", json={"strategy": "lc"}, timeout=60).status_code == 401
    httpx.post(f"{address}/settings", json={"strategy": "lc"}, timeout=60, auth=login).raise_for_status()
    form = form_of(label_studio, project.id)  # for which Label Studio asks us again, with the password
    assert (form["extra_params"], form["readable_state"]) == ({"strategy": "lc"}, "Connected")
    assert httpx.get(address, auth=login).json()["strategy"] == "lc"


def test_events_tell_of_a_round_from_its_beginning_to_its_end(label_studio, backend):
    project = Annotated(label_studio, "events", 40, 30)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 1000, "holdout_share": 0})
    backend.round_after(project.id)
    told: list[dict] = []

    def listen() -> None:
        with httpx.stream("GET", f"{backend.url}/api/events", timeout=60) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith("data: "))
            told.extend(json.loads(line.removeprefix("data: ")) for line in lines)

    threading.Thread(target=listen, daemon=True).start()
    backend.wait_for(lambda: any(one["id"] == project.id for one in told), "the first event", 10)
    before = backend.newest(project.id)
    httpx.post(f"{backend.url}/api/projects/{project.id}/round", json={}, timeout=30).raise_for_status()
    done = backend.round_after(project.id, before, kind="fit")
    backend.wait_for(lambda: told[-1]["version"] == done["version"], "the last event", 10)
    assert told[-1]["title"] == "events"
    assert told[-1]["evaluation"]["f1"] > 0


def test_listeners_do_not_keep_the_backend_from_ending(label_studio, tmp_path):
    running = RunningBackend(tmp_path, WORKERS="2")
    listening = [httpx.Client(timeout=60) for _ in range(4)]
    for client in listening:
        client.send(client.build_request("GET", f"{running.url}/api/events"), stream=True)
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 10, "gunicorn would kill what is open after 30 s"
    for client in listening:
        client.close()
