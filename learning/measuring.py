"""The pool and the labelled texts as a strategy sees them: measured by a model of one kind of marks, or by a reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import Inference, Kind, Mark, Sentence
from learning.readers import Reader, Readers
from learning.steps import OnStep, silently
from learning.venue import Collected
from strategies import Filter, Measured, Strategy, join
from taggers import TAGGERS, Tagger
from taggers.several import Several


def open_reader(readers: Readers, reads: str, collected: Collected, on_step: OnStep) -> Reader:
    """Adaptation may read every text but the hold-out's."""
    return readers.open(reads, [*collected.labelled, *collected.pool], on_step)


def measured(
    what: Strategy | Filter, batches: Iterable[Inference], sentences: Sequence[Sentence], on_step: OnStep = silently
) -> Measured:
    """Map `measure` over the batches of these sentences, one by one as they come; what reads nothing of a model, takes
    none of them and gets the lengths in words."""
    if what.reads == "tagger" and not what.needs:
        return Measured(np.zeros(len(sentences)), np.array([len(s) for s in sentences], np.int64))
    done = 0
    on_step("measure", done=0, of=len(sentences))

    def one_by_one() -> Iterator[tuple[Inference, NDArray[Any]]]:
        nonlocal done
        for batch in batches:
            done += len(batch.indices)
            on_step("measure", done=done, of=len(sentences))
            yield batch, what.measure(batch)

    return join(one_by_one(), len(sentences))


def inferred(what: Strategy | Filter, tagger: Tagger, sentences: Sequence[Sentence]) -> Iterator[Inference]:
    """What the tagger says of the sentences, with the stochastic passes that are read."""
    passes, dropout = (what.passes, what.dropout) if isinstance(what, Strategy) else (0, None)
    return tagger.infer(sentences, passes=passes, dropout=dropout)


class Measuring:
    """Maps `measure` over batches of a model of one kind or of a reader, keeping the model's marks by the way.

    Relations of the pool are sought between the spans in `found`, by id; those of labelled texts between the
    annotated ones.
    """

    def __init__(
        self,
        collected: Collected,
        tagger: Tagger | None,
        readers: Readers,
        on_step: OnStep,
        found: Mapping[str, Sequence[Mark]],
    ) -> None:
        self.collected = collected
        self.tagger, self.on_step, self._readers = tagger, on_step, readers
        self.kind: Kind = tagger.kind if tagger else "spans"
        self._found = found
        self.pool = self._ready(collected.pool)
        self.learned = [s for s in collected.labelled if tagger is None or s.marks(self.kind) is not None]
        """What the model has learned from, with its labels."""
        self._marks: dict[str, list[Mark]] = {}

    @property
    def provides(self) -> frozenset[str] | None:
        """What the model gives to measure by; None where there is none."""
        return None if self.tagger is None else TAGGERS[self.tagger.name].provides

    def __len__(self) -> int:
        return len(self.pool)

    def _ready(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        """As the model may see them."""
        found = [self._found.get(sentence.id, ()) for sentence in sentences]
        return Several.ready(self.kind, [sentence.unlabelled() for sentence in sentences], found)

    def of(self, what: Strategy | Filter, positions: NDArray[np.int64]) -> tuple[Measured, Measured | None]:
        """The sentences of the pool at `positions`, and the labelled ones if they are used."""
        measured = self._measure(what, [self.pool[i] for i in positions], self.on_step)
        if not what.uses_labelled:
            return measured, None
        annotated = [sentence.spans or () for sentence in self.learned]
        learned = Several.ready(self.kind, [sentence.unlabelled() for sentence in self.learned], annotated)
        by_the_way = dict(self._marks)
        labelled = self._measure(what, learned, silently)
        if self.kind == "relations":  # what is found between annotated spans is no prediction
            self._marks = by_the_way
        return measured, labelled

    def _measure(self, what: Strategy | Filter, sentences: Sequence[Sentence], on_step: OnStep) -> Measured:
        return measured(what, self._infer(what, sentences), sentences, on_step)

    def _infer(self, what: Strategy | Filter, sentences: Sequence[Sentence]) -> Iterator[Inference]:
        if what.reads != "tagger":
            yield from open_reader(self._readers, what.reads, self.collected, self.on_step).infer(sentences)
            return
        assert self.tagger is not None
        for batch in inferred(what, self.tagger, sentences):
            for i, marks in zip(batch.indices, self.tagger.marks(batch, sentences), strict=True):
                self._marks[sentences[i].id] = marks
            yield batch

    def predictions(self, tagger: Tagger, known: Mapping[str, list[Mark]]) -> dict[str, list[Mark]]:
        """The marks that `tagger`, of the same kind, finds in every sentence, those that were not measured too."""
        if tagger is self.tagger:
            known = self._marks
        rest = self._ready([*self.collected.labelled, *self.collected.holdout, *self.collected.holdout_pool])
        missing = [sentence for sentence in (*self.pool, *rest) if sentence.id not in known]
        self.on_step("tag", of=len(missing))
        found = zip(missing, tagger.predict(missing), strict=True)
        return {**known} | {sentence.id: marks for sentence, marks in found}
