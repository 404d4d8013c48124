import asyncio
import json
import socket
import threading
import time
from contextlib import closing, contextmanager

import anyio.to_thread
import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from server import limits
from server.limits import Limits, Line
from server.worker import Connection


class Patient(Connection):
    """Waits for requests as long as our processes do, in tests' time."""

    request_seconds = 1.0


@contextmanager
def served(**bounds):
    """An application behind the limits, in a real server: its port, and what holds requests back until it is set."""
    held, seen = threading.Event(), []
    app = FastAPI()
    app.add_middleware(Limits, max_body_mb=lambda: 1, **bounds)

    @app.get("/health")
    async def health():
        return {}

    @app.post("/predict")
    def predict(payload: dict):
        held.wait(30)
        return payload

    @app.post("/webhook")
    def webhook(payload: dict):
        seen.append(payload)
        return {"got": len(seen)}

    @app.get("/api/events")
    async def events(request: Request):
        async def words():
            while not await request.is_disconnected():
                yield b"data: 1\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(words())

    config = uvicorn.Config(app, port=0, http=Patient, loop="asyncio", log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listening.getsockname()[1], held, seen
        finally:
            held.set()
            server.should_exit = True
            thread.join(30)


def line(at_once=1, waiting=1, seconds=30.0):
    return Line("predictions", at_once, waiting, seconds)


def asking(port, path="/predict", body=b"{}"):
    """A request under way: its connection, with the whole of it sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def answer(connection) -> bytes:
    """Everything until the other side closes, or until the one answer is there."""
    told = b""
    while not told.endswith((b"}", b"]")):
        part = connection.recv(65536)
        if not part:
            break
        told += part
    return told


def url(port, path):
    return f"http://127.0.0.1:{port}{path}"


def chunks(size):
    for _ in range(size // 50_000):
        yield b" " * 50_000


@pytest.fixture(scope="module")
def usual():
    with served() as (port, held, seen):
        held.set()
        yield port, seen


def test_a_body_that_is_too_large(usual):
    port, seen = usual
    json_type = {"Content-Type": "application/json"}
    whole = json.dumps({"a": "x" * 999_000}).encode()
    assert httpx.post(url(port, "/predict"), content=whole, headers=json_type).json() == json.loads(whole)
    over = httpx.post(url(port, "/webhook"), content=b" " * 1_000_001, headers=json_type)
    untold = httpx.post(url(port, "/webhook"), content=chunks(3_000_000), headers=json_type)
    for refused in (over, untold):
        assert refused.status_code == 413
        assert "1 MB" in refused.json()["detail"]
    assert not seen


def test_what_is_too_large_is_refused_before_it_is_sent(usual):
    port, _ = usual
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
        assert b" 413 " in connection.recv(65536).partition(b"\r\n")[0] + b" "


def test_the_next_request_over_a_refused_ones_connection(usual):
    port, _ = usual
    with httpx.Client(base_url=url(port, "")) as client:
        assert client.post("/webhook", content=b" " * 1_500_000).status_code == 413
        assert client.get("/health").status_code == 200


def test_a_slow_body_is_given_up():
    with (
        served(body_seconds=0.5) as (port, _, seen),
        socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection,
    ):
        connection.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        told = b""
        for _ in range(500):  # trickling on does not help
            try:
                told = connection.recv(65536)
                break
            except TimeoutError:
                connection.sendall(b" ")
        assert told.startswith(b"HTTP/1.1 408 ")
        assert not seen


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_never_comes_whole(usual, sent):
    port, _ = usual
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for n in range(len(sent)):
            connection.sendall(sent[n : n + 1])
        assert connection.recv(100) == b"", "the server closes it"


def test_the_rest_of_a_later_request_is_not_waited_for_either(usual):
    port, _ = usual
    with asking(port) as connection:
        assert answer(connection).endswith(b"{}")
        connection.sendall(b"POST /pre")
        assert connection.recv(100) == b""


def test_too_many_predictions_are_refused_and_nothing_else():
    with served(predictions=line(at_once=2, waiting=1)) as (port, held, seen), httpx.Client(timeout=30) as client:
        waiting = [asking(port) for _ in range(3)]
        until(lambda: client.post(url(port, "/predict"), json={}, timeout=0.5).status_code == 503)
        refused = client.post(url(port, "/predict"), json={})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "predictions" in refused.json()["detail"]
        assert client.get(url(port, "/health")).status_code == 200
        assert client.post(url(port, "/webhook"), json={"n": 1}).json() == {"got": len(seen)}
        held.set()
        for connection in waiting:
            with connection:
                assert answer(connection).startswith(b"HTTP/1.1 200 "), "what had its place is answered"
        assert client.post(url(port, "/predict"), json={}).status_code == 200, "and it goes on"


def test_waiting_ends_with_a_refusal():
    with served(predictions=line(seconds=0.3)) as (port, _, _), closing(asking(port)):
        time.sleep(0.5)  # until the first has its place
        began = time.monotonic()
        refused = httpx.post(url(port, "/predict"), json={}, timeout=30)
        assert refused.status_code == 503 and time.monotonic() - began >= 0.3


def test_threads_are_left_for_webhooks():
    """However many predictions hang, webhooks find a thread of the same pool."""
    with served() as (port, _, seen):
        hanging = [asking(port) for _ in range(50)]
        for n in range(5):
            assert httpx.post(url(port, "/webhook"), json={"n": n}, timeout=30).status_code == 200
        assert len(seen) == 5
        for connection in hanging:
            connection.close()


def test_the_lines_together_leave_threads_of_the_pool():
    async def free():
        limited = Limits(FastAPI(), lambda: 1)
        lines = {*limited._lines.values(), limited._others}
        threads = sum(one._free._value for one in lines if one.name != "listeners")
        return anyio.to_thread.current_default_thread_limiter().total_tokens - threads

    assert anyio.run(free) >= 10


def test_a_request_that_hangs_is_answered_and_keeps_its_place():
    with served(predictions=line(seconds=0.2), answer_seconds=0.5) as (port, held, _):
        with asking(port) as connection:
            told = answer(connection)
        assert told.startswith(b"HTTP/1.1 503 ") and b"retry-after" in told and b"no answer within" in told
        assert httpx.post(url(port, "/predict"), json={}, timeout=30).status_code == 503, "its thread still runs"
        held.set()
        until(lambda: httpx.post(url(port, "/predict"), json={}, timeout=30).status_code == 200)


def test_listeners_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "LISTENERS", 2)
    with served() as (port, _, _), httpx.Client(timeout=30) as client:
        address = url(port, "/api/events")
        with client.stream("GET", address) as first, client.stream("GET", address) as second:
            heard = [one.iter_bytes() for one in (first, second)]
            assert all(next(words).startswith(b"data") for words in heard)
            with client.stream("GET", address) as refused:
                assert refused.status_code == 503 and "retry-after" in refused.headers
            assert all(next(words).startswith(b"data") for words in heard), "and the others go on"
        until(lambda: status_of_stream(client, address) == 200)


def test_large_bodies_at_once_are_bounded():
    with served(predictions=line(at_once=1, waiting=10)) as (port, _, _):
        body = b'{"a": "' + b"x" * 900_000 + b'"}'
        waiting = [asking(port, body=body) for _ in range(3)]
        refused = until(
            lambda: (r := httpx.post(url(port, "/webhook"), content=body, timeout=30)).status_code == 503 and r
        )
        assert "retry-after" in refused.headers and "large" in refused.json()["detail"]
        assert httpx.get(url(port, "/health"), timeout=30).status_code == 200
        for connection in waiting:
            connection.close()


def status_of_stream(client, address):
    with client.stream("GET", address) as told:
        return told.status_code


def until(condition, seconds=20.0):
    """The first true value; times out of single requests count as false."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            if found := condition():
                return found
        except httpx.TimeoutException:
            pass
        time.sleep(0.02)
    raise AssertionError("it did not happen")
