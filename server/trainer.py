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
    queue, runner = job_queue.open_queue(settings), Rounds(workspace)
    simulations, upkeep = Simulations(workspace), Upkeep(workspace)
    pause = timedelta(seconds=settings.clean_up_pause)
    queued: dict[int, float] = {}
    on_a_server = workspace.db.engine.dialect.name != "sqlite"
    if (fault := job_queue.fault(settings)) is not None:
        log.error("%s; no round begins until then", fault)

    @queue.task()  # type: ignore[untyped-decorator]
    def round_job(project_id: int) -> None:
        try:
            runner.run(project_id)
        finally:
            queued.pop(project_id, None)

    stop = threading.Event()

    queue_from = judge_from = beat_from = 0.0  # by `time.monotonic`
    first = not on_a_server

    def look() -> None:
        nonlocal beat_from, first
        if time.monotonic() >= judge_from:
            for round_id in rounds.interrupt_dead(workspace.db):
                log.warning("round %s was interrupted; it will be started again", round_id)
        if time.monotonic() >= queue_from:
            queue_what_is_due()
        simulations.look()
        if first:
            upkeep.look()
        if not on_a_server:
            heartbeat.beat(workspace)
        elif time.monotonic() >= beat_from:
            heartbeat.beat(workspace)
            beat_from, first = time.monotonic() + heartbeat.EVERY, heartbeat.is_first(workspace)

    def queue_what_is_due() -> None:
        nonlocal queue_from
        ready = rounds.ready(workspace.db, pause)
        for project_id in list(queued):
            if project_id not in ready:  # it runs, on whatever machine
                queued.pop(project_id, None)
        for project_id in ready:
            if time.monotonic() - queued.get(project_id, -QUEUE_AGAIN) >= QUEUE_AGAIN:
                try:
                    round_job(project_id)
                except RedisError as error:
                    queue_from = time.monotonic() + QUEUE_FAULT
                    log.error("the job queue (QUEUE_URL) does not answer, no round begins until it does: %s", error)
                    return
                queued[project_id] = time.monotonic()

    def watch() -> None:
        nonlocal judge_from
        faults = 0
        while not stop.wait(min(LOOK_EVERY * 2 ** min(faults, 10), SLOWEST_LOOK)):
            try:
                look()
                faults = 0
            except Exception:
                faults += 1
                judge_from = time.monotonic() + SLOWEST_LOOK + RECOVERY
                log.exception("looking for something to do failed; trying again")

    if not settings.queue_url:
        queue.flush()  # whatever an earlier trainer left queued is still due in the database
    # An idle consumer would by and by look for jobs every 10 s only.
    # Told to stop it does so, by either signal: what is broken off is taken up again.
    consumer = queue.create_consumer(
        workers=1, periodic=False, check_worker_health=True, max_delay=LOOK_EVERY, shutdown_timeout=0
    )
    runner.open()
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    log.info("trainer ready")
    try:
        consumer.run()
    finally:
        stop.set()
        watching.join(timeout=2)  # or it would take the process that is ended here for one that died
        for close in (lambda: heartbeat.end(workspace), simulations.close, runner.close):
            try:
                close()
            except SQLAlchemyError as error:  # the others end all the same; the rest is found by missing signs of life
                log.error("the end could not be written down: %s", error)


if __name__ == "__main__":
    main()
