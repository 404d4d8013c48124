import json

import httpx
import pytest

from labelstudio.client import LabelStudio, Unauthorized
from learning import rounds
from server import actions
from tests.server.conftest import KEY
from tests.server.test_app import annotate_and_train, the_project


def post(sender, what, body=None, project="4"):
    answer = sender.client.post(f"/api/projects/{project}/{what}", json={} if body is None else body)
    return answer.status_code, answer.json().get("message") or answer.json()["detail"]


@pytest.mark.parametrize(
    ("what", "body"),
    [("round", {}), ("pause", {"paused": True}), ("settings", {"seed": 1}), ("rollback", {"version": "v1"})],
)
def test_unknown_projects(sender, what, body):
    sender.setup()
    assert post(sender, what, body, "77") == (404, "project '77' is not known here")


@pytest.mark.parametrize(
    ("what", "body"),
    [("pause", {}), ("pause", {"paused": "perhaps"}), ("rollback", {}), ("rollback", {"version": 7}), ("settings", [])],
)
def test_bodies_that_say_nothing(sender, what, body):
    sender.setup()
    assert sender.client.post(f"/api/projects/4/{what}", json=body).status_code == 422


def test_a_round_can_be_started(sender, workspace):
    sender.setup()
    assert post(sender, "round", project=KEY)[0] == 200
    assert (the_project(workspace).due, the_project(workspace).due_reason) == ("fit", "asked for on the status page")


def test_a_round_that_waits_for_another_try_begins_at_once(sender, workspace):
    sender.setup()
    with workspace.db.write() as session:
        project = session.get_one(type(the_project(workspace)), 1)
        project.retry_at = project.created_at.replace(year=9999)
    post(sender, "round")
    assert the_project(workspace).retry_at is None


def test_pausing_and_resuming(sender, workspace):
    sender.setup()
    status, message = post(sender, "pause", {"paused": True})
    assert (status, the_project(workspace).paused) == (200, True) and "none begins" in message
    status, message = post(sender, "round")
    assert status == 422 and "resume" in message
    assert post(sender, "pause", {"paused": False})[0] == 200
    assert not the_project(workspace).paused
    assert post(sender, "round")[0] == 200


def test_rolling_back(sender, workspace):
    annotate_and_train(sender, workspace)
    version = sender.setup().json()["model_version"]
    assert post(sender, "rollback", {"version": version}) == (200, f"The queue will be ordered with {version} again.")
    assert the_project(workspace).due_reason == f"roll back to {version}"
    status, message = post(sender, "rollback", {"version": "../../etc"})
    assert status == 422 and version in message


class Form:
    """A Label Studio with the connection forms of one project."""

    def __init__(self, *backends: dict) -> None:
        self.backends = list(backends)
        self.sent: list[tuple[str, dict]] = []
        self.refuses: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path == "/api/ml":
            assert request.url.params["project"] == "4"
            return httpx.Response(200, json=self.backends)
        if self.refuses is not None:
            return self.refuses
        self.sent.append((f"{request.method} {request.url.path}", json.loads(request.content)))
        return httpx.Response(200, json={})


def backend(id: int, version: str = "untrained", **more) -> dict:
    told = {"id": id, "project": 4, "url": f"http://b{id}:9090", "model_version": version, "auth_method": "NONE"}
    return told | more


@pytest.fixture
def form(monkeypatch):
    made = Form(backend(3))
    client = LabelStudio("http://localhost:8080", "token", transport=httpx.MockTransport(made))
    monkeypatch.setattr(client, "close", lambda: None)  # one for several requests
    monkeypatch.setattr(actions, "connect", lambda settings, connection: client)
    return made


def test_settings_are_written_into_the_form_and_taken_over(sender, workspace, form):
    sender.setup({"round_size": 3})
    rounds.claim(workspace.db, the_project(workspace).id)
    status, message = post(sender, "settings", {"strategy": "lc"})
    assert status == 200 and "strategy" in message
    told = {"url": "http://b3:9090", "project": 4, "extra_params": {"round_size": 3, "strategy": "lc"}}
    assert form.sent == [("PATCH /api/ml/3", told)]
    assert the_project(workspace).extra_params == told["extra_params"]
    assert the_project(workspace).due_reason == "the settings have changed"


def test_a_form_with_a_password_keeps_it(sender, form):
    sender.setup()
    form.backends = [backend(3, auth_method="BASIC_AUTH", basic_auth_user="me", basic_auth_pass_is_set=True)]
    assert post(sender, "settings", {"seed": 5})[0] == 200
    ((_, told),) = form.sent
    assert (told["auth_method"], told["basic_auth_user"], told["basic_auth_pass"]) == ("BASIC_AUTH", "me", "")


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({"seed": 1, "round_size": 5}, {"seed": None}, {"round_size": 5}),
        # Options belong to the one they were set for.
        ({"strategy": "power-lc", "strategy_options": {"beta": 2.0}}, {"strategy": "lc"}, {"strategy": "lc"}),
        (
            {"strategy": "power-lc", "strategy_options": {"beta": 2.0}},
            {"strategy": "power-lc", "seed": 1},
            {"strategy": "power-lc", "strategy_options": {"beta": 2.0}, "seed": 1},
        ),
        (
            {"tagger": "crf", "tagger_options": {"c2": 0.5}},
            {"tagger": "window", "tagger_options": {"epochs": 3}},
            {"tagger": "window", "tagger_options": {"epochs": 3}},
        ),
    ],
)
def test_what_the_form_holds_afterwards(sender, workspace, form, before, changes, after):
    assert sender.setup(before).status_code == 200
    assert post(sender, "settings", changes)[0] == 200
    assert the_project(workspace).extra_params == after


def test_nothing_is_sent_for_nothing(sender, form):
    sender.setup({"seed": 1})
    assert post(sender, "settings", {"seed": 1}) == (200, "Nothing has changed.")
    assert form.sent == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "oracle"}, "unknown strategy 'oracle'"),
        ({"strategy": "badge"}, "hidden states"),
        ({"tagger": "oracle"}, "unknown tagger"),
        ({"round_size": 0}, "round_size"),
        ({"control": "no such tag"}, "no such tag"),
        ({"label_studio_api_key": "stolen"}, "label_studio_api_key"),
    ],
)
def test_settings_that_do_not_fit_change_nothing(sender, workspace, form, changes, said):
    sender.setup()
    status, message = post(sender, "settings", changes)
    assert status == 422 and said in message and "stolen" not in message
    assert (form.sent, the_project(workspace).extra_params) == ([], {})


def test_which_form_is_ours(sender, workspace, form):
    sender.setup()
    form.backends = []
    assert "No model is connected" in post(sender, "settings", {"seed": 1})[1]
    form.backends = [backend(3, "other"), backend(4, "untrained")]
    assert post(sender, "settings", {"seed": 1})[0] == 200
    assert form.sent[0][0] == "PATCH /api/ml/4"
    form.backends = [backend(3, "untrained"), backend(4, "untrained")]
    status, message = post(sender, "settings", {"seed": 2})
    assert status == 422 and "2 models" in message and "Settings → Model" in message
    assert the_project(workspace).extra_params == {"seed": 1}


def test_where_label_studio_refuses_the_settings_stay(sender, workspace, form):
    sender.setup()
    form.refuses = httpx.Response(400, json={"validation_errors": "health check failed"})
    status, message = post(sender, "settings", {"seed": 1})
    assert status == 422 and "health check failed" in message and "Settings → Model" in message
    assert the_project(workspace).extra_params == {}


def test_without_a_key_the_form_is_named(sender, monkeypatch):
    sender.setup()
    monkeypatch.setattr(actions, "connect", lambda settings, connection: None)
    status, message = post(sender, "settings", {"seed": 1})
    assert status == 422 and "LABEL_STUDIO_API_KEY" in message and "Settings → Model" in message

    def refused(settings, connection):
        raise Unauthorized("the token is not accepted")

    monkeypatch.setattr(actions, "connect", refused)
    status, message = post(sender, "settings", {"seed": 1})
    assert status == 422 and message.startswith("the token is not accepted. ") and "Settings → Model" in message
