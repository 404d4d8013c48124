"""The tables in which projects, their annotations and their rounds survive every restart."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Engine,
    ExceptionContext,
    ForeignKey,
    Index,
    create_engine,
    event,
    false,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, OperationalError, TimeoutError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from learning import migrations
from learning.migrations import UnusableDatabase

PATIENCE = 15.0
"""Seconds that a writer waits for its turn. Label Studio waits for one; what it has sent is written all the same."""
WRITING = 0x6163746976655477
"""PostgreSQL's advisory lock of whoever writes: any number that nobody else uses."""
ALIVE = {"idle": 10, "interval": 5, "count": 3}
"""TCP keepalives, in seconds and tries: so the end of a connection whose other machine is lost is seen after 25 s, and
the lock that it held is free, not after hours. A connection by a local socket ignores them."""
FILE = "active-tagger.db"
"""The database in a data folder."""


def now() -> datetime:
    """The present moment, UTC, without time zone (as SQLite keeps it)."""
    return datetime.now(UTC).replace(tzinfo=None)


def clock(session: Session) -> datetime:
    """The same by the clock that all processes of this database share, to compare what different machines wrote:
    PostgreSQL's own; this machine's, where the database is a file of it."""
    if session.get_bind().dialect.name == "postgresql":
        return session.scalars(select(func.timezone("UTC", func.clock_timestamp()))).one()
    return now()


def text_hash(text: str) -> str:
    """Tells a task's text from another one under the same id."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Project(Base):
    """One Label Studio project. `key` is its id and birth in seconds, since ids alone may come back."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    external_id: Mapped[int]
    title: Mapped[str | None]
    """What Label Studio calls it, as far as it has said so."""
    label_config: Mapped[str]
    connection: Mapped[dict[str, Any]] = mapped_column(default=dict)
    extra_params: Mapped[dict[str, Any]] = mapped_column(default=dict)
    revision: Mapped[int] = mapped_column(default=0)
    """Counts changes; annotations carry the revision they came with, rounds the one they started from."""
    due: Mapped[str | None]
    """"fit", "successor" or "rank" when a round should run, else None: the mark that the trainer looks for."""
    due_reason: Mapped[str | None]
    due_model: Mapped[int | None]
    """The round whose model a due "rank" is to use (rolling back), None for the newest."""
    retry_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    """Rounds that failed in a row; each doubles the wait before the next try."""
    notice: Mapped[str | None]
    """What stands in the way at present, for people."""
    paused: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether people have asked that no round be begun; one that runs goes on."""
    suspects: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    """Annotations that a model would have made otherwise, as they are shown to people; None before they were sought.
    With their texts, so it is read only where it is asked for."""
    current_round_id: Mapped[int | None]
    touched_at: Mapped[datetime] = mapped_column(default=now)
    """When people last did something here: what slows Label Studio down waits until they pause."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Task(Base):
    """A text to label, with Label Studio's own data so that a changed label config can re-read it."""

    __tablename__ = "tasks"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    data: Mapped[dict[str, Any]]
    created_at: Mapped[str]
    draw: Mapped[float]
    """Uniform in [0, 1): a task is held out when it lies under the project's hold-out share."""
    revision: Mapped[int]


class Annotation(Base):
    """A submitted annotation. Deleted ones stay as tombstones, so that a late message does not revive them."""

    __tablename__ = "annotations"
    __table_args__ = (Index("annotations_by_task", "project_id", "task_id"),)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task_id: Mapped[int]
    result: Mapped[list[Any]]
    updated_at: Mapped[str]
    cancelled: Mapped[bool] = mapped_column(default=False)
    ground_truth: Mapped[bool] = mapped_column(default=False)
    completed_by: Mapped[int | None]
    deleted: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int]


class Round(Base):
    """One pass of collect → fit → measure → rank → publish, and the version it made."""

    __tablename__ = "rounds"
    __table_args__ = (Index("rounds_by_project", "project_id", "number", unique=True),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    number: Mapped[int]
    version: Mapped[str]
    kind: Mapped[str]
    """"fit" (a model was trained), "rank" (the pool re-ordered with an earlier model), "acquisition" (re-ordered with a
    new model that ranks; the one for use follows) or "cold start" (no model)."""
    state: Mapped[str]
    """running → publishing → done; or failed, interrupted, superseded."""
    reason: Mapped[str]
    owner: Mapped[str]
    heartbeat: Mapped[datetime] = mapped_column(default=now)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    revision: Mapped[int]
    model_round_id: Mapped[int | None]
    """The round whose model this one used: itself for a fit."""
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    problems: Mapped[list[Any]] = mapped_column(default=list)
    error: Mapped[str | None]
    delivered: Mapped[bool] = mapped_column(default=False)
    """Whether the venue may hold predictions of this version."""
    started_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class Prediction(Base):
    """What a round says of one task: its spans and its place in the queue."""

    __tablename__ = "predictions"
    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    task_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text_hash: Mapped[str]
    words: Mapped[int]
    """Length of the text, for budgets in words."""
    spans: Mapped[list[Any]]
    """[[start, end, label, confidence], …]"""
    position: Mapped[int | None]
    """Place in the queue, 0 first; None for tasks that were labelled already."""
    priority: Mapped[float | None]
    holdout: Mapped[bool] = mapped_column(default=False)
    """Whether the task is held out, labelled or not."""


class Simulation(Base):
    """Strategies compared on what a project had labelled when this began, as somebody asked."""

    __tablename__ = "simulations"
    __table_args__ = (Index("simulations_by_project", "project_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    state: Mapped[str] = mapped_column(default="waiting")
    """waiting → running → done or failed; back to waiting when its process or the trainer ends before."""
    settings: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Rounds "done", "of" how many."""
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    failures: Mapped[int] = mapped_column(default=0)
    """How often its process died."""
    owner: Mapped[str] = mapped_column(default="")
    """The trainer that runs it."""
    heartbeat: Mapped[datetime] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class RemoteText(Base):
    """What a task's URL led to, where a label config says `valueType="url"`: fetched once, for every process."""

    __tablename__ = "remote_texts"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str | None]
    problem: Mapped[str | None]
    """Why there is no text, for people; it is tried again after a while."""
    fetched_at: Mapped[datetime] = mapped_column(default=now)


class Trainer(Base):
    """A trainer's sign of life, where the database is on a server and trainers may run on several machines."""

    __tablename__ = "trainers"
    name: Mapped[str] = mapped_column(primary_key=True)
    """Its machine and process, as `learning.owners.owner` names them."""
    seen_at: Mapped[datetime]
    """By the database's clock."""


class DamagedDatabase(UnusableDatabase):
    """The database's file is not whole, or is no database at all."""

    def __init__(self, file: str | None, found: str) -> None:
        super().__init__(
            f"the database file {file} is damaged ({found}): stop the backend and restore a backup "
            "(`python -m cli restore FILE --force`, which keeps the damaged file aside)"
        )


class Database:
    """Sessions over one engine, SQLite's or PostgreSQL's. One process of all writes at a time, on whatever machine, and
    takes the lock for it at once: what it has read it may write, and two never deadlock half-way. Readers wait for
    nobody, and see the database as it was when they began.

    Whatever meets a damaged SQLite file raises DamagedDatabase.
    """

    def __init__(self, url: str) -> None:
        """Open a database and bring it to this release's schema. Raises UnusableDatabase where that cannot be."""
        self.engine: Engine = _engine(url)
        self._turn = threading.Lock()
        self._writing = self.engine
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin)
            event.listen(self.engine, "handle_error", _recognises_damage(self.engine.url.database))
            self._writing = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        else:
            event.listen(self.engine, "connect", _prepare_postgresql)
            # What was committed while it waited for the lock is seen by a writer.
            self._writing = self.engine.execution_options(isolation_level="READ COMMITTED")
        try:
            migrations.bring_up(self._writing, Base.metadata)
        except OperationalError as error:
            if self.engine.dialect.name == "sqlite":
                raise
            raise UnusableDatabase(
                f"the database {self.engine.url.render_as_string()} cannot be used ({_first_line(error)}): see that "
                "PostgreSQL runs, and that DATABASE_URL is right"
            ) from error

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """The SQLite database of a data folder, readable by its owner only (it holds access tokens)."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        if not file.exists():
            file.touch(mode=0o600)
        return cls(f"sqlite:///{file}")

    def check(self) -> None:
        """Read all of an SQLite database (a gigabyte takes seconds) for pages that are damaged, which might not be met
        for months. Raises DamagedDatabase. PostgreSQL watches its own."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                found = connection.exec_driver_sql("PRAGMA quick_check(3)").scalars().all()
            if found != ["ok"]:
                raise DamagedDatabase(self.engine.url.database, "; ".join(found))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for looking; nothing is committed."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed together at the end, or not at all.

        SQLite lets its writers try at random; those of one process stand in line, so that the last does not wait
        for seconds. Raises sqlalchemy.exc.TimeoutError, or OperationalError from the database, if the turn does not
        come within `PATIENCE`.
        """
        if not self._turn.acquire(timeout=PATIENCE):
            raise TimeoutError(f"no turn to write within {PATIENCE:.0f} s")
        try:
            with Session(self._writing, expire_on_commit=False) as session, session.begin():
                if self.engine.dialect.name == "postgresql":
                    session.execute(select(func.pg_advisory_xact_lock(WRITING)))
                yield session
        finally:
            self._turn.release()


def _engine(url: str) -> Engine:
    """An engine that has not connected yet. Raises UnusableDatabase."""
    try:
        parts = make_url(url)
        kind = parts.get_backend_name()
        if kind == "sqlite":
            return create_engine(parts, pool_size=20)  # a web process asks with up to 17 threads
        if kind == "postgresql":
            alive = {f"keepalives_{name}": value for name, value in ALIVE.items()}
            wanted = {"connect_timeout": 5, **alive} if parts.get_driver_name().startswith("psycopg") else {}
            given = {name: value for name, value in wanted.items() if name not in parts.query}
            return create_engine(
                parts, pool_size=20, pool_pre_ping=True, isolation_level="REPEATABLE READ", connect_args=given
            )
    except ArgumentError as error:
        raise UnusableDatabase(f"DATABASE_URL cannot be read ({_first_line(error)}): {_EXAMPLE}") from None
    except ImportError as error:
        missing = error.name or parts.get_driver_name()
        raise UnusableDatabase(
            f"the Python package {missing!r}, which DATABASE_URL asks for, cannot be imported: install a driver with "
            "`pip install 'psycopg[binary]'`, and " + _EXAMPLE
        ) from error
    raise UnusableDatabase(f"DATABASE_URL names a database of kind {kind!r}: {_EXAMPLE}")


_EXAMPLE = "write it as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or leave it unset for SQLite in DATA_DIR"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _prepare_postgresql(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = '{PATIENCE:.0f}s'")
    for name, value in ALIVE.items():
        cursor.execute(f"SET tcp_keepalives_{name} = {value}")
    cursor.close()
    connection.commit()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's events begin transactions, not the driver
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={PATIENCE * 1000:.0f}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Set the journal mode, which then stands in the file. SQLite waits for no turn to do that: of several processes
    that open a new database at once, some are told at once that it is locked."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _begin(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _recognises_damage(file: str | None) -> Callable[[ExceptionContext], None]:
    def listener(context: ExceptionContext) -> None:
        error = context.original_exception
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedDatabase(file, str(error)) from error

    return listener
