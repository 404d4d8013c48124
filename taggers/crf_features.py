"""What the `crf` tagger sees of a word and its neighbours (Shelmanov et al. 2021, appendix B)."""

from __future__ import annotations

from collections.abc import Sequence

FIRST, LAST = "BOS", "EOS"
BEFORE, AFTER = "-1:", "+1:"


def own_features(word: str) -> list[str]:
    """A constant, lower-cased form, suffixes of two and three characters, capitalisation, digit."""
    word = _printable(word)
    return ["bias", *_form_and_shape(word), f"s3={word[-3:]}", f"s2={word[-2:]}"]


def neighbour_features(word: str) -> list[str]:
    """What the words beside it see of a word, without BEFORE or AFTER: all but its suffixes."""
    return _form_and_shape(_printable(word))


def sequence_features(words: Sequence[str]) -> list[list[str]]:
    """The features of every word of a sentence, for CRFsuite."""
    seen = [neighbour_features(word) for word in words]
    features = [own_features(word) for word in words]
    for t in range(1, len(words)):
        features[t] += [BEFORE + feature for feature in seen[t - 1]]
        features[t - 1] += [AFTER + feature for feature in seen[t]]
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
