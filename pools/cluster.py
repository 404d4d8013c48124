"""Measuring a pool on the machines of a Ray cluster, through Ray Data: one warm model per GPU or group of cores."""

from __future__ import annotations

import functools
import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from learning.steps import OnStep
from pools.folder import Part, Pool
from pools.jobs import Job
from pools.measuring import Measurer, missing, read, write
from pools.storing import Broken
from strategies import Measured

Load = Callable[[Job], Callable[[Sequence[dict[str, Any]], int], Measured]]
"""Brings a model into memory, as `Measurer` does."""

ATTEMPTS = 3
"""Times that measuring a part is begun, if the process or the machine that does it dies each time."""
GIVE_UP = 10
"""Failed parts after which the rest is not tried: what damages so many damages all."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """What comes back of one part. The numbers that were measured go to the pool's folder, not through Ray."""

    part: int
    failure: str
    """In words; empty if there is none."""
    worker: str
    """The process and its machine, by which Ray's logs are found."""
    began: float
    """Unix time, by the clock of that machine."""
    seconds: float
    """From then to the end of the part."""
    busy: float
    """Of these, seconds that processors were at it."""


def measure_on(
    address: str, *, cores: int = 1, load: Load = Measurer
) -> Callable[[Pool, Job, Sequence[Part], OnStep], None]:
    """`measure_here` on a cluster: the same files, by the same function.

    `address`: "auto" (the cluster that this machine belongs to; also `HOST:PORT` of its head), or "local" (a new one
    of this machine alone). Its machines must reach the pool, the models and this project in the same folders as this
    one. Each GPU of the cluster, as it is at the start, has a model of its own; where there is none, each group of
    `cores` cores has.
    A part that is lost with its machine or its process is measured again; one that is written is not. An error in a
    part leaves the others alone, and is told at the end.

    Raises ValueError, in words, if Ray is not installed, the cluster cannot be reached or parts are not measured.
    """
    if address.startswith("ray://"):
        raise ValueError(
            f"{address}: Ray Data does not run through Ray's client; run this on a machine of the cluster, with 'auto'"
        )
    return functools.partial(_measure, address=address, cores=cores, load=load)


def _measure(
    pool: Pool, job: Job, parts: Sequence[Part], on_step: OnStep, *, address: str, cores: int, load: Load
) -> None:
    connect(address)
    from ray.exceptions import RayError

    rows = {part.number: part.rows for part in parts}
    done, failures = pool.size - sum(rows.values()), dict[int, str]()
    on_step("measure", done=done, of=pool.size)
    try:
        with closing(on_cluster(pool, job, parts, cores=cores, load=load)) as answers:
            for told in answers:
                if not told.failure:
                    done += rows[told.part]
                    on_step("measure", done=done, of=pool.size)
                    continue
                failures[told.part] = f"{told.failure} ({told.worker})"
                if len(failures) == GIVE_UP:
                    break
    except RayError as error:
        raise ValueError(f"the cluster cannot go on; what was measured is kept. Ray says: {error}") from error
    left = [part.number for part in missing(pool, job) if part.number in rows]
    if left:
        raise ValueError(_in_words(left, failures, len(parts)))


def connect(address: str) -> None:
    """Join a cluster, unless this process has joined one already. Raises ValueError if that cannot be done."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of the cluster that "local" starts
    try:
        import ray.data
    except ImportError:
        raise ValueError("measuring on a cluster needs Ray on each of its machines: pip install 'ray[data]'") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it warns that it shows no progress
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"there is no Ray cluster at {address!r} ({error}): start one with `ray start --head`, or say 'local'"
        ) from error


def on_cluster(
    pool: Pool, job: Job, parts: Sequence[Part], *, cores: int = 1, load: Load = Measurer
) -> Generator[Told]:
    """Measure `parts` on the cluster that this process has joined, and tell of each when it is done or has failed."""
    import ray.data

    if not parts:
        return
    models, gpus = places(ray.nodes(), cores)
    # a block a part, and one at a time for each model: what waits, waits for whichever is free first
    dataset = ray.data.from_items([{"part": part.number} for part in parts], override_num_blocks=len(parts)).map(
        WarmModel,  # type: ignore[arg-type]  # an instance is what is called
        fn_constructor_args=(pool.folder.resolve(), job, load, _attempts()),
        compute=ray.data.ActorPoolStrategy(size=min(models, len(parts)), max_tasks_in_flight_per_actor=1),
        num_cpus=None if gpus else cores,
        num_gpus=gpus or None,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(cores)}},  # so it is set before anything imports torch
    )
    dataset.context.enable_progress_bars = False
    dataset.context.execution_no_progress_timeout_s = -1  # half an hour by default: a part may take longer
    for row in dataset.iter_rows():
        yield Told(**row)


def places(nodes: Sequence[Mapping[str, Any]], cores: int) -> tuple[int, int]:
    """How many models the live ones of `nodes` (as `ray.nodes()` gives them) hold at once, and the GPUs of each.

    Raises ValueError if there is room for none.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if gpus:
        return gpus, 1
    groups = sum(int(machine.get("CPU", 0)) // cores for machine in machines)
    if not groups:
        most = max((int(machine.get("CPU", 0)) for machine in machines), default=0)
        raise ValueError(f"no machine of the cluster has the {cores} cores asked for a model; the largest has {most}")
    return groups, 0


def _attempts() -> Any:
    """An actor that counts how often each part was begun: Ray does that for ever while the process dies over it."""
    import ray

    class Attempts:  # in here, so that its process need not import all that this module does
        def __init__(self) -> None:
            self._begun: Counter[int] = Counter()

        def begin(self, part: int) -> int:
            """The times that it was begun, with this one."""
            self._begun[part] += 1
            return self._begun[part]

    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()


class WarmModel:
    """An actor that keeps a job's model in memory, and measures one part after the other."""

    def __init__(self, folder: Path, job: Job, load: Load, attempts: Any) -> None:
        self._job, self._attempts = job, attempts
        self._failure = ""
        try:
            self._pool = Pool.open(folder)
            self._parts = {part.number: part for part in self._pool.parts}
            self._measure = load(job)
        except Exception as error:  # let through, it would be told as the death of an actor
            self._failure = _told(error)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        number, failure, began, busy = int(item["part"]), self._failure, time.time(), time.process_time()
        try:
            if not failure:
                self._complete(number)
        except Exception as error:
            failure = _told(error)
        worker = f"process {os.getpid()} of {platform.node()}"
        told = Told(number, failure, worker, began, time.time() - began, time.process_time() - busy)
        return asdict(told)

    def _complete(self, number: int) -> None:
        import ray

        attempt, part = ray.get(self._attempts.begin.remote(number)), self._parts[number]
        if attempt > 1 and self._is_written(part):  # and whoever wrote it died before it said so
            return
        if attempt > ATTEMPTS:
            raise RuntimeError(f"what measured it died {ATTEMPTS} times, as from lack of memory; see the logs of Ray")
        write(self._pool.folder, self._job, part, self._measure(self._pool.read(part), part.first))

    def _is_written(self, part: Part) -> bool:
        try:
            read(self._pool.folder, self._job, part)
        except (FileNotFoundError, Broken):
            return False
        return True


def _told(error: Exception) -> str:
    """In words; where it was raised is written to the log of the actor."""
    log.error("a part is not measured", exc_info=error)
    return f"{type(error).__name__}: {error}"


def _in_words(left: Sequence[int], failures: Mapping[int, str], of: int) -> str:
    """What is left of `of` parts; those that failed for one reason together."""
    reasons: dict[str, list[str]] = {}
    for number in left:
        reasons.setdefault(failures.get(number, ""), []).append(str(number))
    untold = reasons.pop("", [])
    told = [f"part {', '.join(numbers)}: {reason}" for reason, numbers in reasons.items()]
    if untold:
        told.append(f"{len(untold)} more were not tried after that" if told else f"nothing is known of {len(untold)}")
    return f"{len(left)} of {of} parts are not measured, what was measured is kept. " + "; ".join(told)
