"""Folders that are there whole or not at all, and models that are put together one at a time."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOADING = threading.RLock()
"""Held while a model is put together. transformers swaps parts of torch meanwhile, for the whole process: what another
thread makes then has no weights."""


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` to write into; it takes that name, on disk for good, when the block ends well.

    If the block raises, nothing is left of it. Raises FileExistsError if `folder` exists: a stored model is never
    overwritten.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists: a stored model is never overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        yield unfinished
        for file in [*unfinished.rglob("*"), unfinished]:
            fsync(file)
        unfinished.rename(folder)
        fsync(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def fsync(path: Path) -> None:
    """See to it that a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
