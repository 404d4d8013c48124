"""Trainers' signs of life: the time of a file in the data folder, or rows of a database that several machines share."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import delete, select

from learning.backup import database_file
from learning.database import Trainer, clock
from learning.owners import owner
from learning.workspace import Workspace

NAME = "trainer-alive"
LIMIT = 30.0
"""Seconds without a sign after which a trainer is taken for gone; a writer may keep it waiting for half of that."""
EVERY = 5.0
"""Seconds between two signs in a database."""
FORGOTTEN = timedelta(days=1)
"""A trainer that gave none for so long is not told of any more."""


def beat(workspace: Workspace) -> None:
    """Tell that this trainer has just looked for something to do."""
    if database_file(workspace.settings) is not None:
        (workspace.settings.data_dir / NAME).touch()
        return
    with workspace.db.write() as session:
        at = clock(session)
        session.merge(Trainer(name=owner(), seen_at=at))
        session.execute(delete(Trainer).where(Trainer.seen_at < at - FORGOTTEN))


def end(workspace: Workspace) -> None:
    """Tell that this trainer has ended in good order."""
    if database_file(workspace.settings) is not None:
        with suppress(OSError):
            (workspace.settings.data_dir / NAME).unlink(missing_ok=True)
        return
    with workspace.db.write() as session:
        session.execute(delete(Trainer).where(Trainer.name == owner()))


def signs(workspace: Workspace) -> dict[str, float]:
    """Seconds since the last sign of each trainer, by its `learning.owners.owner`; those that ended in good order are
    not among them. Where the database is a file, all trainers share one sign."""
    if database_file(workspace.settings) is not None:
        try:
            seen = (workspace.settings.data_dir / NAME).stat().st_mtime
        except FileNotFoundError:
            return {}
        return {owner(): abs(time.time() - seen)}  # a sign from the future: the clock was set back
    with workspace.db.read() as session:
        at = clock(session)
        return {this.name: abs((at - this.seen_at).total_seconds()) for this in session.scalars(select(Trainer))}


def silent_for(workspace: Workspace) -> float | None:
    """Seconds since any trainer last looked; None if none ever has, or the last one has ended in good order."""
    return min(signs(workspace).values(), default=None)


def is_first(workspace: Workspace) -> bool:
    """Whether what one trainer of all does is this one's to do: it comes first of those that are alive."""
    return owner() == min((name for name, silent in signs(workspace).items() if silent <= LIMIT), default=owner())
