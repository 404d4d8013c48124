"""Marks as a round stores them: short lists of plain values, told apart by their length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from corpus import Choice, Mark, Relation, Span

_CHOICE, _RELATION = 2, 8
"""Values in a stored choice and in a stored relation."""


def as_json(marks: Iterable[Mark]) -> list[list[Any]]:
    """Spans as [start, end, label, confidence], choices as [label, confidence], relations as [head's start, end and
    label, tail's start, end and label, label, confidence]."""
    return [_row(mark) for mark in marks]


def from_json(rows: Iterable[Sequence[Any]]) -> list[Mark]:
    """The marks that `as_json` wrote. The two spans of a relation come without their confidences."""
    return [_mark(row) for row in rows]


def _row(mark: Mark) -> list[Any]:
    match mark:
        case Span(start, end, label, confidence):
            return [start, end, label, confidence]
        case Choice(label, confidence):
            return [label, confidence]
        case Relation(head, tail, label, confidence):
            return [*(head.start, head.end, head.label), *(tail.start, tail.end, tail.label), label, confidence]


def _mark(row: Sequence[Any]) -> Mark:
    if len(row) == _CHOICE:
        return Choice(*row)
    if len(row) == _RELATION:
        return Relation(Span(*row[:3]), Span(*row[3:6]), *row[6:])
    return Span(*row)
