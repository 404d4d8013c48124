"""Texts that tasks name by an address, kept so that each is fetched once for all processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from learning.database import Database, RemoteText, now

AT_ONCE = 8
"""Texts that are fetched at the same time."""
BATCH = 64
"""Texts that are written together; what is fetched and not yet written is lost when the process dies."""
TRY_AGAIN = timedelta(hours=1)
"""An address without a text is asked again after so long."""
CHUNK = 5_000
"""Rows named in one statement: SQLite takes at most 32,766 parameters."""
TOO_LATE = "it was not fetched in time; it is tried again"

Fetch = Callable[[str], str]
"""The text at an address. Raises ValueError if there is none, which is kept with its reason; OSError if that could not
be told, which is not kept."""

OnProgress = Callable[[int, int], None]
"""Told how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Texts, and the reasons why there are none, by address."""

    texts: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def look_up(session: Session, project_id: int, addresses: Collection[str], reasons: Mapping[str, str] = {}) -> Kept:
    """What is kept of these addresses; `reasons` are those of others, about which nothing could be told."""
    kept = Kept(problems=dict(reasons))
    wanted = list(dict.fromkeys(addresses))
    for first in range(0, len(wanted), CHUNK):
        part = RemoteText.address.in_(wanted[first : first + CHUNK])
        for row in session.scalars(select(RemoteText).where(RemoteText.project_id == project_id, part)):
            if row.text is not None:
                kept.texts[row.address] = row.text
            else:
                kept.problems.setdefault(row.address, row.problem or "")
    return kept


def fetch_missing(
    db: Database,
    project_id: int,
    addresses: Iterable[str],
    fetch: Fetch,
    *,
    seconds: float | None = None,
    on_progress: OnProgress = lambda done, of: None,
) -> dict[str, str]:
    """Fetch and keep what is not kept yet; returns the reasons of those about which nothing could be told.

    With `seconds` it returns after so long; what is then under way ends by itself and is not kept.
    """
    wanted = list(dict.fromkeys(addresses))
    with db.read() as session:
        known = _settled(session, project_id, wanted)
    missing = [address for address in wanted if address not in known]
    give_up = None if seconds is None else time.monotonic() + seconds
    reasons: dict[str, str] = {}
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="texts")
    try:
        for done, batch in _batches(missing):
            on_progress(done, len(missing))
            asked = {address: pool.submit(fetch, address) for address in batch}
            wait(asked.values(), None if give_up is None else max(0.0, give_up - time.monotonic()))
            found = [_outcome(project_id, address, future, reasons) for address, future in asked.items()]
            _keep(db, [row for row in found if row is not None])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return reasons


def keep_only(db: Database, project_id: int, addresses: Collection[str]) -> None:
    """Forget what no task of the project names any more."""
    with db.read() as session:
        kept = session.scalars(select(RemoteText.address).where(RemoteText.project_id == project_id)).all()
    gone = sorted(set(kept) - set(addresses))
    for first in range(0, len(gone), CHUNK):
        part = gone[first : first + CHUNK]
        with db.write() as session:
            session.execute(delete(RemoteText).where(RemoteText.project_id == project_id, RemoteText.address.in_(part)))


def _settled(session: Session, project_id: int, addresses: Sequence[str]) -> set[str]:
    """Those with a text, and those that have failed only lately."""
    lately = now() - TRY_AGAIN
    found: set[str] = set()
    for first in range(0, len(addresses), CHUNK):
        found.update(
            session.scalars(
                select(RemoteText.address).where(
                    RemoteText.project_id == project_id,
                    RemoteText.address.in_(addresses[first : first + CHUNK]),
                    RemoteText.text.is_not(None) | (RemoteText.fetched_at.between(lately, now())),
                )
            )
        )
    return found


def _batches(addresses: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    return ((first, addresses[first : first + BATCH]) for first in range(0, len(addresses), BATCH))


def _outcome(project_id: int, address: str, future: Future[str], reasons: dict[str, str]) -> RemoteText | None:
    """The row to keep; or None, with the reason."""
    row = partial(RemoteText, project_id=project_id, address=address, fetched_at=now())
    if not future.done():
        reasons[address] = TOO_LATE
        return None
    try:
        return row(text=future.result(), problem=None)
    except ValueError as problem:
        return row(text=None, problem=str(problem))
    except OSError as problem:
        reasons[address] = str(problem)
        return None


def _keep(db: Database, rows: Sequence[RemoteText]) -> None:
    if not rows:
        return
    with db.write() as session:
        for row in rows:  # another process may have fetched the same
            session.merge(row)
