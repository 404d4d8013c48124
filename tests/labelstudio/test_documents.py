"""Places in the three kinds of text, against regions as the editor writes them and by round trips."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from corpus import Span
from labelstudio.documents import (
    BadRegion,
    BadTask,
    Dialogue,
    Document,
    HyperText,
    PlainText,
    document,
)
from tests.labelstudio.configs import dialogue_schema, page_schema, text_schema

PAGE = "<div><p>Good 😀 <b>Anna</b> Berg in  Oslo</p>\n<p>Then Carl &amp; sons</p></div>"
"""Its regions below are what the editor gives for the marked words."""

PIECES = st.sampled_from(
    [
        "Anna",
        "Oslo",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "😀",
        "👩‍🚀",
        "🇫🇷",
        "e\u0301",
        "å",
        "<b>",
        "&amp;",
        "日本",
        "x" * 40,
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def stretch(data: st.DataObject, length: int) -> tuple[int, int]:
    start = data.draw(st.integers(0, length - 1))
    return start, data.draw(st.integers(start + 1, length))


def there_and_back(doc: Document, start: int, end: int) -> tuple[int, int]:
    value = json.loads(json.dumps(doc.place(Span(start, end, "X"))))
    found = doc.locate(value)
    assert value["text"] == doc.text[slice(*found)]
    return found


# -- Text ----------------------------------------------------------------------------------------------


@given(TEXTS, st.data())
def test_text_there_and_back(text: str, data: st.DataObject) -> None:
    assume(text)
    doc = PlainText(text)
    assert doc.text == text
    start, end = stretch(data, len(text))
    assert doc.place(Span(start, end, "X")) == {"start": start, "end": end, "text": text[start:end]}
    assert there_and_back(doc, start, end) == (start, end)


def test_text_counts_code_points() -> None:
    doc = document(text_schema(), {"text": "😀😀 Åse Lund met Rene\u0301 in Oslo 🇳🇴\r\nok"})
    for start, end, words in [(3, 11, "Åse Lund"), (16, 21, "Rene\u0301"), (25, 29, "Oslo"), (34, 36, "ok")]:
        assert doc.text[start:end] == words
        assert doc.locate({"start": start, "end": end, "text": "", "labels": ["PER"]}) == (start, end)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"start": 3},
        {"start": None, "end": 4},
        {"start": "a", "end": 4},
        {"start": True, "end": 4},
        {"start": 1.5, "end": 4},
        {"start": float("inf"), "end": 4},
        {"start": 4, "end": 4},
        {"start": 5, "end": 4},
        {"start": -1, "end": 4},
        {"start": 0, "end": 11},
    ],
)
def test_text_refuses_other_places(value: dict[str, Any]) -> None:
    with pytest.raises(BadRegion):
        PlainText("Anna Bergs").locate(value)


def test_a_place_outside_the_text_asks_whether_the_text_changed() -> None:
    with pytest.raises(BadRegion, match=r"\[0, 11\).*has 10 characters.*changed after it was labelled"):
        PlainText("Anna Bergs").locate({"start": 0, "end": 11})


@pytest.mark.parametrize("place", [(3, 3), (4, 3), (-1, 2), (0, 11)])
def test_a_span_outside_the_text_has_no_place(place: tuple[int, int]) -> None:
    for doc in (PlainText("Anna Bergs"), HyperText("Anna <b>Bergs</b>"), Dialogue(["Anna", "Bergs"])):
        with pytest.raises(BadRegion):
            doc.place(Span(*place, "PER"))


# -- HyperText -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (
            "Anna",
            {
                "start": "/div[1]/p[1]/b[1]/text()[1]",
                "startOffset": 0,
                "end": "/div[1]/p[1]/b[1]/text()[1]",
                "endOffset": 4,
                "globalOffsets": {"start": 7, "end": 11},
            },
        ),
        (
            "Oslo",
            {
                "start": "/div[1]/p[1]/text()[2]",
                "startOffset": 10,
                "end": "/div[1]/p[1]/text()[2]",
                "endOffset": 14,
                "globalOffsets": {"start": 21, "end": 25},
            },
        ),
        (
            "Carl",
            {
                "start": "/div[1]/p[2]/text()[1]",
                "startOffset": 5,
                "end": "/div[1]/p[2]/text()[1]",
                "endOffset": 9,
                "globalOffsets": {"start": 31, "end": 35},
            },
        ),
        (
            "😀 Anna",  # over two text nodes; the emoji is two units in the one, one code point in all
            {
                "start": "/div[1]/p[1]/text()[1]",
                "startOffset": 5,
                "end": "/div[1]/p[1]/b[1]/text()[1]",
                "endOffset": 4,
                "globalOffsets": {"start": 5, "end": 11},
            },
        ),
    ],
)
def test_hypertext_as_the_editor_writes_it(words: str, value: dict[str, Any]) -> None:
    doc = document(page_schema(), {"html": PAGE})
    start = doc.text.index(words)
    place = (start, start + len(words))
    assert doc.place(Span(*place, "PER")) == {**value, "text": words}
    assert doc.locate({**value, "text": words}) == place
    assert doc.locate({name: value[name] for name in value if name != "globalOffsets"}) == place
    assert doc.locate({"globalOffsets": value["globalOffsets"]}) == place


def test_hypertext_text_is_what_the_page_shows() -> None:
    html = (
        "<!-- note --><p>Anna<!-- note --> Berg<script>if (a < b) {}</script>&nbsp;&lt;x&gt;</p>"
        "<style>p {}</style><table><tr><td>Oslo</td><td>Carl <i>B</i>erg</td></tr></table>one<br>two"
    )
    doc = HyperText(html)
    assert doc.text == "Anna Berg\xa0<x>\nOslo\nCarl Berg\none\ntwo"
    # Browsers put a <tbody> into every table. The style sheet's 4 letters and the <br> count, the borders
    # of blocks do not.
    assert doc.place(Span(doc.text.index("Oslo"), doc.text.index("\nCarl"), "LOC")) == {
        "start": "/table[1]/tbody[1]/tr[1]/td[1]/text()[1]",
        "startOffset": 0,
        "end": "/table[1]/tbody[1]/tr[1]/td[1]/text()[1]",
        "endOffset": 4,
        "globalOffsets": {"start": 17, "end": 21},
        "text": "Oslo",
    }
    two = doc.place(Span(len(doc.text) - 3, len(doc.text), "LOC"))
    assert (two["start"], two["globalOffsets"]) == ("/text()[2]", {"start": 34, "end": 37})


def test_hypertext_without_markup() -> None:
    doc = HyperText("Anna  Berg\r\nin &lt;Oslo&gt;")
    assert doc.text == "Anna  Berg\nin <Oslo>"  # browsers make one line break of CR LF
    value = doc.place(Span(15, 19, "LOC"))
    assert (value["start"], value["startOffset"], value["text"]) == ("/text()[1]", 15, "Oslo")
    assert doc.locate(value) == (15, 19)


def test_a_whole_page_begins_at_its_body_and_an_inline_one_at_its_first_character() -> None:
    html = "  <html><head><title>News</title></head><body> <p>Anna</p></body></html>"
    assert HyperText(html).text == " Anna"
    assert HyperText(html, inline=True).text == "  News Anna"


def test_hypertext_prefers_the_place_that_holds_the_quoted_words() -> None:
    doc = HyperText("<p>Anna and Anna in Oslo</p>")
    path = {"start": "/p[1]/text()[1]", "startOffset": 17, "end": "/p[1]/text()[1]", "endOffset": 21}
    other = {**path, "globalOffsets": {"start": 0, "end": 4}}
    assert doc.locate({**other, "text": "Oslo"}) == (17, 21)
    assert doc.locate({**other, "text": "Anna"}) == (0, 4)
    assert doc.locate(other) == (0, 4)
    assert doc.locate({**other, "globalOffsets": {"start": 0, "end": 99}}) == (17, 21)
    assert doc.locate({**other, "start": "/p[7]/text()[1]", "text": "Oslo"}) == (0, 4)


def test_a_path_after_an_emoji_is_one_that_the_editor_looks_past() -> None:
    """It reads its own paths wrongly there in some pages; other readers take both paths for the same."""
    doc = HyperText("<p>Hei\tder 👋 <b>Anna</b> Berg</p>")
    value = doc.place(Span(10, 19, "PER"))
    assert value == {
        "start": "/p[1]/b[1]/text()[1]",
        "startOffset": 0,
        "end": "/p[1]/text()[2]",
        "endOffset": 5,
        "globalOffsets": {"start": 10, "end": 19},
        "text": "Anna Berg",
    }
    value = doc.place(Span(9, 14, "PER"))
    assert (value["start"], value["startOffset"]) == ("./p[1]/text()[1]", 10)
    assert (value["end"], value["endOffset"]) == ("./p[1]/b[1]/text()[1]", 4)
    assert value["globalOffsets"] == {"start": 9, "end": 14}
    assert doc.locate(value) == doc.locate({**value, "globalOffsets": None}) == (9, 14)


def test_hypertext_reads_short_xpaths_and_elements() -> None:
    doc = HyperText("<p>Anna</p><p><b>in</b> Oslo</p>")
    short = {"start": "/p[2]/text()", "startOffset": 1, "end": "/p[2]/text()", "endOffset": 5}
    assert doc.text[slice(*doc.locate(short))] == "Oslo"
    element = {"start": "/p[2]", "startOffset": 0, "end": "/p[2]", "endOffset": 2}
    assert doc.text[slice(*doc.locate(element))] == "in"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "/p[9]/text()[1]"}, r"no text at '/p\[9\]/text\(\)\[1\]'.*delete the region"),
        ({"start": None}, "'start' should be an XPath"),
        ({"startOffset": 3, "endOffset": 3}, "no stretch of the text"),
        ({"startOffset": 1}, "no place between two characters"),  # inside the emoji
        ({"endOffset": 50}, "Offset 50.*7 UTF-16 units"),
        ({"endOffset": -1}, "Offset -1"),
        ({"endOffset": "x"}, "'endOffset' should be a whole number"),
    ],
)
def test_hypertext_refuses_other_places(change: dict[str, Any], message: str) -> None:
    value = {"start": "/p[1]/text()[1]", "startOffset": 0, "end": "/p[1]/text()[1]", "endOffset": 5}
    doc = HyperText("<p>😀 Anna</p>")
    assert doc.locate(value) == (0, 4)
    with pytest.raises(BadRegion, match=message):
        doc.locate({**value, **change})


def test_deep_and_broken_pages_are_read() -> None:
    assert HyperText("<div>" * 2000 + "Anna").text == "Anna"
    assert HyperText("<p>Anna <b>in <i>Oslo</b> now</p> \ud83d").text == "Anna in Oslo now ?"
    assert HyperText("").text == ""


LEAVES = st.sampled_from(
    [
        "Anna",
        " ",
        "\n",
        "\r\n",
        "😀",
        "e\u0301",
        "&amp;",
        "&#128512;",
        "<br>",
        "<!--c-->",
        "<style>x</style>",
        "<img>",
    ]
)
HTML = st.recursive(
    st.lists(LEAVES, max_size=4).map("".join),
    lambda inner: st.builds(
        lambda tag, parts: "".join(f"<{tag}>{part}</{tag}>" for part in parts),
        st.sampled_from(["div", "span", "b", "section", "blockquote"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


@given(HTML, st.booleans(), st.data())
def test_hypertext_there_and_back(html: str, inline: bool, data: st.DataObject) -> None:
    doc = HyperText(html, inline=inline)
    assume(doc.text.strip())
    start, end = stretch(data, len(doc.text))
    words = doc.text[start:end]
    assume(words.strip())
    found = there_and_back(doc, start, end)
    # Line breaks between runs may be trimmed off its edges, nothing else.
    assert start <= found[0] and found[1] <= end
    assert set(doc.text[start : found[0]] + doc.text[found[1] : end]) <= {"\n"}
    value = doc.place(Span(*found, "X"))
    assert there_and_back(doc, *found) == found
    assert doc.locate({name: value[name] for name in value if name != "globalOffsets"}) == found
    assert doc.locate({"globalOffsets": value["globalOffsets"]}) == found


# -- Paragraphs ----------------------------------------------------------------------------------------

TALK = [
    {"who": "A", "said": "Hei 😀 Anna der"},
    {"who": "B", "said": ""},
    {"who": "A", "said": "Carl  in Oslo"},
]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("Anna", {"start": "0", "startOffset": 7, "end": "0", "endOffset": 11}),
        ("Oslo", {"start": "2", "startOffset": 9, "end": "2", "endOffset": 13}),
        ("der\n\nCarl", {"start": "0", "startOffset": 12, "end": "2", "endOffset": 4}),
    ],
)
def test_paragraphs_as_the_editor_writes_them(words: str, value: dict[str, Any]) -> None:
    doc = document(dialogue_schema(), {"dialogue": TALK})
    assert doc.text == "Hei 😀 Anna der\n\nCarl  in Oslo"
    start = doc.text.index(words)
    assert doc.place(Span(start, start + len(words), "PER")) == {**value, "text": words}
    assert doc.locate(value) == (start, start + len(words))
    assert doc.locate({**value, "start": int(value["start"])}) == (start, start + len(words))


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=5), st.data())
def test_paragraphs_there_and_back(utterances: list[str], data: st.DataObject) -> None:
    doc = Dialogue(utterances)
    assert doc.text == "\n".join(utterances)
    i = data.draw(st.integers(0, len(utterances) - 1))
    j = data.draw(st.integers(i, len(utterances) - 1))
    a = data.draw(st.integers(0, len(utterances[i]) - 1))
    b = data.draw(st.integers(a + 1 if i == j else 1, len(utterances[j])))
    start = sum(len(text) + 1 for text in utterances[:i]) + a
    end = sum(len(text) + 1 for text in utterances[:j]) + b
    value = {
        "start": str(i),
        "startOffset": len(utterances[i][:a].encode("utf-16-le")) // 2,
        "end": str(j),
        "endOffset": len(utterances[j][:b].encode("utf-16-le")) // 2,
        "text": doc.text[start:end],
    }
    assert doc.locate(value) == (start, end)
    try:
        assert doc.place(Span(start, end, "X")) == value
    except BadRegion:  # see the test below
        assert any(re.search(r"[ \t\r\n]{2}|^\s|\s$", text) for text in (utterances[i], utterances[j]))


@pytest.mark.parametrize(
    ("utterance", "words"),
    [
        ("Hei  Anna 👋 der", "👋"),  # as drawn it starts at 9, and is counted from 10: "\udc4b "
        (" Hei Anna 👋 der", "👋"),
        ("Hei \r\n Anna 👋", "nn"),
    ],
)
def test_no_span_in_a_dialogue_makes_the_editor_cut_an_emoji(utterance: str, words: str) -> None:
    doc = Dialogue(["Ja", utterance])
    start = doc.text.index(words)
    with pytest.raises(BadRegion, match=r"cannot read: an emoji stands near.*single spaces"):
        doc.place(Span(start, start + len(words), "X"))
    alone = Dialogue(["Ja", re.sub(r"\s+", " ", utterance).strip()])
    start = alone.text.index(words)
    assert alone.place(Span(start, start + len(words), "X"))["text"] == words


def test_a_line_break_between_utterances_is_trimmed_off() -> None:
    doc = Dialogue(["Anna", "Carl", "Oslo"])
    assert doc.place(Span(4, 10, "X")) == {
        "start": "1",
        "startOffset": 0,
        "end": "1",
        "endOffset": 4,
        "text": "Carl",
    }
    with pytest.raises(BadRegion, match=r"nothing but line breaks"):
        doc.place(Span(4, 5, "X"))


def test_paragraphs_refuse_an_utterance_that_is_not_there() -> None:
    with pytest.raises(BadRegion, match=r"no text at '3'"):
        Dialogue(["Anna"]).locate({"start": "3", "startOffset": 0, "end": "3", "endOffset": 2})


# -- the field -----------------------------------------------------------------------------------------


def test_fields_inside_fields() -> None:
    schema = replace(text_schema(), value="item.texts[1]")
    assert document(schema, {"item": {"texts": ["no", "Anna"]}}).text == "Anna"
    assert document(schema, {"item.texts[1]": "Carl"}).text == "Carl"


def test_encoded_fields() -> None:
    schema = text_schema()
    assert document(replace(schema, encoding="base64unicode"), {"text": "w4VzZSDwn5iA"}).text == "Åse 😀"
    assert document(replace(schema, encoding="base64"), {"text": "xXNl"}).text == "Åse"
    with pytest.raises(BadTask, match=r"'text' is not base64, as the label config says.*Encode it"):
        document(replace(schema, encoding="base64"), {"text": "no base64!"})


@pytest.mark.parametrize(("number", "shown"), [(7, "7"), (7.0, "7"), (0.5, "0.5"), (10**20, "1" + "0" * 20)])
def test_numbers_are_their_digits(number: float, shown: str) -> None:
    assert document(text_schema(), {"text": number}).text == shown


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"body": "x"}, "no data field 'text'.*it has 'body'.*Import the task again"),
        ({}, "no data field 'text'.*it has nothing"),
        ({"text": None}, "data field 'text' is null; <Text> needs a string"),
        ({"text": ["x"]}, "data field 'text' is of type list"),
        ({"text": True}, "data field 'text' is of type bool"),
    ],
)
def test_bad_text_fields(data: dict[str, Any], message: str) -> None:
    with pytest.raises(BadTask, match=message):
        document(text_schema(), data)


@pytest.mark.parametrize(
    ("dialogue", "message"),
    [
        ("Anna: hi", "'dialogue' is of type str; <Paragraphs> needs a list of objects.*'said'"),
        (["hi"], "Utterance 0 of the task's data field 'dialogue' has no field 'said'.*set textKey"),
        ([{"said": "hi"}, {"text": "hi"}], "Utterance 1 .* has no field 'said'"),
        ([{"said": None}], "'dialogue', utterance 0, field 'said' is null"),
    ],
)
def test_bad_dialogues(dialogue: object, message: str) -> None:
    with pytest.raises(BadTask, match=message):
        document(dialogue_schema(), {"dialogue": dialogue})


def test_an_empty_text_is_a_text() -> None:
    assert document(text_schema(), {"text": ""}).text == ""
    assert document(dialogue_schema(), {"dialogue": []}).text == ""
