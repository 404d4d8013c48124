"""What words are made of for a network: learned, static and contextual vectors, their characters and capitalisation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from taggers.base import Options
from taggers.standardised import Standardised
from taggers.static_vectors import StaticVectors
from taggers.warm_start import Axis
from taggers.word_pieces import CAPITALISATIONS, capitalisation

CHARACTER_UNITS, CHARACTER_FILTERS, CAPITALISATION_UNITS = 30, 30, 8
"""The CNN over characters has the sizes of Ma and Hovy 2016, table 1."""
CHARACTER_STATES = 25
"""Units of the LSTM over characters, each way (Lample et al. 2016, sec. 5.1)."""
LONGEST_WORD = 40
"""Characters read of a word: a longer one is read by its two ends."""
UNKNOWN, PADDING = 0, 1
FORMS_KEPT = 100_000
"""Words of which is remembered how they are read."""


class FeatureOptions(Options):
    """Which features a word has; at least one of them."""

    word_units: int = Field(100, ge=0)
    """Numbers in the vector that is learned for each word of the training texts; 0 learns none."""
    word_vectors: str | None = None
    """Static vectors, which do not learn: what `static_vectors.StaticVectors` can open."""
    characters: Literal["none", "cnn", "lstm"] = "cnn"
    """How a word is read by its characters: a CNN (Ma and Hovy 2016) or a BiLSTM (Lample et al. 2016)."""
    capitalisation: bool = True
    encoder: str | None = None
    """Contextual vectors of an encoder that does not learn: "minilm" (packaged), a folder, or a Hugging Face name."""

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if not (
            self.word_units or self.word_vectors or self.characters != "none" or self.capitalisation or self.encoder
        ):
            raise ValueError("no features: set word_units, word_vectors, characters, capitalisation or encoder")
        return self


class _Form(NamedTuple):
    """How a word is read."""

    word: int
    characters: NDArray[np.int64]
    capitalisation: int


class WordFeatures(nn.Module):
    """The features of words side by side, one row a word.

    The vectors that do not learn stay where they are: a saved model knows their fingerprints only.
    """

    _rare: Tensor

    def __init__(self, words: list[str], rare: list[bool], characters: list[str], options: FeatureOptions) -> None:
        """`words` and `characters` are what is learned; `rare[i]`: whether `words[i]` was met once only, so that it
        is read as unknown at times. Raises ValueError if the static vectors or the encoder cannot be had.
        """
        super().__init__()
        self.options, self._words, self._characters = options, words, characters
        self._word_numbers = {word: n for n, word in enumerate(words, 1)}
        self._character_numbers = {character: n for n, character in enumerate(characters, 2)}
        self._forms: dict[str, _Form] = {}
        self.register_buffer("_rare", torch.tensor([False, *rare]), persistent=False)
        self._static = StaticVectors(options.word_vectors) if options.word_vectors else None
        self._contextual = _frozen_vectors(options.encoder) if options.encoder else None
        self.static_scale = Standardised(self._static.width) if self._static else None
        self.contextual_scale = Standardised(self._contextual.width) if self._contextual else None
        self.words = _table(len(words) + 1, options.word_units) if options.word_units else None
        self.spelling = _SPELLINGS[options.characters](len(characters) + 2) if options.characters != "none" else None
        self.capitalisation = (
            nn.Embedding(len(CAPITALISATIONS), CAPITALISATION_UNITS) if options.capitalisation else None
        )
        widths = (
            options.word_units,
            self._static.width if self._static else 0,
            self.spelling.width if self.spelling else 0,
            CAPITALISATION_UNITS if options.capitalisation else 0,
            self._contextual.width if self._contextual else 0,
        )
        self.width = sum(widths)

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], options: FeatureOptions) -> WordFeatures:
        """Features fresh to learn, with the vocabulary of `texts`."""
        counts = Counter(word for text in texts for word in text)
        forms: Counter[str] = Counter()
        for word, count in counts.items():
            forms[_form(word)] += count
        words = sorted(forms) if options.word_units else []
        characters = sorted(set().union(*counts)) if options.characters != "none" else []
        features = cls(words, [forms[word] == 1 for word in words], characters, options)
        if features._static and features.static_scale:
            features.static_scale.fit([features._static.of(sorted(counts))])
        if features._contextual and features.contextual_scale:
            features.contextual_scale.fit(features._contextual.of(texts))
        return features

    @classmethod
    def stored(cls, card: dict[str, Any], options: FeatureOptions) -> WordFeatures:
        """As `card()` told of; the weights are to be loaded as any module's.

        Raises ValueError if the static vectors or the encoder are gone or are others than they were.
        """
        features = cls(card["words"], card["rare"], card["characters"], options)
        for option, fingerprint in features._fingerprints().items():
            if card["fingerprints"].get(option) != fingerprint:
                raise ValueError(
                    f"{option} {getattr(options, option)!r} holds other vectors than the model was trained with; "
                    "put the former ones back, or train again"
                )
        return features

    def card(self) -> dict[str, Any]:
        """What `stored` rebuilds this from, as JSON."""
        return {
            "words": self._words,
            "rare": self._rare[1:].tolist(),
            "characters": self._characters,
            "fingerprints": self._fingerprints(),
        }

    def _fingerprints(self) -> dict[str, str]:
        sources = {"word_vectors": self._static, "encoder": self._contextual}
        return {option: source.fingerprint for option, source in sources.items() if source}

    def axes(self, before: dict[str, Any]) -> dict[str, Sequence[Axis]]:
        """What the rows of the parameters stand for, now and in the model whose `card()` was `before`, by parameter."""
        axes: dict[str, Sequence[Axis]] = {}
        if self.words:
            # No form of a word is in capitals, no character is as long: the names are free.
            axes["words.weight"] = [Axis(["UNKNOWN", *self._words], ["UNKNOWN", *before["words"]])]
        if self.spelling:
            now, then = (["UNKNOWN", "PADDING", *letters] for letters in (self._characters, before["characters"]))
            axes["spelling.characters.weight"] = [Axis(now, then)]
        return axes

    def forward(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """(N, width): one row for each word of `texts`, text after text; no row depends on the others, but for the
        contextual vectors on the words of its text. In training, words met once only are unknown half of the time.
        """
        device = self._rare.device
        flat = [word for text in texts for word in text]
        if not flat:
            return torch.zeros(0, self.width, device=device)
        distinct = {word: n for n, word in enumerate(dict.fromkeys(flat))}
        of_words = torch.tensor([distinct[word] for word in flat], device=device)
        forms = [self._read(word) for word in distinct]
        parts = []
        if self.words:
            known = torch.tensor([form.word for form in forms], device=device)[of_words]
            if self.training:
                hidden = self._rare[known] & (torch.rand(len(known), device=device) < 0.5)
                known = known.masked_fill(hidden, UNKNOWN)
            parts.append(self.words(known))
        if self._static and self.static_scale:
            static_VF = torch.from_numpy(self._static.of(list(distinct))).to(device)
            parts.append(self.static_scale(static_VF)[of_words])
        if self.spelling:
            parts.append(self.spelling([form.characters for form in forms])[of_words])
        if self.capitalisation:
            kinds = torch.tensor([form.capitalisation for form in forms], device=device)
            parts.append(self.capitalisation(kinds[of_words]))
        if self._contextual and self.contextual_scale:
            vectors_NH = np.concatenate(self._contextual.of(texts))
            parts.append(self.contextual_scale(torch.from_numpy(vectors_NH).to(device)))
        return torch.cat(parts, dim=1)

    def _read(self, word: str) -> _Form:
        form = self._forms.get(word)
        if form is None:
            if len(self._forms) >= FORMS_KEPT:
                self._forms.clear()
            # A word without characters is read as one that nobody knows.
            characters = [self._character_numbers.get(c, UNKNOWN) for c in _ends(word)] or [UNKNOWN]
            form = _Form(self._word_numbers.get(_form(word), UNKNOWN), np.array(characters), capitalisation(word))
            self._forms[word] = form
        return form


class _CharacterCNN(nn.Module):
    """The largest answer of each filter over a word's characters (Ma and Hovy 2016, sec. 2.1)."""

    width = CHARACTER_FILTERS

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.characters = _character_table(characters)
        self.convolution = nn.Conv1d(CHARACTER_UNITS, CHARACTER_FILTERS, kernel_size=3, padding=1)

    def forward(self, words: Sequence[NDArray[np.int64]]) -> Tensor:
        """(V, width) for V words, given by the numbers of their characters."""
        padded_VW, lengths_V = _padded(words, self.characters.weight.device)
        answers_VFW = self.convolution(self.characters(padded_VW).transpose(1, 2))
        beyond_VW = torch.arange(padded_VW.shape[1], device=padded_VW.device) >= lengths_V.to(padded_VW.device)[:, None]
        return answers_VFW.masked_fill(beyond_VW[:, None], -torch.inf).amax(dim=2)


class _CharacterLSTM(nn.Module):
    """The last states of an LSTM that reads a word's characters, each way (Lample et al. 2016, sec. 4.1)."""

    width = 2 * CHARACTER_STATES

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.characters = _character_table(characters)
        self.lstm = nn.LSTM(CHARACTER_UNITS, CHARACTER_STATES, bidirectional=True, batch_first=True)

    def forward(self, words: Sequence[NDArray[np.int64]]) -> Tensor:
        """(V, width) for V words, given by the numbers of their characters."""
        padded_VW, lengths_V = _padded(words, self.characters.weight.device)
        packed = pack_padded_sequence(self.characters(padded_VW), lengths_V, batch_first=True, enforce_sorted=False)
        _, (states_2VH, _) = self.lstm(packed)
        return states_2VH.transpose(0, 1).flatten(1)


_SPELLINGS: dict[str, type[_CharacterCNN | _CharacterLSTM]] = {"cnn": _CharacterCNN, "lstm": _CharacterLSTM}


def _padded(words: Sequence[NDArray[np.int64]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(V, W) padded on the device, and their lengths (V,) on the CPU, where packing wants them."""
    lengths_V = np.fromiter(map(len, words), np.int64, len(words))
    inside_VW = np.arange(lengths_V.max()) < lengths_V[:, None]
    padded_VW = np.full(inside_VW.shape, PADDING)
    padded_VW[inside_VW] = np.concatenate(words)
    return torch.from_numpy(padded_VW).to(device), torch.from_numpy(lengths_V)


def _table(rows: int, units: int, padding: int | None = None) -> nn.Embedding:
    """A table of vectors, as Ma and Hovy 2016, sec. 3.1, start it."""
    table = nn.Embedding(rows, units, padding_idx=padding)
    bound = (3 / units) ** 0.5
    with torch.no_grad():
        table.weight.uniform_(-bound, bound)
    return table


def _character_table(characters: int) -> nn.Embedding:
    table = _table(characters, CHARACTER_UNITS, padding=PADDING)
    with torch.no_grad():
        table.weight[PADDING] = 0  # a word's vector must not depend on how far it is padded
    return table


def _frozen_vectors(encoder: str) -> Any:
    from taggers.frozen_vectors import FrozenVectors  # imports transformers

    return FrozenVectors(encoder)


def _form(word: str) -> str:
    """A word as the vocabulary knows it: lower case, all digits alike."""
    return re.sub(r"\d", "0", word.lower())


def _ends(word: str) -> str:
    return word if len(word) <= LONGEST_WORD else word[: LONGEST_WORD // 2] + word[-(LONGEST_WORD // 2) :]
