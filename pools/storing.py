"""What was measured of a part as a Parquet file that is whole, and what was meant to be there, or does not count."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pools.folder import replacing, write_table
from strategies import Measured

ABOUT = b"about"
DIGEST = b"digest"


class Broken(ValueError):
    """A file is not as it was written, so that nothing of it is taken."""


def save(path: Path, measured: Measured, about: dict[str, int]) -> None:
    """Write N sentences' values, (N,) numbers or (N, d) lists of them, and lengths; `about` comes along."""
    values, lengths = measured.values, measured.lengths
    told = json.dumps(about | {"state_size": measured.state_size})
    item = pa.field("item", pa.from_numpy_dtype(values.dtype), nullable=False)
    column = pa.array(values.reshape(-1), item.type)
    if values.ndim == 2:
        column = pa.FixedSizeListArray.from_arrays(column, type=pa.list_(item, values.shape[1]))
    fields = [pa.field("value", column.type, nullable=False), pa.field("length", pa.int64(), nullable=False)]
    metadata = {ABOUT: told.encode(), DIGEST: _digest(values, lengths, told)}
    table = pa.table([column, pa.array(lengths)], schema=pa.schema(fields, metadata))
    write_table(table, path, compression="none", use_dictionary=False)


def load(path: Path, rows: int, about: dict[str, int]) -> Measured:
    """What `save` wrote of so many rows, with this about them.

    Raises FileNotFoundError if nothing was written, Broken if the file is damaged or of anything else.
    """
    try:
        table = pq.read_table(path, partitioning=None, memory_map=False)
        told, digest = (table.schema.metadata[key] for key in (ABOUT, DIGEST))
        column, lengths = table["value"].combine_chunks(), table["length"].to_numpy()
        values = column.to_numpy() if pa.types.is_floating(column.type) else _rows(column)
        if len(values) != rows or _digest(values, lengths, told.decode()) != digest:
            raise Broken(f"{path.name} is damaged")
        found = json.loads(told)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; Arrow's own have no number
            raise
        raise Broken(f"{path.name} is damaged ({error})") from error
    if found != about | {"state_size": found.get("state_size")}:
        raise Broken(f"{path.name} tells of {found}, not of {about}")
    return Measured(values, lengths, found["state_size"])


def load_lengths(path: Path) -> NDArray[np.int64]:
    """The lengths alone, of a file that `load` has found whole."""
    return pq.read_table(path, columns=["length"], partitioning=None)["length"].to_numpy()


def digest_of(rows: NDArray[np.int64]) -> str:
    """Of row numbers."""
    return blake2b(rows.astype("<i8").tobytes(), digest_size=8).hexdigest()


def save_rows(path: Path, rows: NDArray[np.int64]) -> None:
    """Write row numbers."""
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, rows, allow_pickle=False)


@lru_cache(maxsize=4)
def load_rows(path: Path, digest: str) -> NDArray[np.int64]:
    """What `save_rows` wrote. Raises Broken if that is not what has this digest."""
    try:
        rows: NDArray[np.int64] = np.load(path, allow_pickle=False)
        if digest_of(rows) == digest:
            rows.flags.writeable = False
            return rows
    except (ValueError, EOFError):
        pass
    raise Broken(f"{path} is damaged: start again, and it is written again")


def _rows(column: pa.FixedSizeListArray) -> NDArray[np.float32] | NDArray[np.float64]:
    """(N, d) of lists."""
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def _digest(values: NDArray[np.float64] | NDArray[np.float32], lengths: NDArray[np.int64], told: str) -> bytes:
    digest = blake2b(f"{told} {values.shape} {values.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    digest.update(np.ascontiguousarray(lengths).data)
    return digest.hexdigest().encode()
