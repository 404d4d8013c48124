"""The demo's gold labels are exact, varied and ambiguous enough to be worth learning."""

import re
from collections import defaultdict

import pytest

from corpus import Sentence
from demo import grammar
from demo.vocabulary import LABELS, RULES

MESSAGES = grammar.generate(1500, seed=3)


def pattern(symbol: str, *, lower: bool, marked: bool) -> str:
    """A regular expression of all that `symbol` can become, written from RULES alone.

    With `marked`, a labelled symbol stands as `<LABEL>`.
    """

    def of(part: str, is_symbol: bool) -> str:
        if not is_symbol:
            return re.escape(part.lower() if lower else part)
        if marked and part in LABELS:
            return f"<{part}>"
        return pattern(part, lower=lower, marked=marked)

    alternatives = [line.strip() for line in re.split(r"[|\n]", RULES[symbol]) if line.strip()]
    split = [re.split(r"\[(\w+)\]", alternative) for alternative in alternatives]
    return "(?:" + "|".join("".join(of(p, i % 2 == 1) for i, p in enumerate(parts)) for parts in split) + ")"


def marked(sentence: Sentence) -> str:
    """The text with each span replaced by `<LABEL>`."""
    text = sentence.text
    for span in sorted(sentence.spans or (), reverse=True):
        text = f"{text[: span.start]}<{span.label}>{text[span.end :]}"
    return text


def test_exactly_the_names_are_labelled() -> None:
    """Read each message back with the rules: what is marked is a name of its label, the rest holds none."""
    name = {
        (label, lower): re.compile(pattern(label, lower=lower, marked=False))
        for label in LABELS
        for lower in (False, True)
    }
    message = {lower: re.compile(pattern("message", lower=lower, marked=True)) for lower in (False, True)}
    for sentence in MESSAGES:
        lower = sentence.text == sentence.text.lower()
        assert message[lower].fullmatch(marked(sentence)), sentence.text
        for span in sentence.spans or ():
            surface = sentence.text[span.start : span.end]
            assert name[span.label, lower].fullmatch(surface), (surface, span)


def test_offsets_count_code_points(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {
        "message": "🙏🏽 [PER] met [LOC]'s 🇮🇸 [PER]",
        "PER": "Zoë [last]",
        "last": "Żak",
        "LOC": "São Paulo",
    }
    monkeypatch.setattr(grammar, "_RULES", {name: grammar.Rule.parse(text) for name, text in rules.items()})
    monkeypatch.setattr(grammar, "LOWER_CASE", 0.0)
    (sentence,) = grammar.generate(1)
    assert sentence.text == "🙏🏽 Zoë Żak met São Paulo's 🇮🇸 Zoë Żak"
    assert [(s.start, s.end, s.label) for s in sentence.spans or ()] == [
        (3, 10, "PER"),
        (15, 24, "LOC"),
        (30, 37, "PER"),
    ]


def test_spans_are_made_of_whole_words() -> None:
    for sentence in MESSAGES:
        starts = {word.start for word in sentence.words}
        ends = {word.end for word in sentence.words}
        for span in sentence.spans or ():
            assert span.start in starts, (sentence.text, span)
            assert span.end in ends or sentence.text[span.end - 1] == ".", (sentence.text, span)


def test_same_seed_same_messages() -> None:
    assert grammar.generate(50, seed=7) == grammar.generate(50, seed=7)
    assert grammar.generate(50, seed=7) == grammar.generate(80, seed=7)[:50]
    assert grammar.generate(50, seed=7) != grammar.generate(50, seed=8)


def test_messages_and_ids_are_unique() -> None:
    assert len({sentence.text for sentence in MESSAGES}) == len(MESSAGES) == 1500
    assert len({sentence.id for sentence in MESSAGES}) == len(MESSAGES)


def test_the_same_name_has_different_labels() -> None:
    labels = defaultdict(set)
    for sentence in MESSAGES:
        for span in sentence.spans or ():
            labels[sentence.text[span.start : span.end]].add(span.label)
    ambiguous = {surface for surface, found in labels.items() if len(found) > 1}
    assert {"Jordan", "Phoenix", "Victoria", "Delta"} <= ambiguous
    assert len(ambiguous) >= 15


def test_variety() -> None:
    without_names = sum(not sentence.spans for sentence in MESSAGES) / len(MESSAGES)
    assert 0.05 < without_names < 0.3
    assert {span.label for sentence in MESSAGES for span in sentence.spans or ()} == set(LABELS)
    assert any(not sentence.text.isascii() and sentence.spans for sentence in MESSAGES)
    assert 0.05 < sum(s.text == s.text.lower() for s in MESSAGES) / len(MESSAGES) < 0.12
