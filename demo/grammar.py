"""A small grammar that makes messages to a travel agency together with their gold labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from corpus import Sentence, Span
from demo.vocabulary import LABELS, RULES

LOWER_CASE = 0.08
"""Share of the messages typed without any capital, as people do on a phone."""
ZIPF = 0.8
"""Exponent of the frequencies of a rule's alternatives (Zipf's law): a few are common, many are rare."""

_SYMBOL = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Rule:
    """The alternatives of a symbol, and how likely each of them is."""

    alternatives: tuple[str, ...]
    probabilities: NDArray[np.float64]

    @classmethod
    def parse(cls, lines: str) -> Rule:
        """Read alternatives parted by line ends or `|`, the frequent ones first."""
        alternatives = tuple(part.strip() for part in re.split(r"[|\n]", lines) if part.strip())
        weights = 1.0 / np.arange(2, len(alternatives) + 2) ** ZIPF
        return cls(alternatives, weights / weights.sum())


_RULES = {symbol: Rule.parse(lines) for symbol, lines in RULES.items()}


def generate(n: int, seed: int = 0) -> list[Sentence]:
    """Make `n` different messages with their gold spans; the same seed makes the same messages."""
    rng = np.random.default_rng(seed)
    texts: dict[str, tuple[Span, ...]] = {}
    while len(texts) < n:
        text, spans = _message(rng)
        texts.setdefault(text, spans)
    return [Sentence.from_text(str(i), text, spans) for i, (text, spans) in enumerate(texts.items(), start=1)]


def _message(rng: np.random.Generator) -> tuple[str, tuple[Span, ...]]:
    """One message: its pieces joined, and a span for each piece that has a label."""
    pieces = _expand("[message]", rng)
    if rng.random() < LOWER_CASE:
        pieces = [(text.lower(), label) for text, label in pieces]
    message, spans = "", []
    for text, label in pieces:
        if label:
            spans.append(Span(len(message), len(message) + len(text), label))
        message += text
    return message, tuple(spans)


def _expand(template: str, rng: np.random.Generator) -> list[tuple[str, str | None]]:
    """Replace the symbols of `template` until none is left: pieces of text, each with its label or None.

    A labelled symbol becomes one piece, whatever it is made of: the town in "Oslo Police" is not a LOC.
    """
    pieces: list[tuple[str, str | None]] = []
    for i, part in enumerate(_SYMBOL.split(template)):
        if i % 2 == 0:
            pieces.append((part, None))
            continue
        rule = _RULES[part]
        inner = _expand(rule.alternatives[rng.choice(len(rule.alternatives), p=rule.probabilities)], rng)
        pieces += [("".join(text for text, _ in inner), part)] if part in LABELS else inner
    return pieces
