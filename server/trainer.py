"""The trainer: `python -m server.trainer` runs the rounds that are due, and simulations beside them.

There may be several, on several machines: each finds by itself what is due, and the database gives it to one of them.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from pydantic import ValidationError
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from learning import rounds
from learning.migrations import UnusableDatabase
from learning.settings import Settings, in_words
from learning.workspace import Workspace
from server import heartbeat, job_queue
from server.jobs import BEAT_EVERY, Rounds
from server.logs import set_up_logging
from server.simulations import Simulations
from server.upkeep import Upkeep

log = logging.getLogger("active_tagger")

LOOK_EVERY = 0.2
"""Seconds between two looks for due projects, which take 2 ms: the mark in the database is the only trigger, none can
be lost."""

SLOWEST_LOOK = 10.0
"""The same, at the most, while the database cannot be read or written."""

QUEUE_AGAIN = 60.0
"""Seconds after which a job that has not begun is queued once more: another trainer may have taken it and died. A job
too many finds nothing to do."""
QUEUE_FAULT = 5.0
"""Seconds until a queue that did not answer is tried again."""
RECOVERY = BEAT_EVERY + 5.0
"""Seconds after the database was away before anything is taken for dead: nothing could give a sign of life."""


class Trainer:
    """One process that looks for what is due, runs rounds and simulations, and tells that it lives.

    All state is here but what the database holds: which of the projects that are due this process has queued.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._pause = timedelta(seconds=workspace.settings.clean_up_pause)
        self._queue = job_queue.open_queue(workspace.settings)
        self._queue_round = self._queue.task(name="round_job")(self._round)
        self._runner, self._simulations, self._upkeep = Rounds(workspace), Simulations(workspace), Upkeep(workspace)
        self._queued: dict[int, float] = {}
        """By project, when it was queued. This and the three times below: by `time.monotonic`."""
        self._queue_from = self._judge_from = self._beat_from = 0.0
        self._alone = workspace.db.engine.dialect.name == "sqlite"
        self._first = self._alone
        """Whether this is the trainer that keeps the house."""
        self._stop = threading.Event()

    def run(self) -> None:
        """Work until a signal says stop; whatever is broken off then is taken up again by the next trainer."""
        if (fault := job_queue.fault(self._workspace.settings)) is not None:
            log.error("%s; no round begins until then", fault)
        if not self._workspace.settings.queue_url:
            self._queue.flush()  # whatever an earlier trainer left queued is still due in the database
        # An idle consumer would by and by look for jobs every 10 s only.
        consumer = self._queue.create_consumer(
            workers=1, periodic=False, check_worker_health=True, max_delay=LOOK_EVERY, shutdown_timeout=0
        )
        self._runner.open()
        watching = threading.Thread(target=self._watch, daemon=True)
        watching.start()
        log.info("trainer ready")
        try:
            consumer.run()
        finally:
            self._stop.set()
            watching.join(timeout=2)  # or it would take the process that is ended here for one that died
            self._close()

    def _round(self, project_id: int) -> None:
        try:
            self._runner.run(project_id)
        finally:
            self._queued.pop(project_id, None)

    def _watch(self) -> None:
        faults = 0
        while not self._stop.wait(min(LOOK_EVERY * 2 ** min(faults, 10), SLOWEST_LOOK)):
            try:
                self._look()
                faults = 0
            except Exception:
                faults += 1
                self._judge_from = time.monotonic() + SLOWEST_LOOK + RECOVERY
                log.exception("looking for something to do failed; trying again")

    def _look(self) -> None:
        if time.monotonic() >= self._judge_from:
            for round_id in rounds.interrupt_dead(self._workspace.db):
                log.warning("round %s was interrupted; it will be started again", round_id)
        if time.monotonic() >= self._queue_from:
            self._queue_what_is_due()
        self._simulations.look()
        if self._first:
            self._upkeep.look()
        if self._alone:
            heartbeat.beat(self._workspace)
        elif time.monotonic() >= self._beat_from:
            heartbeat.beat(self._workspace)
            self._beat_from = time.monotonic() + heartbeat.EVERY
            self._first = heartbeat.is_first(self._workspace)

    def _queue_what_is_due(self) -> None:
        ready = rounds.ready(self._workspace.db, self._pause)
        for project_id in list(self._queued):
            if project_id not in ready:  # it runs, on whatever machine
                self._queued.pop(project_id, None)
        for project_id in ready:
            if time.monotonic() - self._queued.get(project_id, -QUEUE_AGAIN) >= QUEUE_AGAIN:
                try:
                    self._queue_round(project_id)
                except RedisError as error:
                    self._queue_from = time.monotonic() + QUEUE_FAULT
                    log.error("the job queue (QUEUE_URL) does not answer, no round begins until it does: %s", error)
                    return
                self._queued[project_id] = time.monotonic()

    def _close(self) -> None:
        for close in (lambda: heartbeat.end(self._workspace), self._simulations.close, self._runner.close):
            try:
                close()
            except SQLAlchemyError as error:  # the others end all the same; the rest is found by missing signs of life
                log.error("the end could not be written down: %s", error)


def main() -> None:
    """Run until told to stop."""
    try:
        settings = Settings()
        set_up_logging(settings.log_level, settings.log_format)
        workspace = Workspace(settings)
        _ = workspace.db
    except ValidationError as error:
        raise SystemExit(f"Settings (environment or .env): {in_words(error)}") from None
    except UnusableDatabase as error:
        raise SystemExit(str(error)) from None
    Trainer(workspace).run()


if __name__ == "__main__":
    main()
