"""Between Flair and the rest: our word features as its tagger takes them, its language models as an encoder of ours."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from flair.data import Sentence as FlairSentence
from flair.data import Token
from flair.embeddings import FlairEmbeddings, TokenEmbeddings
from flair.embeddings.base import register_embeddings
from numpy.typing import NDArray

import taggers.flair_files  # noqa: F401  (from here on Flair reads language models as data)
from taggers.base import portable
from taggers.word_features import FeatureOptions, WordFeatures
from taggers.word_pieces import within_budget

logging.getLogger("flair").setLevel(logging.WARNING)  # importing Flair sets up a handler that prints

BLANK = "\N{REPLACEMENT CHARACTER}"
"""Stands for a word without characters, which Flair would drop."""
CHARACTERS_AT_ONCE = 16384
"""Characters that a language model reads at once, padding included: its states are kept for each of them."""


def flair_sentence(words: Sequence[str]) -> FlairSentence:
    """One token a word, whatever the word. Offsets are given because Flair would count them in quadratic time."""
    return FlairSentence([Token(word or BLANK, start_position=n) for n, word in enumerate(words, 1)])


@register_embeddings
class FeatureEmbeddings(TokenEmbeddings):
    """`WordFeatures` as Flair's tagger takes them. Flair can store a tagger over them, and load it once this module is
    imported."""

    def __init__(self, features: WordFeatures) -> None:
        self.name = "features"
        super().__init__()
        self.features = features

    @property
    def embedding_length(self) -> int:
        return self.features.width

    def to_params(self) -> dict[str, Any]:
        options = self.features.options.model_dump(include={*FeatureOptions.model_fields})
        if options["encoder"] is not None:
            options["encoder"] = portable(options["encoder"])
        return {"card": self.features.card(), "options": options}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> FeatureEmbeddings:
        return cls(WordFeatures.stored(params["card"], FeatureOptions(**params["options"])))

    def _add_embeddings_internal(self, sentences: list[FlairSentence]) -> None:
        rows = self.features([[token.text for token in sentence] for sentence in sentences])
        tokens = (token for sentence in sentences for token in sentence)
        for token, row in zip(tokens, rows, strict=True):
            token.set_embedding(self.name, row)


class LanguageModels:
    """Language models of Flair's over characters (Akbik et al. 2018), side by side: their states where a word ends."""

    def __init__(self, models: Sequence[FlairEmbeddings]) -> None:
        self._models = models
        self.width = sum(model.embedding_length for model in models)
        digest = hashlib.blake2b(digest_size=12)
        for n, model in enumerate(models):
            model.name = str(n)  # the file's, else: where it lies says nothing
            digest.update(repr((model.is_forward_lm, model.is_lower, model.lm.dictionary.get_items())).encode())
            for name, weights in sorted(model.lm.state_dict().items()):
                digest.update(name.encode())
                digest.update(weights.contiguous().cpu().numpy().data)
        self.fingerprint = digest.hexdigest()

    @torch.no_grad()
    def read(self, texts: Sequence[Sequence[str]], layers: str = "last") -> list[NDArray[np.float16]]:
        """One (words, width) array for each text; there is but one layer to tell of."""
        vectors: list[NDArray[np.float16]] = [np.zeros((len(text), self.width), np.float16) for text in texts]
        lengths = [sum(map(len, text)) + len(text) + 2 for text in texts]
        order = sorted((i for i, text in enumerate(texts) if text), key=lambda i: lengths[i])
        for group in within_budget([lengths[i] for i in order], CHARACTERS_AT_ONCE):
            some = order[group.start : group.stop]
            # A lone half of a surrogate pair is no character to Flair.
            sentences = [flair_sentence([word.encode("utf-8", "replace").decode() for word in texts[i]]) for i in some]
            for model in self._models:
                model.embed(sentences)
            for i, sentence in zip(some, sentences, strict=True):
                rows = [[token.get_embedding([model.name]) for model in self._models] for token in sentence]
                vectors[i] = torch.stack([torch.cat(row) for row in rows]).half().cpu().numpy()
        return vectors


@functools.lru_cache(maxsize=1)
def language_models(names: str) -> LanguageModels:
    """Those of these names or files, joined by "+". Raises ValueError if one of them cannot be had."""
    models = []
    for name in names.split("+"):
        try:
            models.append(FlairEmbeddings(name))
        except Exception as error:  # torch's reader raises anything for a file that is none
            raise ValueError(
                f"encoder 'flair:{name}' is neither a file nor a language model that Flair can download; check the "
                f"name and the network ({error})"
            ) from error
    return LanguageModels(models)
