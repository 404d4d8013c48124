"""A round's progress in the database, with its sign of life."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from learning import faults
from learning.database import Database, Round, clock, now

log = logging.getLogger("active_tagger")

TRY_AGAIN = 5.0
"""Seconds until something is written once more that could not be."""


class TakenForDead(RuntimeError):
    """A round's process gave no sign of life for so long that its work was given to another one."""


class Recorder:
    """Writes a round's progress, at most once a second within a step, with its sign of life, and times the steps.

    A database whose server is starting again ends no round. Raises TakenForDead where another process has the work now.
    """

    def __init__(self, db: Database, round_id: int) -> None:
        self._db, self._round_id = db, round_id
        self._step, self._written = "", now()
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}

    def __call__(self, step: str, **detail: Any) -> None:
        at = now()
        if step == self._step and abs(at - self._written) < timedelta(seconds=1):
            return
        self._add_up()
        self._step, self._written = step, at
        if fault := self._fault({"step": step, **detail}):
            log.warning("round %s goes on, its progress is not written: %s", self._round_id, fault)

    def insist(self, step: str) -> None:
        """Begin a step that needs the database, once it answers: what was trained until here is not thrown away for a
        server that is starting again."""
        self._add_up()
        self._step, self._written = step, now()
        while fault := self._fault({"step": step}):
            log.warning("round %s waits: %s", self._round_id, fault)
            time.sleep(TRY_AGAIN)

    def _fault(self, progress: dict[str, Any]) -> str | None:
        """What keeps this from being written, where that passes by itself; None once it is written."""
        try:
            self._write(progress)
        except DBAPIError as error:
            if not faults.away(error):
                raise
            return faults.known(error)
        return None

    def _write(self, progress: dict[str, Any]) -> None:
        under_way = (Round.id == self._round_id, Round.state.in_(["running", "publishing"]))
        with self._db.write() as session:
            written = update(Round).where(*under_way).values(progress=progress, heartbeat=clock(session))
            if session.scalar(written.returning(Round.id)) is None:
                raise TakenForDead("the round was taken for dead; another one does its work")

    def seconds(self) -> dict[str, float]:
        """What each step has taken until now."""
        self._add_up()
        return {step: round(seconds, 3) for step, seconds in self._seconds.items()}

    def _add_up(self) -> None:
        at = time.monotonic()
        if self._step:
            self._seconds[self._step] = self._seconds.get(self._step, 0.0) + at - self._began
        self._began = at
