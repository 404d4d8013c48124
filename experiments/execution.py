"""Many runs side by side: over processes of this machine, or over a Ray cluster."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from experiments.corpora import Corpus, load_corpus
from experiments.plan import Plan
from experiments.results import Run, open_run, read_run
from learning.processes import end_with_parent

VECTORS = "vectors"
"""Folder beside the runs where the vectors of frozen encoders are kept, for all of them."""


@dataclass(frozen=True)
class Experiment:
    """Runs of one plan, by strategies and seeds, in a folder of their own."""

    root: Path
    plan: Plan
    strategies: Sequence[str]
    seeds: Sequence[int]
    corpora: Path | None = None
    """Where named corpora are."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.name

    def runs(self) -> list[Run]:
        """All runs with what they hold; folders are made. The seeds of one strategy after another's.

        Raises ValueError if settings do not fit together, or a folder was begun with others.
        """
        for strategy in self.strategies:
            self.plan.settings(strategy, 0)
        return [open_run(self.root, self.plan, strategy, seed) for seed in self.seeds for strategy in self.strategies]


@dataclass(frozen=True)
class Failure:
    """A run that ended before its last round."""

    run: Run
    reason: str


def execute(
    experiment: Experiment,
    *,
    processes: int = 1,
    ray: str | None = None,
    on_wait: Callable[[Sequence[Run]], None] = lambda runs: None,
) -> list[Failure]:
    """Bring all runs of an experiment to their end; what is done already is not done again.

    `ray`: address of a cluster ("auto": the one that this machine belongs to, "local": a new one of this machine
    alone) whose machines see the same folders under the same names; else `processes` here share the cores.
    `on_wait` is told the runs about once a second. One run's failure leaves the others alone; it is returned.
    """
    corpus_of(experiment.plan, experiment.corpora)  # what is missing should be told here, and once
    runs = experiment.runs()
    waiting = [run for run in runs if not run.finished]
    with _submitting(processes, ray) as submit:
        jobs = {submit(run, experiment.corpora): run for run in waiting}
        unfinished = set(jobs)
        on_wait(runs)
        while unfinished:
            unfinished = wait(unfinished, timeout=1).not_done
            runs = [run if run.finished else read_run(run.folder) for run in runs]
            on_wait(runs)
    return [Failure(run, reason) for job, run in jobs.items() if (reason := job.result()) is not None]


def corpus_of(plan: Plan, corpora: Path | None) -> Corpus:
    """What a plan is run on. Raises as `load_corpus`."""
    return load_corpus(plan.data, corpora, plan.kind, dev=plan.own_dev)


def carry_out(run: Run, corpora: Path | None, threads: int) -> str | None:
    """Bring one run to its end, in a process of its own; gives what went wrong."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    from experiments.simulation import complete
    from taggers import vector_store

    logging.getLogger("transformers").setLevel(logging.ERROR)
    vector_store.keep_in(run.folder.parents[2] / VECTORS)
    with (run.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return "another process is at it"
        try:
            complete(corpus_of(run.plan, corpora), read_run(run.folder))
        except Exception as error:
            (run.folder / "error.txt").write_text(traceback.format_exc())
            return f"{type(error).__name__}: {error} (see {run.folder / 'error.txt'})"
        (run.folder / "error.txt").unlink(missing_ok=True)
        return None


Submit = Callable[[Run, Path | None], "Future[str | None]"]


@contextmanager
def _submitting(processes: int, ray: str | None) -> Iterator[Submit]:
    if ray is not None:
        remote = _remote(ray)

        def submit(run: Run, corpora: Path | None) -> Future[str | None]:
            """Its machines may work in other folders."""
            somewhere = corpora.resolve() if corpora else None
            future: Future[str | None] = remote.remote(replace(run, folder=run.folder.resolve()), somewhere, 1).future()
            return future

        yield submit
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ThreadPoolExecutor(processes) as pool:
        try:
            yield lambda run, corpora: pool.submit(_in_process, run, corpora, threads)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _in_process(run: Run, corpora: Path | None, threads: int) -> str | None:
    """A process for each run, so that one that dies takes no other along, nor leaves memory behind."""
    context = multiprocessing.get_context("spawn")
    answer, told = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(told, run, corpora, threads))
    child.start()
    told.close()
    try:
        reason: str | None = answer.recv()
    except EOFError:
        child.join()
        reason = f"its process died (exit code {child.exitcode}): out of memory?"
    child.join()
    return reason


def _child(told: Connection, run: Run, corpora: Path | None, threads: int) -> None:
    end_with_parent()
    reason = carry_out(run, corpora, threads)
    with suppress(BrokenPipeError):  # nobody waits any more
        told.send(reason)


def _remote(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise SystemExit("--ray needs Ray on every machine of the cluster: pip install ray") from None
    ray.init(address=address, ignore_reinit_error=True)
    return ray.remote(num_cpus=1)(carry_out)
