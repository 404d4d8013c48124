"""The BiLSTM tagger: a BiLSTM over words; a softmax, or a CRF, gives the tags."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from taggers.layers import BiLSTM, WordDropout, WordEncoder
from taggers.network import Network, NetworkOptions, NetworkTagger
from taggers.tag_decoders import CRFDecoder, SoftmaxDecoder
from taggers.word_features import WordFeatures


class BiLSTMOptions(NetworkOptions):
    """Settings of the BiLSTM tagger; its size is that of Kim 2020, sec. 5.2, for CoNLL-2003."""

    word_units: int = Field(400, ge=0)
    characters: Literal["none", "cnn", "lstm"] = "none"
    capitalisation: bool = False
    crf: bool = False
    """Whether the tags of a text are chosen together, or each by itself."""


class BiLSTMEncoder(WordEncoder):
    """`layers` BiLSTMs one on another, each of `units` each way."""

    def __init__(self, width: int, options: NetworkOptions) -> None:
        super().__init__(2 * options.units, WordDropout(options.word_dropout), options.dropout)
        widths = [width] + [self.width] * (options.layers - 1)
        self.layers = nn.ModuleList(BiLSTM(width, options.units) for width in widths)

    def forward(self, words_BTE: Tensor, lengths_B: Tensor) -> Tensor:
        states = self.word_dropout(words_BTE)
        for layer in self.layers:
            states = layer(self.locked_dropout(states), lengths_B)
        return states


class BiLSTMTagger(NetworkTagger):
    """The tagger of Kim 2020 (fig. 1a); with `crf`, characters and capitalisation that of Lample et al. 2016."""

    name: ClassVar[str] = "bilstm"
    Options = BiLSTMOptions

    def _new(self, features: WordFeatures, tags: int) -> Network:
        encoder = BiLSTMEncoder(features.width, self.options)
        kind = CRFDecoder if self.options.crf else SoftmaxDecoder
        return Network(features, encoder, kind(encoder.width, tags, self.options.dropout))
