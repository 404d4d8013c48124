"""Parts measured on a real Ray cluster of two nodes: the same files as here, whatever dies."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.grammar import generate
from demo.label_studio import LABEL_CONFIG
from learning.settings import ProjectSettings
from learning.steps import silently
from pools import cluster as clusters
from pools.cluster import GIVE_UP, measure_on, places
from pools.folder import Pool
from pools.jobs import Job, Stored
from pools.measuring import Measurer, measure_here, missing, read
from strategies import Measured
from taggers.transformer import TransformerOptions, TransformerTagger

PATIENCE = 300.0
"""Seconds until something that should have happened is taken for lost."""
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray, an optional extra, is missing")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    tagger = TransformerTagger(TransformerOptions.model_validate({"epochs": 1}))
    tagger.fit(generate(24), [])
    path = tmp_path_factory.mktemp("models") / "1"
    tagger.save(path)
    return Stored.at(path)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Twelve parts, the last of them short."""
    made = Pool.make(tmp_path / "pool")
    texts = [{"text": sentence.text} for sentence in generate(230, seed=1)]
    for first in range(0, 230, 20):  # each import begins a part
        made.add(texts[first : first + 20])
    assert len(made.parts) == 12 > GIVE_UP
    return made


def job_of(pool: Pool, model: Stored) -> Job:
    """Vectors, of which every bit counts."""
    settings = ProjectSettings(tagger="transformer", strategy="badge")
    return Job(
        pool=pool.folder, project="1", by="strategy", kind="spans", settings=settings, label_config=LABEL_CONFIG,
        model=model, spans=None, decides="0",
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with a single core, which hears of a dead node within two seconds."""
    ray = pytest.importorskip("ray", reason="Ray, an optional extra, is missing")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    beats = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    busy = {"worker_niceness": 0}  # by default its workers give way, and starve on a busy machine
    files = tempfile.mkdtemp(prefix="ray")  # a short name: sockets lie in it
    head = {"num_cpus": 1, "object_store_memory": SMALL, "include_dashboard": False, "temp_dir": files}
    started = Cluster(initialize_head=True, head_node_args={**head, "_system_config": beats | busy})
    yield started
    ray.shutdown()
    started.shutdown()
    shutil.rmtree(files, ignore_errors=True)


SMALL = 80 * 2**20
"""Bytes of a node's object store: a little more than Ray's least."""


class Watched(Measurer):
    """Writes down which node begins which row. On `doomed` it does one part, and holds on to the next for ever."""

    def __init__(self, job: Job, log: Path, doomed: str) -> None:
        super().__init__(job)
        import ray

        self.log, self.doomed, self.node, self.parts = log, doomed, ray.get_runtime_context().get_node_id(), 0

    def __call__(self, tasks: Sequence[dict[str, Any]], first: int) -> Measured:
        note(self.log, f"{first} {self.node}")
        self.parts += 1
        if self.node == self.doomed and self.parts == 2:
            time.sleep(PATIENCE)
        time.sleep(0.3)  # so that there is work left when the other node dies
        return super().__call__(tasks, first)


class Failing:
    """Raises on the part that begins with row 20, and dies on that of row 60."""

    def __init__(self, job: Job, log: Path) -> None:
        self.log = log

    def __call__(self, tasks: Sequence[dict[str, Any]], first: int) -> Measured:
        note(self.log, str(first))
        if first == 20:
            raise ValueError("row 33 is beyond words")
        if first == 60:
            os.kill(os.getpid(), signal.SIGKILL)
        import numpy as np

        return Measured(np.zeros(len(tasks)), np.ones(len(tasks), np.int64))


def note(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line + "\n")


def begun(log: Path) -> list[tuple[int, str]]:
    """Row and node, in the order of their beginning."""
    if not log.exists():
        return []
    return [(int(row), node) for row, _, node in (line.partition(" ") for line in log.read_text().splitlines())]


def kill(node: Any) -> None:
    """As when the power fails: all processes of the node at once."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()


@needs_ray
@pytest.mark.slow
def test_a_node_dies_and_nothing_is_missed_nor_done_twice(
    cluster: Any, pool: Pool, model: Stored, tmp_path: Path
) -> None:
    here = Pool.open(shutil.copytree(pool.folder, tmp_path / "here"))
    measure_here(here, job_of(here, model), here.parts, silently)
    job, log = job_of(pool, model), tmp_path / "log"
    node = cluster.add_node(num_cpus=1, object_store_memory=SMALL)
    written_by_then: list[int] = []

    def wait_and_kill() -> None:
        until = time.monotonic() + PATIENCE
        while len([n for _, n in begun(log) if n == node.node_id]) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        left = {part.number for part in missing(pool, job)}
        kill(node)
        written_by_then.extend(part.first for part in pool.parts if part.number not in left)

    killer = threading.Thread(target=wait_and_kill)
    killer.start()
    told: list[int] = []
    watched = functools.partial(Watched, log=log, doomed=node.node_id)
    measure_on(cluster.address, load=watched)(pool, job, pool.parts, lambda step, **detail: told.append(detail["done"]))
    killer.join()

    finished, held = [row for row, where in begun(log) if where == node.node_id]
    assert finished in written_by_then and held not in written_by_then
    assert len(written_by_then) < len(pool.parts) - 1, "it died when all but its own part was done"
    times = Counter(row for row, _ in begun(log))
    assert times == Counter(part.first for part in pool.parts) + Counter([held])
    assert missing(pool, job) == []
    assert [len(read(pool.folder, job, part)) for part in pool.parts] == [part.rows for part in pool.parts]
    assert sum(len(read(pool.folder, job, part)) for part in pool.parts) == pool.size == 230
    assert told == sorted(told) and told[0] == 0 and told[-1] == pool.size and len(told) == 1 + len(pool.parts)
    files = {path.name: path.read_bytes() for path in job.folder.iterdir()}
    assert files == {path.name: path.read_bytes() for path in job_of(here, model).folder.iterdir()}


@needs_ray
@pytest.mark.slow
def test_parts_that_fail_are_told_and_the_others_are_done(
    cluster: Any, pool: Pool, model: Stored, tmp_path: Path
) -> None:
    job, log = job_of(pool, model), tmp_path / "log"
    with pytest.raises(ValueError, match="2 of 12 parts are not measured, what was measured is kept") as error:
        failing = functools.partial(Failing, log=log)
        measure_on(cluster.address, load=failing)(pool, job, pool.parts, silently)
    assert "part 1: ValueError: row 33 is beyond words (process " in str(error.value)
    assert f"part 3: RuntimeError: what measured it died {clusters.ATTEMPTS} times" in str(error.value)
    assert [part.number for part in missing(pool, job)] == [1, 3]
    times = Counter(row for row, _ in begun(log))
    assert times.pop(60) == clusters.ATTEMPTS
    assert times == Counter(part.first for part in pool.parts if part.first != 60)


@needs_ray
@pytest.mark.slow
def test_a_damaged_model_ends_the_job_in_words(cluster: Any, pool: Pool, model: Stored, tmp_path: Path) -> None:
    damaged = model.model_copy(update={"folder": shutil.copytree(model.folder, tmp_path / "damaged")})
    largest = max((path for path in damaged.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    with pytest.raises(ValueError, match="12 of 12 parts are not measured") as error:
        measure_on(cluster.address)(pool, job_of(pool, damaged), pool.parts, silently)
    assert "Damaged: " in str(error.value) and largest.name in str(error.value)
    assert "2 more were not tried after that" in str(error.value)
    with pytest.raises(ValueError, match=r"no machine of the cluster has the 99 cores asked for a model"):
        measure_on(cluster.address, cores=99)(pool, job_of(pool, model), pool.parts, silently)


def test_a_model_for_each_gpu_or_group_of_cores() -> None:
    def node(alive: bool = True, **resources: float) -> dict[str, Any]:
        return {"Alive": alive, "Resources": resources}

    assert places([node(CPU=1), node(CPU=1), node(False, CPU=64)], 1) == (2, 0)
    assert places([node(CPU=7), node(CPU=9), node(CPU=3)], 4) == (3, 0)
    assert places([node(CPU=96, GPU=8), node(CPU=4), node(False, CPU=96, GPU=8)], 4) == (8, 1)
    with pytest.raises(ValueError, match=r"the 4 cores asked for a model; the largest has 3"):
        places([node(CPU=3), node(CPU=2), node(memory=1.0)], 4)


@pytest.mark.slow
def test_addresses_that_lead_nowhere_are_refused_in_words(
    pool: Pool, model: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"does not run through Ray's client; run this on a machine of the cluster"):
        measure_on("ray://head:10001")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'ray\[data\]'"):
        measure_on("auto")(pool, job_of(pool, model), pool.parts, silently)
