"""The window tagger: each word with its neighbours through one layer, and a CRF. The quickest of the networks."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from taggers.encoders import PACKAGED
from taggers.layers import WordDropout, WordEncoder, inside
from taggers.network import Network, NetworkOptions, NetworkTagger
from taggers.tag_decoders import CRFDecoder
from taggers.word_features import WordFeatures


class WindowOptions(NetworkOptions):
    """Settings of the window tagger."""

    encoder: str | None = PACKAGED
    word_units: int = Field(0, ge=0)
    characters: Literal["none", "cnn", "lstm"] = "none"
    neighbours: int = Field(1, ge=0)
    """Words on each side that are read with a word."""
    units: int = Field(256, ge=1)
    """Of each layer."""
    dropout: float = Field(0.3, ge=0, lt=1)
    word_dropout: float = Field(0.02, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1)


class WindowEncoder(WordEncoder):
    """A rectified layer over the vectors of a word and of its neighbours (Collobert et al. 2011, sec. 3.3.1), or
    several, each of which reads the neighbours in the one before."""

    def __init__(self, width: int, options: WindowOptions) -> None:
        super().__init__(options.units, WordDropout(options.word_dropout), options.dropout)
        side, widths = options.neighbours, [width] + [options.units] * (options.layers - 1)
        self.layers = nn.ModuleList(nn.Conv1d(w, options.units, 2 * side + 1, padding=side) for w in widths)

    def forward(self, words_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        within_BT1 = inside(lengths_B, words_BTE.shape[1])[:, :, None]
        states = self.word_dropout(words_BTE)
        for layer in self.layers:
            # Beyond a text's ends stand zeros, however far it is padded.
            states = self.locked_dropout(states) * within_BT1
            states = torch.relu(layer(states.transpose(1, 2)).transpose(1, 2))
        return states


class WindowTagger(NetworkTagger):
    """A head over frozen vectors, for rounds of seconds: what an encoder says of a word in its context is computed
    once for each text, and only this is trained."""

    name: ClassVar[str] = "window"
    Options = WindowOptions

    def _new(self, features: WordFeatures, tags: int) -> Network:
        encoder = WindowEncoder(features.width, self.options)
        return Network(features, encoder, CRFDecoder(encoder.width, tags, self.options.dropout))
