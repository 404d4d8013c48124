"""The corpus file that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import Sentence, Span
from experiments.corpora import load_corpus
from experiments.formats import read_corpus, write_corpus
from tests.learning.texts import bare, texts

ANY_TEXT = st.text(st.characters(), max_size=30)  # lone surrogates too: Label Studio may send them


@st.composite
def sentences(draw):
    text = draw(ANY_TEXT)
    edges = st.integers(0, len(text))
    spans = draw(st.none() | st.lists(st.tuples(edges, edges, ANY_TEXT), max_size=3))
    made = None if spans is None else tuple(Span(min(a, b), max(a, b), label) for a, b, label in spans)
    return Sentence.from_text(draw(ANY_TEXT), text, made)


@given(st.lists(sentences(), max_size=4))
def test_nothing_is_lost(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("corpus") / "one.corpus.json"
    write_corpus(written, path)
    assert read_corpus(path) == written


def test_the_labelled_ones_are_a_corpus(tmp_path):
    labelled = texts(60)
    write_corpus([*labelled, *bare([Sentence.from_text("61", "Nobody knows Ada")])], tmp_path / "one.corpus.json")
    corpus = load_corpus(str(tmp_path / "one.corpus.json"))
    assert (corpus.name, len(corpus.train), len(corpus.test)) == ("one.corpus", 48, 12)
    assert sorted([*corpus.train, *corpus.test], key=lambda sentence: int(sentence.id)) == labelled


@pytest.mark.parametrize(
    "content", ["{", '{"id": 1}', '[{"id": "1", "text": "a"}]', '[{"id": "1", "text": 3, "spans": []}]']
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "one.corpus.json").write_text(content)
    with pytest.raises(ValueError, match=r"one\.corpus\.json is no list of texts"):
        load_corpus(str(tmp_path / "one.corpus.json"))
