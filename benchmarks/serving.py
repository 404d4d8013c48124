"""How fast `/predict` answers, for texts that no round has seen and for ranked ones, beside Label Studio's own Hugging
Face example.

Run as `python -m benchmarks.serving`: our web process as it runs in production against the example's way in
label-studio-ml's own server, over the same encoder and the same texts, in turns; and the two without their servers, the
class and the example's pipeline in one process. The goal: one task at least 5 times faster. The limit is a round trip
without any work plus the matrix products of tagging these texts, in bfloat16 at the rate measured in the same turn.
Texts are CoNLL-2003's with `--data FOLDER`, else made up.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import throughput
from benchmarks.contest import Clock, Task
from benchmarks.dropout import fitted, sentences
from benchmarks.example import LABELS, PlainBackend
from corpus import Sentence
from corpus.conll import read_conll
from labelstudio.events import record_of_task
from learning.database import Prediction, Project, Round, text_hash
from learning.intake import put_tasks
from learning.settings import Settings
from learning.workspace import Workspace
from model import ActiveTagger

ROOT = Path(__file__).parent.parent
WARM_UP = 3
"""Turns that do not count."""
Json = dict[str, Any]
KEY = "1.1700000000"
CONFIG = (
    '<View><Labels name="label" toName="text">'
    + "".join(f'<Label value="{label}"/>' for label in LABELS)
    + '</Labels><Text name="text" value="$text"/></View>'
)


def prepare(folder: Path, tagger: str, ranked: Sequence[Sentence], seed: int) -> None:
    """A data folder with one connected project, whose current round has a model that has just been trained, and has
    ranked these texts, the tasks 1, 2, …"""
    workspace = Workspace(Settings(data_dir=folder))
    version = "v1-benchmark"
    with workspace.db.write() as session:
        project = Project(key=KEY, external_id=1, label_config=CONFIG)
        session.add(project)
        session.flush()
        done = {"kind": "fit", "state": "done", "reason": "benchmark", "owner": "nobody:0", "revision": 0}
        this = Round(project_id=project.id, number=1, version=version, finished_at=datetime(2026, 1, 1), **done)
        session.add(this)
        session.flush()
        this.model_round_id = project.current_round_id = this.id
        project_id = project.id
        session.add_all(
            Prediction(round_id=this.id, task_id=1 + n, text_hash=text_hash(text.text), words=0, spans=[], position=n)
            for n, text in enumerate(ranked)
        )
        put_tasks(session, project, [record_of_task(task) for task in tasks(ranked, 1)], seed)
    workspace.models.save(fitted(tagger, seed), project_id, version)


@contextmanager
def served(log: Path, environment: dict[str, str], *options: str) -> Iterator[int]:
    """A web process of gunicorn's; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", *options]
    spinning = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}  # set in this process for our own sake, not for the example's
    inherited = {name: value for name, value in os.environ.items() if name not in spinning}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=inherited | environment, stdout=out, stderr=out, cwd=ROOT)
    try:
        for _ in range(300):
            try:
                asked(port, "GET", "/health")
                break
            except (OSError, HTTPException):
                time.sleep(0.2)
        else:
            raise SystemExit(f"the server did not start:\n{log.read_text()}")
        asked(port, "POST", "/setup", {"project": KEY, "schema": CONFIG})
        yield port
    finally:
        process.terminate()
        process.wait()


def asked(port: int, method: str, path: str, body: Json | None = None) -> tuple[float, Any]:
    """Seconds from asking, over an open connection, to the last byte of the answer; and the answer. Neither reading nor
    writing JSON counts: that is the client's."""
    sent = None if body is None else json.dumps(body).encode()
    with closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.connect()
        began = time.perf_counter()
        connection.request(method, path, sent, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        seconds = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {told[:500]!r}")
    return seconds, json.loads(told)


@dataclass(frozen=True, slots=True)
class Contest:
    """A way to ask both for predictions of tasks, in seconds."""

    name: str
    ours: Callable[[list[Json]], float]
    example: Callable[[list[Json]], float]
    trip: Callable[[], float]
    """Asking for nothing."""


def over_http(ours: int, example: int) -> Contest:
    """The two servers at these ports."""

    def ask(port: int, batch: list[Json]) -> float:
        return asked(port, "POST", "/predict", {"project": KEY, "label_config": CONFIG, "tasks": batch})[0]

    return Contest("HTTP", partial(ask, ours), partial(ask, example), lambda: asked(ours, "GET", "/health")[0])


def in_process(workspace: Workspace) -> Contest:
    """Our class, made anew for each request as servers do, and what the example does with the same tasks."""
    plain = PlainBackend(["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")])

    def timed(predict: Callable[[list[Json]], object], batch: list[Json]) -> float:
        began = time.perf_counter()
        predict(batch)
        return time.perf_counter() - began

    def ours(batch: list[Json]) -> object:
        return ActiveTagger(KEY, CONFIG, workspace=workspace).predict(batch)

    return Contest("class", partial(timed, ours), partial(timed, plain.predict), lambda: 0.0)


def tasks(texts: Sequence[Sentence], first: int) -> list[Json]:
    """The texts as Label Studio sends tasks."""
    born = "2026-01-01T00:00:00.000000Z"
    return [{"id": first + n, "data": {"text": text.text}, "created_at": born} for n, text in enumerate(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with CoNLL-2003")
    parser.add_argument("--tagger", default="transformer")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 400])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pool = sentences(2000, arguments.seed + 1)
    if arguments.data:
        pool = [sentence.unlabelled() for sentence in read_conll(arguments.data / "eng.testb")]
    rng = np.random.default_rng(arguments.seed)
    model, multiply = throughput.fitted("fp32", arguments.seed), throughput.multiplying("bf16")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = Path(folder) / "data"
        prepare(data, arguments.tagger, pool, arguments.seed)
        of_ours = ("-c", str(ROOT / "server/gunicorn.conf.py"), "--workers=1", "server.app:app")
        ours = stack.enter_context(served(Path(folder) / "ours", {"DATA_DIR": str(data)}, *of_ours))
        of_example = ("--workers=1", "--threads=8", "benchmarks.example:app()")
        example = stack.enter_context(served(Path(folder) / "example", {"MODEL_DIR": folder}, *of_example))
        contests = (over_http(ours, example), in_process(Workspace(Settings(data_dir=data))))
        print(f"medians of {arguments.rounds}; ours: {arguments.tagger}")
        titles = ("ranked", "unseen", "example", "ratios", "limit", "round trip")
        print(f"{'tasks':>6}{'by':>7}{''.join(f'{title:>13}' for title in titles)}")
        born = len(pool) + 1
        for size in arguments.sizes:
            for contest in contests:
                turns = []
                for _ in range(arguments.rounds + WARM_UP):
                    first = int(rng.integers(len(pool) - size))
                    chosen = pool[first : first + size]
                    unseen, ranked = tasks(chosen, born), tasks(chosen, first + 1)
                    born += size
                    trip = contest.trip()
                    times = (contest.ours(ranked), contest.ours(unseen), contest.example(unseen))
                    limit = trip + throughput.flops(model, chosen) / _rate(multiply)
                    turns.append((*times, limit, trip))
                print(f"{size:6}{contest.name:>7}{_row(np.array(turns[WARM_UP:]))}", flush=True)


def _row(seconds: NDArray[np.float64]) -> str:
    """Medians of the columns, and of the ratios of the example's to the first two."""
    *times, limit, trip = (f"{1000 * median:.1f} ms" for median in np.median(seconds, axis=0))
    ratios = " ".join(f"{ratio:.1f}" for ratio in np.median(seconds[:, 2:3] / seconds[:, :2], axis=0))
    return "".join(f"{cell:>13}" for cell in (*times, ratios, limit, trip))


def _rate(multiply: Task) -> float:
    """Operations a second in matrix products."""
    clock = Clock()
    multiply(clock, 0)
    return 2 * throughput.PRODUCTS * throughput.SIDE**3 / clock.seconds


if __name__ == "__main__":
    main()
