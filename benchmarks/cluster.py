"""Measuring a pool on a Ray cluster of simulated nodes beside measuring it here, and what 100 million sentences cost.

Run as `python -m benchmarks.cluster`. Every node is a Ray node of its own, with one core, on this machine; all measure
the same parts of made-up sentences with the packaged encoder, one after the other. What counts is the time that
processors were busy: on a machine with other work the clock tells of that work. The last part is arithmetic on paper,
each figure from the command line (`--gpu-rate`, `--read`, `--written`, `--network`) or, where none is given, from here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as each actor has, before torch is imported

import pyarrow as pa

from benchmarks.dropout import fitted, sentences
from demo.label_studio import LABEL_CONFIG
from learning.settings import ProjectSettings
from pools.cluster import Told, connect, on_cluster
from pools.folder import PART_ROWS, Pool
from pools.jobs import Job, Stored
from pools.measuring import Measurer, missing, write

STORE = 80 * 2**20
"""Bytes of a node's object store: a little more than Ray's least."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds on the clock until the cluster was up, and from then to the first part; then what is told of each."""

    cluster: float
    start: float
    answers: list[Told]

    @property
    def window(self) -> float:
        """Seconds on the clock, from the beginning of the first part to the end of the last."""
        return max(told.began + told.seconds for told in self.answers) - min(told.began for told in self.answers)

    @property
    def busy(self) -> float:
        """Seconds of processors."""
        return sum(told.busy for told in self.answers)

    @property
    def busiest(self) -> float:
        """Seconds of processors, of the model that had most to do."""
        return max(sum(told.busy for told in answers) for answers in self._by_model())

    @property
    def gap(self) -> float:
        """Seconds on the clock between two parts of one model: the median."""
        pairs = [pair for answers in self._by_model() for pair in pairwise(answers)]
        return median(after.began - before.began - before.seconds for before, after in pairs)

    def _by_model(self) -> list[list[Told]]:
        """In the order in which they were begun."""
        models: dict[str, list[Told]] = {}
        for told in sorted(self.answers, key=lambda told: told.began):
            models.setdefault(told.worker, []).append(told)
        return [*models.values()]


def pool_of(folder: Path, count: int, rows: int, seed: int) -> Pool:
    """Made-up sentences; each import begins a part of its own."""
    pool = Pool.make(folder)
    texts = [{"text": sentence.text} for sentence in sentences(count, seed)]
    for first in range(0, count, rows):
        pool.add(texts[first : first + rows])
    return pool


def job_of(pool: Pool, model: Path, strategy: str, name: str) -> Job:
    """One of its own for each contestant, which finds nothing that is measured already."""
    settings = ProjectSettings(tagger="transformer", strategy=strategy)
    return Job(
        pool=pool.folder, project="benchmark", by="strategy", kind="spans", settings=settings,
        label_config=LABEL_CONFIG, model=Stored.at(model), spans=None, decides=name,
    )  # fmt: skip


def here(pool: Pool, job: Job) -> Timed:
    """In a process of its own, as an actor is one."""
    with get_context("spawn").Pool(1) as processes:
        return processes.apply(_here, (pool, job))


def _here(pool: Pool, job: Job) -> Timed:
    """What `measure_here` does, with a look at the clocks after each part."""
    asked = time.time()
    measurer = Measurer(job)
    answers = []
    for part in pool.parts:
        began, busy = time.time(), time.process_time()
        write(pool.folder, job, part, measurer(pool.read(part), part.first))
        answers.append(Told(part.number, "", "here", began, time.time() - began, time.process_time() - busy))
    return Timed(0.0, answers[0].began - asked, answers)


@contextmanager
def nodes(count: int) -> Iterator[Any]:
    """A cluster of so many nodes with one core each."""
    import ray
    from ray.cluster_utils import Cluster

    as_we_are = {"worker_niceness": 0}  # by default Ray's workers give way to all else on the machine
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as files:
        node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": STORE}
        cluster = Cluster(
            initialize_head=True,
            head_node_args=node | {"include_dashboard": False, "temp_dir": files, "_system_config": as_we_are},
        )
        try:
            for _ in range(count - 1):
                cluster.add_node(**node)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def there(pool: Pool, job: Job, count: int) -> Timed:
    """On so many nodes."""
    asked = time.time()
    with nodes(count) as cluster:
        connect(cluster.address)
        up = time.time()
        answers = [*on_cluster(pool, job, pool.parts)]
    if failed := [told for told in answers if told.failure] or missing(pool, job):
        raise SystemExit(f"not measured: {failed}")
    return Timed(up - asked, min(told.began for told in answers) - up, answers)


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes."""

    read: float
    """A sentence, from the pool's folder."""
    written: float
    """A sentence, into it."""
    ray: float
    """A part, handed to Ray: which part, and what is told of it."""
    model: int
    """Read once by each model that is started."""


def moved(pool: Pool, job: Job, model: Path, answers: list[Told]) -> Moved:
    """What the files hold, and the tables that Ray carries."""
    tables = [pa.Table.from_pylist([row]) for told in answers for row in ({"part": told.part}, asdict(told))]
    written = sum(path.stat().st_size for path in job.folder.glob("*.parquet"))
    return Moved(
        read=sum(part.path.stat().st_size for part in pool.parts) / pool.size,
        written=written / pool.size,
        ray=sum(table.nbytes for table in tables) / len(answers),
        model=sum(path.stat().st_size for path in model.rglob("*") if path.is_file()),
    )


def report(alone: Timed, runs: dict[int, Timed], rows: int) -> None:
    """A line for each contestant."""
    print(f"{rows} sentences in {len(alone.answers)} parts; seconds of processors, and on the clock where it says so")
    print(f"{'':12}{'sentences/s':>12}{'busy':>8}{'busiest':>9}{'speed-up':>10}{'clock':>8}{'ratio':>7}"
          f"{'cluster up':>12}{'model warm':>12}{'gap a part':>12}")  # fmt: skip
    for name, run in [("here", alone), *((f"{count} node{'s' * (count > 1)}", run) for count, run in runs.items())]:
        print(
            f"{name:12}{rows / run.busy:12.1f}{run.busy:8.2f}{run.busiest:9.2f}{alone.busy / run.busiest:10.2f}"
            f"{run.window:8.1f}{alone.window / run.window:7.2f}{run.cluster:10.1f} s{run.start:10.1f} s"
            f"{1000 * run.gap:9.0f} ms"
        )
    print(
        "sentences/s: for each second that processors were busy. speed-up: busy here / of the busiest model there, that"
    )
    print(
        "is where each has a core to itself; ratio: of the clocks, here with all that runs on this machine besides.\n"
    )


def on_paper(arguments: argparse.Namespace, bytes_: Moved, here_rate: float, run: Timed) -> None:
    """The arithmetic, line by line."""
    count, gpus = arguments.pool, arguments.gpus
    rate = arguments.gpu_rate or here_rate
    read = arguments.read or bytes_.read
    written = arguments.written or bytes_.written
    network = arguments.network * 1e6
    parts = ceil(count / PART_ROWS)
    rounds = ceil(parts / gpus)
    compute, carried = PART_ROWS / rate, PART_ROWS * (read + written) * gpus / network
    gap = run.gap if arguments.gap is None else arguments.gap
    turn = compute + carried + gap
    total = run.start + rounds * turn
    origin = "given" if arguments.gpu_rate else "of ONE CORE here, for want of a GPU's"
    lines = [
        ("sentences/s of one GPU", f"{rate:,.0f} ({origin})"),
        ("parts", f"{count:,} / {PART_ROWS:,} = {parts:,}"),
        ("parts a GPU", f"{parts:,} / {gpus} = {rounds:,}"),
        ("a part: measured in", f"{PART_ROWS:,} / {rate:,.0f} = {compute:.2f} s"),
        ("a part: moved in", f"{PART_ROWS:,} × ({read:.0f} read + {written:.0f} written) bytes × {gpus} GPUs "
                             f"/ {network / 1e6:,.0f} MB/s = {carried:.3f} s"),
        ("a part: until the next", f"{gap:.3f} s"),
        ("a part", f"{compute:.2f} + {carried:.3f} + {gap:.3f} = {turn:.2f} s, {compute / turn:.1%} of it measuring"),
        ("models warm after", f"{run.start:.1f} s, {gpus} × {bytes_.model / 1e6:.1f} MB read"),
        ("all", f"{run.start:.1f} + {rounds:,} × {turn:.2f} s = {total:,.0f} s = {total / 3600:.2f} h"),
        ("GPU hours", f"{gpus} × {total / 3600:.2f} = {gpus * total / 3600:.1f}"),
        ("read", f"{count:,} × {read:.0f} bytes = {count * read / 1e9:,.1f} GB"),
        ("written", f"{count:,} × {written:.0f} bytes = {count * written / 1e9:,.1f} GB"),
        ("through Ray", f"{parts:,} × {bytes_.ray:.0f} bytes = {parts * bytes_.ray / 1e6:.1f} MB"),
        ("network needed", f"{gpus} × {PART_ROWS:,} × {read + written:.0f} bytes / {turn:.2f} s = "
                           f"{gpus * PART_ROWS * (read + written) / turn / 1e6:.1f} MB/s"),
        ("lost with one GPU", f"at most a part: {turn:.2f} s, and {run.start:.1f} s for a new model"),
    ]  # fmt: skip
    if arguments.price is not None:
        cost = gpus * total / 3600 * arguments.price
        lines.append(("price", f"{gpus * total / 3600:.1f} h × {arguments.price:g} = {cost:,.2f}"))
    print(f"On paper: {count:,} sentences on {gpus} GPUs")
    for name, arithmetic in lines:
        print(f"  {name:24}{arithmetic}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sentences", type=int, default=4096)
    parser.add_argument("--part", type=int, default=256, help="rows of a part here")
    parser.add_argument("--strategy", default="badge", help="decides what is written of a sentence")
    parser.add_argument("--seed", type=int, default=0)
    paper = parser.add_argument_group("on paper")
    paper.add_argument("--pool", type=int, default=100_000_000, help="sentences")
    paper.add_argument("--gpus", type=int, default=8)
    paper.add_argument("--gpu-rate", type=float, help="sentences/s that one GPU measures")
    paper.add_argument("--read", type=float, help="bytes a sentence")
    paper.add_argument("--written", type=float, help="bytes a sentence")
    paper.add_argument("--network", type=float, default=1250.0, help="MB/s to the shared folder (default: 10 Gbit/s)")
    paper.add_argument("--gap", type=float, help="seconds between two parts of one GPU")
    paper.add_argument("--price", type=float, help="of a GPU hour")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        fitted("transformer", arguments.seed).save(model)
        pool = pool_of(Path(folder) / "pool", arguments.sentences, arguments.part, arguments.seed)
        jobs = {count: job_of(pool, model, arguments.strategy, f"nodes-{count}") for count in (0, *arguments.nodes)}
        alone = here(pool, jobs[0])
        runs = {count: there(pool, jobs[count], count) for count in arguments.nodes}
        report(alone, runs, pool.size)
        largest = runs[max(runs)]
        bytes_ = moved(pool, jobs[max(runs)], model, largest.answers)
        print(
            f"bytes a sentence: {bytes_.read:.0f} read, {bytes_.written:.0f} written; each model reads {bytes_.model:,}"
        )
        print(f"once; through Ray {bytes_.ray:.0f} a part, {bytes_.ray * len(pool.parts) / pool.size:.2f} a sentence\n")
        on_paper(arguments, bytes_, pool.size / alone.busy, largest)


if __name__ == "__main__":
    main()
