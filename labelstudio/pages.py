"""The text nodes of an HTML page, as Label Studio's editor walks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

BLOCKS = frozenset(
    """address article aside blockquote body caption center dd details dialog dir div dl dt fieldset
    figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend li listing main menu nav
    ol optgroup option p plaintext pre search section summary table tbody td tfoot th thead tr ul
    xmp""".split()  # noqa: SIM905
)
"""Elements that begin and end on a line, or in a cell, of their own (HTML standard, section 15.3)."""
REMOVED = frozenset(("script", "iframe", "-comment"))
"""What the editor takes out before it shows the page; the texts on either side become one node."""
HIDDEN = frozenset(("style", "noscript"))
"""What the page holds and nobody sees (the editor's frame runs scripts)."""


class Node(NamedTuple):
    """A text node, a line break, text that is not shown, or the border of a block (which has no text)."""

    kind: Literal["text", "break", "hidden", "block"]
    path: str
    """XPath from the page's body, "/p[1]/text()[2]"; empty unless a text node."""
    text: str
    """What the editor's `globalOffsets` count: one for a `<br>`."""


def page_nodes(html: str, *, inline: bool) -> Iterator[Node]:
    """Walk a page in document order, by the HTML standard's parsing rules.

    `inline` pages are parsed as a piece of another page, others as a page of their own.
    """
    from selectolax.lexbor import LexborHTMLParser

    # The editor's frame is never in quirks mode, so neither is this page.
    source = (html if inline else f"<!DOCTYPE html>{html}").encode("utf-8", "replace")
    page = LexborHTMLParser(source, is_fragment=inline, scripting=True)
    if inline:
        return _walk(page.root)
    return _walk(page.body.first_child if page.body is not None else None)


def _walk(first: Any) -> Iterator[Node]:
    """The nodes from a body's first child on."""
    # An explicit stack: pages may be nested deeper than Python's calls.
    stack = [(_siblings(first), "", Counter[str](), "body")]
    texts: list[str] = []
    while stack:
        children, path, seen, tag = stack[-1]
        child = next(children, None)
        if child is not None and child.tag == "-text":
            texts.append(child.text_content)
            continue
        if child is not None and child.tag in REMOVED:
            continue
        if text := "".join(texts).replace("\r\n", "\n").replace("\r", "\n"):
            seen["text()"] += 1
            yield Node("hidden" if tag in HIDDEN else "text", f"{path}/text()[{seen['text()']}]", text)
        texts.clear()
        if child is None:
            stack.pop()
        elif child.tag == "br":
            seen["br"] += 1
            yield Node("break", "", "\n")
        else:
            tag = child.tag
            seen[tag] += 1
            stack.append((_siblings(child.first_child), f"{path}/{tag}[{seen[tag]}]", Counter(), tag))
        if tag in BLOCKS:
            yield Node("block", "", "")


def _siblings(node: Any) -> Iterator[Any]:
    while node is not None:
        yield node
        node = node.next
