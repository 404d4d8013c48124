"""The schema of the database from release to release, and the way by which any database reaches the newest one.

To change the tables: change the models in `learning.database`, write `versions/<next>_<what>.py` (no downgrade: the way
back is a backup), and append it to REVISIONS. Tests compare what the revisions make with the models.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, func, insert, inspect, select, text

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
HEAD = REVISIONS[-1]
MARKS = {
    "0001": ("projects", "key"),
    "0002": ("projects", "touched_at"),
    "0003": ("predictions", "words"),
    "0004": ("simulations", "state"),
    "0005": ("projects", "paused"),
    "0006": ("remote_texts", "address"),
    "0007": ("trainers", "name"),
}
"""A table and column by which databases from before they were stamped show what they are. A mark counts only with all
those before it: earlier releases made new tables in old databases, though not new columns."""
VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own table, of one row."""
LOCK = 0x6163746976655461
"""PostgreSQL's advisory lock of whoever migrates: any number that nobody else uses."""
_IN_THIS_PROCESS = threading.Lock()  # Alembic keeps the migration it is at in global variables


class UnusableDatabase(RuntimeError):
    """The database cannot be worked with, and only people can change that; the message says how."""


class NewerDatabase(UnusableDatabase):
    """The database was written by a later release than this one."""


def bring_up(engine: Engine, tables: MetaData) -> None:
    """Bring a database to the newest schema: an empty one, one of any earlier release, with or without a stamp.

    In one transaction: it has the old schema or the new one, and of several processes that start together one works
    while the others wait. Raises NewerDatabase for one that a later release has written.
    """
    with engine.connect() as connection:
        if revision(connection) == HEAD:  # the usual start, without Alembic, which takes long to import
            return
    with _alone(engine) as connection:
        stamped = revision(connection)
        at = stamped or _recognised(connection)
        if at is None:
            tables.create_all(connection)
            _stamp(connection, HEAD)
        elif at != HEAD or stamped is None:
            if stamped is None:
                _stamp(connection, at)
            _upgrade(connection)


def revision(connection: Connection) -> str | None:
    """The revision a database is stamped with, None if it is not. Raises NewerDatabase if we do not know it."""
    if not inspect(connection).has_table(VERSION.name):
        return None
    found = connection.scalar(select(VERSION.c.version_num))
    if found is not None and found not in REVISIONS:
        raise NewerDatabase(
            f"the database {connection.engine.url.render_as_string()} has schema {found}, from a later release; this "
            f"one knows schemas up to {HEAD}: start the later release again, or restore a backup from before it was "
            "installed (`python -m cli restore FILE --force`)"
        )
    return found


def _recognised(connection: Connection) -> str | None:
    """The schema of a database without stamp; None for an empty one."""
    there, found = inspect(connection), None
    for known, (table, column) in MARKS.items():
        if not there.has_table(table) or column not in {each["name"] for each in there.get_columns(table)}:
            break
        found = known
    return found


def _stamp(connection: Connection, at: str) -> None:
    VERSION.create(connection, checkfirst=True)
    connection.execute(insert(VERSION).values(version_num=at))


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with _IN_THIS_PROCESS:
        command.upgrade(config, "head")
    if connection.dialect.name == "sqlite":
        astray = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if astray is not None:
            raise UnusableDatabase(f"upgrading the database failed: a row of {astray[0]!r} belongs to no {astray[2]!r}")


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that one process has at a time. SQLite makes a table anew to change it: no key may forbid that, and
    this is settled before a transaction begins."""
    with engine.connect() as connection:
        lite = connection.connection.driver_connection if engine.dialect.name == "sqlite" else None
        if lite is not None:
            lite.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL lock_timeout = 0"))  # another's migration takes what it takes
                    connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
                yield connection
        finally:
            if lite is not None:
                lite.execute("PRAGMA foreign_keys=ON")
