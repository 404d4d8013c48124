"""Who runs a round or a simulation: a process of a machine, and whether it is still there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from learning.database import Round, Simulation, text_hash

HEARTBEAT_LIMIT = timedelta(seconds=60)
"""What is running and gave no sign of life for so long is taken for dead."""


def owner(pid: int | None = None) -> str:
    """This machine and process, or another process of this machine."""
    return f"{socket.gethostname()}/{here()}:{pid or os.getpid()}"


@cache
def here() -> str:
    """Tells where the numbers of processes mean what they mean here. A name alone does not: machines may be copies of
    one, and containers share a machine's name, or its start, without seeing each other's processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        spaces = [str(Path("/proc/self/ns", name).readlink()) for name in ("pid", "uts")]
        return text_hash(boot + "".join(spaces))[:8]
    except OSError:  # not on Linux
        return socket.gethostname()


def is_here(name: str) -> bool:
    """Whether this is the `owner` of a process whose number means something here; machines may be named anew."""
    return name.rpartition(":")[0].endswith(f"/{here()}")


def is_of(name: str, pid: int | None = None) -> bool:
    """Whether this is the `owner` of this process, or of another process of this machine."""
    return is_here(name) and name.endswith(f":{pid or os.getpid()}")


def alive(this: Round | Simulation, at: datetime) -> bool:
    """Whether the process that runs this is still there, as far as can be told from here. `at`: the present moment, by
    the database's clock (`learning.database.clock`), as its signs of life are."""
    if is_here(this.owner):
        try:
            with suppress(PermissionError):  # somebody else's process: there all the same
                os.kill(int(this.owner.rpartition(":")[2]), 0)
        except ProcessLookupError:
            return False
    return at - this.heartbeat < HEARTBEAT_LIMIT
