"""The commands `backup` and `restore`: what they tell people, and that no trainer runs meanwhile."""

from __future__ import annotations

from pathlib import Path

from learning import backup
from learning.settings import Settings
from learning.workspace import Workspace
from server import heartbeat


def write(settings: Settings, target: Path) -> list[str]:
    """Back up to `target`; what is to be said of it. Raises as `learning.backup.backup`."""
    done = backup.backup(settings, target)
    size = done.path.stat().st_size / 1e6
    said = [f"{done.path}: {done.models} models, {size:,.1f} MB. It holds access tokens: keep it safe."]
    if not done.database:
        said.append("The database is on a server, and not in it: back that up at the same time (pg_dump -Fc).")
    return [*(f"Left out: {problem}" for problem in done.left_out), *said]


def put_back(settings: Settings, file: Path, force: bool) -> list[str]:
    """Restore `file`; what is to be said of it. Raises ValueError while a trainer runs, and as
    `learning.backup.restore`."""
    silent = heartbeat.silent_for(Workspace(settings))
    if silent is not None and silent <= heartbeat.LIMIT:
        raise ValueError(
            f"the trainer gave a sign of life {silent:.0f} seconds ago: stop the backend and, if you have done so, "
            f"try again in {heartbeat.LIMIT - silent + 1:.0f} seconds"
        )
    done = backup.restore(settings, file, force=force)
    what = f"the database and {done.models} models" if done.database else f"{done.models} models, but no database"
    said = f"Restored {what}. Start the backend: it compares with Label Studio, and ranks every project anew."
    return ([f"What was there is kept in {done.aside}."] if done.aside else []) + [said]
