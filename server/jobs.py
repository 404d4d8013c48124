"""Rounds as Huey jobs, each run in a spawned process that may die without taking anything along."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from concurrent.futures.process import BrokenProcessPool

from sqlalchemy.exc import DBAPIError

from learning import faults, rounds
from learning.owners import HEARTBEAT_LIMIT, owner
from learning.workspace import Workspace
from server.child import warm_up, work

log = logging.getLogger("active_tagger")

ROUNDS_PER_PROCESS = 50
"""After so many the training process is replaced, so that no library's leak grows for months. A new one compares
everything with Label Studio in its first round."""
BEAT_EVERY = HEARTBEAT_LIMIT.total_seconds() / 6
"""Seconds between two signs of life of a round."""
NO_LONGER = HEARTBEAT_LIMIT.total_seconds() * 0.75
"""Seconds that a round may be published for without a sign of life: soon another machine will go on with it, and both
would add predictions. One that trains goes on: it stores nothing if another has its work."""


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
        state, told = None, time.monotonic()
        while True:
            try:
                return done.result(timeout=BEAT_EVERY)
            except NotYet:
                try:
                    state, told = self._beat(), time.monotonic()
                except DBAPIError as error:  # locked, or the disk is full: the round itself will say so
                    log.warning("project %s: no sign of life could be written: %s", project_id, error.orig)
                    if state == "publishing" and faults.away(error) and time.monotonic() - told > NO_LONGER:
                        self._end_processes()

    def _replace(self) -> None:
        """Between two jobs, so that nobody waits for the new process."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        self._start().submit(warm_up)

    def _beat(self) -> str | None:
        """A sign of life of what the process is at, whatever another machine is at meanwhile; its state."""
        found = [rounds.beat(self.workspace.db, pid) for pid in self._pids()]
        return next(filter(None, found), None)

    def _pids(self) -> list[int]:
        return list((self._pool._processes if self._pool else None) or {})

    def _end_processes(self) -> list[int]:
        processes = list(((self._pool._processes if self._pool else None) or {}).values())
        for process in processes:
            process.terminate()
        return [process.pid for process in processes if process.pid is not None]

    def close(self) -> None:
        """End the process. A round that is under way has not failed: it is started again later."""
        self._closing = True
        if self._pool is None:
            return
        owners = [owner(pid) for pid in self._end_processes()]
        self._pool.shutdown(wait=True, cancel_futures=True)
        for round_id in rounds.give_back(self.workspace.db, owners):
            log.info("round %s was broken off; it will be started again", round_id)
