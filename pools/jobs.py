"""What is to be measured of a pool, and by what: all that a process on any machine has to be told."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

import taggers
from corpus import Kind
from labelstudio.schema import Schema
from learning.readers import ADAPTED, Readers
from learning.settings import ProjectSettings
from pools import storing
from pools.folder import Pool, replacing
from strategies import Filter, Strategy, pool_filter, strategy
from taggers import Tagger
from taggers.checksums import SUMS, sha256

if TYPE_CHECKING:  # it brings along what only a backend needs, and workers elsewhere read this module
    from pools.backing import Backing

FORMAT = 1
"""Another number is another way to measure: nothing measured before holds then."""
MEASURED = "measured"
"""The folder in a pool's folder where the numbers are kept, in one of its own for each job."""
CARD = "job.json"
ROWS = "rows.npy"
"""Beside them: the job itself, and the rows that it is limited to."""
By = Literal["strategy", "filter"]


class Stored(BaseModel):
    """A stored model, and the checksum of its files' checksums."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    checksum: str

    @classmethod
    def at(cls, folder: Path) -> Stored:
        """The model that is there now."""
        return cls(folder=folder, checksum=sha256(folder / SUMS))

    def load(self) -> Tagger:
        """Raises `taggers.Damaged` if it is not as it was stored, or another one by now."""
        try:
            tagger = taggers.load(self.folder)
        except FileNotFoundError as error:
            raise taggers.Damaged(f"{error} any more: rank the pool again, with the newest one") from None
        if sha256(self.folder / SUMS) != self.checksum:
            raise taggers.Damaged(f"model {self.folder.name!r} was replaced meanwhile: rank the pool again")
        return tagger


class Job(BaseModel):
    """What a process needs to measure any part of a pool, wherever it runs, if it can reach these folders."""

    model_config = ConfigDict(frozen=True)

    pool: Path
    """The pool's folder."""
    project: str
    """Its key."""
    by: By
    """What measures: the strategy of the settings, or their filter."""
    kind: Kind
    """The marks that are looked at."""
    settings: ProjectSettings
    label_config: str
    model: Stored | None
    """Of that kind of marks; None if it is not read."""
    spans: Stored | None
    """What finds the spans between which relations are sought."""
    decides: str
    """The digest of all that decides the numbers."""
    only: str | None = None
    """The digest of the rows to measure, where these are not all of them."""

    @property
    def name(self) -> str:
        """The folder under `measured` where the numbers are kept."""
        named = self.settings.filter if self.by == "filter" else self.settings.strategy
        return "-".join(filter(None, (named, self.kind, self.decides, self.only)))

    def what(self) -> Strategy | Filter:
        """What measures."""
        return _what(self.settings, self.by)

    def rows(self, first: int, count: int) -> NDArray[np.int64]:
        """Those to measure of `count` rows from `first` on, ascending."""
        if self.only is None:
            return np.arange(first, first + count)
        return within(storing.load_rows(self.folder / ROWS, self.only), first, count)

    def limited_to(self, rows: NDArray[np.int64]) -> Job:
        """The same for these rows alone, ascending, which are written down for whoever measures them."""
        limited = self.model_copy(update={"only": storing.digest_of(rows)})
        limited.folder.mkdir(parents=True, exist_ok=True)
        storing.save_rows(limited.folder / ROWS, rows)
        return limited

    def write_down(self) -> None:
        """Leave the job itself where its numbers are kept, so that they can be told apart."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / CARD) as unfinished:
            unfinished.write_text(self.model_dump_json(indent=1), "utf-8")

    @property
    def folder(self) -> Path:
        """Where all that is measured lies."""
        return self.pool / MEASURED / self.name


def within(rows: NDArray[np.int64], first: int, count: int) -> NDArray[np.int64]:
    """Those of ascending rows that lie among `count` from `first` on."""
    start, end = np.searchsorted(rows, [first, first + count])
    return rows[start:end]


def job(pool: Pool, known: Backing, kind: Kind, by: By) -> Job:
    """What the strategy or the filter asks of the model of a kind of marks.

    Raises ValueError, in words, if it reads an encoder that has yet to be adapted.
    """
    settings = known.settings.of(known.schema.kinds[0]) if len(known.schema.kinds) == 1 else known.settings
    what = _what(settings, by)
    reads_model = what.reads == "tagger" and bool(what.needs)
    model = Stored.at(known.ranks[kind]) if reads_model else None
    between = reads_model and kind == "relations" and "spans" in known.tags
    spans = Stored.at(known.tags["spans"]) if between else None
    options = settings.filter_options if by == "filter" else settings.strategy_options
    decides = {
        "format": FORMAT,
        "project": known.project,
        "options": options,
        "models": [stored.checksum for stored in (model, spans) if stored],
        "reader": None if what.reads == "tagger" else _reader(settings, what.reads),
        "text": _text(known.schema),
    }
    return Job(
        pool=pool.folder.resolve(),
        project=known.project,
        by=by,
        kind=kind,
        settings=settings,
        label_config=known.label_config,
        model=model,
        spans=spans,
        decides=_digest(decides),
    )


def _what(settings: ProjectSettings, by: By) -> Strategy | Filter:
    if by == "strategy":
        return strategy(settings.strategy, **settings.strategy_options)
    if settings.filter is None:
        raise ValueError("these settings name no filter")
    return pool_filter(settings.filter, **settings.filter_options)


def _reader(settings: ProjectSettings, reads: str) -> str:
    """What tells one encoder or masked-language model from another. Raises ValueError if it is to be adapted first."""
    name = Readers(settings).named(reads)
    if name == ADAPTED:
        raise ValueError(
            f"strategy {settings.strategy!r} would first adapt its masked-language model to the texts, which is not "
            "done with a pool: set MASKED_LM to a model, or to the folder of one that was adapted before"
        )
    files = sorted(file for file in Path(name).rglob("*") if file.is_file()) if Path(name).is_dir() else []
    seed = [str(settings.seed)] if reads == "masked-lm" else []
    return " ".join([*map(sha256, files)] or [name]) + " ".join(seed)


def _text(schema: Schema) -> list[Any]:
    """What decides which text a task's data holds."""
    return [schema.object_type, schema.value, schema.text_key, schema.inline, schema.encoding]


def _digest(decides: dict[str, Any]) -> str:
    return blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=8).hexdigest()
