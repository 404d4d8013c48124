"""How far a running round is, and how long it will take, by how long earlier ones took."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from learning.database import Round, clock

COMPARED = 3
"""Earlier rounds that are looked at: the newest of the same kind."""
COUNTED = (("done", "of"), ("epoch", "epochs"), ("fold", "folds"), ("seconds", "of"))
"""How steps say where they are."""
ALMOST = 0.95
"""A step that takes longer than it ever did is almost done, for all we know."""


def progress(session: Session, this: Round) -> dict[str, Any]:
    """Of a round that runs or is published: its step, and the share and the seconds left of the whole, None without
    an earlier round to go by."""
    told = this.progress
    done, of = _counted(told)
    seconds = _earlier(session, this)
    of_step = done / of if done is not None and of else None
    taken = (clock(session) - this.started_at).total_seconds()
    share, left = _estimate(seconds, told.get("step", ""), of_step, taken)
    return {
        "round": this.number,
        "step": told.get("step", "start"),
        "done": done,
        "of": of,
        "share": share,
        "seconds_left": left,
    }


def _counted(told: Mapping[str, Any]) -> tuple[int | None, int | None]:
    for done, of in COUNTED:
        if isinstance(told.get(done), int | float) and told.get(of):
            return int(told[done]), int(told[of])
    return None, None


def _earlier(session: Session, this: Round) -> dict[str, float]:
    """Seconds by step, in the order of the steps: the medians of the newest finished rounds of the same kind."""
    kind = {"successor": "fit"}.get(this.kind, this.kind)
    wanted = select(Round.metrics).where(
        Round.project_id == this.project_id, Round.kind == kind, Round.state == "done", Round.id != this.id
    )
    rounds = [
        told
        for metrics in session.scalars(wanted.order_by(Round.number.desc()).limit(COMPARED))
        if (told := metrics.get("seconds"))
    ]
    return {step: median(told[step] for told in rounds if step in told) for told in rounds for step in told}


def _estimate(
    seconds: Mapping[str, float], step: str, share: float | None, taken: float
) -> tuple[float | None, float | None]:
    """The share of the whole that is done, and the seconds that are left."""
    whole, steps = sum(seconds.values()), list(seconds)
    if step not in seconds or whole <= 0:
        return None, None
    before = sum(seconds[earlier] for earlier in steps[: steps.index(step)])
    if share is None:  # by the clock
        share = (taken - before) / max(seconds[step], 1e-3)
    done = before + seconds[step] * min(max(share, 0.0), ALMOST if step == steps[-1] else 1.0)
    return round(done / whole, 3), round(whole - done, 1)
