"""Where word vectors that never change are kept: rows of float16 in one flat file, and an SQLite index to them."""

from __future__ import annotations

import functools
import itertools
import logging
import mmap
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

MEMORY_LIMIT = 1 << 30
"""Bytes of vectors that a process keeps in memory, all stores together; past it the oldest are forgotten."""
PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""
AT_ONCE = 1000
"""Keys looked up by one statement; SQLite allows some 30,000."""

T = TypeVar("T")
Vectors = dict[bytes, NDArray[np.float16]]

_folder: Path | None = None


def keep_in(folder: Path | None) -> None:
    """Keep this process's vectors in `folder` from now on, shared with other processes; None: in memory only."""
    global _folder
    _folder = folder


def kept_in() -> Path | None:
    """The folder that `keep_in` set."""
    return _folder


def store(name: str, width: int) -> VectorStore:
    """The store of this name, for vectors of `width` numbers, where this process keeps its vectors."""
    disk = None if _folder is None else _disk(_folder, name, width, os.getpid())
    return VectorStore(name, disk)


class VectorStore:
    """(words, width) float16 arrays by key. Keys are hashes: no text is stored.

    Nothing here fails: what a full or broken disk does not take is kept in memory, with one warning.
    """

    def __init__(self, name: str, disk: _Disk | None) -> None:
        self._name, self._disk = name, disk

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """The arrays of those keys that are known. They are not to be written to."""
        found = _memory.get(self._name, keys)
        if self._disk is not None:
            missing = [key for key in keys if key not in found]
            try:
                found |= self._disk.get(missing)
            except (OSError, sqlite3.Error) as error:
                self._disk.warn("read", error)
        return found

    def put(self, vectors: Mapping[bytes, NDArray[np.float16]]) -> None:
        """Keep these. An array that is there already stays as it is."""
        if self._disk is not None:
            try:
                return self._disk.put(vectors)
            except (OSError, sqlite3.Error) as error:
                self._disk.warn("written", error)
        return _memory.put(self._name, vectors)


class _Memory:
    """What this process remembers, up to MEMORY_LIMIT."""

    def __init__(self) -> None:
        self._vectors: dict[tuple[str, bytes], NDArray[np.float16]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def get(self, name: str, keys: Sequence[bytes]) -> Vectors:
        with self._lock:
            found = {key: self._vectors.get((name, key)) for key in keys}
        return {key: array for key, array in found.items() if array is not None}

    def put(self, name: str, vectors: Mapping[bytes, NDArray[np.float16]]) -> None:
        with self._lock:
            for key, array in vectors.items():
                self._size += array.nbytes - self._forget((name, key))
                self._vectors[name, key] = array
            while self._size > MEMORY_LIMIT:
                self._size -= self._forget(next(iter(self._vectors)))

    def _forget(self, key: tuple[str, bytes]) -> int:
        array = self._vectors.pop(key, None)
        return 0 if array is None else array.nbytes


_memory = _Memory()


class _Corrupt(Exception):
    """The index and the data do not belong together."""


class _Disk:
    """The rows in `<name>.<n>.fp16`, where they stand in `<name>.<n>.sqlite`; others may read and write them, too.

    Rows are only ever appended. They are on disk before the index tells of them, and where to append is read from the
    index, under its lock: rows that a crash has cut off are written over, by whoever comes next.
    An index that SQLite finds corrupt is set aside for good by an empty file `<name>.<n>.corrupt`, and number n + 1
    begins. (Nothing is renamed under another process that has it open.)
    """

    def __init__(self, folder: Path, name: str, width: int) -> None:
        self._folder, self._name, self._width = folder, name, width
        self._lock = threading.Lock()
        self._warned = False
        self._index: sqlite3.Connection | None = None
        self._data: FileIO
        self._marker: Path
        """The file that would set these two aside."""
        self._rows_NH: NDArray[np.float16] = np.empty((0, width), np.float16)

    def get(self, keys: Sequence[bytes]) -> Vectors:
        """Views of the memory-mapped file. Raises OSError or sqlite3.Error if it cannot be read."""
        return self._whole(lambda index: self._get(index, keys)) if keys else {}

    def put(self, vectors: Mapping[bytes, NDArray[np.float16]]) -> None:
        """Raises OSError or sqlite3.Error if they cannot be kept, and then keeps none."""
        if vectors:
            self._whole(lambda index: self._put(index, vectors))

    def warn(self, what: str, error: Exception) -> None:
        """Say, once, that the disk is of no use."""
        if not self._warned:
            log.warning("word vectors in %s cannot be %s, so memory must do: %s", self._folder, what, error)
            self._warned = True

    def _whole(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Do it with the index, and if that is corrupt with a new one."""
        with self._lock:
            try:
                return do(self._opened())
            except (_Corrupt, sqlite3.DatabaseError) as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if not isinstance(error, _Corrupt) and code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                self._set_aside(error)
                return do(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._index is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            markers = (self._folder / f"{self._name}.{n}.corrupt" for n in itertools.count())
            self._marker = next(marker for marker in markers if not marker.exists())
            file = self._marker.with_suffix(".sqlite")
            index = sqlite3.connect(file, PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                index.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB UNIQUE, start INTEGER, words INTEGER)")
                self._data = _open(self._marker.with_suffix(".fp16"))
            except BaseException:
                index.close()
                raise
            self._index = index
        return self._index

    def _set_aside(self, error: Exception) -> None:
        log.warning("the word vectors %s are of no use and begun anew: %s", self._marker.with_suffix(""), error)
        self._marker.touch()
        self._marker.with_suffix(".fp16").unlink(missing_ok=True)
        if self._index is not None:
            self._index.close()
            self._data.close()
        self._index, self._rows_NH = None, np.empty((0, self._width), np.float16)

    def _find(self, index: sqlite3.Connection, keys: Sequence[bytes]) -> list[tuple[bytes, int, int]]:
        found = []
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            places = ",".join("?" * len(some))
            query = f"SELECT key, start, words FROM vectors WHERE key IN ({places})"  # nosec B608 # question marks
            found += index.execute(query, some).fetchall()
        return found

    def _get(self, index: sqlite3.Connection, keys: Sequence[bytes]) -> Vectors:
        found = self._find(index, keys)
        self._map(max((start + words for _, start, words in found), default=0))
        return {key: self._rows_NH[start : start + words] for key, start, words in found}

    def _map(self, rows: int) -> None:
        """See to it that so many rows are mapped. Views of the earlier map stay good."""
        if rows <= len(self._rows_NH):
            return
        size = rows * self._width * 2
        if os.fstat(self._data.fileno()).st_size < size:
            raise _Corrupt(f"the index tells of {rows} rows, the data ends before")
        # A copy on write, for torch wants memory that could be written to.
        mapped = mmap.mmap(self._data.fileno(), size, access=mmap.ACCESS_COPY)
        self._rows_NH = np.frombuffer(mapped, np.float16).reshape(rows, self._width)

    def _put(self, index: sqlite3.Connection, vectors: Mapping[bytes, NDArray[np.float16]]) -> None:
        with index:  # it commits, or rolls back
            index.execute("BEGIN IMMEDIATE")
            known = {key for key, _, _ in self._find(index, list(vectors))}
            new = {key: array for key, array in vectors.items() if key not in known}
            if not new:
                return
            last = index.execute("SELECT start + words FROM vectors ORDER BY rowid DESC LIMIT 1").fetchone()
            ends = list(itertools.accumulate(map(len, new.values()), initial=last[0] if last else 0))
            self._append(np.concatenate(list(new.values())), ends[0])
            rows = zip(new, ends, map(len, new.values()), strict=False)
            index.executemany("INSERT INTO vectors VALUES (?, ?, ?)", rows)

    def _append(self, rows_NH: NDArray[np.float16], start: int) -> None:
        data = memoryview(np.ascontiguousarray(rows_NH, np.float16).tobytes())
        place = start * self._width * 2
        while data:
            written = os.pwrite(self._data.fileno(), data, place)
            data, place = data[written:], place + written
        os.fsync(self._data.fileno())


def _open(file: Path) -> FileIO:
    """To read and write, or where that is not allowed to read."""
    try:
        return FileIO(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError:
        return FileIO(file, "r")


@functools.lru_cache(maxsize=8)
def _disk(folder: Path, name: str, width: int, process: int) -> _Disk:
    """One for each process: a forked one must not use its parent's connection."""
    return _Disk(folder, name, width)
