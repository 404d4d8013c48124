"""The CNN-CNN-LSTM tagger: a CNN over characters, a CNN over words, and an LSTM that lays one tag after another."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from taggers.layers import UnknownWords, WordEncoder, inside
from taggers.network import Network, NetworkOptions, NetworkTagger
from taggers.tag_decoders import LSTMDecoder
from taggers.word_features import WordFeatures


class CNNCNNLSTMOptions(NetworkOptions):
    """Settings of the CNN-CNN-LSTM; Shen et al. 2017 tell of two layers and of `word_dropout`, but of no other size."""

    word_units: int = Field(100, ge=1)
    layers: int = Field(2, ge=1)
    word_dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the words whose learned vector is taken for that of a word that nobody knows."""
    decoder_units: int = Field(100, ge=1)
    """LSTM units of the decoder."""


class CNNEncoder(WordEncoder):
    """Convolutions three words wide; their answer and the words themselves stand side by side (Shen et al. 2017,
    sec. 2, "Word-Level Encoder")."""

    def __init__(self, features: WordFeatures, options: CNNCNNLSTMOptions) -> None:
        unknown = UnknownWords(features, options.word_dropout)
        super().__init__(options.units + features.width, unknown, options.dropout)
        widths = [features.width] + [options.units] * (options.layers - 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, options.units, 3, padding=1) for width in widths)

    def forward(self, words_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        within_BT1 = inside(lengths_B, words_BTE.shape[1])[:, :, None]
        words_BTE = self.locked_dropout(self.word_dropout(words_BTE)) * within_BT1
        states = words_BTE
        for i, layer in enumerate(self.layers):
            states = self.locked_dropout(states) if i else states
            # A window that reaches beyond the text meets zeros, however far the text is padded.
            states = layer(states.transpose(1, 2)).relu().transpose(1, 2) * within_BT1
        return torch.cat([states, words_BTE], dim=2)


class CNNCNNLSTMTagger(NetworkTagger):
    """The tagger of Shen et al. 2017, without words that mark the ends of a sentence."""

    name: ClassVar[str] = "cnn-cnn-lstm"
    Options = CNNCNNLSTMOptions

    def _new(self, features: WordFeatures, tags: int) -> Network:
        encoder = CNNEncoder(features, self.options)
        decoder = LSTMDecoder(encoder.width, self.options.decoder_units, tags, self.options.dropout)
        return Network(features, encoder, decoder)
