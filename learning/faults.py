"""What keeps a disk, a database or a training from going on: told in words, with what to do, and looked for."""

from __future__ import annotations

import errno
import threading
import time
from sqlite3 import Error as SQLiteError

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from learning.database import DamagedDatabase, Database
from learning.migrations import UnusableDatabase

FULL = "the disk of DATA_DIR is full: make room on it, or lower KEEP_VERSIONS (models take most of it)"
READ_ONLY = "DATA_DIR cannot be written to: give this backend's user the right to, or mount it writable"
FORBIDDEN = "this backend's user may not write to DATA_DIR, or not read what a setting names: give it the right to"
BROKEN_DISK = "the disk of DATA_DIR reports an error, or a limit to what this backend may write is reached"
LOCKED = "another process keeps the database locked: end it (a copy under way, a tool that has it open)"
DAMAGED = "the database is damaged: stop the backend and bring a backup back with `python -m cli restore`"
LOST = "the database cannot be opened: see that it is there, and that this backend may use it"
NO_MEMORY = "there was not enough memory: give the machine more, or choose a smaller model with TAGGER"

_OF_SQLITE = {5: LOCKED, 6: LOCKED, 8: READ_ONLY, 10: BROKEN_DISK, 11: DAMAGED, 13: FULL, 14: LOST, 26: DAMAGED}
"""By primary result code (https://sqlite.org/rescode.html)."""
_OF_POSTGRESQL = {
    "55P03": LOCKED,
    "53100": "the disk of the database server is full: make room on it",
    "25006": "the database server takes no changes (a standby?): let DATABASE_URL name the one that does",
}
"""By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
_OF_THE_SYSTEM = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM), FORBIDDEN),
    errno.EROFS: READ_ONLY,
    **dict.fromkeys((errno.EIO, errno.EFBIG), BROKEN_DISK),
    errno.ENOMEM: NO_MEMORY,  # from a file that is mapped, or a process that is begun
}
_SAID_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "can't start new thread")
"""What libraries say that raise no MemoryError: torch's allocators, and a thread that finds no room for its stack."""


def known(error: BaseException) -> str | None:
    """What is wrong with the disk, the database or the memory, and what to do; None for any other error."""
    if isinstance(error, DamagedDatabase):
        return DAMAGED
    if isinstance(error, UnusableDatabase):
        return str(error)
    if isinstance(error, PoolTimeout):
        return LOCKED
    if isinstance(error, DBAPIError):
        code = getattr(error.orig, "sqlite_errorcode", None) if isinstance(error.orig, SQLiteError) else None
        if code is not None:
            return _OF_SQLITE.get(code & 0xFF)
        if known_state := _OF_POSTGRESQL.get(getattr(error.orig, "sqlstate", None) or ""):
            return known_state
        if away(error):
            said = str(error.orig).strip().partition("\n")[0]
            return f"the database cannot be used ({said}): see that it runs, and that DATABASE_URL is right"
        return None
    if isinstance(error, OSError):
        return _OF_THE_SYSTEM.get(error.errno or 0)
    said = str(error).lower()
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in said for w in _SAID_OF_MEMORY)):
        return NO_MEMORY
    return None


def away(error: DBAPIError) -> bool:
    """Whether a database's server does not answer, or has closed the connection: it may be starting again."""
    if isinstance(error.orig, SQLiteError):
        return False
    return error.connection_invalidated or (
        isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) not in _OF_POSTGRESQL
    )


class Storage:
    """Whether this process can write to the database now: tried at most every few seconds, and only when asked."""

    FRESH = 5.0
    """Seconds for which an answer holds."""
    PATIENCE = 1.0
    """Seconds that an asker waits for a new one; a writer may wait longer for its turn without anything being wrong."""
    LONG = 4.0
    """Seconds after which waiting for a turn to write is a fault."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._fault: str | None = None
        self._tried: float | None = None
        self._trying: tuple[threading.Thread, float] | None = None

    def fault(self) -> str | None:
        """What keeps this backend from writing, and what to do; None if nothing does. Takes `PATIENCE` at the most."""
        with self._lock:
            thread, since = self._trying or (None, 0.0)
            if thread is None and (self._tried is None or time.monotonic() - self._tried >= self.FRESH):
                thread, since = threading.Thread(target=self._try, daemon=True), time.monotonic()
                self._trying = thread, since
                thread.start()
        if thread is not None:  # several askers one after another do not wait one after another
            thread.join(max(0.0, since + self.PATIENCE - time.monotonic()))
            if thread.is_alive() and time.monotonic() - since > self.LONG:
                return LOCKED
        return self._fault

    def _try(self) -> None:
        fault = None
        try:
            write_something(self._db)
        except (SQLAlchemyError, DamagedDatabase) as error:
            fault = known(error) or f"the database cannot be written to: {getattr(error, 'orig', None) or error}"
        with self._lock:
            self._fault, self._tried, self._trying = fault, time.monotonic(), None


def write_something(db: Database) -> None:
    """Write one page of the database, and wait until it is on the disk; nothing that anybody reads is changed.

    Raises SQLAlchemyError where that cannot be done.
    """
    with db.write() as session:
        if db.engine.dialect.name != "sqlite":
            session.execute(text("UPDATE projects SET paused = paused WHERE id = (SELECT min(id) FROM projects)"))
            return
        # SQLite writes no page whose content stays the same; this number is there for applications, and we use none.
        number = session.execute(text("PRAGMA user_version")).scalar_one()
        session.execute(text(f"PRAGMA user_version = {(number + 1) % 1_000_000}"))
