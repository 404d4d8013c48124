"""Server-sent events: each project's summary whenever it changes."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from learning.database import Project, Round
from learning.workspace import Workspace
from server.schemas import Summary
from server.states import summary

log = logging.getLogger("active_tagger")

LOOK_EVERY = 1.0
"""Seconds between two looks at the database, for all who listen to this process together."""
SHOWN = (
    *(Project.key, Project.revision, Project.due, Project.due_reason, Project.paused, Project.notice, Project.title),
    *(Project.current_round_id, Project.extra_params, Round.id, Round.state, Round.progress, Round.error),
)
"""What a summary hangs on: as long as these stay, so does it."""


class Feed:
    """Looks at the database while somebody listens, once for all of them, and wakes them when something has changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._told: dict[int, tuple[int, dict[str, Any]]] = {}
        """By project: the number of the news, and the summary."""
        self._count = 0
        self._news = asyncio.Event()
        self._listeners = 0
        self._looking: asyncio.Task[None] | None = None
        self._ended = False

    async def listen(self) -> AsyncIterator[dict[str, Any]]:
        """All summaries, then those that change, until the server ends."""
        seen = 0
        with self._listening():
            while not self._ended:
                news = self._news  # before the look: what comes meanwhile sets it
                found = [told for number, told in self._told.values() if number > seen]
                seen = self._count
                for told in found:
                    yield told
                await news.wait()

    def end(self) -> None:
        """Let all listeners go: an open answer would keep the server from ending."""
        self._ended = True
        self._wake()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        self._listeners += 1
        if self._looking is None:
            self._told = {}
            self._looking = asyncio.create_task(self._look_again_and_again())
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look_again_and_again(self) -> None:
        signatures: dict[int, tuple[Any, ...]] = {}
        while not self._ended:
            changed: dict[int, dict[str, Any]] = {}
            try:
                signatures, changed = await asyncio.to_thread(self._look, signatures)
            except Exception:
                log.exception("looking for changes failed; trying again")
            news = {id: told for id, told in changed.items() if self._told.get(id, (0, None))[1] != told}
            if news:
                self._count += 1
                self._told |= {id: (self._count, told) for id, told in news.items()}
                self._wake()
            await asyncio.sleep(LOOK_EVERY)

    def _look(
        self, signatures: dict[int, tuple[Any, ...]]
    ) -> tuple[dict[int, tuple[Any, ...]], dict[int, dict[str, Any]]]:
        """What the projects look like now, and the summaries of those that looked otherwise before."""
        any_round = aliased(Round)
        newest = select(func.max(any_round.id)).where(any_round.project_id == Project.id).correlate(Project)
        wanted = select(Project.id, *SHOWN).outerjoin(Round, Round.id == newest.scalar_subquery()).order_by(Project.id)
        with self._workspace.db.read() as session:
            fault = self._workspace.storage.fault()  # which no row could tell of
            found = {id: (*shown, fault) for id, *shown in session.execute(wanted)}
            changed = [id for id, shown in found.items() if signatures.get(id) != shown]
            told = {
                id: Summary.model_validate(summary(session, session.get_one(Project, id), self._workspace))
                for id in changed
            }
        return found, {id: one.model_dump(mode="json", by_alias=True) for id, one in told.items()}

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@contextmanager
def ended_with_the_server(feed: Feed) -> Iterator[None]:
    """End the feed as soon as the process is told to stop: the server waits for open answers before it says so."""
    if threading.current_thread() is not threading.main_thread():  # a test's server, which gets no signals
        yield
        feed.end()
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(feed.end)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        feed.end()
