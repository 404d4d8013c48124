"""Prometheus: `/metrics`, and the times that requests take, by route and kind of status."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request, Response
from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import model
from server.collectors import Learning, memory

log = logging.getLogger("active_tagger")

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that says where the web processes put their figures together (see `gunicorn.conf.py`). Without it this
process tells its own."""
PATIENCE = 1.0
"""Seconds that Label Studio waits for a webhook: what takes longer is logged."""
ROOM = 1 << 20
"""Bytes of a process' figures, as prometheus_client makes their file."""
UNKNOWN = "other"
"""The route of requests that lead nowhere: an address is never a label, or anybody could make endless many."""

REQUEST_SECONDS = Histogram(
    "active_tagger_request_seconds",
    "Seconds until the answer to a request begins.",
    ["route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0),
    registry=None,
)


@cache
def _of(route: str, status: str) -> Histogram:
    """Looked up once: labels are few, requests many. Raises OSError while the disk has no room for any figures."""
    _take_room()
    return REQUEST_SECONDS.labels(route, status)


@cache
def _take_room() -> None:
    """Have the disk set aside all that the figures of this process, and of ended ones, may take: they are written by
    mapping their file into memory, and the kernel kills whoever maps a file that a full disk has no room for."""
    if folder := os.environ.get(SHARED_FOLDER):
        for whose in (os.getpid(), "ended"):
            with (Path(folder) / f"histogram_{whose}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, ROOM)


class RequestTimes:
    """ASGI middleware that times every request until its answer begins, so that streams count as what they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                observe(message["status"])
            await send(message)

        answered = False

        def observe(status: int) -> None:
            nonlocal answered
            answered = True
            seconds = time.perf_counter() - began
            with suppress(OSError):
                _of(route_of(scope), f"{status // 100}xx").observe(seconds)
            if seconds > PATIENCE:
                log.info("%s took %.1f s", scope["path"], seconds)

        try:
            await self._app(scope, receive, timed)
        except Exception:
            if not answered:  # the server makes it a 500, outside of all middleware
                observe(500)
            raise


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, e.g. "/projects/{key}": one of few, whatever was asked for."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    mounted = scope.get("root_path", "")[len(scope.get("app_root_path", scope.get("root_path", ""))) :]
    return mounted or UNKNOWN


class Telemetry(Collector):
    """Everything that `/metrics` tells, collected when it is asked for."""

    def __init__(self) -> None:
        self._learning = Learning()

    def collect(self) -> Iterator[Metric]:
        """The requests of all web processes, the database, and the memory."""
        requests = list(_requests())
        learning, failed = self._learning.collect(model.open_workspace())
        yield from (*requests, *learning, memory())
        errors = CounterMetricFamily(
            "active_tagger_errors", "Answers with a status of 500 or above, and failed rounds.", labels=["kind"]
        )
        counts = (s for metric in requests for s in metric.samples if s.name == "active_tagger_request_seconds_count")
        errors.add_metric(["request"], sum(s.value for s in counts if s.labels["status"] == "5xx"))
        errors.add_metric(["round"], failed)
        yield errors


def _requests() -> Iterator[Metric]:
    if not os.environ.get(SHARED_FOLDER):
        yield from REQUEST_SECONDS.collect()
        return
    try:
        yield from MultiProcessCollector(None).collect()
    except FileNotFoundError:  # a worker has ended meanwhile: see `child_exit` in gunicorn.conf.py
        yield from MultiProcessCollector(None).collect()


def mount(app: FastAPI) -> None:
    """Time the requests of `app`, and answer `/metrics`."""
    telemetry = Telemetry()
    app.add_middleware(RequestTimes)

    @app.get("/metrics", response_class=Response)
    def metrics(request: Request) -> Response:
        """How everything does, for Prometheus."""
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(telemetry), headers={"Content-Type": kind})
