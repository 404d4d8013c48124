"""Word embeddings for Flair's tagger that need no download: learned features, or a frozen encoder's vectors."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import flair
import torch
from flair.data import Sentence as FlairSentence
from flair.embeddings import TokenEmbeddings
from torch import Tensor, nn

from taggers.frozen_vectors import FrozenVectors
from taggers.word_pieces import CAPITALISATIONS, capitalisation

WORD_UNITS, CHARACTER_UNITS, CHARACTER_FILTERS, CAPITALISATION_UNITS = 100, 30, 30, 8
"""The CNN over characters has the sizes of Ma and Hovy 2016, table 1."""
LONGEST_WORD = 40
"""Characters read of a word: a longer one is read by its two ends."""
UNKNOWN, PADDING = 0, 1


class WordEmbeddings(TokenEmbeddings):
    """Embeds the words of a batch in one go; Flair wants each token's row attached to the token."""

    @abstractmethod
    def forward(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """(N, embedding_length): one row for each word of `texts`, text after text."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """What rebuilds this object, as JSON: the arguments of its constructor."""

    def _add_embeddings_internal(self, sentences: list[FlairSentence]) -> None:
        rows = self([[token.text for token in sentence] for sentence in sentences])
        tokens = (token for sentence in sentences for token in sentence)
        for token, row in zip(tokens, rows, strict=True):
            token.set_embedding(self.name, row)


class FeatureEmbeddings(WordEmbeddings):
    """A learned vector of the word, a CNN over its characters, and its capitalisation (Chiu and Nichols 2016)."""

    _rare: Tensor

    def __init__(self, words: list[str], rare: list[bool], characters: list[str]) -> None:
        """`rare[i]`: whether `words[i]` was met once only, so that it is read as unknown at times."""
        self.name = "features"
        super().__init__()
        self._card = {"words": words, "rare": rare, "characters": characters}
        self._word_numbers = {word: n for n, word in enumerate(words, 1)}
        self._character_numbers = {character: n for n, character in enumerate(characters, 2)}
        self.register_buffer("_rare", torch.tensor([False, *rare]), persistent=False)
        self.words = nn.Embedding(len(words) + 1, WORD_UNITS)
        self.characters = nn.Embedding(len(characters) + 2, CHARACTER_UNITS, padding_idx=PADDING)
        self.convolution = nn.Conv1d(CHARACTER_UNITS, CHARACTER_FILTERS, kernel_size=3, padding=1)
        self.capitalisation = nn.Embedding(len(CAPITALISATIONS), CAPITALISATION_UNITS)
        with torch.no_grad():
            for table in (self.words, self.characters):
                bound = (3 / table.embedding_dim) ** 0.5
                table.weight.uniform_(-bound, bound)
            self.characters.weight[PADDING] = 0  # a word's vector must not depend on how far it is padded

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> FeatureEmbeddings:
        """With the vocabulary of `texts`."""
        counts = Counter(_form(word) for text in texts for word in text)
        words = sorted(counts)
        characters = sorted({character for text in texts for word in text for character in word})
        return cls(words, [counts[word] == 1 for word in words], characters)

    @property
    def embedding_length(self) -> int:
        return WORD_UNITS + CHARACTER_FILTERS + CAPITALISATION_UNITS

    def card(self) -> dict[str, Any]:
        return self._card

    def forward(self, texts: Sequence[Sequence[str]]) -> Tensor:
        flat = [word for text in texts for word in text]
        forms = {word: n for n, word in enumerate(dict.fromkeys(flat))}
        of_words = torch.tensor([forms[word] for word in flat], device=flair.device)
        known = torch.tensor([self._word_numbers.get(_form(word), UNKNOWN) for word in flat], device=flair.device)
        if self.training:
            hidden = self._rare[known] & (torch.rand(len(known), device=known.device) < 0.5)
            known = known.masked_fill(hidden, UNKNOWN)
        kinds = torch.tensor([capitalisation(word) for word in forms], device=flair.device)
        spelling = torch.cat([self._spelling(list(forms)), self.capitalisation(kinds)], dim=1)
        return torch.cat([self.words(known), spelling[of_words]], dim=1)

    def _spelling(self, forms: list[str]) -> Tensor:
        """(V, filters): the largest answer of each filter over a word's characters."""
        numbers = [[self._character_numbers.get(c, UNKNOWN) for c in _ends(form)] for form in forms]
        width = max(len(characters) for characters in numbers)
        padded_VW = torch.tensor(
            [characters + [PADDING] * (width - len(characters)) for characters in numbers],
            device=flair.device,
        )
        answers_VFW = self.convolution(self.characters(padded_VW).transpose(1, 2))
        return answers_VFW.masked_fill((padded_VW == PADDING)[:, None], -torch.inf).amax(dim=2)


class EncoderEmbeddings(WordEmbeddings):
    """Frozen contextual vectors of the words, and their capitalisation, which an uncased encoder cannot see."""

    def __init__(self, vectors: FrozenVectors) -> None:
        self.name = "encoder"
        super().__init__()
        self._vectors = vectors
        self.capitalisation = nn.Embedding(len(CAPITALISATIONS), CAPITALISATION_UNITS)

    @property
    def embedding_length(self) -> int:
        return self._vectors.width + CAPITALISATION_UNITS

    def card(self) -> dict[str, Any]:
        return {"fingerprint": self._vectors.fingerprint}

    def forward(self, texts: Sequence[Sequence[str]]) -> Tensor:
        kinds = [capitalisation(word) for text in texts for word in text]
        frozen = torch.cat([torch.from_numpy(vectors) for vectors in self._vectors.of(texts)])
        capital = self.capitalisation(torch.tensor(kinds, device=flair.device))
        return torch.cat([frozen.to(flair.device, torch.float32), capital], dim=1)


def _form(word: str) -> str:
    """A word as the vocabulary knows it: lower case, all digits alike."""
    return re.sub(r"\d", "0", word.lower())


def _ends(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD // 2] + word[-(LONGEST_WORD // 2) :]
