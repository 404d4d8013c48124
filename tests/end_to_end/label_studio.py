"""A real Label Studio for tests: on a free port and a throw-away database, stopped with its children."""

from __future__ import annotations

import atexit
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
FRESH = ROOT / ".label-studio/fresh"
"""A database as a first start leaves it, kept between test runs: building it takes most of that start."""
DATABASE = "label_studio.sqlite3"
ADMINISTRATOR = "administrator.json"
START_LIMIT = 180.0
"""Seconds for a first start, which builds the database (20 to 45 s on two cores)."""


def executable() -> Path | None:
    """$LABEL_STUDIO_BIN, else the command that `make label-studio` installs; None when there is neither."""
    path = Path(os.environ.get("LABEL_STUDIO_BIN") or ROOT / ".label-studio/venv/bin/label-studio")
    return path if path.is_file() else None


class RunningLabelStudio:
    """One Label Studio process with an administrator; `api` is an HTTP client in the administrator's name."""

    email = "admin@example.com"

    def __init__(self, command: Path, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "label-studio.log"
        kept = FRESH.is_dir()
        administrator = [secrets.token_hex(8), secrets.token_hex(20)]
        if kept:
            administrator = json.loads((FRESH / ADMINISTRATOR).read_text())
            (folder / "data").mkdir()
            shutil.copy(FRESH / DATABASE, folder / "data")
        self.password, self.legacy_token = administrator
        self._secret_key = secrets.token_hex(32)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.api = httpx.Client(base_url=self.url, headers={"Authorization": f"Token {self.legacy_token}"}, timeout=120)
        self.start()
        if not kept:
            _keep(folder / "data" / DATABASE, administrator)

    # -- the process --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process and wait until it is healthy."""
        address = ["--host", self.url, "--port", str(self.port)]
        administrator = ["--username", self.email, "--password", self.password]
        command = [str(self._command), "start", "--no-browser", *address, *administrator]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--user-token", self.legacy_token],
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_healthy(self._process)

    def _environment(self) -> dict[str, str]:
        """The banned subnets and the SSRF protection would keep it from calling a backend on this machine.

        A secret key that Label Studio makes itself may begin with "$" (one in 50 does) and is then lost at a
        restart, and with it every token that it signed.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO")}
        return {
            **inherited,
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder / "data"),
            "SECRET_KEY": self._secret_key,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            "SSRF_PROTECTION_ENABLED": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LOG_LEVEL": "WARNING",
        }

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + START_LIMIT
        while process.poll() is None and time.monotonic() < give_up:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.25)
        code = process.poll()
        what = f"was not healthy after {START_LIMIT:.0f} s" if code is None else f"ended with status {code}"
        self.kill()
        tail = self.log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"Label Studio {what}; the end of its log:\n{tail}")

    def kill(self) -> None:
        """End the process and its children at once, as a power cut would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """End the process and its children in good order; the data stays."""
        self._signal(signal.SIGTERM)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """For the block it takes connections and does nothing: what it is sent, it does afterwards."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start again on the same data and address, after `stop` or `kill` (or stopping first)."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop and delete the data."""
        self.stop()
        self.api.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        for each in (number, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, each)
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        self._process.wait()
        self._process = None

    # -- what a person would click --------------------------------------------------------------------------

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """One request as the administrator; the answer's JSON, or an error that shows the answer."""
        return _json(self.api.request(method, path, **kwargs))

    @functools.cached_property
    def _personal_access_token(self) -> str:
        both = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
        self.call("POST", "/api/jwt/settings", json=both)
        return str(self.call("POST", "/api/token/")["token"])

    def personal_access_token(self) -> str:
        """The administrator's personal access token (Label Studio allows one at a time)."""
        return self._personal_access_token

    def sign_up(self, email: str) -> httpx.Client:
        """Make another user by the sign-up form; returns an HTTP client in that user's name."""
        with httpx.Client(base_url=self.url, follow_redirects=True, timeout=60) as browser:
            browser.get("/user/signup/").raise_for_status()
            form = {"email": email, "password": secrets.token_hex(8)}
            csrf = browser.cookies["csrftoken"]
            browser.post("/user/signup/", data={**form, "csrfmiddlewaretoken": csrf}).raise_for_status()
            token = _json(browser.get("/api/current-user/token"))["token"]
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Token {token}"}, timeout=120)

    def create_project(self, title: str, label_config: str, **settings: Any) -> int:
        """Make a project and return its id."""
        body = {"title": title, "label_config": label_config, **settings}
        return int(self.call("POST", "/api/projects/", json=body)["id"])

    def import_tasks(self, project_id: int, tasks: list[dict[str, Any]]) -> list[int]:
        """Import tasks (their data alone, or whole tasks with a "data" key); returns their ids in order."""
        listed = {"project": project_id, "page_size": 100_000}
        before = {task["id"] for task in self.call("GET", "/api/tasks", params=listed)["tasks"]}
        self.call("POST", f"/api/projects/{project_id}/import", json=tasks)
        after = {task["id"] for task in self.call("GET", "/api/tasks", params=listed)["tasks"]}
        return sorted(after - before)

    def annotate(
        self, task_id: int, result: list[dict[str, Any]], *, by: httpx.Client | None = None, **fields: Any
    ) -> int:
        """Submit an annotation (`was_cancelled=True` skips the task) and return its id."""
        path = f"/api/tasks/{task_id}/annotations/"
        return int(_json((by or self.api).post(path, json={"result": result, **fields}))["id"])

    def next_task(self, project_id: int, *, by: httpx.Client | None = None) -> int | None:
        """The task that "Label all tasks" would open, locked to the user; None when none is left."""
        response = (by or self.api).get(f"/api/projects/{project_id}/next")
        return None if response.status_code == 404 else int(_json(response)["id"])

    def delete_task(self, task_id: int) -> None:
        """Delete a task."""
        self.call("DELETE", f"/api/tasks/{task_id}/")

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """All predictions of a task."""
        return list(self.call("GET", "/api/predictions/", params={"task": task_id}))

    def connect_backend(
        self,
        project_id: int,
        url: str,
        extra_params: dict[str, Any] | None = None,
        title: str = "Active Tagger",
        **settings: Any,
    ) -> int:
        """Connect an ML backend (`settings`: auth_method, basic_auth_user, …) and return its id."""
        body = {"project": project_id, "url": url, "title": title, **settings}
        if extra_params is not None:
            body["extra_params"] = extra_params
        return int(self.call("POST", "/api/ml/", json=body)["id"])


@functools.cache
def shared() -> RunningLabelStudio:
    """One Label Studio for the whole test run: a start costs half a minute."""
    command = executable()
    if command is None:
        raise FileNotFoundError(
            "no label-studio command: `make label-studio` installs it in an environment of its own, "
            "or set LABEL_STUDIO_BIN"
        )
    folder = Path(tempfile.mkdtemp(prefix="label-studio-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    running = RunningLabelStudio(command, folder)
    atexit.register(running.remove)
    return running


def _keep(database: Path, administrator: list[str]) -> None:
    """Copy the live database and its administrator's secrets, both or nothing."""
    unfinished = FRESH.with_name(f"unfinished-{secrets.token_hex(4)}")
    unfinished.mkdir(parents=True)
    (unfinished / ADMINISTRATOR).write_text(json.dumps(administrator))
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(unfinished / DATABASE)) as copy:
        live.backup(copy)
    try:
        unfinished.rename(FRESH)
    except OSError:  # another test run was quicker
        shutil.rmtree(unfinished)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _json(response: httpx.Response) -> Any:
    if not response.is_success:
        where = f"{response.request.method} {response.request.url.path}"
        raise RuntimeError(f"{where}: {response.status_code} {response.text[:1000]}")
    return response.json() if response.content else None
