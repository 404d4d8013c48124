"""What must stay secret stays it: a real round with a password at LOG_LEVEL=DEBUG, and then everything is searched."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from labelstudio.client import LabelStudio
from learning.settings import Settings
from server import webhooks
from tests.end_to_end.backend import RunningBackend
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.end_to_end.test_live_loop import Annotated

pytestmark = pytest.mark.slow
LOGIN = ("recognisable-user", "recognisable-password-7d1f")
OTHER_PASSWORD = "recognisable-other-password-90ab"
FORM = {"auth_method": "BASIC_AUTH", "basic_auth_user": LOGIN[0], "basic_auth_pass": LOGIN[1]}
TYPED = "hf_recognisableTokenTypedIntoAForm"
JWT = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")
"""Personal tokens, and the access tokens that are got for them, whichever these are."""


def settings(password: str = LOGIN[1]) -> Settings:
    return Settings(_env_file=None, basic_auth_user=LOGIN[0], basic_auth_pass=SecretStr(password))


SECRET = webhooks.headers(settings())


class Closed(RunningBackend):
    """One with a password, whose answers are all kept."""

    def __init__(self, folder: Path, **others: str) -> None:
        self.answers: list[str] = []
        login = {"BASIC_AUTH_USER": LOGIN[0], "BASIC_AUTH_PASS": LOGIN[1]}
        super().__init__(folder, LOG_LEVEL="DEBUG", **login, **others)

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        return super().wait_for(condition, what, 3 * seconds)

    def ask(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        answer = httpx.request(method, self.url + path, timeout=60, **{"auth": LOGIN, **kwargs})
        self.answers.append(f"{path}: {answer.headers} {answer.content!r}")
        return answer

    def project(self, project_id: int) -> dict[str, Any]:
        answer = self.ask("GET", f"/api/projects/{project_id}")
        return {} if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def visit_everything(self, project_id: int, version: str) -> None:
        """Every route that only looks, as the document names them, and the pages."""
        document = self.ask("GET", "/openapi.json").json()
        known = {"key": str(project_id), "version": version, "id": "1", "name": "webhook"}
        paths = [path for path, operations in document["paths"].items() if "get" in operations]
        assert {"/api/projects/{key}/checks", "/metrics", "/versions"} <= set(paths)
        for path in [*paths, "/project", "/pages/api.js", "/nowhere"]:
            if path != "/api/events":  # which does not end
                self.ask("GET", path.format(**known), headers={"Accept": "text/html" if path == "/" else "*/*"})
        with httpx.stream("GET", f"{self.url}/api/events", auth=LOGIN, timeout=30) as events:
            self.answers.append(next(line for line in events.iter_lines() if line.startswith("data: ")))

    def provoke(self, project_id: int) -> None:
        """Requests that cannot be answered, with secrets where none belong."""
        setup = {"project": str(project_id), "schema": "<View/>", "hostname": "http://localhost", "access_token": TYPED}
        for path, body in (
            ("/setup", {**setup, "extra_params": {"api_key": TYPED}}),
            ("/setup", {**setup, "extra_params": json.dumps(TYPED)}),
            ("/setup", {**setup, "extra_params": f'{{"token": "{TYPED}'}),
            ("/setup", {**setup, "extra_params": {"seed": TYPED}}),
            ("/setup", {**setup, "access_token": [TYPED]}),
            ("/predict", {"tasks": TYPED, "params": {"login": LOGIN[0], "password": LOGIN[1]}}),
            ("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": project_id, "token": TYPED}}),
            (f"/api/projects/{project_id}/settings", {"token": TYPED}),
            (f"/api/projects/{project_id}/simulations", {"token": TYPED}),
        ):
            assert 400 <= self.ask("POST", path, json=body).status_code < 500, (path, body)
        assert self.ask("GET", "/api/projects", auth=(LOGIN[0], OTHER_PASSWORD)).status_code == 401
        assert self.ask("POST", "/webhook", json={}, auth=None, headers={webhooks.HEADER: TYPED}).status_code == 401

    def written(self) -> dict[str, bytes]:
        """All that this backend has told or stored, by where."""
        found = {"log": self.log.read_bytes(), "answers": "\n".join(self.answers).encode()}
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        found |= {str(path.relative_to(self.folder)): path.read_bytes() for path in files}
        with closing(sqlite3.connect(self.folder / "data/active-tagger.db")) as database:
            found["dump"] = "\n".join(database.iterdump()).encode()
        return found


@contextmanager
def running(folder: Path, **others: str) -> Iterator[Closed]:
    backend = Closed(folder, **others)
    try:
        yield backend
    finally:
        backend.stop()


def connect(studio: RunningLabelStudio, project: int, backend: Closed, extra_params: dict[str, Any]) -> None:
    """On a busy machine, Label Studio's second for /health may not be enough while the backend still warms up."""
    for patience in (2, 5, 10, 20, 0):
        try:
            studio.connect_backend(project, backend.url, extra_params, **FORM)
            return
        except RuntimeError:
            if not patience:
                raise
            time.sleep(patience)


def told_in(written: dict[str, bytes], *secrets: str) -> set[tuple[str, str]]:
    """Where secrets stand, as they are or as basic authentication writes them."""
    found = {(where, secret) for where, content in written.items() for secret in secrets if secret.encode() in content}
    return found | {(where, "a JWT") for where, content in written.items() if JWT.search(content)}


SECRETS = (
    LOGIN[1],
    OTHER_PASSWORD,
    TYPED,
    SECRET[webhooks.HEADER],
    *(b64encode(f"{LOGIN[0]}:{password}".encode()).decode() for password in (LOGIN[1], OTHER_PASSWORD)),
)


@pytest.fixture(scope="module")
def lived(label_studio, tmp_path_factory):
    """A backend with a key that was connected, given its webhook's secret, has learned, and was asked everything."""
    key = label_studio.personal_access_token()
    folder = tmp_path_factory.mktemp("secrets")
    ours = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": key}
    with running(folder, **ours, PYTHONPROFILEIMPORTTIME="1") as backend:  # what is imported stands in the log
        project = Annotated(label_studio, "secrets", 40, 25)
        connect(label_studio, project.id, backend, {"round_size": 10, "holdout_share": 0})
        backend.round_after(project.id)
        mended = backend.ask("POST", f"/api/projects/{project.id}/checks/webhook", json={})
        assert {c["name"]: c["ok"] for c in mended.json()["checks"]}["webhook"] is True, mended.text
        (webhook,) = label_studio.call("GET", "/api/webhooks/", params={"project": project.id})
        assert webhook["headers"] == SECRET

        before = backend.project(project.id)["labelled"]
        for task in project.unlabelled[:2]:
            project.annotate(task)
        arrived = lambda: backend.project(project.id)["labelled"] == before + 2  # noqa: E731
        backend.wait_for(arrived, "two annotations by webhook", 10)
        newest = backend.newest(project.id)
        backend.ask("POST", f"/api/projects/{project.id}/round", json={}).raise_for_status()
        done = backend.round_after(project.id, newest, "fit")
        backend.visit_everything(project.id, done["version"])
        backend.provoke(project.id)
        yield label_studio, backend, project.id


def test_a_round_with_a_key_tells_and_stores_no_secret(lived):
    studio, backend, _ = lived
    written = backend.written()
    assert b"ANNOTATION" in written["dump"] or len(written["dump"]) > 10_000, "the dump is empty"
    assert told_in(written, *SECRETS, studio.legacy_token, studio.personal_access_token()) == set()


def test_the_secrets_would_be_found(lived):
    """The search is no good if it finds nothing where something is."""
    studio, backend, _ = lived
    everything = {"here": f"{studio.personal_access_token()} {' '.join(SECRETS)}".encode()}
    assert len(told_in(everything, *SECRETS)) == len(SECRETS) + 1
    assert b"recognisable-user" not in backend.written()["dump"]


def test_what_is_stored_is_for_its_owner_only(lived):
    _, backend, _ = lived
    data = backend.folder / "data"
    assert stat.S_IMODE(data.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE((data / "active-tagger.db").stat().st_mode) & 0o077 == 0
    assert {"jobs.db", "active-tagger.db"} <= {path.name for path in data.iterdir()}


def test_our_processes_import_nothing_of_the_old_flask(lived):
    """label-studio-ml 1.0.9 pins it. What each process has imported stands in the log: web, trainer, and its child."""
    _, backend, _ = lived
    lines = backend.log.read_text(errors="replace").splitlines()
    imported = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    tops = {name.partition(".")[0] for name in imported}
    assert {"fastapi", "huey", "label_studio_ml", "pycrfsuite"} <= tops
    assert not tops & {"flask", "werkzeug", "itsdangerous"}


def test_a_changed_password_makes_a_new_header_and_others_stay(lived):
    studio, backend, project = lived
    client = LabelStudio(studio.url, studio.personal_access_token())
    assert not webhooks.secure(client, project, settings())
    listed = lambda: studio.call("GET", "/api/webhooks/", params={"project": project})  # noqa: E731
    (ours,) = listed()
    chosen = {"url": "http://127.0.0.1:9/webhook", "project": project, "send_for_all_actions": False}
    chosen |= {"actions": ["ANNOTATION_CREATED"], "headers": {"X-Theirs": "1"}}
    other = studio.call("POST", "/api/webhooks/", json=chosen)
    studio.call("PATCH", f"/api/webhooks/{ours['id']}/", json={"headers": {**SECRET, "X-Mine": "stays"}})
    try:
        assert webhooks.secure(client, project, settings(OTHER_PASSWORD))
        after = {webhook["id"]: webhook for webhook in listed()}
        assert after[ours["id"]]["headers"] == {"X-Mine": "stays", **webhooks.headers(settings(OTHER_PASSWORD))}
        unchanged = ("url", "send_payload", "send_for_all_actions", "is_active", "actions")
        assert {k: after[ours["id"]][k] for k in unchanged} == {k: ours[k] for k in unchanged}
        assert after[other["id"]] == other
        # events that come with the header of another password are refused
        refused = backend.ask("POST", "/webhook", json={}, auth=None, headers=after[ours["id"]]["headers"])
        assert refused.status_code == 401
    finally:
        studio.call("DELETE", f"/api/webhooks/{other['id']}/")
        assert webhooks.secure(client, project, settings())


def test_chosen_events_stay_chosen(lived):
    """Label Studio forgets them when headers alone are changed."""
    studio, _, project = lived
    client = LabelStudio(studio.url, studio.personal_access_token())
    (ours,) = client.webhooks(project)
    chosen = {"send_for_all_actions": False, "actions": ["ANNOTATION_CREATED"]}
    studio.call("PATCH", f"/api/webhooks/{ours.id}/", json={**chosen, "headers": {}})
    assert webhooks.secure(client, project, settings())
    (after,) = client.webhooks(project)
    assert (after.actions, after.headers) == (("ANNOTATION_CREATED",), SECRET)
    assert not after.whole
    client.ensure_webhook(project, after.url)


@pytest.mark.parametrize("fault", ["wrong token", "nobody there", "wrong host"])
def test_errors_tell_no_secret(label_studio, tmp_path, fault):
    personal = label_studio.personal_access_token()
    host = label_studio.url.removeprefix("http://")
    url, key = {
        "wrong token": (f"http://url-user:recognisable-url-password@{host}", personal[:-8] + "AAAAAAAA"),
        "nobody there": ("http://url-user:recognisable-url-password@127.0.0.1:9", personal),
        "wrong host": ("http://url-user:recognisable-url-password@nowhere.invalid", personal),
    }[fault]
    with running(tmp_path, LABEL_STUDIO_URL=url, LABEL_STUDIO_API_KEY=key) as backend:
        project = Annotated(label_studio, fault, 3, 0)
        connect(label_studio, project.id, backend, {})
        stands = lambda: (p := backend.project(project.id))["notice"] or p["error"]  # noqa: E731
        backend.wait_for(stands, "what is wrong", 90)
        backend.visit_everything(project.id, "v1")
        backend.provoke(project.id)
        written = backend.written()
    assert told_in(written, *SECRETS, "recognisable-url-password", label_studio.legacy_token, key) == set()


def test_a_lent_token_is_kept_only_where_it_is_needed(label_studio, tmp_path):
    """Without a key of our own it is all there is; and it is nowhere but in the database."""
    with running(tmp_path) as backend:
        project = Annotated(label_studio, "lent and kept", 3, 0)
        connect(label_studio, project.id, backend, {})
        done = backend.round_after(project.id)
        backend.visit_everything(project.id, done["version"])
        written = backend.written()
    assert {where for where, _ in told_in(written, label_studio.legacy_token)} <= {
        "dump",
        "data/active-tagger.db",
        "data/active-tagger.db-wal",
    }
    assert ("dump", label_studio.legacy_token) in told_in(written, label_studio.legacy_token)
    assert told_in({"log": written["log"], "answers": written["answers"]}, *SECRETS) == set()
