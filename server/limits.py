"""What a web process takes on at once: how large a request is, how long it may take, and how many are worked on.

A body is read whole, within bounds, before its request takes a place: slow clients wait for themselves alone. Requests
for predictions, Label Studio's other calls, and pages wait in three lines, so that none keeps another one waiting;
together they leave threads of the pool (40 in all) and connections to the database free.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.answers import Json

log = logging.getLogger("active_tagger")

MEGABYTE = 1_000_000
BODY_SECONDS = 60.0
"""For a body to arrive."""
ANSWER_SECONDS = 110.0
"""For an answer to begin; Label Studio waits 100 s at most."""
BODIES_HELD = 3
"""Bodies of the largest size that may be held at once, or so much in smaller ones."""
LISTENERS = 100
"""Pages that may be told of changes at once."""
LOG_EVERY = 60.0
"""Seconds between two lines in the log about what is refused."""
UNLIMITED = frozenset(("/", "/health", "/status", "/project"))
"""What neither looks into the database nor needs a thread."""


class Line:
    """So many requests are worked on at once, so many wait for them, so long at most."""

    def __init__(self, name: str, at_once: int, waiting: int, seconds: float) -> None:
        self.name = name
        self._seconds = seconds
        self._longest = waiting
        self._waiting = 0
        self._free = asyncio.Semaphore(at_once)

    async def enter(self) -> bool:
        """Take a place; False if there is none in time."""
        if not self._free.locked():
            return await self._free.acquire()
        if self._waiting >= self._longest:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._free.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give the place to the next."""
        self._free.release()


class Refused(Exception):
    """Says what is answered instead."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = Json({"detail": detail}, status, headers)


class Limits:
    """ASGI middleware that answers 413 to what is too large, 408 to what comes too slowly, and 503 with Retry-After to
    what is too much."""

    def __init__(
        self,
        app: ASGIApp,
        max_body_mb: Callable[[], int],
        *,
        body_seconds: float = BODY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        predictions: Line | None = None,
        calls: Line | None = None,
    ) -> None:
        self._app = app
        self._max_body_mb = max_body_mb
        self._body_seconds = body_seconds
        self._answer_seconds = answer_seconds
        # Predictions wait for the processor: more at once make each slower. Webhooks wait for each other in the
        # database: hundreds of them pass in a second, and what is refused is found only by the next comparison.
        calls = calls or Line("calls", 8, 400, 30.0)
        self._lines = {
            "/predict": predictions or Line("predictions", 4, 60, 10.0),
            "/webhook": calls,
            "/setup": calls,
            "/api/events": Line("listeners", LISTENERS, 0, 0.0),
        }
        self._others = Line("pages", 4, 60, 10.0)
        self._held = 0
        self._told = -LOG_EVERY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            if not await self._read(scope, receive, body):
                return
            line = self._line(scope["path"])
            if line is None:
                await self._app(scope, _again(body, receive), send)
                return
            if not await line.enter():
                raise Refused(503, f"too many {line.name} at once: ask again a little later", Retry_After="5")
            try:
                await self._answer(scope, _again(body, receive), send)
            finally:
                line.leave()
        except Refused as refused:
            self._tell(scope["path"], refused)
            await refused.answer(scope, receive, send)
        finally:
            self._held -= len(body)

    def _line(self, path: str) -> Line | None:
        if path in UNLIMITED or path.startswith("/pages/"):
            return None
        return self._lines.get(path, self._others)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> bool:
        """Fill `body`; False if the client has gone. Raises Refused."""
        most = self._max_body_mb() * MEGABYTE
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    part = message.get("body", b"")
                    if len(body) + len(part) > most:
                        raise self._too_large()
                    if self._held + len(part) > BODIES_HELD * most:
                        raise Refused(503, "too many large requests at once: ask again a little later", Retry_After="5")
                    body += part
                    self._held += len(part)
                    more = message.get("more_body", False)
        except TimeoutError:
            detail = f"the request's body did not arrive within {self._body_seconds:.0f} s"
            raise Refused(408, detail, Connection="close") from None
        return True

    def _too_large(self) -> Refused:
        return Refused(413, f"the request is larger than {self._max_body_mb()} MB (MAX_BODY_MB)")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, or tell the client that it does not. A thread cannot be stopped: whatever it says
        later is dropped, and its place in the line stays taken until then, so that such threads never grow many."""
        begun = gave_up = False
        saying: asyncio.Task[None] | None = None

        async def sending(message: Message) -> None:
            nonlocal begun
            if not gave_up:
                begun = True
                await send(message)

        def give_up() -> None:
            nonlocal gave_up, saying
            if not begun:
                gave_up = True
                detail = f"no answer within {self._answer_seconds:.0f} s"
                refused = Refused(503, detail, Retry_After="60", Connection="close")
                self._tell(scope["path"], refused)
                saying = asyncio.get_running_loop().create_task(refused.answer(scope, receive, send))

        timer = asyncio.get_running_loop().call_later(self._answer_seconds, give_up)
        try:
            await self._app(scope, receive, sending)
        finally:
            timer.cancel()
            if saying is not None:
                await saying

    def _tell(self, path: str, refused: Refused) -> None:
        if time.monotonic() - self._told >= LOG_EVERY:  # what comes in masses is not logged in masses
            self._told = time.monotonic()
            log.warning("%r is answered %s: %s", path[:100], refused.answer.status_code, refused)


def _again(body: bytearray, receive: Receive) -> Receive:
    """The body in one message, then whatever else comes."""
    told = False

    async def receiving() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return receiving
