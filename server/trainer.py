"""The trainer: `python -m server.trainer` runs the rounds that are due, and simulations beside them."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from learning import rounds
from learning.settings import Settings
from learning.workspace import Workspace
from server import heartbeat
from server.jobs import Rounds, open_queue
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


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    set_up_logging(settings.log_level, settings.log_format)
    workspace = Workspace(settings)
    queue, runner = open_queue(settings), Rounds(workspace)
    simulations, upkeep = Simulations(workspace), Upkeep(workspace)
    pause = timedelta(seconds=settings.clean_up_pause)
    queued: dict[int, float] = {}

    @queue.task()  # type: ignore[untyped-decorator]
    def round_job(project_id: int) -> None:
        try:
            runner.run(project_id)
        finally:
            queued.pop(project_id, None)

    stop = threading.Event()

    def look() -> None:
        for round_id in rounds.interrupt_dead(workspace.db):
            log.warning("round %s was interrupted; it will be started again", round_id)
        for project_id in rounds.ready(workspace.db, pause):
            if time.monotonic() - queued.get(project_id, -QUEUE_AGAIN) >= QUEUE_AGAIN:
                queued[project_id] = time.monotonic()
                round_job(project_id)
        simulations.look()
        upkeep.look()
        heartbeat.beat(settings.data_dir)

    def watch() -> None:
        faults = 0
        while not stop.wait(min(LOOK_EVERY * 2 ** min(faults, 10), SLOWEST_LOOK)):
            try:
                look()
                faults = 0
            except Exception:
                faults += 1
                log.exception("looking for something to do failed; trying again")

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
        heartbeat.end(settings.data_dir)
        simulations.close()
        runner.close()


if __name__ == "__main__":
    main()
