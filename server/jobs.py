"""Rounds as Huey jobs, each run in a spawned process that may die without taking anything along."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from concurrent.futures.process import BrokenProcessPool

from huey import Huey, RedisHuey, SqliteHuey
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from learning import rounds
from learning.database import Round
from learning.settings import Settings
from learning.workspace import Workspace
from server.child import warm_up, work

log = logging.getLogger("active_tagger")

ROUNDS_PER_PROCESS = 50
"""After so many the training process is replaced, so that no library's leak grows for months. A new one compares
everything with Label Studio in its first round."""


def open_queue(settings: Settings) -> Huey:
    """The job queue: SQLite in the data folder, or Redis for several machines."""
    if settings.queue_url:
        return RedisHuey("active-tagger", url=settings.queue_url, results=False)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return SqliteHuey("active-tagger", filename=str(settings.data_dir / "jobs.db"), results=False)


class Rounds:
    """Runs jobs one after another in a warm spawned process, and replaces that process when it dies."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._closing = False
        self._jobs = 0

    def open(self) -> None:
        """Start the process and let it import what every round needs, which takes seconds."""
        with self._lock:
            self._start().submit(warm_up)

    def _start(self) -> ProcessPoolExecutor:
        self._pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=signal.signal,  # Ctrl-C reaches every process of a terminal: this one's parent will end it
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        self._jobs = 0
        return self._pool

    def run(self, project_id: int) -> None:
        """One job, to its end. A process that was killed leaves its round to `rounds.interrupt_dead`."""
        with self._lock:
            if self._closing:
                return
            try:
                done = (self._pool or self._start()).submit(work, project_id)
                self._wait(done, project_id)
            except BrokenProcessPool:
                if self._closing:
                    return
                log.error("project %s: %s; the round will be started again", project_id, rounds.KILLED)
                self._replace()
                rounds.interrupt_dead(self.workspace.db)
            self._jobs += 1
            if self._jobs >= ROUNDS_PER_PROCESS and not self._closing:
                self._replace()

    def _wait(self, done: Future[None], project_id: int) -> None:
        while True:
            try:
                return done.result(timeout=10)
            except NotYet:
                try:
                    self._beat(project_id)
                except DBAPIError as error:  # locked, or the disk is full: the round itself will say so
                    log.warning("project %s: no sign of life could be written: %s", project_id, error.orig)

    def _replace(self) -> None:
        """Between two jobs, so that nobody waits for the new process."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._start().submit(warm_up)

    def _beat(self, project_id: int) -> None:
        with self.workspace.db.read() as session:
            under_way = session.scalar(
                select(Round.id).where(Round.project_id == project_id, Round.state.in_(["running", "publishing"]))
            )
        if under_way is not None:
            rounds.beat(self.workspace.db, under_way)

    def close(self) -> None:
        """End the process. A round that is under way has not failed: it is started again later."""
        self._closing = True
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values())
        for process in processes:
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        owners = [rounds.owner(process.pid) for process in processes]
        for round_id in rounds.give_back(self.workspace.db, owners):
            log.info("round %s was broken off; it will be started again", round_id)
