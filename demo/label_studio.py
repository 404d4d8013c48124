"""A real Label Studio on this machine: how to start it, and as much of its API as the demo needs."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from corpus import Span
from demo.process import DemoError, Process, require_free_port

HOST = "127.0.0.1"
EMAIL = "demo@example.com"
PASSWORD = "active-tagger"
"""Fixed and printed: the demo's Label Studio listens on this machine only."""
START_SECONDS = 300.0
"""A first start lays out the database: 20 to 45 s on an ordinary machine."""

LABEL_CONFIG = """\
<View>
  <Labels name="label" toName="text">
    <Label value="PER" background="#d4380d" hotkey="p"/>
    <Label value="ORG" background="#1d39c4" hotkey="o"/>
    <Label value="LOC" background="#389e0d" hotkey="l"/>
    <Label value="PRODUCT" background="#d48806" hotkey="r"/>
  </Labels>
  <Text name="text" value="$text"/>
</View>
"""

_ENVIRONMENT = {
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "USE_DEFAULT_BANNED_SUBNETS": "false",  # else a backend on this machine is refused as a private address
    "SSRF_PROTECTION_ENABLED": "false",
    "COLLECT_ANALYTICS": "false",  # nothing is told to anybody, and it works offline
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "LOG_LEVEL": "WARNING",
}


def start(program: Path, folder: Path, port: int) -> Process:
    """Start Label Studio on loopback with its data under `folder`. Raises DemoError if it cannot be."""
    if not program.is_file():
        raise DemoError(f"no Label Studio at {program}: run `make run`, or set LABEL_STUDIO_BIN to its path")
    require_free_port(port, HOST, "LABEL_STUDIO_PORT")
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(program), "start", "--no-browser"),
        *("--host", url_of(port), "--internal-host", HOST, "--port", str(port)),
        *("--username", EMAIL, "--password", PASSWORD, "--user-token", _secret(folder, "bootstrap-token")),
    ]
    environment = _ENVIRONMENT | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data.resolve()),
        # signs tokens; one that Label Studio makes itself may begin with "$", and is then lost at the next start
        "SECRET_KEY": _secret(folder, "secret-key"),
    }
    return Process("Label Studio", command, environment, folder / "label-studio.log")


def url_of(port: int) -> str:
    return f"http://{HOST}:{port}"


def api_key(folder: Path, port: int) -> str:
    """The personal access token of the demo's user, created on the first call and kept under `folder`."""
    file = folder / "data" / "personal-access-token"
    if not file.exists():
        headers = {"Authorization": f"Token {_secret(folder, 'bootstrap-token')}"}
        answer = httpx.post(f"{url_of(port)}/api/token/", headers=headers, timeout=30, trust_env=False)
        _raise_for_status(answer)
        _write_secret(file, answer.json()["token"])
    return file.read_text()


def _secret(folder: Path, name: str) -> str:
    """What Label Studio is started with: random, and the same at every start."""
    file = folder / "data" / name
    if not file.exists():
        _write_secret(file, secrets.token_hex(20))
    return file.read_text()


def _write_secret(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)


def _raise_for_status(answer: httpx.Response) -> None:
    if answer.is_error:
        raise DemoError(
            f"Label Studio refused {answer.request.method} {answer.request.url.path} "
            f"with {answer.status_code}: {answer.text[:500]}"
        )


class API:
    """Calls to Label Studio with a personal access token; one that is refused raises DemoError."""

    def __init__(self, url: str, token: str) -> None:
        # a submit waits for the backend's webhook, an import of many tasks for the database
        self._client = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._token = token
        self._access_token, self._access_expires = "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find_project(self, title: str) -> int | None:
        """The id of the project with this title, None if there is none."""
        for project in self._call("GET", "/api/projects", params={"title": title})["results"]:
            if project["title"] == title:
                return int(project["id"])
        return None

    def create_project(self, title: str, texts: Iterable[str]) -> int:
        """Create a project with these texts as its tasks, queued by uncertainty; returns its id."""
        project = self._call(
            "POST",
            "/api/projects",
            json={
                "title": title,
                "description": "Messages to a travel agency: mark who, which company, where and what.",
                "label_config": LABEL_CONFIG,
                "sampling": "Uncertainty sampling",
            },
        )
        self._call("POST", f"/api/projects/{project['id']}/import", json=[{"text": text} for text in texts])
        return int(project["id"])

    def connect_backend(
        self, project: int, url: str, extra_params: Mapping[str, Any], login: tuple[str, str] | None = None
    ) -> None:
        """Connect the ML backend at `url`; one that was connected at another address is taken off."""
        for backend in self._call("GET", "/api/ml", params={"project": project}):
            if backend["url"] == url:
                return
            self._call("DELETE", f"/api/ml/{backend['id']}")
            self._delete_webhooks(project, backend["url"])
        settings: dict[str, Any] = {"project": project, "url": url, "title": "Active Tagger"}
        settings["extra_params"] = dict(extra_params)
        if login:
            user, password = login
            settings |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        self._call("POST", "/api/ml", json=settings)

    def _delete_webhooks(self, project: int, backend_url: str) -> None:
        # Label Studio leaves them behind, and each submit would then wait for a backend that is gone
        for webhook in self._call("GET", "/api/webhooks/", params={"project": project}):
            if webhook["url"].startswith(backend_url.rstrip("/") + "/"):
                self._call("DELETE", f"/api/webhooks/{webhook['id']}/")

    def next_task(self, project: int) -> dict[str, Any] | None:
        """The task that Label Studio would show an annotator now, None when all are done."""
        return self._call("GET", f"/api/projects/{project}/next", missing=True)

    def submit(self, task: int, spans: Iterable[Span], seconds: float) -> None:
        """Submit an annotation, as the editor's button does; `seconds` is the time it took."""
        result = [region(span) for span in spans]
        self._call("POST", f"/api/tasks/{task}/annotations/", json={"result": result, "lead_time": round(seconds, 3)})

    def _call(self, method: str, path: str, *, missing: bool = False, **arguments: Any) -> Any:
        """The JSON of the answer; None for an empty one, and for 404 if `missing` is allowed."""
        headers = {"Authorization": f"Bearer {self._access()}"}
        answer = self._client.request(method, path, headers=headers, **arguments)
        if missing and answer.status_code == 404:
            return None
        _raise_for_status(answer)
        return answer.json() if answer.content else None

    def _access(self) -> str:
        """An access token, good for five minutes, renewed after four."""
        if time.monotonic() >= self._access_expires:
            answer = self._client.post("/api/token/refresh/", json={"refresh": self._token})
            _raise_for_status(answer)
            self._access_token = str(answer.json()["access"])
            self._access_expires = time.monotonic() + 240
        return self._access_token


def region(span: Span) -> dict[str, Any]:
    """A span as the editor writes it for LABEL_CONFIG."""
    return {
        "id": secrets.token_hex(5),
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "origin": "manual",
        "value": {"start": span.start, "end": span.end, "labels": [span.label]},
    }
