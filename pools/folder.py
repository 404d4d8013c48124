"""A pool of texts in a folder: parts of Parquet that never change once they are written."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taggers.storage import fsync

FORMAT = 1
"""Of the folder. Another number is another layout."""
PART_ROWS = 8192
"""Rows of a full part: what is measured, written and lost at most when a machine dies."""
PART_BYTES = 2**26
"""Bytes of JSON that fill a part of long texts before its rows do, so that any part fits into memory."""
TEXTS = pa.schema([("row", pa.int64()), ("digest", pa.uint64()), ("data", pa.string())])
SENT = pa.schema([("row", pa.int64()), ("task", pa.int64())])
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Part:
    """Rows `first` to `first + rows` of a pool, in one file. Once written, it never changes."""

    number: int
    first: int
    rows: int
    path: Path


@dataclass(frozen=True)
class Added:
    """What an import has done so far: tasks that are new in the pool, and those that were there already."""

    new: int = 0
    repeated: int = 0


class Pool:
    """A folder's texts, numbered from 0. A row's number never changes, and no row goes away.

    `parts` and `size` are those of the moment of opening, or of this object's last `add`.

    All parts of an import are full but its last, which stays as it is: a later import begins a part of its own, so
    that whatever was measured of a part holds for good.
    """

    def __init__(self, folder: Path) -> None:
        """For `open` and `make`."""
        self.folder = folder
        self.parts = _parts(folder / "texts")

    @classmethod
    def open(cls, folder: str | Path) -> Pool:
        """The pool in a folder; ValueError when there is none, or when it is damaged or of another version."""
        folder = Path(folder)
        try:
            form = json.loads((folder / "pool.json").read_text("utf-8"))["format"]
        except FileNotFoundError:
            raise ValueError(f"{folder} holds no pool: make one with `pool import {folder} SOURCE`") from None
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{folder / 'pool.json'} cannot be read: it should say {_description()}") from None
        if form != FORMAT:
            raise ValueError(f"{folder} is a pool of format {form!r}; this version of Active Tagger reads {FORMAT}")
        return cls(folder)

    @classmethod
    def make(cls, folder: str | Path) -> Pool:
        """The pool in a folder, begun if there is none; ValueError when the folder is used for something else."""
        folder = Path(folder)
        if not (folder / "pool.json").exists():
            if folder.exists() and not folder.is_dir():
                raise ValueError(f"{folder} is a file: name a folder to keep the pool in")
            if folder.exists() and any(not _unfinished(one) for one in folder.iterdir()):
                raise ValueError(f"{folder} holds other files and no pool: name an empty folder, or one to make")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(folder / "pool.json") as path:
                path.write_text(_description(), "utf-8")
        return cls.open(folder)

    @property
    def size(self) -> int:
        """Rows."""
        return _after(self.parts)

    def add(self, tasks: Iterable[dict[str, Any]], on_progress: Callable[[Added], None] = lambda added: None) -> Added:
        """Append the data of tasks, but for those whose data is in the pool already (by a 64-bit digest of its JSON:
        two of n texts are taken for one with probability n² / 2⁶⁵, 3e-8 for a million).

        Only full parts are written before the tasks end. So an import that was broken off is simply repeated: it
        finds those parts, goes on behind them, and the rows are those of an import in one go.
        `on_progress` is told every `PART_ROWS` tasks, and at the end.

        Raises ValueError when another import is running or when a task is no JSON object, OSError when the disk is
        full: the parts written until then stay.
        """
        with alone(self.folder / "import.lock", f"another import into {self.folder} is running: wait for its end"):
            self._begin()
            known = {digest for part in self.parts for digest in _column(part.path, "digest").to_pylist()}
            rows: dict[int, bytes] = {}
            read = repeated = size = 0
            for read, task in enumerate(tasks, 1):
                try:
                    data = canonical(task)
                except ValueError as error:
                    raise ValueError(f"task {read} of this import {error}") from error
                digest = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
                if digest in known:
                    repeated += 1
                else:
                    known.add(digest)
                    rows[digest] = data
                    size += len(data)
                if len(rows) == PART_ROWS or size >= PART_BYTES:
                    self._append(rows)
                    rows, size = {}, 0
                if read % PART_ROWS == 0:
                    on_progress(Added(read - repeated, repeated))
            if rows:
                self._append(rows)
            added = Added(read - repeated, repeated)
            on_progress(added)
            return added

    def _begin(self) -> None:
        """See what other imports have left."""
        texts = self.folder / "texts"
        texts.mkdir(exist_ok=True)
        for left in filter(_unfinished, texts.iterdir()):
            left.unlink()
        self.parts = _parts(texts)

    def _append(self, rows: Mapping[int, bytes]) -> None:
        """Write a part of the data, by digest."""
        number, first = len(self.parts), self.size
        part = Part(number, first, len(rows), self.folder / "texts" / _name(number))
        digests = np.fromiter(rows, dtype=np.uint64, count=len(rows))
        write_table(pa.table([np.arange(first, first + len(rows)), digests, [*rows.values()]], schema=TEXTS), part.path)
        self.parts = (*self.parts, part)

    def read(self, part: Part) -> list[dict[str, Any]]:
        """The task data of a part, in the order of its rows."""
        return [json.loads(data) for data in _column(part.path, "data").to_pylist()]

    def at(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The task data of these rows (N,), in this order; only the parts that hold them are read.

        Raises IndexError for a row that the pool does not have.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.size):
            raise IndexError(f"{self.folder} has {self.size} rows; asked for {wanted.min()} to {wanted.max()}")
        found: list[dict[str, Any]] = [{}] * len(wanted)
        holder = np.searchsorted([part.first for part in self.parts], wanted, side="right") - 1
        for number in np.unique(holder):
            part, places = self.parts[number], np.flatnonzero(holder == number)
            texts = _column(part.path, "data").take(pa.array(wanted[places] - part.first))
            for place, data in zip(places, texts.to_pylist(), strict=True):
                found[place] = json.loads(data)
        return found

    def sent(self, project: str) -> dict[int, int]:
        """The rows that were imported into a project of Label Studio, each with its task's id there."""
        path = self._sent_path(project)
        if not path.exists():
            return {}
        noted = _table(path, ["row", "task"])  # at once: another process may put a newer file in its place
        return dict(zip(noted["row"].to_pylist(), noted["task"].to_pylist(), strict=True))

    def note_sent(self, project: str, tasks: Mapping[int, int]) -> None:
        """Remember that these rows are in Label Studio, each as a task with this id; a later note of a row holds."""
        path = self._sent_path(project)
        path.parent.mkdir(exist_ok=True)
        with alone(path.with_suffix(".lock")):
            noted = {**self.sent(project), **tasks}
            write_table(pa.table([list(noted), list(noted.values())], schema=SENT), path)

    def projects(self) -> list[str]:
        """The projects that rows were sent to."""
        return sorted(unquote(path.stem) for path in (self.folder / "sent").glob("*.parquet"))

    def _sent_path(self, project: str) -> Path:
        return self.folder / "sent" / f"{quote(project, safe='')}.parquet"


def write_table(table: pa.Table, path: Path, *, compression: str = "zstd", use_dictionary: bool = True) -> None:
    """Write a Parquet file so that it is there whole or not at all, whoever else writes the same one."""
    with replacing(path) as unfinished:
        pq.write_table(
            table, unfinished, compression=compression, use_dictionary=use_dictionary, write_page_checksum=True
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes `path`'s place, whole and on the disk, when the block ends without error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        fsync(unfinished)
        unfinished.replace(path)
        fsync(path.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def alone(path: Path, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock that ends with the process; wait for it, or raise ValueError with the `refusal`."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise ValueError(refusal) from None
        yield


def _parts(folder: Path) -> tuple[Part, ...]:
    """The parts in a folder, in order, by what their files say of themselves."""
    parts: list[Part] = []
    paths = sorted(folder.glob("part-*.parquet"), key=lambda path: (len(path.name), path.name))
    for number, path in enumerate(paths):
        if path.name != _name(number):
            raise ValueError(f"{folder / _name(number)} is missing: restore it from a copy; no other part can be it")
        first = _after(parts)
        with _naming(path):
            about = pq.read_metadata(path)
        rows = about.num_rows
        if not rows or about.row_group(0).column(0).statistics.min != first:
            raise ValueError(f"{path} does not begin with row {first}: restore it from a copy")
        parts.append(Part(number, first, rows, path))
    return tuple(parts)


def _name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _after(parts: Sequence[Part]) -> int:
    """The number of the row that follows these parts."""
    return parts[-1].first + parts[-1].rows if parts else 0


def _column(path: Path, name: str) -> pa.ChunkedArray:
    return _table(path, [name])[name]


def _table(path: Path, columns: list[str]) -> pa.Table:
    with _naming(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns).select(columns)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; Arrow's own have no number
            raise
        raise ValueError(f"{path} is damaged ({error}): restore it from a copy") from error


def canonical(task: dict[str, Any]) -> bytes:
    """The same JSON for the same data. Raises ValueError if there is none, in words that follow the task's name."""
    if not isinstance(task, dict):
        raise ValueError(f"is a {type(task).__name__}, not an object with fields")
    try:
        data = json.dumps(task, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from error
    try:
        return data.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape and UTF-8 does not have
        return json.dumps(task, sort_keys=True, separators=(",", ":")).encode()


def _unfinished(path: Path) -> bool:
    return path.name.endswith(UNFINISHED)


def _description() -> str:
    return json.dumps({"format": FORMAT})
