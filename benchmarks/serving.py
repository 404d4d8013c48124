"""How fast `/predict` answers for tasks that no round has seen, beside Label Studio's own Hugging Face example.

Run as `python -m benchmarks.serving`: our web server as it runs in production (gunicorn, the database, JSON both ways)
against the example's prediction code alone, called without a server, over the same encoder and the same texts. The
goal: one task at least 5 times faster. Texts are CoNLL-2003's with `--data FOLDER`, else made up.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.dropout import fitted, sentences
from benchmarks.example import PlainBackend
from corpus import Sentence
from corpus.conll import read_conll
from learning.database import Project, Round
from learning.settings import Settings
from learning.workspace import Workspace

KEY = "1.1700000000"
LABELS = ("PER", "LOC", "ORG", "MISC")
CONFIG = (
    '<View><Labels name="label" toName="text">'
    + "".join(f'<Label value="{label}"/>' for label in LABELS)
    + '</Labels><Text name="text" value="$text"/></View>'
)


def prepare(folder: Path, tagger: str, seed: int) -> None:
    """A data folder with one connected project, whose current version is a model that has just been trained."""
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
    workspace.models.save(fitted(tagger, seed), project_id, version)


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[httpx.Client]:
    """One web process over that folder; a client of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "gunicorn", "-c", str(root / "server/gunicorn.conf.py"), "server.app:app"]
    environment = os.environ | {"PORT": str(port), "DATA_DIR": str(folder), "WORKERS": "1", "PYTHONPATH": str(root)}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            for _ in range(300):
                try:
                    client.get("/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            else:
                raise SystemExit(f"the server did not start:\n{log.read_text()}")
            yield client
    finally:
        process.terminate()
        process.wait()


def tasks(texts: Sequence[Sentence], first: int) -> list[dict[str, Any]]:
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
    plain = PlainBackend(["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")])
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare(data, arguments.tagger, arguments.seed)
        with serving(data, Path(folder) / "log") as client:
            born = 1

            def ours(batch: list[dict[str, Any]]) -> None:
                answer = client.post("/predict", json={"project": KEY, "label_config": CONFIG, "tasks": batch})
                answer.raise_for_status()
                if len(answer.json()["results"]) != len(batch):
                    raise SystemExit(f"{len(answer.json()['results'])} results for {len(batch)} tasks")

            print(
                f"{'tasks':>6}{'ours':>12}{'example':>12}{'ratio':>8}{'round trip':>13}   (medians; {arguments.tagger})"
            )
            for size in arguments.sizes:
                seconds = []
                for _ in range(arguments.rounds + 1):
                    chosen = [pool[i] for i in rng.choice(len(pool), size, replace=False)]
                    batch = tasks(chosen, born)
                    born += size
                    contestants: list[Callable[[], object]] = [
                        lambda batch=batch: ours(batch),  # type: ignore[misc]
                        lambda batch=batch: plain.predict(batch),  # type: ignore[misc]
                        lambda: client.get("/health"),
                    ]
                    seconds.append([_timed(contestant) for contestant in contestants])
                median = np.median(np.array(seconds[1:]), axis=0)  # the first warms up
                ratio = np.median([example / own for own, example, _ in seconds[1:]])
                own, example, trip = (f"{1000 * s:.1f} ms" for s in median)
                print(f"{size:6}{own:>12}{example:>12}{ratio:8.1f}{trip:>13}", flush=True)


def _timed(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
