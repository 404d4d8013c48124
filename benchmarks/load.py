"""Fifty annotators in ten projects, and then far too many: `python -m benchmarks.load`.

The real processes, without a Label Studio. Requests come from Locust, in a process and a virtual environment of its own
(its Flask is newer than the one that label-studio-ml names): `python -m venv locust && locust/bin/pip install locust`,
and then `LOCUST_BIN=locust/bin/locust python -m benchmarks.load`. First for `--minutes` at an annotator's pace, which
must bring no error; then for `--overload` seconds as many requests as they can send, to which only answers of success
or 503 with Retry-After may come, and after which everything is as before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.alone import HOST, Backend, MadeUp, folder_of, started

ROOT = Path(__file__).parent.parent
LOOK_EVERY = 5.0
GROWTH_MB = 100.0
"""A web process may grow by so much in the second half of the run."""
RECOVERY_SECONDS = 5.0
"""After the overload, before everything must be answered as before."""


@dataclass
class Watch:
    """What the backend holds, looked at every few seconds."""

    backend: Backend
    began: float = field(default_factory=time.monotonic)
    memory: list[tuple[float, dict[int, float]]] = field(default_factory=list)
    """Seconds from the beginning; megabytes by web process."""
    due: list[int] = field(default_factory=list)
    """Projects that wait for a round."""

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(LOOK_EVERY):
            self.memory.append((time.monotonic() - self.began, _resident(self.backend)))
            self.due.append(self.backend.rows("select count(*) from projects where due is not null")[0][0])

    def growth(self) -> tuple[float, float, float]:
        """Of the web process that grew most in the second half of the run: megabytes in its middle, at the end, and
        added a minute (least squares)."""
        half = [(at, held) for at, held in self.memory if at >= self.memory[-1][0] / 2]
        lasting = set.intersection(*(set(held) for _, held in half))
        grown = []
        for pid in lasting:
            at, held = np.array([seconds for seconds, _ in half]), np.array([held[pid] for _, held in half])
            slope = float(np.polyfit(at / 60, held, 1)[0]) if len(half) > 2 else 0.0
            grown.append((float(held[0]), float(held[-1]), slope))
        return max(grown, key=lambda one: one[1] - one[0])


def _resident(backend: Backend) -> dict[int, float]:
    return {process.pid: process.memory_info().rss / 1e6 for process in backend.web_processes()}


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run of Locust."""

    seconds: dict[str, dict[str, list[float]]]
    without_retry_after: int
    taken: list[tuple[int, int]]
    lasted: float

    def count(self, *statuses: str) -> int:
        """Requests with one of these statuses."""
        return sum(len(found.get(status, ())) for found in self.seconds.values() for status in statuses)

    def show(self) -> None:
        """A table of all kinds of requests, in milliseconds."""
        total = sum(len(one) for found in self.seconds.values() for one in found.values())
        print(f"{total} requests, {total / self.lasted:.1f} a second")
        print(f"{'':24}{'count':>8}{'p50 ms':>9}{'p99':>9}{'max':>9}  answers by status (0: none)")
        for name, found in sorted(self.seconds.items()):
            median, high, highest = np.percentile(found.get("200") or [np.nan], (50, 99, 100)) * 1000
            statuses = ", ".join(f"{status}: {len(one)}" for status, one in sorted(found.items()))
            slow = max((max(one) for status, one in found.items() if status != "200"), default=0.0)
            others = f" (others within {slow:.1f} s)" if slow else ""
            size = sum(map(len, found.values()))
            print(f"{name:24}{size:8}{median:9.1f}{high:9.1f}{highest:9.1f}  {statuses}{others}")


def load(locust: str, backend: Backend, folder: Path, users: int, seconds: float, *, thinks: bool) -> Load:
    """Let so many annotators work for `seconds`."""
    results = folder / "results.json"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "LOAD_PROJECTS": str(folder / "projects.json"),
        "LOAD_RESULTS": str(results),
        "LOAD_THINKS": "yes" if thinks else "no",
    }
    rate = max(1.0, users / 10)
    options = ("--headless", "--only-summary", "-u", f"{users}", "-r", f"{rate}", "-t", f"{seconds:.0f}s", "-s", "130")
    command = [
        locust,
        "-f",
        str(ROOT / "benchmarks/locustfile.py"),
        *options,
        "--host",
        f"http://{HOST}:{backend.port}",
    ]
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    if not results.exists():
        raise SystemExit(f"Locust failed:\n{done.stderr[-2000:]}")
    told = json.loads(results.read_text())
    results.unlink()
    return Load(**told, lasted=time.monotonic() - began)


def lost(backend: Backend, taken: list[tuple[int, int]]) -> int:
    """Annotations that were answered 2xx and are not in the database."""
    query = "select projects.external_id, annotations.id from annotations join projects on projects.id = project_id"
    return len({tuple(one) for one in taken} - {tuple(row) for row in backend.rows(query)})


def introduce(backend: Backend, folder: Path, projects: list[MadeUp], labelled: int) -> None:
    """Connect all projects, each with a first model."""
    told: list[dict[str, Any]] = []
    for project in projects:
        project.introduce(backend)
        for task in project.tasks()[:labelled]:
            backend.tell("/webhook", project.calls.submitted(task["id"], task, project.spans(task["id"])))
        backend.tell("/webhook", project.calls.event("START_TRAINING"))
        spans = [project.spans(task + 1) for task in range(len(project.texts))]
        texts = [text.text for text in project.texts]
        told.append({"id": project.calls.id, "labels": project.calls.labels, "texts": texts, "spans": spans})
    (folder / "projects.json").write_text(json.dumps(told))
    give_up = time.monotonic() + 1200
    fitted = "select count(distinct project_id) from rounds where state = 'done' and kind = 'fit'"
    while backend.rows(fitted)[0][0] < len(projects):
        if time.monotonic() > give_up:
            raise SystemExit("the first rounds are not done after 20 minutes")
        time.sleep(1)


def verdict(what: str, held: bool) -> bool:
    """Say whether a goal was reached."""
    print(f"{'yes' if held else 'NO':4}{what}")
    return held


def steady(locust: str, backend: Backend, folder: Path, users: int, minutes: float) -> list[bool]:
    """At an annotator's pace."""
    stop, watch = threading.Event(), Watch(backend)
    looking = threading.Thread(target=watch.run, args=(stop,))
    looking.start()
    found = load(locust, backend, folder, users, 60 * minutes, thinks=True)
    stop.set()
    looking.join()
    print(f"\n{users} annotators, {minutes:g} minutes")
    found.show()
    before, after, slope = watch.growth()
    rounds = backend.rows("select count(*) from rounds where state = 'done' and kind = 'fit'")[0][0]
    print(f"projects that waited for a round: {max(watch.due)} at most; rounds of training done: {rounds}")
    wrong = sum(map(len, (s for f in found.seconds.values() for k, s in f.items() if k != "200")))
    memory = f"{before:.0f} MB half-way, {after:.0f} MB at the end, {slope:+.1f} MB a minute"
    return [
        verdict(f"no error: {wrong}", wrong == 0),
        verdict(
            f"every annotation that was taken is there: {lost(backend, found.taken)} lost",
            not lost(backend, found.taken),
        ),
        verdict(f"a web process grows by less than {GROWTH_MB:.0f} MB: {memory}", after - before < GROWTH_MB),
    ]


def overload(locust: str, backend: Backend, folder: Path, users: int, seconds: float) -> list[bool]:
    """As fast as they can."""
    processes = set(_resident(backend))
    found = load(locust, backend, folder, users, seconds, thinks=False)
    print(f"\n{users} annotators who do not think, {seconds:g} s")
    found.show()
    time.sleep(RECOVERY_SECONDS)
    project = json.loads((folder / "projects.json").read_text())[0]
    calls = MadeUp.of(project["id"], 1, 0).calls
    after = [backend.ask(path, body)[:2] for path, body in (("/health", None), ("/setup", calls.setup()))]
    slowest = max(found for found, _ in after)
    right = sum(len(f.get(k, ())) for f in found.seconds.values() for k in ("200", "429", "503"))
    others = sum(len(s) for f in found.seconds.values() for s in f.values()) - right
    longest = max(max(s) for f in found.seconds.values() for s in f.values())
    return [
        verdict(f"nothing but success and refusals: {others} others, {found.count('0')} without an answer", not others),
        verdict(f"refusals name a time: {found.without_retry_after} did not", not found.without_retry_after),
        verdict(
            f"every annotation that was taken is there: {lost(backend, found.taken)} lost",
            not lost(backend, found.taken),
        ),
        verdict(f"no hang: {longest:.1f} s at most", longest < 110),
        verdict(
            f"as before {RECOVERY_SECONDS:.0f} s later: {slowest:.3f} s",
            slowest < 1 and all(s == 200 for _, s in after),
        ),
        verdict("the same processes", processes == set(_resident(backend))),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--texts", type=int, default=500, help="in each project")
    parser.add_argument("--tagger", default="auto")
    parser.add_argument("--overload", type=float, default=30.0, help="seconds; 0: none")
    parser.add_argument("--overload-users", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="for data and log, kept afterwards (default: a temporary one)")
    arguments = parser.parse_args()
    locust = os.environ.get("LOCUST_BIN") or shutil.which("locust")
    if locust is None:
        parser.error("no locust command: see above how to install it, then name it in LOCUST_BIN")
    projects = [MadeUp.of(1 + n, arguments.texts, n) for n in range(arguments.projects)]
    settings = {"TAGGER": arguments.tagger, "COLD_START": "random"}
    with folder_of(arguments.folder) as folder, started(folder, settings) as backend:
        introduce(backend, folder, projects, labelled=30)
        print(f"{psutil.cpu_count()} cores, {arguments.tagger}, {len(projects)} projects of {arguments.texts} tasks")
        held = steady(locust, backend, folder, arguments.users, arguments.minutes)
        if arguments.overload:
            held += overload(locust, backend, folder, arguments.overload_users, arguments.overload)
    raise SystemExit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
