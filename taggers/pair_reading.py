"""Pairs of entities as an encoder reads them: both entities and the text around them in one row of word pieces."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from transformers import PreTrainedTokenizerFast

from corpus import Sentence, Span, Word
from corpus.tags import cut_words
from taggers.pairs import Pair
from taggers.word_pieces import Passage, PieceReader

Input = Literal["distre", "markers"]
ROLES = ("none", "first", "second", "opens first", "closes first", "opens second", "closes second")
"""What a piece is to the pair that is read: a part of an entity, or a mark around one."""
NONE, FIRST, SECOND, OPENS_FIRST, CLOSES_FIRST, OPENS_SECOND, CLOSES_SECOND = range(len(ROLES))
SHARE = 8
"""An entity in front of the text, and a word in it, takes no more than this part of what may be read."""
MARKS = ("@", "#")
"""Around the first entity and the second: pieces that every encoder knows do as well as new ones (Zhou and Chen 2022,
sec. 2.2)."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A text cut at its entities' edges."""

    starts: list[int]
    """Of each word, in characters."""
    pieces: list[list[int]]
    """Of each word."""

    def inside(self, span: Span) -> range:
        """The words of an entity."""
        return range(bisect_left(self.starts, span.start), bisect_left(self.starts, span.end))


class PairReader(PieceReader):
    """Writes a pair as one row of word pieces, each of a kind: its role, and the label of the entity it belongs to.

    "distre" is the order of Alt et al. (2019): first entity, delimiter, second entity, delimiter, text. "markers" is
    the text with a mark before and after each of the two (Baldini Soares et al. 2019, sec. 3.2). Of a text that is
    longer than `longest` pieces the words around the pair are read, or around each of two that are further apart.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, limit: int, labels: Sequence[str], input: Input, longest: int
    ) -> None:
        super().__init__(tokenizer, limit)
        self.labels = tuple(labels)
        self._input = input
        self._marks = [self._pieces(mark) for mark in MARKS]
        ends = [piece for piece in (tokenizer.sep_token_id, tokenizer.eos_token_id) if piece is not None]
        self._delimiter = [ends[0]] if ends else self._pieces(";")
        # A decoder's last state stands for the pair: every row ends alike.
        self._after = self._after or self._delimiter
        self._longest = min(longest, limit) - len(self._before) - len(self._after)
        self._share = max(1, self._longest // SHARE)

    def _pieces(self, text: str) -> list[int]:
        pieces: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return pieces[:1] or [self._unknown]

    def read_pairs(self, sentences: Sequence[Sentence], pairs: Sequence[Sequence[Pair]]) -> list[list[Passage]]:
        """A passage for each pair of each text; it answers for that pair as a tagger's passage does for its words."""
        having = [i for i, of_text in enumerate(pairs) if of_text]
        texts = self._texts([_cut(sentences[i].words, pairs[i]) for i in having])
        passages: list[list[Passage]] = [[] for _ in sentences]
        for i, text in zip(having, texts, strict=True):
            passages[i] = [self._pair(text, pair, place) for place, pair in enumerate(pairs[i])]
        return passages

    def _texts(self, texts: list[tuple[Word, ...]]) -> list[_Text]:
        if not texts:
            return []
        encoded = self._tokenizer(
            [[word.text.encode("utf-8", "replace").decode() for word in words] for words in texts],
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        read = []
        for i, words in enumerate(texts):
            of_word: list[list[int]] = [[] for _ in words]
            for piece, word in zip(encoded["input_ids"][i], encoded.word_ids(i), strict=True):
                of_word[word].append(piece)
            pieces = [of[: self._share] or [self._unknown] for of in of_word]
            read.append(_Text([word.start for word in words], pieces))
        return read

    def _pair(self, text: _Text, pair: Pair, place: int) -> Passage:
        entities = (text.inside(pair.first), text.inside(pair.second))
        kinds = [self._kinds(pair.first.label), self._kinds(pair.second.label)]
        row: list[tuple[int, int]] = []
        if self._input == "distre":
            for words, of, role in zip(entities, kinds, (FIRST, SECOND), strict=True):
                name = [*chain.from_iterable(text.pieces[w] for w in words)][: self._share]
                row += [(piece, of[role]) for piece in name]
                row += [(piece, 0) for piece in self._delimiter]
        room = self._longest - (len(row) or 2 * sum(map(len, self._marks)))
        for w in _passage([len(pieces) for pieces in text.pieces], *entities, room):
            row += self._word(text.pieces[w], w, entities, kinds)
        pieces = [*self._before, *(piece for piece, _ in row), *self._after]
        of_pieces = [*[0] * len(self._before), *(kind for _, kind in row), *[0] * len(self._after)]
        return Passage(place, pieces, of_pieces, [0], len(pieces))

    def _word(
        self, pieces: list[int], w: int, entities: tuple[range, range], kinds: list[list[int]]
    ) -> list[tuple[int, int]]:
        """A word of the text, with the marks that stand beside it."""
        inside = [w in words for words in entities]
        own = kinds[0][FIRST] if inside[0] else kinds[1][SECOND] if inside[1] else 0
        row = [(piece, own) for piece in pieces]
        if self._input == "markers":
            roles = ((OPENS_FIRST, CLOSES_FIRST), (OPENS_SECOND, CLOSES_SECOND))
            for words, of, mark, (opens, closes) in zip(entities, kinds, self._marks, roles, strict=True):
                if w == words[0]:
                    row = [*((piece, of[opens]) for piece in mark), *row]
                if w == words[-1]:
                    row += [(piece, of[closes]) for piece in mark]
        return row

    def _kinds(self, label: str) -> list[int]:
        """The number of each role when an entity of this label plays it."""
        known = self.labels.index(label) + 1 if label in self.labels else 0
        return [role * (len(self.labels) + 1) + known for role in range(len(ROLES))]


def kind_names(labels: Sequence[str]) -> tuple[str, ...]:
    """What the kinds of pieces stand for: a role, and the label of the entity, which may be unknown."""
    return tuple(f"{role} {label}".strip() for role in ROLES for label in ("", *labels))


def _cut(words: Sequence[Word], pairs: Sequence[Pair]) -> tuple[Word, ...]:
    edges = {edge for pair in pairs for span in (pair.first, pair.second) for edge in (span.start, span.end)}
    return cut_words(words, sorted(edges))


def _passage(costs: Sequence[int], first: range, second: range, room: int) -> Sequence[int]:
    """The words to read: all, or those around the pair, or around each of the two."""
    if sum(costs) <= room:
        return range(len(costs))
    both = range(min(first[0], second[0]), max(first[-1], second[-1]) + 1)
    if sum(costs[both.start : both.stop]) <= room:
        return _widened(costs, both, room)
    halves = _widened(costs, first, room // 2), _widened(costs, second, room // 2)
    return sorted({*halves[0], *halves[1]})


def _widened(costs: Sequence[int], core: range, room: int) -> range:
    """As many words as there is room for, as many before as after if can be; the front of a core that is too long."""
    start = stop = core.start
    while stop < core.stop and (costs[stop] <= room or stop == start):
        room -= costs[stop]
        stop += 1
    growing = True
    while growing:
        growing = False
        if start > 0 and costs[start - 1] <= room:
            start, room, growing = start - 1, room - costs[start - 1], True
        if stop < len(costs) and costs[stop] <= room:
            stop, room, growing = stop + 1, room - costs[stop], True
    return range(start, stop)
