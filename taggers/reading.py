"""Texts as an encoder reads them: sorted by length, in batches that stream, and what a reader without tags tells."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import TypeVar

from corpus import Inference, Sentence, Word
from taggers.word_pieces import Passage, within_budget

BATCH_PIECES = {"cpu": 1024, "cuda": 16384}
"""Word pieces read at once: larger batches fall out of a processor's cache, smaller ones leave a GPU idle."""
SORTED_AT_ONCE = 4096
"""Texts cut into pieces and sorted by length at a time, so that a large pool streams."""


class Part(Protocol):
    """Neighbouring words of one text as a network reads them."""

    @property
    def start(self) -> int:
        """The first word that this part answers for."""

    @property
    def words(self) -> int:
        """How many it answers for."""

    def __len__(self) -> int:
        """What it costs to read, in word pieces or whatever else is read."""


P = TypeVar("P", bound=Part, default=Passage)


class Reader(Protocol[P]):
    """Cuts texts into parts."""

    def read(self, texts: Sequence[Sequence[Word]]) -> list[list[P]]:
        """The parts of each text, in order; a text without words has none."""


@dataclass(frozen=True, slots=True)
class TextBatch(Generic[P]):
    """B texts of like length."""

    indices: NDArray[np.int64]
    """(B,) position of each text in the list that was given."""
    lengths: NDArray[np.int64]
    """(B,) words in each text."""
    passages: list[list[P]]
    """Of each text; none if it has no words."""

    def rows(self) -> list[tuple[int, P]]:
        """All passages, each with the place of its text in the batch."""
        return [(b, passage) for b, of_text in enumerate(self.passages) for passage in of_text]


def text_batches(
    reader: Reader[P], sentences: Sequence[Sentence], budget: int, *, words: int | None = None
) -> Iterator[TextBatch[P]]:
    """Every text in exactly one batch; a batch's texts × its longest text stay within `budget` word pieces.

    With `words`, only so many of each text are read; `lengths` are those of the whole texts.
    """
    by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i].text))
    for start in range(0, len(by_length), SORTED_AT_ONCE):
        chosen = np.array(by_length[start : start + SORTED_AT_ONCE])
        passages = reader.read([sentences[i].words[:words] for i in chosen])
        pieces = [sum(map(len, of_text)) for of_text in passages]
        order = np.argsort(pieces, kind="stable")
        for group in within_budget([pieces[k] for k in order], budget):
            members = order[group.start : group.stop]
            lengths = np.array([len(sentences[i]) for i in chosen[members]], dtype=np.int64)
            yield TextBatch(chosen[members], lengths, [passages[k] for k in members])


def word_places(rows: Sequence[tuple[int, Part]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) the text in its batch and (N,) the place in that text of every word that these passages answer for."""
    words_R = np.array([part.words for _, part in rows])
    before_R = np.cumsum(words_R) - words_R
    shift_R = np.array([part.start for _, part in rows]) - before_R
    return np.repeat([b for b, _ in rows], words_R), np.arange(words_R.sum()) + np.repeat(shift_R, words_R)


def untagged(
    batch: TextBatch,
    *,
    hidden_BTH: NDArray[np.float32] | None = None,
    surprisal_BL: NDArray[np.float32] | None = None,
) -> Inference:
    """What a reader says of a batch: every word is "O" for certain, for it knows no labels."""
    shape = (len(batch.indices), int(batch.lengths.max(initial=0)))
    inside_BT = np.arange(shape[1]) < batch.lengths[:, None]
    return Inference(
        batch.indices,
        batch.lengths,
        ("O",),
        path_BT=np.zeros(shape, np.int64),
        log_prob_B=np.zeros(len(batch.indices)),
        marginals_BTC=inside_BT[:, :, None].astype(np.float32),
        hidden_BTH=hidden_BTH,
        surprisal_BL=surprisal_BL,
    )


Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
    """`map`, in order, with several items at a time, each on one of torch's threads.

    So no thread waits for the others after each small operation, as they do when they share one item; a single item
    they do share.
    """
    threads = torch.get_num_threads()
    first = list(islice(items, 2))
    if threads == 1 or len(first) < 2:
        yield from map(work, chain(first, items))
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "reading", torch.set_num_threads, (1,))
    try:
        for item in chain(first, items):
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads that have not begun yet: each has a number of its own
