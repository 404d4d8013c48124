"""The job queue: SQLite in the data folder, or Redis for several machines. What is due stands in the database."""

from __future__ import annotations

from huey import Huey, RedisHuey, SqliteHuey
from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from learning.settings import Settings

NAME = "active-tagger"
PATIENCE = 5.0
"""Seconds that Redis may take to answer."""


def open_queue(settings: Settings) -> Huey:
    """The queue, which need not answer yet."""
    if settings.queue_url:
        return RedisHuey(NAME, connection_pool=_pool(settings.queue_url), results=False)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return SqliteHuey(NAME, filename=str(settings.data_dir / "jobs.db"), results=False)


def fault(settings: Settings) -> str | None:
    """Why jobs cannot be queued, in words with what to do; None if they can."""
    if not settings.queue_url:
        return None
    pool = _pool(settings.queue_url)
    try:
        Redis(connection_pool=pool).ping()
    except RedisError as error:
        return f"the job queue (QUEUE_URL) does not answer ({error}): start Redis, or see that the address is right"
    finally:
        pool.disconnect()
    return None


def _pool(url: str) -> ConnectionPool:
    """Connections that notice when Redis, or its machine, is gone, and that wait for it no longer than `PATIENCE`."""
    times = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "socket_keepalive": True}
    return ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 1), **times)
