"""A real Label Studio and our backend side by side, with a project in it, and what can be seen of their rounds."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from corpus import Sentence, Span
from demo import label_studio
from demo.process import Process

LOOK_EVERY = 0.02
"""Seconds between two looks into the databases: how exact the times are."""
BACKEND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Live:
    """Both running, and the addresses of their data."""

    studio_url: str
    token: str
    backend_url: str
    api: label_studio.API
    studio_db: Path
    backend_db: Path


@contextmanager
def started(program: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[Live]:
    """Start Label Studio and the backend with their data under `folder`; both end with the block."""
    with ExitStack() as running:
        studio_port, port = _free_port(), _free_port()
        studio = label_studio.start(program, folder / "label-studio", studio_port)
        running.callback(studio.stop)
        url = label_studio.url_of(studio_port)
        studio.wait_until_healthy(f"{url}/health", label_studio.START_SECONDS)
        token = label_studio.api_key(folder / "label-studio", studio_port)
        backend_url = f"http://{label_studio.HOST}:{port}"
        environment = {
            "LABEL_STUDIO_URL": url,
            "LABEL_STUDIO_API_KEY": token,
            "DATA_DIR": str(folder / "backend"),
            "PORT": str(port),
            **settings,
        }
        backend = Process("the backend", [sys.executable, "-m", "server"], environment, folder / "backend.log")
        running.callback(backend.stop)
        backend.wait_until_healthy(f"{backend_url}/health", BACKEND_SECONDS)
        yield Live(
            url,
            token,
            backend_url,
            running.enter_context(label_studio.API(url, token)),
            folder / "label-studio/data/label_studio.sqlite3",
            folder / "backend/active-tagger.db",
        )


def annotate(live: Live, project: int, gold: Mapping[str, Sequence[Span]], count: int) -> float:
    """Submit the gold spans of the next `count` tasks that are served; the moment when the last was answered."""
    for _ in range(count):
        task = live.api.next_task(project)
        if task is None:
            raise SystemExit("the queue is empty: give more --tasks")
        live.api.submit(task["id"], gold[task["data"]["text"]], 0.0)
    return time.time()


def gold_of(sentences: Sequence[Sentence]) -> dict[str, Sequence[Span]]:
    """The spans of each text."""
    return {sentence.text: sentence.spans or () for sentence in sentences}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something was seen to have changed."""

    at: float
    round: int
    step: str
    """Of the newest round: a step of `learning`, or its state once that is more than "running"."""
    shown: str
    """The version that orders Label Studio's queue."""


class Watch:
    """Looks into both databases, which costs them next to nothing, and notes every change with its moment."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.moments: list[Moment] = []
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        seen: tuple[Any, ...] = ()
        while True:
            now = time.time()
            try:
                number, state, step = self._round()
                found = (number, step if state == "running" else f"{state} {step}", self._shown())
            except sqlite3.Error:  # locked, or not there yet
                found = seen
            if found and found != seen:
                seen = found
                self.moments.append(Moment(now, *found))
            time.sleep(LOOK_EVERY)

    def _round(self) -> tuple[int, str, str]:
        rows = _rows(self._live.backend_db, "select number, state, progress from rounds order by number desc limit 1")
        if not rows:
            return 0, "", ""
        number, state, progress = rows[0]
        return number, state, json.loads(progress).get("step", "")

    def _shown(self) -> str:
        return _rows(self._live.studio_db, "select model_version from project order by id desc limit 1")[0][0] or ""

    def wait_for_done(self, after: int, seconds: float = 600) -> int:
        """Wait until a round above `after` is done and no other has begun; its number."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            last = self.moments[-1] if self.moments else None
            if last and last.round > after and last.step.startswith(("failed", "interrupted")):
                raise SystemExit(f"round {last.round}: {last.step}")
            if last and last.round > after and last.step.startswith("done"):
                return last.round
            time.sleep(0.1)
        raise SystemExit(f"no round was done within {seconds:.0f} s")


def round_of(live: Live, number: int) -> dict[str, Any]:
    """A stored round."""
    columns = ("version", "kind", "metrics")
    [row] = _rows(live.backend_db, f"select {', '.join(columns)} from rounds where number = {number}")
    return {**dict(zip(columns, row, strict=True)), "metrics": json.loads(row[-1])}


def cpu_seconds() -> dict[str, float]:
    """What the trainer and Label Studio have used so far."""
    used = {"trainer": 0.0, "Label Studio": 0.0}
    for child in psutil.Process().children(recursive=True):
        try:
            command, times = " ".join(child.cmdline()), child.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        who = "Label Studio" if "label-studio" in command else "trainer" if _trains(child) else None
        if who:
            used[who] += times.user + times.system
    return used


def _trains(process: psutil.Process) -> bool:
    return any("server.trainer" in one.cmdline() for one in [process, *process.parents()])


def _rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0.5)) as connection:
        return connection.execute(query).fetchall()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((label_studio.HOST, 0))
        return int(probe.getsockname()[1])
