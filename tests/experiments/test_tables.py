"""Tables in Markdown, HTML and the terminal, against readers of these."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser as Page

from experiments.tables import Table, listed, percent, with_interval

CELL = st.text(st.sampled_from(string.ascii_letters + string.digits + string.punctuation + " é–≥"), max_size=20)
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def cells(page: Page) -> list[list[str]]:
    return [[cell.text() for cell in row.css("th, td")] for row in page.css("tr")]


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=3))
def test_markdown_and_html_show_any_text_as_it_is(rows: list[tuple[str, str]]) -> None:
    table = Table("a *caption*", ("name", "<value>"), tuple(rows))
    expected = [[" ".join(cell.split()) for cell in row] for row in (table.columns, *rows)]
    assert cells(Page(READER.render(table.markdown()))) == expected
    assert cells(Page(table.html("t"))) == [list(row) for row in (table.columns, *rows)]


def test_note_and_caption_are_there() -> None:
    table = Table("F1 < 1", ("a", "b"), (("c", "d"),), "Read & believe.")
    page, shown = Page(table.html("t")), Page(READER.render(table.markdown()))
    assert page.css_first("caption#t").text() == "F1 < 1" == shown.css_first("strong").text()
    assert page.css("p")[-1].text() == "Read & believe." == shown.css("p")[-1].text()
    assert page.css_first("[role=region]").attributes["aria-labelledby"] == "t"


def test_numbers_stand_on_the_right() -> None:
    numbers, texts = (Table("c", ("a", "b"), (("x", "1"),), numbers=numbers) for numbers in (True, False))
    assert "|---|---:|" in numbers.markdown() and "|---|---|" in texts.markdown()
    assert [column.justify for column in numbers.console().columns] == ["left", "right"]
    assert [column.justify for column in texts.console().columns] == ["left", "left"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.8345, "83.5"), (0.0, "0.0"), (1.0, "100.0"), (None, "–"), (math.nan, "–")]
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_with_interval() -> None:
    assert with_interval(0.8345, 0.82, 0.85) == "83.5 (82.0 to 85.0)"
    assert with_interval(0.8345, -math.inf, math.inf) == "83.5 (–)"


@pytest.mark.parametrize(
    ("texts", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listed(texts: list[str], text: str) -> None:
    assert listed(texts) == text
