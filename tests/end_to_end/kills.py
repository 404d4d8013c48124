"""What `test_kills` kills, who works meanwhile, and who remembers what was promised."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psutil

from tests.end_to_end.backend import RunningBackend
from tests.end_to_end.label_studio import RunningLabelStudio

SUPERVISOR = (
    "import server.__main__ as supervisor\n"
    "assert 0 < supervisor.SHORTEST_WAIT <= supervisor.LONGEST_WAIT\n"
    "supervisor.SHORTEST_WAIT = supervisor.LONGEST_WAIT = 0.2\n"
    "supervisor.main()"
)
"""`python -m server`, but that it starts again at once what ended, which else it does later each time."""


class KilledBackend(RunningBackend):
    """A backend whose processes can be told apart, and whose database is looked into from outside."""

    command = (sys.executable, "-c", SUPERVISOR)

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = psutil.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.wait_for(self.healthy, "health", 90)

    def healthy(self) -> bool:
        """Whether it answers."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        return False

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Those that are there now, by what they are."""
        found: dict[str, list[psutil.Process]] = {"web master": [], "web worker": [], "trainer": [], "training": []}
        with suppress(psutil.NoSuchProcess):
            for child in self.process.children():
                with suppress(psutil.NoSuchProcess):
                    command = " ".join(child.cmdline())
                    if "gunicorn" in command:
                        found["web master"].append(child)
                        found["web worker"] += child.children()
                    elif "server.trainer" in command:
                        found["trainer"].append(child)
                        found["training"] += [p for p in child.children() if "spawn_main" in " ".join(p.cmdline())]
        return found

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """Our database, for reading."""
        file = self.folder / "data/active-tagger.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
            yield connection

    def moment(self) -> str:
        """What the newest round is at."""
        with self.database() as db:
            row = db.execute("SELECT state, progress, error FROM rounds ORDER BY id DESC LIMIT 1").fetchone()
        if row is None or row[0] not in ("running", "publishing") or row[2] is not None:
            return "between rounds"
        return STEPS.get(json.loads(row[1]).get("step", "collect"), "ranking")

    def delivered(self) -> int:
        """How many rounds have come to their end."""
        with self.database() as db:
            return int(db.execute("SELECT count(*) FROM rounds WHERE state = 'done'").fetchone()[0])


STEPS = {
    "collect": "collecting",
    "fit": "training",
    "evaluate": "training",
    "measure": "ranking",
    "store": "storing",
    "publish": "publishing",
}


class Witness(ThreadingHTTPServer):
    """Stands between Label Studio and the backend, and keeps each event that the backend answered with a 2xx."""

    daemon_threads = True

    def __init__(self, backend: RunningBackend) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.backend = backend.url
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.taken: list[dict[str, Any]] = []
        self.refused = 0
        """Events that found the backend down."""
        self.in_flight = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Label Studio was killed before it had its answer."""


class _Passing(BaseHTTPRequestHandler):
    server: Witness

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _pass(self, body: bytes | None) -> None:
        event = self.path.endswith("/webhook")
        self.server.in_flight += event
        try:
            headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
            method = "GET" if body is None else "POST"
            answer = httpx.request(method, self.server.backend + self.path, content=body, headers=headers, timeout=100)
            status, content = answer.status_code, answer.content
        except httpx.HTTPError:
            status, content = 502, b"{}"
        finally:
            self.server.in_flight -= event
        if event and 200 <= status < 300:
            self.server.taken.append(json.loads(body or b"{}"))
        elif event:
            self.server.refused += 1
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Not to the terminal."""


class Annotator(threading.Thread):
    """Works through Label Studio's API like several people at once, and goes on whatever is down."""

    def __init__(
        self, studio: RunningLabelStudio, project: int, regions_of: Callable[[str], list[dict[str, Any]]], seed: int
    ) -> None:
        super().__init__(daemon=True)
        self.studio, self.project, self.regions_of = studio, project, regions_of
        self.dice = random.Random(seed)
        self.did: Counter[str] = Counter()
        self.at_work = threading.Event()
        self._resting = threading.Event()
        self._over = False
        self._annotations: list[tuple[int, int]] = []
        self._number = 0

    def run(self) -> None:
        ways = {self.annotate: 60, self.update: 18, self.skip: 5, self.delete: 5, self.add: 5, self.remove: 2}
        while not self._over:
            if not self.at_work.wait(0.1):
                self._resting.set()
                continue
            self._resting.clear()
            (way,) = self.dice.choices(list(ways), list(ways.values()))
            try:
                self.did[way.__name__] += bool(way())
            except (RuntimeError, httpx.HTTPError):  # Label Studio is down, or what was to be changed is gone
                self.did["failed"] += 1
                time.sleep(0.3)
            time.sleep(self.dice.uniform(0.0, 0.15))

    def rest(self) -> None:
        """Pause, once the request under way is answered."""
        self.at_work.clear()
        assert self._resting.wait(130)

    def end(self) -> None:
        """Go home."""
        self._over = True
        self.join(130)

    def annotate(self) -> bool:
        return self._submit(was_cancelled=False)

    def skip(self) -> bool:
        return self._submit(was_cancelled=True)

    def _submit(self, was_cancelled: bool) -> bool:
        task = self.studio.next_task(self.project)
        if task is None:
            return self.add()
        text = self.studio.call("GET", f"/api/tasks/{task}/")["data"]["text"]
        result = [] if was_cancelled else self.regions_of(text)
        self._annotations.append((task, self.studio.annotate(task, result, was_cancelled=was_cancelled)))
        return True

    def update(self) -> bool:
        if not self._annotations:
            return False
        task, id = self.dice.choice(self._annotations)
        text = self.studio.call("GET", f"/api/tasks/{task}/")["data"]["text"]
        result = self.regions_of(text)[: self.dice.randint(0, 2)]
        self.studio.call("PATCH", f"/api/annotations/{id}/", json={"result": result, "was_cancelled": False})
        return True

    def delete(self) -> bool:
        if not self._annotations:
            return False
        _, id = self._annotations.pop(self.dice.randrange(len(self._annotations)))
        self.studio.call("DELETE", f"/api/annotations/{id}/")
        return True

    def add(self) -> bool:
        self._number += 1
        texts = [{"text": f"Ada met Grace in Oslo, {self._number} times {n}"} for n in range(2)]
        self.studio.call("POST", f"/api/projects/{self.project}/import", json=texts)
        return True

    def remove(self) -> bool:
        if not self._annotations:
            return False
        task, _ = self.dice.choice(self._annotations)
        self.studio.delete_task(task)
        self._annotations = [(of, id) for of, id in self._annotations if of != task]
        return True


@contextmanager
def database_of(studio: RunningLabelStudio) -> Iterator[sqlite3.Connection]:
    """Label Studio's own database, for reading: its API takes long over thousands of predictions."""
    file = studio.folder / "data/label_studio.sqlite3"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        yield connection
