"""What is right and wrong about this backend and its machine: one short function a check, each with its remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from labelstudio.client import LabelStudio
from learning import faults
from learning.database import Project, Round
from learning.migrations import UnusableDatabase
from learning.workspace import Workspace
from server import job_queue
from server.exposure import warnings
from server.heartbeat import LIMIT as SILENCE
from server.heartbeat import signs
from server.judgements import Verdict
from taggers import Damaged

LEAST_DISK = 1e9
"""Bytes: below it a round's model may not fit any more."""
LEAST_MEMORY = 0.3e9
"""Bytes that nobody uses: below it the system may end a training."""
CLOCKS_APART = timedelta(seconds=60)


@dataclass(frozen=True)
class Here:
    """This backend, one of its projects where one is meant, and Label Studio where it is reached."""

    workspace: Workspace
    project: Project | None
    label_studio: LabelStudio | None


def trainer(here: Here) -> Verdict:
    told = signs(here.workspace)
    silent = min(told.values(), default=None)
    if silent is not None and silent <= SILENCE:
        if (fault := job_queue.fault(here.workspace.settings)) is not None:
            return in_two(fault)
        gone = [f"{name.partition('/')[0]} {_ago(seconds)} ago" for name, seconds in told.items() if seconds > SILENCE]
        what = f"{len(told) - len(gone)} of them look" if len(told) > 1 else "It looks"
        lost = f"; no sign of life since: {', '.join(gone)}" if gone else ""
        return Verdict(True, f"{what} for rounds that are due{lost}.")
    what = "It does not run here." if silent is None else f"Its last sign of life is {_ago(silent)} old."
    remedy = "Start it with `python -m server`, which runs it beside the web processes; the log says why it ended."
    return Verdict(False, f"{what} No round will begin.", remedy)


def database(here: Here) -> Verdict:
    try:
        faults.write_something(here.workspace.db)
    except (SQLAlchemyError, UnusableDatabase) as error:
        return in_two(faults.known(error) or f"writing failed: see the log ({type(error).__name__})")
    return Verdict(True, "It can be read and written.")


def pages(here: Here) -> Verdict:
    try:
        here.workspace.db.check()
    except (SQLAlchemyError, UnusableDatabase) as error:
        return in_two(faults.known(error) or f"reading failed: see the log ({type(error).__name__})")
    return Verdict(True, "Every page of it can be read.")


def model(here: Here) -> Verdict:
    if here.project is None or here.project.current_round_id is None:
        return Verdict(True, "None has been trained yet.")
    with here.workspace.db.read() as session:
        current = session.get(Round, here.project.current_round_id)
        fitted = session.get(Round, current.model_round_id) if current and current.model_round_id else None
    if fitted is None:
        return Verdict(True, "None has been trained yet.")
    try:
        here.workspace.models.verify(here.project.id, fitted.version)
    except Damaged as error:
        remedy = "The next round makes a new one by itself; `python -m cli train` begins it now."
        return Verdict(False, f"{str(error).rstrip('.')}.", remedy)
    return Verdict(True, f"The files of {fitted.version} are as they were saved.")


def last_round(here: Here) -> Verdict:
    if here.project is None:
        return Verdict(True, "No project is meant.")
    of_project = select(Round).where(Round.project_id == here.project.id)
    with here.workspace.db.read() as session:
        last = session.scalar(of_project.order_by(Round.number.desc()).limit(1))
    if last is None or not last.error:
        return Verdict(True, "It did." if last else "There was none yet.")
    remedy = "It is tried again by itself, or by the next annotations; `python -m cli train` begins it now."
    return Verdict(False, f"Round {last.number}: {last.error.rstrip('.')}.", remedy)


def disk(here: Here) -> Verdict:
    try:
        folders = here.workspace.settings.data_dir, here.workspace.models.root
        free = min(shutil.disk_usage(folder).free for folder in folders if folder.exists())
    except OSError as error:
        remedy = "See that DATA_DIR names a folder that this backend may use."
        return Verdict(False, f"DATA_DIR cannot be read: {error.strerror}.", remedy)
    if free >= LEAST_DISK:
        return Verdict(True, f"{free / 1e9:,.0f} GB are free.")
    remedy = "Make room on the disk of DATA_DIR, or lower KEEP_VERSIONS: models take most of it."
    return Verdict(False, f"Only {free / 1e9:.1f} GB are free: the next model may not fit.", remedy)


def memory(here: Here) -> Verdict:
    limit = here.workspace.settings.trainer_memory_gb
    total, free = _memory()
    of_a_training = f"a training may take {limit:g} GB" if limit else "a training may take all of it"
    if limit and limit * 2**30 > total:
        what = f"TRAINER_MEMORY_GB is {limit:g}, and this machine has {total / 2**30:.1f} GB."
        return Verdict(False, what, "Set it lower, so that a round which wants more fails, and not the machine.")
    if free < LEAST_MEMORY:
        remedy = "End other programs, choose a smaller model with TAGGER, or give the machine more."
        return Verdict(False, f"Only {free / 2**30:.1f} GB are free: the system may end a training.", remedy)
    return Verdict(True, f"{free / 2**30:.1f} GB of {total / 2**30:.1f} are free; {of_a_training}.")


def password(here: Here) -> Verdict:
    if found := warnings(here.workspace.settings):
        return Verdict(False, found[0], "SECURITY.md tells what else there is to see to.")
    return Verdict(True, "Nobody reaches this backend from elsewhere without a password.")


def clock(here: Here) -> Verdict:
    theirs = here.label_studio.clock() if here.label_studio else None
    if theirs is None:
        return Verdict(None, "Label Studio does not tell what time it is.")
    apart = datetime.now(UTC) - theirs
    if abs(apart) <= CLOCKS_APART:
        return Verdict(True, "It agrees with Label Studio's.")
    what = f"It is {_ago(abs(apart).total_seconds())} {'ahead of' if apart > timedelta() else 'behind'} Label Studio's."
    return Verdict(False, what, "Set both by a time server (`timedatectl set-ntp true`); access tokens hang on them.")


CHECKS: list[tuple[str, str, Callable[[Here], Verdict]]] = [
    ("trainer", "The trainer is running", trainer),
    ("database", "The database can be written to", database),
    ("pages", "The database is whole", pages),
    ("model", "The model in use is whole", model),
    ("round", "The last round went well", last_round),
    ("disk", "There is room on the disk", disk),
    ("memory", "There is enough memory", memory),
    ("password", "Strangers are kept out", password),
    ("clock", "This machine's clock is right", clock),
]
"""In the order in which people are told."""


def in_two(fault: str) -> Verdict:
    """A fault in words, "what: what to do"."""
    what, _, remedy = fault.partition(": ")
    return Verdict(False, f"{what[0].upper()}{what[1:]}.", f"{remedy[:1].upper()}{remedy[1:]}." if remedy else None)


def _memory() -> tuple[float, float]:
    """Bytes that this machine, or this container, has and that are free."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = float(page * os.sysconf("SC_PHYS_PAGES")), float(page * os.sysconf("SC_AVPHYS_PAGES"))
    with suppress(OSError, StopIteration):  # what is used as a cache is free too
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = float(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    with suppress(OSError, ValueError):  # "max" where a container has no limit of its own
        limit = float(int(Path("/sys/fs/cgroup/memory.max").read_text()))
        used = float(Path("/sys/fs/cgroup/memory.current").read_text())
        told = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        used -= float(told.get("inactive_file", 0))  # a cache, given back when somebody needs it
        total, free = min(total, limit), min(free, limit - used)
    return total, free


def _ago(seconds: float) -> str:
    units = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
    size, unit = next(((size, unit) for size, unit in units if seconds >= size), units[-1])
    count = int(seconds // size)
    return f"{count} {unit}{'s' if count != 1 else ''}"
