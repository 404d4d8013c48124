"""A pool in the order to label it: the choice is the live loop's, over what was measured part by part."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from corpus import Kind, Sentence
from learning import ranking
from learning.steps import OnStep, silently
from learning.workspace import Workspace
from pools.backing import Backing, backing
from pools.folder import Pool, write_table
from pools.jobs import CARD, MEASURED, Job, job
from pools.measuring import (
    UNREAD,
    Measure,
    Measurer,
    complete,
    gather,
    lengths,
    measure_here,
    sentence_of,
)
from strategies import Filter, Measured, Ranking, Strategy, check

log = logging.getLogger("active_tagger")

NAMED = 20
"""Texts that cannot be read are named so often at most."""
RANKINGS = "rankings"
ABOUT = b"about"
ORDER = pa.schema([pa.field("row", pa.int64()), pa.field("priority", pa.float64())])


@dataclass(frozen=True)
class Ranked:
    """A pool's order by one model."""

    name: str
    version: str
    """Of the model."""
    rows: NDArray[np.int64]
    """(N,) the one to label first at the front; what is in Label Studio already is not among them."""
    priority: NDArray[np.float64]
    """(N,) what each is worth, in the strategy's own unit; NaN for what the filter has left out. Where several kinds of
    marks order the pool, 1 − the mean of a row's places by each, as a share of N."""
    limit: int
    """How many were chosen one by one; those that follow are ordered by what they are worth alone."""
    unread: int = 0
    """Rows that the label config cannot read, which are left out."""
    problems: tuple[str, ...] = ()
    """The first of them, each named by its row, with what is wrong."""


def rank(
    pool: Pool,
    workspace: Workspace,
    project_id: int,
    *,
    limit: int,
    on_step: OnStep = silently,
    measure: Measure = measure_here,
) -> Ranked:
    """Measure of a pool what is not measured yet, and order what is not in Label Studio yet, of which `limit` rows are
    to be labelled before the next model. It is kept in the pool's folder, in the place of earlier ones of the project.

    Raises ValueError as `backing` does, and if no text can be read, or a strategy or filter cannot be had.
    """
    known = backing(workspace, project_id)
    first, *_ = jobs = _jobs(pool, known)
    complete(pool, first, measure, on_step)
    lengths_N = lengths(pool, first)
    unread = np.flatnonzero(lengths_N == UNREAD)
    problems = _problems(pool, known, unread)
    rows = np.flatnonzero(~_sent(pool, known) & (lengths_N != UNREAD))
    rng = known.rng()
    rankings, used = [], {one.name for one in jobs}
    for kind in known.orders:
        texts = _Texts(pool, known, kind, rows, measure, on_step)
        rankings.append(ranking.rank(texts, known.settings.of(kind), lambda _: limit, rng))
        used |= texts.used
    together = _together(rankings, rng)
    ranked = Ranked(
        name=_name(pool, known),
        version=known.version,
        rows=rows[together.order],
        priority=together.priority[together.order],
        limit=limit,
        unread=len(unread),
        problems=problems,
    )
    _store(pool, known, ranked)
    _tidy(pool, known, ranked, used)
    return ranked


def latest(pool: Pool, known: Backing) -> Ranked | None:
    """The order that `rank` has found of this very pool by the project's present model and settings, without what was
    sent to Label Studio since; None if there is none, or only a damaged one."""
    name = _name(pool, known)
    if (found := _load(_file(pool, name))) is None:
        return None
    about, rows, priority = found
    left = ~_sent(pool, known)[rows]
    return Ranked(
        name, known.version, rows[left], priority[left], about["limit"], about["unread"], tuple(about["problems"])
    )


def _sent(pool: Pool, known: Backing) -> NDArray[np.bool_]:
    """(rows,) whether a row is in Label Studio already."""
    sent = np.zeros(pool.size, bool)
    sent[np.array([*pool.sent(known.project)], np.int64)] = True
    return sent


class _Texts:
    """The rows of a pool that are to be ranked, as strategies and filters see them: `learning.ranking.Measurable`."""

    def __init__(
        self, pool: Pool, known: Backing, kind: Kind, rows: NDArray[np.int64], measure: Measure, on_step: OnStep
    ) -> None:
        self.kind, self.on_step = kind, on_step
        self.learned: Sequence[Sentence] = [s for s in known.labelled if s.marks(kind) is not None]
        self.used: set[str] = set()
        """The jobs that have measured it."""
        self._pool, self._known, self._rows, self._measure = pool, known, rows, measure

    @property
    def provides(self) -> frozenset[str]:
        """What its model gives to measure by."""
        return self._known.provides(self.kind)

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, what: Strategy | Filter, positions: NDArray[np.int64]) -> tuple[Measured, Measured | None]:
        """See `learning.ranking.Measurable.of`. What a filter has left out is not measured for the strategy."""
        asked = job(self._pool, self._known, self.kind, "filter" if isinstance(what, Filter) else "strategy")
        if len(positions) < len(self):
            asked = asked.limited_to(self._rows[positions])
        self.used.add(asked.name)
        complete(self._pool, asked, self._measure, self.on_step)
        measured = gather(self._pool, asked, self._rows[positions])
        if not what.uses_labelled:
            return measured, None
        bare = [sentence.unlabelled() for sentence in self.learned]
        return measured, Measurer(asked).of(bare, [sentence.spans or () for sentence in self.learned])


def _jobs(pool: Pool, known: Backing) -> list[Job]:
    """All that can be asked of the whole pool, the first thing at the front. Raises ValueError for what cannot be."""
    asked = []
    for kind in known.orders:
        for by in ("filter", "strategy") if known.settings.filter else ("strategy",):
            asked.append(job(pool, known, kind, by))
            check(asked[-1].what(), known.provides(kind))
    return asked


def _problems(pool: Pool, known: Backing, unread: NDArray[np.int64]) -> tuple[str, ...]:
    """What is wrong with the first of the rows that cannot be read. Raises ValueError if there are no others."""
    some = unread[:NAMED]
    read = zip(some.tolist(), pool.at(some), strict=True)
    problems = tuple(f"row {row}: {sentence_of(known.schema, data, row)}" for row, data in read)
    if len(unread) == pool.size:
        raise ValueError(
            f"{pool.folder} holds no text that can be ranked: {problems[0] if problems else 'it is empty'}"
        )
    for problem in problems:
        log.warning("pool %s: %s", pool.folder, problem)
    return problems


def _together(rankings: Sequence[Ranking], rng: np.random.Generator) -> Ranking:
    """One order of those by each kind of marks."""
    if len(rankings) == 1:
        return rankings[0]
    first = rankings[0].order
    places_KN = np.stack([np.argsort(one.order)[first] for one in rankings])
    mean = ranking.mean_ranking(places_KN, rng)
    priority_N = np.empty(len(first))
    priority_N[first] = mean.priority
    return Ranking(first[mean.order], priority_N)


def _name(pool: Pool, known: Backing) -> str:
    """Of the order that the present model and settings make of these rows."""
    settings = known.settings
    decides = [
        [one.name for one in _jobs(pool, known)],
        [settings.strategy_options, settings.filter, settings.filter_options, settings.seed, known.round, pool.size],
    ]
    return f"{known.version}-{blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()}"


def _store(pool: Pool, known: Backing, ranked: Ranked) -> None:
    about = {"project": known.project, "limit": ranked.limit, "unread": ranked.unread, "problems": ranked.problems}
    (pool.folder / RANKINGS).mkdir(exist_ok=True)
    schema = ORDER.with_metadata({ABOUT: json.dumps(about).encode()})
    write_table(pa.table([ranked.rows, ranked.priority], schema=schema), _file(pool, ranked.name))


def _load(file: Path) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.float64]] | None:
    """What `_store` wrote; None if nothing is there that can be read."""
    try:
        table = pq.read_table(file)
        return json.loads(table.schema.metadata[ABOUT]), table["row"].to_numpy(), table["priority"].to_numpy()
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None


def _file(pool: Pool, name: str) -> Path:
    return pool.folder / RANKINGS / f"{name}.parquet"


def _tidy(pool: Pool, known: Backing, ranked: Ranked, used: set[str]) -> None:
    """Delete what was measured and ranked for this project by earlier models or settings."""
    for card in (pool.folder / MEASURED).glob(f"*/{CARD}"):
        if card.parent.name not in used and json.loads(card.read_text()).get("project") == known.project:
            shutil.rmtree(card.parent, ignore_errors=True)
    for file in (pool.folder / RANKINGS).glob("*.parquet"):
        if file.stem != ranked.name and (found := _load(file)) and found[0]["project"] == known.project:
            file.unlink(missing_ok=True)
