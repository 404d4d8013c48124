"""The texts of the large pool."""

from __future__ import annotations

from itertools import islice

import pytest

from benchmarks.million import MESSAGES, texts
from demo.grammar import generate

pytestmark = pytest.mark.slow


def test_texts_are_different_and_their_spans_right() -> None:
    some = [*islice(texts(3 * MESSAGES), 2 * MESSAGES - 50, 2 * MESSAGES + 50)]
    assert len({sentence.text for sentence in texts(3 * MESSAGES)}) == 3 * MESSAGES
    marked = {sentence.text[span.start : span.end] for sentence in some for span in sentence.spans or ()}
    assert marked and marked <= known_names(), "spans lie where the names are"


def known_names() -> set[str]:
    """All that is marked in the messages which the texts are made of."""
    return {message.text[span.start : span.end] for message in generate(MESSAGES) for span in message.spans or ()}
