"""How soon the backend answers while a round trains on all cores: `python -m benchmarks.latency`.

The real processes, without a Label Studio: one project, rounds one after another, and meanwhile each kind of request at
a steady pace, over a connection of its own. Only requests that began while a model was being trained count.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.alone import Backend, MadeUp, folder_of, started
from benchmarks.calls import Json

BATCH = 100
"""Tasks in one request for predictions."""
SETTLE_SECONDS = 600.0


@dataclass
class Probe:
    """One kind of request: its goal in seconds, for the 99th percentile or for all, and what was measured."""

    name: str
    path: str
    every: float
    goal: float
    goal_is_for: str
    body: Callable[[], Json | None]
    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    def run(self, backend: Backend, counts: Callable[[], bool], stop: threading.Event) -> None:
        """Ask again and again, at moments that do not hang on the answers."""
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due += self.every
            body, counted = self.body(), counts()
            try:
                seconds, status, _ = backend.ask(self.path, body)
            except OSError:
                seconds, status = 0.0, 0
            if status != 200:
                self.failures += 1
            elif counted:
                self.seconds.append(seconds)

    def line(self) -> str:
        """A row of the table, in milliseconds."""
        if not self.seconds:
            return f"{self.name:24}{'nothing was measured':>20}"
        median, high, highest = np.percentile(self.seconds, (50, 99, 100)) * 1000
        held = (high if self.goal_is_for == "p99" else highest) < self.goal * 1000
        goal = f"{self.goal_is_for} < {self.goal * 1000:.0f}"
        ends = f"{goal:>16}{'yes' if held else 'NO':>6}{self.failures:>10}"
        return f"{self.name:24}{len(self.seconds):8}{median:9.1f}{high:9.1f}{highest:9.1f}{ends}"


def probes(project: MadeUp, ranked: int) -> list[Probe]:
    """All kinds. The first tasks are `ranked` already; the unseen ones are new each time."""
    calls, tasks = project.calls, project.tasks()
    turn, born, annotation = count(), count(1_000_000), count(500_000)

    def submitted() -> Json:
        task = tasks[next(turn) % ranked]
        return calls.submitted(next(annotation), task, project.spans(task["id"]))

    def batch() -> Json:
        first = BATCH * next(turn) % (ranked - BATCH)
        return calls.predict(tasks[first : first + BATCH])

    def unseen() -> Json:
        texts = [tasks[(BATCH * next(turn) + n) % ranked]["data"]["text"] for n in range(BATCH)]
        return calls.predict([calls.task(next(born), text) for text in texts])

    return [
        Probe("/health", "/health", 0.05, 0.2, "p99", lambda: None),
        Probe("/webhook", "/webhook", 0.2, 0.5, "p99", submitted),
        Probe("/setup", "/setup", 0.4, 1.0, "p99", calls.setup),
        Probe("/predict, 1 ranked", "/predict", 0.5, 1.0, "p99", lambda: calls.predict(tasks[:1])),
        Probe(f"/predict, {BATCH} ranked", "/predict", 2.0, 10.0, "all", batch),
        Probe(f"/predict, {BATCH} unseen", "/predict", 2.0, 10.0, "all", unseen),
    ]


class Rounds:
    """Keeps rounds going, and knows whether a model is being trained."""

    def __init__(self, backend: Backend, project: MadeUp) -> None:
        self._backend, self._project = backend, project
        self.training = False
        self.done = 0

    def run(self, stop: threading.Event) -> None:
        """Look, and ask for the next round when the last one has ended."""
        while not stop.wait(0.1):
            state, kind, number = self.newest()
            self.training = state == "running" and kind == "fit"
            if state not in ("running", "publishing"):
                self.done = number
                self._backend.tell("/webhook", self._project.calls.event("START_TRAINING"))

    def newest(self) -> tuple[str, str, int]:
        """The newest round's state, kind and number."""
        rows = self._backend.rows("select state, kind, number from rounds order by id desc limit 1")
        return rows[0] if rows else ("none", "none", 0)

    def wait_for(self, number: int) -> None:
        """Until that round is done."""
        give_up = time.monotonic() + SETTLE_SECONDS
        while (newest := self.newest())[0] != "done" or newest[2] < number:
            if newest[0] == "failed" or time.monotonic() > give_up:
                raise SystemExit(f"round {newest[2]} is {newest[0]}")
            time.sleep(0.2)


def measure(folder: Path, settings: Mapping[str, str], texts: int, labelled: int, seconds: float) -> list[Probe]:
    """Start, let one round be done, then ask for `seconds` while others train."""
    project = MadeUp.of(1, texts, 0)
    with started(folder, settings) as backend:
        project.introduce(backend)
        tasks = project.tasks()
        rounds = Rounds(backend, project)
        rounds.wait_for(1)
        for n, task in enumerate(tasks[:labelled]):
            backend.tell("/webhook", project.calls.submitted(n + 1, task, project.spans(task["id"])))
        backend.tell("/webhook", project.calls.event("START_TRAINING"))
        rounds.wait_for(2)
        stop, found = threading.Event(), probes(project, texts)
        threads = [threading.Thread(target=rounds.run, args=(stop,))]
        threads += [threading.Thread(target=p.run, args=(backend, lambda: rounds.training, stop)) for p in found]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        print(f"{rounds.done - 2} rounds were done meanwhile")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tagger", default="auto")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--labelled", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--threads", type=int, help="TRAINER_THREADS (default: all cores)")
    parser.add_argument("--folder", type=Path, help="for data and log, kept afterwards (default: a temporary one)")
    arguments = parser.parse_args()
    settings = {"TAGGER": arguments.tagger, "ROUND_SIZE": str(10 * arguments.texts), "COLD_START": "random"}
    if arguments.threads:
        settings["TRAINER_THREADS"] = str(arguments.threads)
    with folder_of(arguments.folder) as folder:
        found = measure(folder, settings, arguments.texts, arguments.labelled, arguments.seconds)
    titles = f"{'count':>8}{'p50 ms':>9}{'p99':>9}{'max':>9}{'goal':>16}{'held':>6}{'failures':>10}"
    print(f"{'while a round trains':24}{titles}")
    for probe in found:
        print(probe.line())


if __name__ == "__main__":
    main()
