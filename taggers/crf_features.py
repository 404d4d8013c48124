"""What the `crf` tagger sees of a word and its neighbours (Shelmanov et al. 2021, appendix B)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

FIRST, LAST = "BOS", "EOS"
BEFORE, AFTER = "-1:", "+1:"
FORMS = 100_000
"""Words whose features are remembered: those of a pool come again in every round (50 MB)."""


@lru_cache(FORMS)
def own_features(word: str) -> tuple[str, ...]:
    """A constant, lower-cased form, suffixes of two and three characters, capitalisation, digit."""
    word = _printable(word)
    return ("bias", *_form_and_shape(word), f"s3={word[-3:]}", f"s2={word[-2:]}")


@lru_cache(FORMS)
def features_beside(word: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the next word sees of it, and what the one before sees: all but its suffixes."""
    seen = _form_and_shape(_printable(word))
    return tuple(BEFORE + feature for feature in seen), tuple(AFTER + feature for feature in seen)


def sequence_features(words: Sequence[str]) -> list[list[str]]:
    """The features of every word of a sentence, for CRFsuite."""
    features = [list(own_features(word)) for word in words]
    for t in range(1, len(words)):
        features[t] += features_beside(words[t - 1])[0]
        features[t - 1] += features_beside(words[t])[1]
    if features:
        features[0].append(FIRST)
        features[-1].append(LAST)
    return features


def _printable(word: str) -> str:
    """CRFsuite's strings end at a NUL, its dump's lines at a line break, and surrogates have no UTF-8."""
    return word if word.isprintable() else ascii(word)


def _form_and_shape(word: str) -> list[str]:
    features = [f"w={word.lower()}"]
    if word.istitle():
        features.append("title")
    if word.isupper():
        features.append("upper")
    if word.isdigit():
        features.append("digit")
    return features
