import asyncio
import threading

import httpx
import pytest
from sqlalchemy import select

from learning.database import Project
from server import events
from server.events import Feed
from server.states import summaries
from tests.server.conftest import KEY, Sender


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(events, "LOOK_EVERY", 0.02)


def change(workspace, **values):
    with workspace.db.write() as session:
        project = session.scalars(select(Project)).first()
        for name, value in values.items():
            setattr(project, name, value)


async def within(awaitable, seconds=5.0):
    return await asyncio.wait_for(awaitable, seconds)


def test_all_at_connecting_then_each_that_changes(sender, workspace):
    sender.setup()
    Sender(sender.client, 5).setup()

    async def listen():
        feed = Feed(workspace)
        told = feed.listen()
        assert {(await within(anext(told)))["id"] for _ in range(2)} == {4, 5}
        change(workspace, notice="odd", revision=7)
        news = await within(anext(told))
        assert (news["id"], news["notice"]) == (4, "odd")
        assert news["next_round"] == {"in": 10, "unit": "tasks"}
        change(workspace, paused=True)
        assert (await within(anext(told)))["state"] == "paused"
        feed.end()
        with pytest.raises(StopAsyncIteration):
            await within(anext(told))

    asyncio.run(listen())


def test_what_does_not_show_is_no_news(sender, workspace):
    sender.setup()

    async def listen():
        feed = Feed(workspace)
        told = feed.listen()
        await within(anext(told))
        change(workspace, revision=99, connection={"hostname": "x"})
        with pytest.raises(TimeoutError):
            await within(anext(told), 0.3)

    asyncio.run(listen())


def test_one_look_serves_all_listeners_and_none_is_made_for_nobody(sender, workspace, monkeypatch):
    sender.setup()
    looks = []
    original = Feed._look
    monkeypatch.setattr(Feed, "_look", lambda self, known: (looks.append(1), original(self, known))[1])

    async def listen():
        feed = Feed(workspace)
        listening = [feed.listen() for _ in range(20)]
        for told in listening:
            assert (await within(anext(told)))["id"] == 4
        waiting = [asyncio.ensure_future(anext(told)) for told in listening]
        await asyncio.sleep(0.2)
        assert len(looks) < 20
        change(workspace, notice="odd")
        assert {news["notice"] for news in await within(asyncio.gather(*waiting))} == {"odd"}
        for told in listening:
            await told.aclose()
        await asyncio.sleep(0.1)
        before = len(looks)
        await asyncio.sleep(0.2)
        assert len(looks) == before
        again = feed.listen()
        assert (await within(anext(again)))["notice"] == "odd", "who comes later is told all"
        await again.aclose()

    asyncio.run(listen())


def test_a_database_that_fails_is_asked_again(sender, workspace, monkeypatch, caplog):
    sender.setup()
    original = events.summary
    broken = [OSError("disk"), OSError("disk")]

    def summary(*args):
        if broken:
            raise broken.pop()
        return original(*args)

    monkeypatch.setattr(events, "summary", summary)

    async def listen():
        told = Feed(workspace).listen()
        assert (await within(anext(told)))["id"] == 4
        await told.aclose()

    asyncio.run(listen())
    assert "disk" in caplog.text


def test_over_http(sender, workspace):
    """As a browser reads it."""
    import uvicorn

    from server.app import app

    sender.setup()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    running = threading.Thread(target=server.run)
    running.start()
    try:
        while not server.started:
            assert running.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.stream("GET", f"http://127.0.0.1:{port}/api/events", timeout=10) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-cache"
            lines = answer.iter_lines()
            assert next(lines) == "event: project"
            told = httpx.Response(200, text=next(lines).removeprefix("data: ")).json()
            assert told["key"] == KEY and told["state"] == "waiting"
            assert {**told, "next_round": None} == {**summaries(workspace)[0], "next_round": None}
            change(workspace, paused=True)
            assert [next(lines), next(lines)] == ["", "event: project"]
            assert '"state": "paused"' in next(lines).replace('":"', '": "')
            app.state.feed.end()
            assert list(lines) == [""], "the answer ends"
    finally:
        server.should_exit = True
        running.join(10)
    assert not running.is_alive()
