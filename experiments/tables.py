"""A table of a report, in the three forms that it is read in: Markdown, HTML, and the terminal's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import rich.table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Table:
    """Plain texts in rows; the first column names the row. Nothing in it is markup."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """How to read it, in a sentence or two."""
    numbers: bool = True
    """Whether the columns after the first hold numbers, which stand on the right."""

    def markdown(self) -> str:
        """Caption, table and note, with what Markdown and HTML would take for markup escaped."""
        aligned = ["---", *["---:" if self.numbers else "---"] * (len(self.columns) - 1)]
        body = [self.columns, *self.rows]
        lines = ["| " + " | ".join(as_markdown(cell) for cell in row) + " |" for row in body]
        lines.insert(1, "|" + "|".join(aligned) + "|")
        return "\n\n".join(filter(None, [f"**{as_markdown(self.caption)}**", "\n".join(lines), as_markdown(self.note)]))

    def html(self, id: str) -> str:
        """The table with its note; it scrolls by itself where a screen is too narrow. `id` is unique on the page."""
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in self.columns)
        body = "\n".join(
            f'<tr><th scope="row">{escape(first)}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in others)
            + "</tr>"
            for first, *others in self.rows
        )
        note = f"\n<p>{escape(self.note)}</p>" if self.note else ""
        looks = "" if self.numbers else ' class="texts"'
        return (
            f'<div class="wide" role="region" tabindex="0" aria-labelledby="{id}">\n'
            f'<table{looks}>\n<caption id="{id}">{escape(self.caption)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>{note}"
        )

    def console(self, of: str | None = None) -> rich.table.Table:
        """For Rich to print; `of` stands before the caption."""
        title = Text(self.caption if of is None else f"{of}: {self.caption}")
        table = rich.table.Table(title=title, caption=Text(self.note) if self.note else None)
        for i, column in enumerate(self.columns):
            table.add_column(Text(column), justify="right" if i and self.numbers else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def as_markdown(text: str) -> str:
    """`text` on one line, such that Markdown shows it as it is."""
    return re.sub(r"([\\`|<&\[\]*~_])", r"\\\1", " ".join(text.split()))


def percent(value: float | None, digits: int = 1) -> str:
    """0.8345 -> "83.5"; "–" for what is not known."""
    return "–" if value is None or value != value else f"{100 * value:.{digits}f}"


def with_interval(mean: float, low: float, high: float) -> str:
    """0.8345, 0.82, 0.85 -> "83.5 (82.0 to 85.0)"; "83.5 (–)" for an interval without ends, that of one seed."""
    return f"{percent(mean)} ({percent(low)} to {percent(high)})" if math.isfinite(low) else f"{percent(mean)} (–)"


def capital(text: str) -> str:
    """ "micro F1" -> "Micro F1"."""
    return text[:1].upper() + text[1:]


def listed(texts: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
