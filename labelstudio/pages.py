"""The text nodes of an HTML page, as Label Studio's editor walks it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from labelstudio.fields import BadTask

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

PATHS = 50_000_000
"""Characters of all XPaths together: where elements lie deep inside each other, they grow with the square of a page."""

FORMATTING = frozenset("a b big code em font i nobr s small strike strong tt u".split())  # noqa: SIM905
"""Elements that are opened again, all of them, in whatever follows a block that they were left open in."""
REOPENED = 500_000
"""So many times at most: a page of 44 kB can ask for gigabytes so."""
ATTRIBUTES = 1_000
"""Of one tag."""
_QUOTED = re.compile("\"[^\"]*\"|'[^']*'")
_TAG = re.compile(
    r"""<!--.*?(?:-->|\Z)
      | <(script|style|textarea|title|xmp|iframe|noembed|noframes)\b.*?(?:</\1|\Z)  # no tags inside
      | <(?P<end>/?)(?P<name>[a-z][^\s/>]*)(?:=\s*"[^"]*(?:"|\Z)|=\s*'[^']*(?:'|\Z)|[^>])*+(?:>|\Z)""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)


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

    Raises BadTask for a page that takes far more than its length: see `PATHS`, `REOPENED` and `ATTRIBUTES`.
    """
    _check_tags(html)
    from selectolax.lexbor import LexborHTMLParser

    # The editor's frame is never in quirks mode, so neither is this page.
    source = (html if inline else f"<!DOCTYPE html>{html}").encode("utf-8", "replace")
    page = LexborHTMLParser(source, is_fragment=inline, scripting=True)
    if inline:
        return _walk(page.root)
    return _walk(page.body.first_child if page.body is not None else None)


def _check_tags(html: str) -> None:
    """Refuse, before the page is parsed, what would take parsing the square of its length."""
    left_open: dict[str, list[str]] = {}
    count = reopened = 0
    for tag in _TAG.finditer(html):
        if len(tag[0]) > 2 * ATTRIBUTES and len(re.split(r"[\s/]+", _QUOTED.sub("", tag[0]))) > ATTRIBUTES:
            raise BadTask(f"The task's page has a tag with more than {ATTRIBUTES} attributes. Import it again without.")
        name = (tag["name"] or "").lower()
        same = left_open.setdefault(name, []) if name in FORMATTING else []
        if tag["end"] and same:
            same.pop()
            count -= 1
        elif name in FORMATTING and not tag["end"] and same[-60:].count(tag[0]) < 3:  # of equal ones three count
            same.append(tag[0])
            count += 1
        reopened += count
        if reopened > REOPENED:
            raise BadTask(
                "The task's page leaves so many formatting tags open that a browser would make a page of millions of "
                "it. Import it again with its tags closed."
            )


def _walk(first: Any) -> Iterator[Node]:
    """The nodes from a body's first child on."""
    # An explicit stack: pages may be nested deeper than Python's calls.
    stack = [(_siblings(first), "", Counter[str](), "body")]
    texts: list[str] = []
    paths = 0
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
            paths += len(path)
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
            paths += len(path)
            if paths > PATHS:
                raise BadTask(
                    "The task's page has its elements too deep inside each other. Import it again with fewer."
                )
            stack.append((_siblings(child.first_child), f"{path}/{tag}[{seen[tag]}]", Counter(), tag))
        if tag in BLOCKS:
            yield Node("block", "", "")


def _siblings(node: Any) -> Iterator[Any]:
    while node is not None:
        yield node
        node = node.next
