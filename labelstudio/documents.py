"""The text of a task, and where a span lies in it as Label Studio writes places.

Three kinds of text, three ways to write a place (all as the editor of Label Studio 1.23 does):
`<Text>` counts code points; `<HyperText>` gives an XPath and UTF-16 units inside that text node, and
`globalOffsets` in code points of the page; `<Paragraphs>` gives the utterance's index and UTF-16 units.
Inside this project every place is `[start, end)` in code points of `Document.text`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as shown
from typing import Any

from corpus import Span
from labelstudio.fields import BadTask as BadTask
from labelstudio.fields import check_length, read_text, read_utterances
from labelstudio.pages import page_nodes
from labelstudio.schema import Schema


class BadRegion(ValueError):
    """A region lies where its task has no text."""


class Document(ABC):
    """A task's text as taggers see it."""

    text: str

    @abstractmethod
    def place(self, span: Span) -> dict[str, Any]:
        """Where the span is, as the fields of a region's `value` (its labels left out).

        Raises:
            BadRegion: if the span is not inside the text, or covers nothing that can be labelled.
        """

    @abstractmethod
    def locate(self, value: dict[str, Any]) -> tuple[int, int]:
        """The opposite of `place`: `[start, end)` in code points of `text`.

        Raises:
            BadRegion: if the place is missing, empty, or outside the text.
        """

    def _checked(self, start: int, end: int) -> tuple[int, int]:
        if not 0 <= start < end <= len(self.text):
            raise BadRegion(
                f"[{start}, {end}) is no stretch of the text, which has {len(self.text)} characters. "
                "Was the task's text changed after it was labelled?"
            )
        return start, end


def document(schema: Schema, data: dict[str, Any]) -> Document:
    """The text that `schema` names in a task's data.

    A number is taken as its digits, as the editor shows it.

    Raises:
        BadTask: if the field is missing, null, of the wrong kind, or longer than `labelstudio.fields.LONGEST`.
    """
    if not isinstance(data, dict):
        raise BadTask("The task's data is no JSON object with fields. Import the task again.")
    found = _document(schema, data)
    check_length(found.text)
    return found


def _document(schema: Schema, data: dict[str, Any]) -> Document:
    if schema.object_type == "Paragraphs":
        return Dialogue(read_utterances(schema, data))
    text = read_text(schema, data)
    return HyperText(text, inline=schema.inline) if schema.object_type == "HyperText" else PlainText(text)


class PlainText(Document):
    """`<Text>`: code points, both ways."""

    def __init__(self, text: str) -> None:
        self.text = text

    def place(self, span: Span) -> dict[str, Any]:
        start, end = self._checked(span.start, span.end)
        return {"start": start, "end": end, "text": self.text[start:end]}

    def locate(self, value: dict[str, Any]) -> tuple[int, int]:
        # The editor leaves `value.text` empty or wrong at times: only the offsets count.
        return self._checked(_offset(value, "start"), _offset(value, "end"))


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of text that Label Studio addresses by itself: a text node, or an utterance."""

    path: str
    """XPath of the text node, or index of the utterance."""
    text: str
    start: int
    """Where it begins in `Document.text`."""
    counted: int
    """Where it begins as `globalOffsets` count."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def counted_end(self) -> int:
        return self.counted + len(self.text)


class Runs(Document):
    """A text made of runs, with joints between them that belong to none (line breaks)."""

    def __init__(self, text: str, runs: Sequence[Run]) -> None:
        self.text = text
        self._by_path = {run.path: run for run in runs}
        self._runs = [run for run in runs if run.text]

    def _ends(self, start: int, end: int) -> tuple[Run, int, Run, int]:
        """First and last run that `[start, end)` covers, each with the code points inside it.

        Joints at either edge are trimmed off: the editor could not mark them either.
        """
        self._checked(start, end)
        i = bisect_right(self._runs, start, key=lambda run: run.end)
        j = bisect_left(self._runs, end, key=lambda run: run.start) - 1
        if i > j:
            raise BadRegion(f"[{start}, {end}) covers nothing but line breaks between two pieces of the text.")
        first, last = self._runs[i], self._runs[j]
        return first, max(0, start - first.start), last, min(len(last.text), end - last.start)

    def place(self, span: Span) -> dict[str, Any]:
        first, start, last, end = self._ends(span.start, span.end)
        return {
            "start": first.path,
            "startOffset": utf16_length(first.text[:start]),
            "end": last.path,
            "endOffset": utf16_length(last.text[:end]),
            "text": self.text[first.start + start : last.start + end],
        }

    def _run(self, path: str) -> Run:
        run = self._by_path.get(path)
        if run is None:
            raise BadRegion(
                f"There is no text at {shown(path)}. Was the task's text changed after it was labelled? "
                "Open the task, delete the region, and mark it again."
            )
        return run

    def _locate_in_runs(self, value: dict[str, Any]) -> tuple[int, int]:
        first, last = self._run(_path(value, "start")), self._run(_path(value, "end"))
        start = first.start + _code_points(first, _offset(value, "startOffset"))
        end = last.start + _code_points(last, _offset(value, "endOffset"))
        return self._checked(start, end)


class Dialogue(Runs):
    """`<Paragraphs>`: the utterances, one a line, without their speakers' names."""

    def __init__(self, utterances: Sequence[str]) -> None:
        runs, start = [], 0
        for index, text in enumerate(utterances):
            runs.append(Run(str(index), text, start, start))
            start += len(text) + 1
        super().__init__("\n".join(utterances), runs)

    def place(self, span: Span) -> dict[str, Any]:
        """Also refuses what the editor would turn into an annotation that Label Studio cannot read any more.

        The editor takes a predicted region's words from the utterance as drawn, with its white space
        collapsed, by offsets that count all of it. Where that cuts an emoji in two, Label Studio stores half
        a character and from then on answers 500 for everything that holds the annotation.
        """
        value = super().place(span)
        for edge in ("start", "end"):
            if _cuts(self._run(value[edge]).text, value[f"{edge}Offset"]):
                raise BadRegion(
                    f"Submitting [{span.start}, {span.end}) would make an annotation that Label Studio cannot read: "
                    "an emoji stands near, after two or more spaces. Import the text with single spaces."
                )
        return value

    def locate(self, value: dict[str, Any]) -> tuple[int, int]:
        return self._locate_in_runs(value)


class HyperText(Runs):
    """`<HyperText>`: the text nodes in document order, entities decoded.

    A `<br>` is a line break (which the editor counts), and so is the border of a block such as `<p>` or
    `<td>` where the page has no white space (which it does not count: without it the last word of one
    cell and the first of the next were one word). Style sheets are counted but are no text.
    """

    def __init__(self, html: str, *, inline: bool = False) -> None:
        parts: list[str] = []
        runs: list[Run] = []
        length = counted = 0
        border = False
        for node in page_nodes(html, inline=inline):
            shown = node.text if node.kind in ("text", "break") else ""
            if shown and border and length and not (parts[-1][-1].isspace() or shown[0].isspace()):
                parts.append("\n")
                length += 1
            if node.kind == "text":
                runs.append(Run(node.path, node.text, length, counted))
            if shown:
                parts.append(shown)
            border = node.kind == "block" or (border and not shown)
            length += len(shown)
            counted += len(node.text)
        super().__init__("".join(parts), runs)
        self._counted = counted

    def place(self, span: Span) -> dict[str, Any]:
        first, start, last, end = self._ends(span.start, span.end)
        offsets = {"start": first.counted + start, "end": last.counted + end}
        value = {**super().place(span), "globalOffsets": offsets}
        if (value["startOffset"], value["endOffset"]) != (start, end):
            # After a tab among other white space, the editor takes the offsets of a path that it knows for code
            # points. It does not know "./p[1]/text()[1]", which means the same, and goes by globalOffsets.
            value |= {"start": f".{first.path}", "end": f".{last.path}"}
        return value

    def locate(self, value: dict[str, Any]) -> tuple[int, int]:
        """By `globalOffsets`, or by XPath where they are missing or only the XPath gives `value.text`."""
        places: list[tuple[int, int]] = []
        problems: list[BadRegion] = []
        for locate in (self._locate_counted, self._locate_in_runs):
            try:
                places.append(locate(value))
            except BadRegion as problem:
                problems.append(problem)
        if not places:
            raise problems[-1]
        quoted = _letters(value.get("text"))
        return next((p for p in places if quoted and _letters(self.text[slice(*p)]) == quoted), places[0])

    def _run(self, path: str) -> Run:
        # "./p/text()" means "/p[1]/text()[1]", and an element its first text.
        path = re.sub(r"(?<=[^\]/])(?=/|$)", "[1]", path.removeprefix("."))
        run = self._by_path.get(path)
        inside = path.rstrip("/") + "/"
        return run or next((run for run in self._runs if run.path.startswith(inside)), None) or super()._run(path)

    def _locate_counted(self, value: dict[str, Any]) -> tuple[int, int]:
        offsets = value.get("globalOffsets")
        if not isinstance(offsets, dict):
            raise BadRegion("The region has no globalOffsets.")
        start, end = _offset(offsets, "start"), _offset(offsets, "end")
        if not 0 <= start < end <= self._counted:
            raise BadRegion(f"globalOffsets [{start}, {end}) lie outside the page, which counts {self._counted}.")
        i = bisect_right(self._runs, start, key=lambda run: run.counted_end)
        j = bisect_left(self._runs, end, key=lambda run: run.counted) - 1
        if i > j:
            raise BadRegion(f"globalOffsets [{start}, {end}) cover no text.")
        first, last = self._runs[i], self._runs[j]
        return self._checked(
            first.start + max(0, start - first.counted), last.start + min(len(last.text), end - last.counted)
        )


def utf16_length(text: str) -> int:
    """Length as JavaScript counts: characters outside the basic plane are two units."""
    return len(text) + sum(character > "\uffff" for character in text)


def _cuts(text: str, units: int) -> bool:
    """Whether a place, in UTF-16 units of the text, is inside a character of the text as a browser draws it."""
    drawn = re.sub(r"[ \t\r\n]+", " ", text).strip(" ").encode("utf-16-le", "surrogatepass")
    return b"\xdc" <= drawn[2 * units + 1 : 2 * units + 2] <= b"\xdf"


def _code_points(run: Run, units: int) -> int:
    """How many code points of the run make up that many UTF-16 units."""
    if run.text.isascii():
        points = units
    else:
        points = counted = 0
        while counted < units and points < len(run.text):
            counted += utf16_length(run.text[points])
            points += 1
        points = points if counted == units else -1
    if not 0 <= points <= len(run.text):
        raise BadRegion(
            f"Offset {shown(units)} at {run.path!r} is no place between two characters of its text, which has "
            f"{utf16_length(run.text)} UTF-16 units. Was the task's text changed after it was labelled?"
        )
    return points


def _offset(value: dict[str, Any], name: str) -> int:
    found = value.get(name)
    if isinstance(found, float) and found.is_integer():
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise BadRegion(f"{name!r} should be a whole number and is {shown(found)}.")


def _path(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if isinstance(found, str | int):
        return str(found)
    raise BadRegion(f"{name!r} should be an XPath or the index of an utterance and is {shown(found)}.")


def _letters(text: object) -> str:
    """The text without white space, which the editor writes as the browser draws it."""
    return re.sub(r"\s|\\n", "", text) if isinstance(text, str) else ""
