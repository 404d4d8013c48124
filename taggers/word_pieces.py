"""Words as the encoder reads them: word pieces in passages no longer than it can take, and padded batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from corpus import Word
from corpus.windows import windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OVERLAP = 64
"""Word pieces that neighbouring passages of a long text share, so that each word is read in context."""
LONGEST_WORD = 64
"""Pieces of one word that are read. A word's numbers are its first piece's; a longer word is no language."""

CAPITALISATIONS = ("none", "number", "lower", "title", "upper", "mixed", "caseless", "symbol")
"""Kinds of writing; "none" stands for special tokens and padding."""


@functools.lru_cache(maxsize=1 << 16)
def capitalisation(word: str) -> int:
    """Index into CAPITALISATIONS: what an uncased encoder cannot see of a word.

    A single capital counts as title; "caseless" are letters of scripts without case (Chinese, Arabic, …).
    """
    letters = [c for c in word if c.isalpha()]
    cased = [c for c in letters if c.isupper() or c.islower()]
    if not letters:
        kind = "number" if any(c.isdigit() for c in word) else "symbol"
    elif not cased:
        kind = "caseless"
    elif all(c.islower() for c in cased):
        kind = "lower"
    elif len(cased) > 1 and all(c.isupper() for c in cased):
        kind = "upper"
    elif cased[0].isupper() and all(c.islower() for c in cased[1:]):
        kind = "title"
    else:
        kind = "mixed"
    return CAPITALISATIONS.index(kind)


@dataclass(frozen=True, slots=True)
class Passage:
    """Neighbouring words of one text as the encoder reads them."""

    start: int
    """The first word that this passage answers for; its overlap with others is read as context only."""
    pieces: list[int]
    """Word-piece ids, special tokens included."""
    kinds: list[int]
    """Each piece's capitalisation, that of its whole word."""
    firsts: list[int]
    """Where the first piece of each word answered for stands in `pieces`."""
    stop: int
    """Where the last of these words ends."""

    def __len__(self) -> int:
        """Length in word pieces."""
        return len(self.pieces)

    @property
    def words(self) -> int:
        """How many words it answers for."""
        return len(self.firsts)


@dataclass(frozen=True, slots=True)
class PieceBatch:
    """Passages side by side. Axes: R passages, P word pieces (padded), N words of all passages in a row."""

    pieces_RP: Tensor
    mask_RP: Tensor
    kinds_RP: Tensor
    firsts_N: Tensor
    """Positions in the flattened R × P."""
    lengths: list[int]
    """Of each passage, in word pieces."""

    def to(self, device: torch.device) -> PieceBatch:
        moved = {name: getattr(self, name).to(device) for name in ("pieces_RP", "mask_RP", "kinds_RP", "firsts_N")}
        return replace(self, **moved)


class PieceReader:
    """Cuts words into pieces. A word that the tokenizer drops (control characters) becomes the unknown piece."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, limit: int) -> None:
        probe = tokenizer("a", return_special_tokens_mask=True)
        special = probe["special_tokens_mask"]
        self._before = probe["input_ids"][: special.index(0)]
        self._after = probe["input_ids"][len(special) - special[::-1].index(0) :]
        self._limit = limit - len(self._before) - len(self._after)
        self._tokenizer = tokenizer
        self._padding = tokenizer.pad_token_id or 0
        unknown = tokenizer.unk_token_id
        self._unknown = self._padding if unknown is None else unknown

    def read(self, texts: Sequence[Sequence[Word]]) -> list[list[Passage]]:
        """The passages of each text, in order; a text without words has none."""
        if not any(texts):
            return [[] for _ in texts]
        encoded = self._tokenizer(
            [[_whole(word.text) for word in words] for words in texts],
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [
            self._of_text([capitalisation(word.text) for word in words], pieces, encoded.word_ids(i))
            for i, (words, pieces) in enumerate(zip(texts, encoded["input_ids"], strict=True))
        ]

    def _of_text(self, kinds: list[int], pieces: list[int], word_of: list[int]) -> list[Passage]:
        """The passages of a text of words of these kinds; `word_of` tells each piece's word."""
        firsts = [p for p, (w, before) in enumerate(zip(word_of, [-1, *word_of], strict=False)) if w != before]
        if len(firsts) == len(kinds) and len(pieces) <= min(self._limit, LONGEST_WORD):  # as nearly all are
            return [self._passage(0, pieces, [kinds[w] for w in word_of], firsts, len(pieces))] if kinds else []
        of_word: list[list[int]] = [[] for _ in kinds]
        for piece, word in zip(pieces, word_of, strict=True):
            of_word[word].append(piece)
        longest = min(LONGEST_WORD, self._limit)
        return self._windows(kinds, [(p or [self._unknown])[:longest] for p in of_word])

    def _windows(self, kinds: list[int], pieces: list[list[int]]) -> list[Passage]:
        passages = []
        for window in windows([len(p) for p in pieces], self._limit, min(OVERLAP, self._limit // 4)):
            read = range(window.start, window.stop)
            starts = [0, *accumulate(len(pieces[w]) for w in read)]
            core = slice(window.core_start - window.start, window.core_stop - window.start)
            of_pieces = [kinds[w] for w in read for _ in pieces[w]]
            ids = [*chain.from_iterable(pieces[window.start : window.stop])]
            passages.append(self._passage(window.core_start, ids, of_pieces, starts[core], starts[core.stop]))
        return passages

    def _passage(self, start: int, pieces: list[int], kinds: list[int], firsts: list[int], stop: int) -> Passage:
        """With the special tokens around it."""
        before, after = self._before, self._after
        return Passage(
            start,
            [*before, *pieces, *after],
            [*[0] * len(before), *kinds, *[0] * len(after)],
            [len(before) + first for first in firsts],
            len(before) + stop,
        )

    def batch(self, passages: Sequence[Passage]) -> PieceBatch:
        """Pad passages to the longest of them."""
        lengths_R = np.array([len(passage) for passage in passages])
        mask_RP = np.arange(lengths_R.max()) < lengths_R[:, None]
        pieces_RP = np.full(mask_RP.shape, self._padding)
        pieces_RP[mask_RP] = np.fromiter(chain.from_iterable(p.pieces for p in passages), np.int64)
        kinds_RP = np.zeros(mask_RP.shape, np.int64)
        kinds_RP[mask_RP] = np.fromiter(chain.from_iterable(p.kinds for p in passages), np.int64)
        firsts_N = np.fromiter(chain.from_iterable(p.firsts for p in passages), np.int64)
        firsts_N += np.repeat(np.arange(len(passages)) * mask_RP.shape[1], [p.words for p in passages])
        return PieceBatch(
            torch.from_numpy(pieces_RP),
            torch.from_numpy(mask_RP).long(),
            torch.from_numpy(kinds_RP),
            torch.from_numpy(firsts_N),
            lengths_R.tolist(),
        )


def _whole(word: str) -> str:
    """Without lone halves of surrogate pairs, which are no text to the tokenizer."""
    return word if word.isascii() else word.encode("utf-8", "replace").decode()


def within_budget(lengths: Sequence[int], budget: int) -> Iterator[range]:
    """Group neighbours so that count × longest stays within `budget`; one that is over it stands alone."""
    start, longest = 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and (i + 1 - start) * longest > budget:
            yield range(start, i)
            start, longest = i, length
    if lengths:
        yield range(start, len(lengths))
