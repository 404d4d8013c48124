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

log = logging.getLogger("active_tagger")

LOOK_EVERY = 0.2
"""Seconds between two looks for due projects, which take 2 ms: the mark in the database is the only trigger, none can
be lost."""

QUEUE_AGAIN = 60.0
"""Seconds after which a job that has not begun is queued once more: another trainer may have taken it and died. A job
too many finds nothing to do."""


def main() -> None:
    """Run until told to stop."""
    settings = Settings()
    set_up_logging(settings.log_level)
    workspace = Workspace(settings)
    queue, runner, simulations = open_queue(settings), Rounds(workspace), Simulations(workspace)
    pause = timedelta(seconds=settings.clean_up_pause)
    queued: dict[int, float] = {}

    @queue.task()  # type: ignore[untyped-decorator]
    def round_job(project_id: int) -> None:
        try:
            runner.run(project_id)
        finally:
            queued.pop(project_id, None)

    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK_EVERY):
            try:
                for round_id in rounds.interrupt_dead(workspace.db):
                    log.warning("round %s was interrupted; it will be started again", round_id)
                for project_id in rounds.ready(workspace.db, pause):
                    if time.monotonic() - queued.get(project_id, -QUEUE_AGAIN) >= QUEUE_AGAIN:
                        queued[project_id] = time.monotonic()
                        round_job(project_id)
                simulations.look()
                heartbeat.beat(settings.data_dir)
            except Exception:
                log.exception("looking for something to do failed; trying again")

    queue.flush()  # whatever an earlier trainer left queued is still due in the database
    # An idle consumer would by and by look for jobs every 10 s only.
    consumer = queue.create_consumer(workers=1, periodic=False, check_worker_health=True, max_delay=LOOK_EVERY)
    runner.open()
    threading.Thread(target=watch, daemon=True).start()
    log.info("trainer ready")
    try:
        consumer.run()
    finally:
        stop.set()
        simulations.close()
        runner.close()


if __name__ == "__main__":
    main()
