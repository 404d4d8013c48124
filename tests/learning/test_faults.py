"""Faults in words, and whether anything can be written now."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time

import pytest
from sqlalchemy.exc import DBAPIError

from learning import faults
from learning.database import Database


@pytest.fixture
def db(tmp_path):
    return Database.in_folder(tmp_path)


def raised_by(file, statement: str, **options) -> DBAPIError:
    with pytest.raises(sqlite3.Error) as error, sqlite3.connect(file, timeout=0, **options) as connection:
        connection.execute(statement)
    return DBAPIError.instance(statement, None, error.value, sqlite3.Error)


def test_what_sqlite_says_is_told_in_words(db, tmp_path):
    file = tmp_path / "active-tagger.db"
    statement = "UPDATE alembic_version SET version_num = version_num || 'x'"
    with db.write() as session:
        session.connection()
        assert faults.known(raised_by(file, statement)) == faults.LOCKED
    assert faults.known(raised_by(f"file:{file}?mode=ro", statement, uri=True)) == faults.READ_ONLY
    assert faults.known(raised_by(f"file:{tmp_path}/no/such.db?mode=rw", statement, uri=True)) == faults.LOST
    (tmp_path / "text.db").write_text("this is no database, however long one looks at it" * 100)
    assert faults.known(raised_by(tmp_path / "text.db", statement)) == faults.DAMAGED
    assert faults.known(raised_by(file, "SELECT nonsense FROM nowhere")) is None


def test_a_full_database_is_a_full_disk(db, tmp_path):
    with sqlite3.connect(tmp_path / "active-tagger.db") as connection, pytest.raises(sqlite3.Error) as error:
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        connection.execute("CREATE TABLE more AS SELECT zeroblob(1000000) AS x")
    assert faults.known(DBAPIError.instance("", None, error.value, sqlite3.Error)) == faults.FULL


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), faults.FULL),
        (OSError(errno.EDQUOT, "x"), faults.FULL),
        (OSError(errno.EROFS, "x"), faults.READ_ONLY),
        (PermissionError(errno.EACCES, "x"), faults.FORBIDDEN),
        (OSError(errno.EIO, "x"), faults.BROKEN_DISK),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), None),
        (FileNotFoundError(errno.ENOENT, "x"), None),
        (MemoryError(), faults.NO_MEMORY),
        (OSError(errno.ENOMEM, "x"), faults.NO_MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            faults.NO_MEMORY,
        ),
        (RuntimeError("can't start new thread"), faults.NO_MEMORY),
        (RuntimeError("shapes do not match"), None),
        (ValueError("out of memory, says the user's label"), None),
    ],
)
def test_which_errors_are_faults(error, words):
    assert faults.known(error) == words


def test_writing_something_reaches_the_file_and_changes_nothing_that_is_read(db, tmp_path):
    wal = tmp_path / "active-tagger.db-wal"
    with db.read() as session:
        before = session.connection().exec_driver_sql("SELECT sql FROM sqlite_master").all()
    sizes = []
    for _ in range(3):
        faults.write_something(db)
        sizes.append(wal.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]
    with db.read() as session:
        assert session.connection().exec_driver_sql("SELECT sql FROM sqlite_master").all() == before


def test_storage_tells_of_a_lock_and_of_its_end_and_keeps_nobody_waiting(db, monkeypatch):
    monkeypatch.setattr(faults.Storage, "FRESH", 0.0)
    monkeypatch.setattr(faults.Storage, "PATIENCE", 0.05)
    monkeypatch.setattr(faults.Storage, "LONG", 0.5)
    storage = faults.Storage(db)
    threads = threading.active_count()

    def until(wanted):
        give_up = time.monotonic() + 30
        while storage.fault() != wanted:
            assert time.monotonic() < give_up
        return True

    assert until(None)
    with db.write() as session:
        session.connection()
        assert storage.fault() is None  # a writer may have to wait for a moment
        assert until(faults.LOCKED)
        assert threading.active_count() <= threads + 1  # one tries, however many ask
    assert until(None)


def test_an_answer_holds_for_a_while(db, monkeypatch):
    written = []
    monkeypatch.setattr(faults, "write_something", written.append)
    storage = faults.Storage(db)
    assert [storage.fault() for _ in range(100)] == [None] * 100
    assert len(written) == 1
