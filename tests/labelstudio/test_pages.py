"""The walk over a page against the standard library's HTML parser, where the two agree on the rules."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from labelstudio.pages import page_nodes


class Texts(HTMLParser):
    """All character data between tags, entities decoded."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.found.append("\n" if tag == "br" else "")


LEAVES = st.sampled_from(["Anna", " ", "\n", "😀", "&amp;", "&lt;b&gt;", "&eacute;", "<br/>", "<!-- x -->"])
HTML = st.recursive(
    st.lists(LEAVES, max_size=4).map("".join),
    lambda inner: st.builds(
        lambda tag, parts: "".join(f"<{tag}>{part}</{tag}>" for part in parts),
        st.sampled_from(["div", "span", "b", "h1", "section"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
)


@given(HTML)
def test_all_text_in_order(html: str) -> None:
    parser = Texts()
    parser.feed(html)
    parser.close()
    nodes = list(page_nodes(html, inline=True))
    assert "".join(node.text for node in nodes) == "".join(parser.found)
    paths = [node.path for node in nodes if node.kind == "text"]
    assert len(set(paths)) == len(paths)


def test_paths_count_elements_and_text_nodes_of_one_parent() -> None:
    nodes = page_nodes("<p>a<b>b</b>c<!-- -->d<br>e<b>f</b></p><ul><li>g<li>h</ul>i", inline=False)
    assert {node.path: node.text for node in nodes if node.kind == "text"} == {
        "/p[1]/text()[1]": "a",
        "/p[1]/b[1]/text()[1]": "b",
        "/p[1]/text()[2]": "cd",
        "/p[1]/text()[3]": "e",
        "/p[1]/b[2]/text()[1]": "f",
        "/ul[1]/li[1]/text()[1]": "g",
        "/ul[1]/li[2]/text()[1]": "h",
        "/text()[1]": "i",
    }


def test_a_table_ends_a_paragraph_and_gets_a_body() -> None:
    nodes = page_nodes("<p>a<table><tr><td>b</table>c", inline=False)
    assert [node.path for node in nodes if node.kind == "text"] == [
        "/p[1]/text()[1]",
        "/table[1]/tbody[1]/tr[1]/td[1]/text()[1]",
        "/text()[1]",
    ]
