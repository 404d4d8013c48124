"""Flair's BiLSTM-CRF tagger over the vectors of an encoder that never learns."""

from __future__ import annotations

from typing import Literal

from taggers.encoders import PACKAGED
from taggers.flair_bilstm_crf import FlairBiLSTMCRFTagger, FlairOptions


class FlairContextualOptions(FlairOptions):
    """The same settings, but that words are read by the encoder and their capitalisation alone."""

    encoder: str = PACKAGED
    """"minilm" (packaged), a folder, a name on the Hugging Face Hub, or "flair:" and a language model of Flair's."""
    word_units: int = 0
    characters: Literal["none", "cnn", "lstm"] = "none"


class FlairContextualTagger(FlairBiLSTMCRFTagger):
    """BiLSTM-CRF over frozen contextual vectors, as ELMo-BiLSTM-CRF in Shelmanov et al. 2021.

    A text's vectors are computed once for all epochs and rounds (see `FrozenVectors`).
    """

    name = "flair-contextual"
    Options = FlairContextualOptions
