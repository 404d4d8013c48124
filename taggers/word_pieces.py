"""Words as the encoder reads them: word pieces in passages no longer than it can take, and padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from corpus import Word
from corpus.windows import windows

OVERLAP = 64
"""Word pieces that neighbouring passages of a long text share, so that each word is read in context."""
LONGEST_WORD = 64
"""Pieces of one word that are read. A word's numbers are its first piece's; a longer word is no language."""

CAPITALISATIONS = ("none", "number", "lower", "title", "upper", "mixed", "caseless", "symbol")
"""Kinds of writing; "none" stands for special tokens and padding."""


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


@dataclass(frozen=True, slots=True)
class PieceBatch:
    """Passages side by side. Axes: R passages, P word pieces (padded), N words of all passages in a row."""

    pieces_RP: Tensor
    mask_RP: Tensor
    kinds_RP: Tensor
    firsts_N: Tensor
    """Positions in the flattened R × P."""

    def to(self, device: torch.device) -> PieceBatch:
        return PieceBatch(*(getattr(self, name).to(device) for name in PieceBatch.__slots__))


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
            # A lone half of a surrogate pair is no text to the tokenizer.
            [[word.text.encode("utf-8", "replace").decode() for word in words] for words in texts],
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        passages = []
        for i, words in enumerate(texts):
            pieces: list[list[int]] = [[] for _ in words]
            for piece, word in zip(encoded["input_ids"][i], encoded.word_ids(i), strict=True):
                pieces[word].append(piece)
            passages.append(self._passages(words, [(p or [self._unknown])[:LONGEST_WORD] for p in pieces]))
        return passages

    def _passages(self, words: Sequence[Word], pieces: list[list[int]]) -> list[Passage]:
        kinds = [capitalisation(word.text) for word in words]
        passages = []
        for window in windows([len(p) for p in pieces], self._limit, min(OVERLAP, self._limit // 4)):
            ids, of_pieces, firsts = list(self._before), [0] * len(self._before), []
            for w in range(window.start, window.stop):
                if window.core_start <= w < window.core_stop:
                    firsts.append(len(ids))
                ids += pieces[w]
                of_pieces += [kinds[w]] * len(pieces[w])
            ids += self._after
            of_pieces += [0] * len(self._after)
            passages.append(Passage(window.core_start, ids, of_pieces, firsts))
        return passages

    def batch(self, passages: Sequence[Passage]) -> PieceBatch:
        """Pad passages to the longest of them."""
        width = max(len(passage.pieces) for passage in passages)
        size = (len(passages), width)
        pieces_RP = torch.full(size, self._padding, dtype=torch.long)
        mask_RP = torch.zeros(size, dtype=torch.long)
        kinds_RP = torch.zeros(size, dtype=torch.long)
        firsts = []
        for row, passage in enumerate(passages):
            length = len(passage.pieces)
            pieces_RP[row, :length] = torch.tensor(passage.pieces)
            mask_RP[row, :length] = 1
            kinds_RP[row, :length] = torch.tensor(passage.kinds)
            firsts += [row * width + first for first in passage.firsts]
        return PieceBatch(pieces_RP, mask_RP, kinds_RP, torch.tensor(firsts, dtype=torch.long))


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
