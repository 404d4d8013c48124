"""The real backend for tests: `python -m server` with its web processes and its trainer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.end_to_end.label_studio import RunningLabelStudio

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], Any], what: str, log: Path, seconds: float = 120, pause: float = 0.2) -> Any:
    """Ask until `condition` gives something true; fails with the log's end."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            if found := condition():
                return found
        except (httpx.HTTPError, LookupError):
            pass
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {seconds} s\n{log.read_text(errors='replace')[-4000:]}")


class RunningBackend:
    """All processes of one backend on a free port, its data in `folder`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.log = folder / "backend.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LABEL_STUDIO")}
        self.environment = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(folder / "data"),
            "TAGGER": "crf",
            **settings,
        }
        self.start()

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.wait_for(lambda: httpx.get(f"{self.url}/health", timeout=2).status_code == 200, "health", 90)
        except BaseException:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise

    def stop(self) -> None:
        """Stop all processes in good order."""
        self.process.terminate()
        self.process.wait(timeout=60)

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """Ask until `condition` gives something true; fails with the log's end."""
        return until(condition, what, self.log, seconds)

    def project(self, project_id: int) -> dict[str, Any]:
        """One project's state, as the API tells it; {} as long as it is not known."""
        answer = httpx.get(f"{self.url}/api/projects/{project_id}", timeout=30)
        return {} if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def round_after(self, project_id: int, number: int = 0, kind: str | None = None, seconds: float = 180) -> dict:
        """Wait for a finished round with a number above `number`; its state."""

        def finished() -> dict[str, Any] | None:
            for this in self.project(project_id)["rounds"]:
                assert this["number"] <= number or this["state"] != "failed", this["error"]
                if this["number"] > number and this["state"] == "done" and kind in (None, this["kind"]):
                    return this
            return None

        return self.wait_for(finished, f"a round after {number} of project {project_id}", seconds)

    def newest(self, project_id: int) -> int:
        """The highest round number so far."""
        return max((this["number"] for this in self.project(project_id).get("rounds", [])), default=0)

    def trainer(self) -> list[psutil.Process]:
        """The trainer and its children."""
        for child in psutil.Process(self.process.pid).children():
            if "server.trainer" in child.cmdline():
                return [child, *child.children(recursive=True)]
        raise LookupError("no trainer is running")

    def kill_trainer(self) -> None:
        """SIGKILL to the trainer and every child."""
        for process in self.trainer():
            process.send_signal(signal.SIGKILL)


@contextmanager
def backend_of(label_studio: RunningLabelStudio, folder: Path, **settings: str) -> Iterator[RunningBackend]:
    """A backend with the key to this Label Studio, stopped at the end."""
    key = label_studio.personal_access_token()
    running = RunningBackend(folder, LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=key, **settings)
    try:
        yield running
    finally:
        running.stop()
