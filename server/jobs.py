"""Rounds as Huey jobs, each run in a spawned process that may die without taking anything along."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from concurrent.futures.process import BrokenProcessPool

from huey import Huey, RedisHuey, SqliteHuey
from sqlalchemy import select

from learning import rounds
from learning.database import Round
from learning.settings import Settings
from learning.workspace import Workspace
from server.child import work

log = logging.getLogger("active_tagger")

ROUNDS_PER_PROCESS = 20
"""After so many the training process is replaced, so that no library's leak grows for months."""


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

    def run(self, project_id: int) -> None:
        """One job, to its end. A process that was killed leaves its round to `rounds.interrupt_dead`."""
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    max_workers=1,
                    mp_context=multiprocessing.get_context("spawn"),
                    max_tasks_per_child=ROUNDS_PER_PROCESS,
                )
            try:
                done = self._pool.submit(work, project_id)
                while True:
                    try:
                        return done.result(timeout=10)
                    except NotYet:
                        self._beat(project_id)
            except BrokenProcessPool:
                if self._closing:
                    return None
                log.error("project %s: the training process died; the round will be started again", project_id)
                self._pool = None
                rounds.interrupt_dead(self.workspace.db)

    def _beat(self, project_id: int) -> None:
        with self.workspace.db.read() as session:
            under_way = session.scalar(
                select(Round.id).where(Round.project_id == project_id, Round.state.in_(["running", "publishing"]))
            )
        if under_way is not None:
            rounds.beat(self.workspace.db, under_way)

    def close(self) -> None:
        """End the process. A round that is under way is interrupted and started again later."""
        self._closing = True
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
