"""The web processes' HTTP connections, bounded in number and in the time that a client may take."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn_worker import UvicornWorker

REQUEST_SECONDS = 20.0
"""From a connection's first moment, or a request's first byte on it, to the end of that request's headers."""
UNREAD_SECONDS = 60.0
"""For a client to take in what was sent to it."""
MOST_CONNECTIONS = 500
"""At once in one process: others are closed. A process may hold 1,024 files open on most systems."""
SHUTDOWN_SECONDS = 25
"""For requests under way to finish when the process is to end."""


class Connection(H11Protocol):
    """Uvicorn's, which by itself waits for the first request, and for the rest of a later one, without end."""

    request_seconds = REQUEST_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._patience: asyncio.TimerHandle | None = None
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
            return
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux
            seconds = int(UNREAD_SECONDS * 1000)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds)
        self._wait_or_not()

    def data_received(self, data: bytes) -> None:
        """A part of a request, or a whole one, or what follows a request that was refused before its end."""
        super().data_received(data)
        self._wait_or_not()

    def connection_lost(self, exc: Exception | None) -> None:
        """It waits for nothing any more."""
        super().connection_lost(exc)
        if self._patience is not None:
            self._patience.cancel()

    def shutdown(self) -> None:
        """The process is to end: a client that has just connected may still ask one thing."""
        if self.cycle is None and not self.transport.is_closing():
            self.loop.call_later(1.0, self._shut_down_later)
        else:
            super().shutdown()

    def _shut_down_later(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _wait_or_not(self) -> None:
        waiting = self.cycle is None or self.cycle.response_complete
        if not waiting and self._patience is not None:
            self._patience.cancel()
            self._patience = None
        elif waiting and self._patience is None:
            self._patience = self.loop.call_later(self.request_seconds, self.timeout_keep_alive_handler)


class Worker(UvicornWorker):
    """Gunicorn's worker with such connections."""

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012
        "loop": "asyncio",
        "http": Connection,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
    }
