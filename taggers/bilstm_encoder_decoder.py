"""The BiLSTM encoder-decoder tagger: a BiLSTM reads the words, an LSTM beside it lays one tag after another."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from taggers.bilstm import BiLSTMEncoder
from taggers.network import Network, NetworkOptions, NetworkTagger
from taggers.tag_decoders import LSTMDecoder
from taggers.word_features import WordFeatures


class EncoderDecoderOptions(NetworkOptions):
    """Settings of the encoder-decoder; its size is that of Kim 2020, sec. 5.2, for CoNLL-2003."""

    word_units: int = Field(400, ge=0)
    characters: Literal["none", "cnn", "lstm"] = "none"
    capitalisation: bool = False
    decoder_units: int = Field(100, ge=1)
    """LSTM units of the decoder."""


class BiLSTMEncoderDecoderTagger(NetworkTagger):
    """The tagger of Kim 2020 (fig. 1b): the decoder's step t reads the encoder's state t and the tag before."""

    name: ClassVar[str] = "bilstm-encoder-decoder"
    Options = EncoderDecoderOptions

    def _new(self, features: WordFeatures, tags: int) -> Network:
        encoder = BiLSTMEncoder(features.width, self.options)
        decoder = LSTMDecoder(encoder.width, self.options.decoder_units, tags, self.options.dropout)
        return Network(features, encoder, decoder)
