"""Label Studio's own editor in a browser: our spans are drawn where we meant them, and a person's come back exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Page

from corpus import Span
from labelstudio.documents import Document, document
from labelstudio.results import labels_of, prediction, result_of
from labelstudio.schema import read_schema
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.labelstudio.configs import DIALOGUE, PAGE, TEXT

pytestmark = pytest.mark.slow

VERSION = "ours"
INLINE = PAGE.replace("<HyperText ", '<HyperText inline="true" ')
PAGE_TEXT = (
    "<div><p>😀  Åse\tLund <b>met 👩‍🚀 Rene\u0301</b></p>\r\n<p>in  Oslo 🇳🇴 &amp; <i>Mi</i>a &lt;Vik&gt;<br>"
    "og&nbsp;Bo\tBerg  🇫🇷 x</p></div>"
)
PAGE_PREDICTED = ["Åse\tLund", "👩‍🚀", "Oslo 🇳🇴", "Vik"]
PAGE_DRAWN = ["😀", "Rene\u0301", "Mia", "og\xa0Bo\tBerg  🇫🇷"]


@dataclass(frozen=True)
class Case:
    """A text, what we mark in it, and what a person then draws: stretches that occur once, as the document has them."""

    config: str
    data: dict[str, Any]
    predicted: list[str]
    drawn: list[str]
    text: str
    """CSS selector of the element, or the elements one a line, that hold the text in the editor."""
    left_out: tuple[str, ...] = ()
    """Marked as well, and left out by us: the editor would spoil the annotation."""
    framed: bool = False
    """Whether the editor shows the text as a page of its own inside the page."""


CASES = {
    "Text": Case(
        TEXT,
        {"text": "😀  Åse\tLund 👩‍🚀 met Rene\u0301\r\nin  Oslo 🇳🇴\r\n\r\nand <b>Mia</b> &amp; Bo\tBerg  🇫🇷 x"},
        ["Åse\tLund", "👩‍🚀", "Oslo 🇳🇴", "Mia"],
        ["😀", "met Rene\u0301\r\nin", "amp; Bo\tBerg  🇫🇷"],
        ".lsf-htx-richtext",
    ),
    "HyperText": Case(PAGE, {"html": PAGE_TEXT}, PAGE_PREDICTED, PAGE_DRAWN, "body", framed=True),
    "inline HyperText": Case(INLINE, {"html": PAGE_TEXT}, PAGE_PREDICTED, PAGE_DRAWN, ".lsf-htx-richtext"),
    "Paragraphs": Case(
        DIALOGUE,
        {
            "dialogue": [
                {"who": "Åse", "said": "😀  Åse\tLund 👩‍🚀 met Bo\tBerg  🇫🇷 x"},
                {"who": "Bo", "said": "Rene\u0301 🚀\r\nin  Oslo 🇳🇴 & <b>Mia</b> &amp; x"},
            ]
        },
        ["Åse\tLund", "Bo\tBerg", "Oslo 🇳🇴", "Mia"],
        ["😀", "👩‍🚀 met", "🇫🇷 x\nRene\u0301 🚀\r\nin", "amp; x"],
        "[class^=dialoguetext]",
        left_out=("👩‍🚀",),
    ),
}

# Both walk the text in the page's order: a <br> counts as one character, and so does the end of an element of several.
WALK = """(roots, visit) => {
  let at = 0;
  for (const root of roots) {
    if (root !== roots[0]) visit('\\n', at++, root);
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ALL);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const text = node.nodeName === 'BR' ? '\\n' : node.nodeType === Node.TEXT_NODE ? node.data : '';
      visit(text, at, node);
      at += [...text].length;
    }
  }
}"""
SHOWN = f"""roots => {{
  const shown = {{text: '', highlighted: []}};
  ({WALK})(roots, (text, at, node) => {{
    shown.text += text;
    const mark = text && node.parentElement.closest('.htx-highlight');
    if (!mark) return;
    const [, id] = mark.className.match(/htx-highlight-([0-9a-f]{{12}})/) || [];
    shown.highlighted.push([id || null, at, at + [...text].length]);
  }});
  return shown;
}}"""
EDGES = f"""(roots, [start, end]) => {{
  const range = document.createRange();
  ({WALK})(roots, (text, at, node) => {{
    if (node.nodeType !== Node.TEXT_NODE) return;
    const letters = [...text], units = place => letters.slice(0, place - at).join('').length;
    if (at <= start && start < at + letters.length) range.setStart(node, units(start));
    if (at < end && end <= at + letters.length) range.setEnd(node, units(end));
  }});
  const boxes = [...range.getClientRects()].filter(box => box.width > 0);
  const [a, b] = [boxes[0], boxes.at(-1)];
  return [a.left + 1, (a.top + a.bottom) / 2, b.right - 1, (b.top + b.bottom) / 2];
}}"""


class Editor:
    """The labelling page of one task, whose one prediction is already taken over into a new annotation."""

    def __init__(self, page: Page, address: str, case: Case) -> None:
        page.goto(address)
        # The prediction is drawn first, then its copy; what is done to the former in between is lost.
        page.wait_for_load_state("networkidle")
        self._page = page
        self._frame = page.locator("iframe") if case.framed else None
        content = page.frame_locator("iframe") if case.framed else page
        self._text = content.locator(case.text)
        self._regions = page.locator(".lsf-outliner-item")
        content.locator(".htx-highlight").nth(len(case.predicted) - 1).wait_for()
        self._regions.nth(len(case.predicted) - 1).wait_for()

    def shown(self) -> tuple[str, list[tuple[int, int]]]:
        """The text in code points, and its highlighted stretches."""
        shown = self._text.evaluate_all(SHOWN)
        # A region over several elements has a highlight in each; in <Paragraphs> highlights do not name their region.
        stretches: list[tuple[str | None, int, int]] = []
        for region, start, end in shown["highlighted"]:
            if region and stretches and stretches[-1][0] == region and stretches[-1][2] == start:
                start = stretches.pop()[1]
            stretches.append((region, start, end))
        return shown["text"], [(start, end) for _, start, end in stretches]

    def draw(self, start: int, end: int, hotkey: str) -> None:
        """Choose a label by its key; drag the mouse from the first character's left edge to the last one's right."""
        left, top, right, bottom = self._text.evaluate_all(EDGES, [start, end])
        around = self._frame.bounding_box() if self._frame else None
        x, y = (around["x"], around["y"]) if around else (0, 0)
        before = self._regions.count()
        self._page.keyboard.press(hotkey)
        self._page.locator(".lsf-label_selected", has_text=hotkey).wait_for()
        self._page.mouse.move(x + left, y + top)
        self._page.mouse.down()
        self._page.mouse.move(x + right, y + bottom, steps=5)
        self._page.mouse.up()
        self._regions.nth(before).wait_for()

    def submit(self) -> None:
        with self._page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        ):
            self._page.get_by_role("button", name="Submit").click()


def spans_in(doc: Document, stretches: list[str], label: str) -> list[Span]:
    """Each stretch where it stands in the text, which must be one place."""
    for words in stretches:
        assert doc.text.count(words) == 1, words
    return [Span(doc.text.index(words), doc.text.index(words) + len(words), label, 0.5) for words in stretches]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_highlights_and_drawn_spans_are_exact(case: Case, label_studio: RunningLabelStudio, page: Page) -> None:
    schema = read_schema(case.config)
    doc = document(schema, case.data)
    predicted, drawn = spans_in(doc, case.predicted, "PER"), spans_in(doc, case.drawn, "LOC")
    project = label_studio.create_project("editor", case.config, show_collab_predictions=True)
    (task,) = label_studio.import_tasks(project, [{"data": case.data}])
    left_out = spans_in(doc, list(case.left_out), "PER")
    ours = [prediction(task, result_of(schema, doc, predicted + left_out), 0.5, VERSION)]
    answer = label_studio.call("POST", f"/api/projects/{project}/import/predictions", json=ours)
    assert answer["created"] == 1
    label_studio.call("PATCH", f"/api/projects/{project}", json={"model_version": VERSION})

    editor = Editor(page, f"{label_studio.url}/projects/{project}/data?task={task}", case)
    text, highlighted = editor.shown()
    # <Text> draws each half of CR LF as a line break of its own: nothing moves.
    assert text.replace("\r", "\n") == doc.text.replace("\r", "\n")
    assert [doc.text[start:end] for start, end in highlighted] == case.predicted
    assert highlighted == [(span.start, span.end) for span in predicted]

    for span in drawn:
        editor.draw(span.start, span.end, hotkey="2")
    editor.submit()
    (annotation,) = label_studio.call("GET", f"/api/tasks/{task}/annotations/")
    labels, problems = labels_of(schema, doc, annotation["result"], task)
    assert problems == () and labels.spans is not None
    assert [doc.text[span.start : span.end] for span in labels.spans if span.label == "LOC"] == case.drawn
    assert labels.spans == tuple(sorted(predicted + drawn))
