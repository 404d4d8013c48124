"""The trainer's sign of life: the time of a file in the data folder, which every process can read."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

NAME = "trainer-alive"
LIMIT = 30.0
"""Seconds without a sign after which a trainer is taken for gone; a writer may keep it waiting for half of that."""


def beat(data_dir: Path) -> None:
    """Tell that the trainer has just looked for something to do."""
    (data_dir / NAME).touch()


def end(data_dir: Path) -> None:
    """Tell that the trainer has ended in good order."""
    with suppress(OSError):
        (data_dir / NAME).unlink(missing_ok=True)


def silent_for(data_dir: Path) -> float | None:
    """Seconds since a trainer last looked; None if none ever has, or the last one has ended in good order."""
    try:
        return abs(time.time() - (data_dir / NAME).stat().st_mtime)  # a sign from the future: the clock was set back
    except FileNotFoundError:
        return None
