"""A pool measured part by part, by any process that has a job: the same `measure` over `infer` as in the live loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import Inference, Mark, Sentence
from labelstudio.documents import BadTask, document
from labelstudio.schema import Schema, read_schema
from learning.measuring import inferred, measured
from learning.readers import Readers
from learning.steps import OnStep
from pools import storing
from pools.folder import Part, Pool
from pools.jobs import MEASURED, Job
from strategies import Measured
from taggers import vector_store
from taggers.several import Several

Measure = Callable[[Pool, Job, Sequence[Part], OnStep], None]
"""Writes what these parts measure, wherever that is done."""
UNREAD = -1
"""The length of a text that the label config cannot read: it is never ranked."""


class Measurer:
    """Measures parts of a pool, or any other texts, with a model that is loaded once."""

    def __init__(self, job: Job) -> None:
        """Raises `taggers.Damaged` if a model is not as it was stored, ValueError if one is not within reach."""
        self.job = job
        self._what = job.what()
        self._tagger = job.model.load() if job.model else None
        self._spans = job.spans.load() if job.spans else None
        self._reader = None if self._what.reads == "tagger" else Readers(job.settings).open(self._what.reads, [])

    def __call__(self, tasks: Sequence[dict[str, Any]], first: int) -> Measured:
        """The texts of a part that begins with row `first`, of its tasks' data: those of `job.rows`, in their order.

        One that cannot be read measures 0, at length `UNREAD`.
        """
        schema = read_schema(self.job.label_config, self.job.settings.control)
        rows = self.job.rows(first, len(tasks))
        texts = {place: sentence_of(schema, tasks[row - first], row) for place, row in enumerate(rows.tolist())}
        sentences = {place: text for place, text in texts.items() if isinstance(text, Sentence)}
        with _vectors_in_memory():
            found = self.of([*sentences.values()])
        places = np.fromiter(sentences, np.int64, len(sentences))
        values = np.zeros((len(rows), *found.values.shape[1:]), found.values.dtype)
        values[places] = found.values
        lengths = np.full(len(rows), UNREAD)
        lengths[places] = found.lengths
        return Measured(values, lengths, found.state_size)

    def of(self, sentences: Sequence[Sentence], spans: Sequence[Sequence[Mark]] | None = None) -> Measured:
        """Of unlabelled texts; relations are sought between these spans, or those that are found."""
        if self.job.kind == "relations":
            spans = self._found(sentences) if spans is None else spans
            sentences = Several.ready("relations", sentences, spans)
        return measured(self._what, self._batches(sentences), sentences)

    def _found(self, sentences: Sequence[Sentence]) -> Sequence[Sequence[Mark]]:
        return self._spans.predict(sentences) if self._spans else [()] * len(sentences)

    def _batches(self, sentences: Sequence[Sentence]) -> Iterator[Inference]:
        if self._reader is not None:
            yield from self._reader.infer(sentences)
        elif self._tagger is not None:
            yield from inferred(self._what, self._tagger, sentences)


def sentence_of(schema: Schema, data: dict[str, Any], row: int) -> Sentence | BadTask:
    """A text as taggers read it, or why it cannot be read."""
    try:
        return Sentence.from_text(str(row), document(schema, data).text)
    except BadTask as fault:
        return fault


@contextmanager
def _vectors_in_memory() -> Iterator[None]:
    """Keep no vectors of frozen encoders on disk: those of a million texts would take some 20 GB."""
    before = vector_store.kept_in()
    vector_store.keep_in(None)
    try:
        yield
    finally:
        vector_store.keep_in(before)


def write(pool_folder: Path, job: Job, part: Part, measured: Measured) -> Path:
    """Store what a part measures, whole or not at all; the file."""
    path = _path(pool_folder, job, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    storing.save(path, measured, _about(part))
    return path


def read(pool_folder: Path, job: Job, part: Part) -> Measured:
    """What `write` stored of a part. Raises FileNotFoundError if it is not there, `storing.Broken` if it is damaged."""
    return storing.load(_path(pool_folder, job, part), len(job.rows(part.first, part.rows)), _about(part))


def _path(pool_folder: Path, job: Job, part: Part) -> Path:
    return pool_folder / MEASURED / job.name / part.path.name


def _about(part: Part) -> dict[str, int]:
    return {"first": part.first, "rows": part.rows}


def missing(pool: Pool, job: Job) -> list[Part]:
    """The parts that are still to be measured: those without a file, and those whose file is damaged."""
    return [part for part in pool.parts if len(job.rows(part.first, part.rows)) and not _is_there(pool, job, part)]


def _is_there(pool: Pool, job: Job, part: Part) -> bool:
    try:
        read(pool.folder, job, part)
    except (FileNotFoundError, storing.Broken):
        return False
    return True


def measure_here(pool: Pool, job: Job, parts: Sequence[Part], on_step: OnStep) -> None:
    """Measure these parts one after the other, in this process; it tells of the whole pool's rows."""
    measurer = Measurer(job)
    done = pool.size - sum(part.rows for part in parts)
    on_step("measure", done=done, of=pool.size)
    for part in parts:
        write(pool.folder, job, part, measurer(pool.read(part), part.first))
        done += part.rows
        on_step("measure", done=done, of=pool.size)


def complete(pool: Pool, job: Job, measure: Measure, on_step: OnStep) -> None:
    """See to it that every part is measured. Raises ValueError if some are not even then."""
    job.write_down()
    if parts := missing(pool, job):
        measure(pool, job, parts, on_step)
        if left := missing(pool, job):
            raise ValueError(
                f"{len(left)} of {len(pool.parts)} parts of the pool could not be measured: start it again"
            )


def lengths(pool: Pool, job: Job) -> NDArray[np.int64]:
    """(rows,) of the whole pool, as `complete` has left it: words (decisions) in each text, `UNREAD` for none."""
    files = (_path(pool.folder, job, part) for part in pool.parts)
    return np.concatenate([np.zeros(0, np.int64), *map(storing.load_lengths, files)])


def gather(pool: Pool, job: Job, rows: NDArray[np.int64]) -> Measured:
    """(N,) these ascending rows, all of the job's, as `complete` has left them: read part by part into one array."""
    values: NDArray[np.float64] | NDArray[np.float32] = np.zeros(len(rows))
    words, state_size = np.zeros(len(rows), np.int64), 0
    for part in pool.parts:
        start, end = np.searchsorted(rows, [part.first, part.first + part.rows])
        if start == end:
            continue
        found = read(pool.folder, job, part)
        places = np.searchsorted(job.rows(part.first, part.rows), rows[start:end])
        if (
            found.lengths > 0
        ).any() and not words.any():  # only texts with words tell in how many columns they are measured
            values = np.zeros((len(rows), *found.values.shape[1:]), found.values.dtype)
            state_size = found.state_size
        words[start:end] = found.lengths[places]
        if words[start:end].any():
            values[start:end] = found.values[places]
    return Measured(values, words, state_size)
