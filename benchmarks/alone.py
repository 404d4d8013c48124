"""Our backend's real processes without a Label Studio, which is only pretended, and made-up projects for it."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from benchmarks.calls import Calls, Json
from corpus import Sentence
from demo.grammar import generate
from demo.process import Process

HOST = "127.0.0.1"
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Backend:
    """`python -m server`, running."""

    port: int
    database: Path

    def ask(self, path: str, body: Json | None = None, seconds: float = 120.0) -> tuple[float, int, bytes]:
        """Over a connection of its own, as Label Studio asks: seconds to the answer's end, its status, the answer."""
        sent = None if body is None else json.dumps(body).encode()
        began = time.perf_counter()
        with closing(HTTPConnection(HOST, self.port, timeout=seconds)) as connection:
            connection.request("GET" if sent is None else "POST", path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
        return time.perf_counter() - began, answer.status, told

    def tell(self, path: str, body: Json | None = None) -> Any:
        """The answer, which must be one of success."""
        _, status, told = self.ask(path, body)
        if status >= 300:
            raise SystemExit(f"{path} answered {status}: {told[:500]!r}")
        return json.loads(told)

    def rows(self, query: str) -> list[Any]:
        """Of its database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(query).fetchall()

    def web_processes(self) -> list[psutil.Process]:
        """Those that answer requests."""
        children = psutil.Process().children(recursive=True)
        masters = [p for p in children if "gunicorn" in p.cmdline() and p.children()]
        return [worker for master in masters for worker in master.children()]


@contextmanager
def started(folder: Path, settings: Mapping[str, str]) -> Iterator[Backend]:
    """Start it with its data under `folder`; it ends with the block."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    none = dict.fromkeys(("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "DATABASE_URL", "QUEUE_URL"), "")
    environment = {**none, "HOST": HOST, "PORT": str(port), "DATA_DIR": str(data), **settings}
    process = Process("the backend", [sys.executable, "-m", "server"], environment, folder / "backend.log")
    try:
        process.wait_until_healthy(f"http://{HOST}:{port}/health", START_SECONDS)
        yield Backend(port, data / "active-tagger.db")
    finally:
        process.stop()


@contextmanager
def folder_of(wanted: Path | None) -> Iterator[Path]:
    """The wanted folder, or a temporary one."""
    if wanted is not None:
        yield wanted.resolve()
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@dataclass(frozen=True, slots=True)
class MadeUp:
    """A project with texts whose spans are known; task n + 1 holds text n."""

    calls: Calls
    texts: Sequence[Sentence]

    @classmethod
    def of(cls, id: int, count: int, seed: int) -> MadeUp:
        """Project `id` with so many texts."""
        texts = list(generate(count, seed))
        labels = {span.label for text in texts for span in text.spans or ()}
        return cls(Calls(id, tuple(sorted(labels))), texts)

    def tasks(self) -> list[Json]:
        """All of them."""
        return [self.calls.task(n + 1, text.text) for n, text in enumerate(self.texts)]

    def spans(self, task: int) -> list[tuple[int, int, str]]:
        """The spans of a task, by its id."""
        return [(span.start, span.end, span.label) for span in self.texts[task - 1].spans or ()]

    def introduce(self, backend: Backend) -> None:
        """Connect it, and tell of its tasks."""
        backend.tell("/setup", self.calls.setup())
        backend.tell("/webhook", self.calls.event("TASKS_CREATED", tasks=self.tasks()))
