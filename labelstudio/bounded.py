"""HTTP for addresses that stand in task data: bounded in time and size, and connected only to what was checked."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

LARGEST = 10_000_000
"""Bytes that are read of an answer."""
CONNECT = 3.0
"""Seconds for a connection."""
WHOLE = 15.0
"""Seconds for all of it, redirects included."""
TRIED = 3
"""Addresses of one name that are tried."""
TRANSLATED = IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a gateway translates to the IPv4 address in their last 32 bits (RFC 6052)."""

Resolve = Callable[..., Iterable[Any]]
"""As `socket.getaddrinfo`."""


class NotTaken(ValueError):
    """An answer, or an address to connect to, that the rules forbid."""


class Bounded(httpx.BaseTransport):
    """One connection a request, with the answer read before it is given.

    A name is resolved once and its addresses are checked; the connection goes to one of these, so that a name that
    resolves otherwise a moment later (DNS rebinding) leads nowhere else. No proxy is asked: it would resolve anew.
    """

    def __init__(self, inside: Callable[[str, int], bool], resolve: Resolve = socket.getaddrinfo) -> None:
        """`inside` says whether a host may, at a port, have an address that is not public."""
        self._inside, self._resolve = inside, resolve

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises NotTaken, or httpx's ReadTimeout or NetworkError. `extensions["deadline"]` is a moment of the
        monotonic clock."""
        deadline = request.extensions.get("deadline", time.monotonic() + WHOLE)
        url = request.url
        asked = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.read(),
            extensions={"timeout": {"connect": CONNECT, "read": WHOLE, "write": WHOLE}},
        )
        backend = _Connections(self._inside, self._resolve, deadline)
        try:
            with httpcore.ConnectionPool(self._tls if url.scheme == "https" else None, network_backend=backend) as pool:
                answer = pool.handle_request(asked)
                try:
                    body = _read(answer)
                finally:
                    answer.close()
        except (httpcore.ReadTimeout, httpcore.WriteTimeout):
            raise httpx.ReadTimeout("no whole answer in time", request=request) from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.NetworkError(str(error) or type(error).__name__, request=request) from None
        return httpx.Response(answer.status, headers=answer.headers, content=body, request=request)


def _read(answer: httpcore.Response) -> bytes:
    headers = httpx.Headers(answer.headers)
    if headers.get("content-encoding", "identity").lower() != "identity":  # it was not asked for, and may hide a bomb
        raise NotTaken(f"it is sent compressed ({headers['content-encoding']}), which was not asked for")
    parts, size = [], 0
    for part in answer.iter_stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise NotTaken(f"it has more than {LARGEST / 1e6:.0f} MB")
    return b"".join(parts)


class _Connections(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and ends with a time-out whatever is under way at the deadline."""

    def __init__(self, inside: Callable[[str, int], bool], resolve: Resolve, deadline: float) -> None:
        self._inside, self._resolve, self._deadline = inside, resolve, deadline
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        try:
            found = list(dict.fromkeys(str(info[4][0]) for info in self._resolve(host, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError):
            raise httpcore.ConnectError(f"the name {host!r} is not known") from None
        if not self._inside(host, port) and (private := next((a for a in found if not is_public(a)), None)):
            raise NotTaken(
                f"{host!r} leads to {private}, an address that is not public; if it is meant, name it with its port "
                f"in TEXT_HOSTS: {host}:{port}"
            )
        error: Exception = httpcore.ConnectError(f"the name {host!r} has no address")
        for address in found[:TRIED]:
            try:
                left = _left(self._deadline, timeout)
                stream = self._tcp.connect_tcp(address, port, left, local_address, socket_options)
                return _Until(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
        raise error


class _Until(httpcore.NetworkStream):
    """A connection that is good until a moment, also where bytes keep dripping."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline, timeout))
        return _Until(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left if timeout is None else min(left, timeout)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where an IPv6 address stands for an IPv4 one."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip_address(int(ip) & 0xFFFFFFFF) if ip in TRANSLATED else None)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None:
            return False
    return ip.is_global and not ip.is_multicast
