"""The corpus file that keeps everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import Choice, Relation, Sentence, Span
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
    choices = draw(st.none() | st.lists(ANY_TEXT.map(Choice), max_size=3).map(tuple))
    ends = st.sampled_from(made or (Span(0, 0, ""),))
    relations = draw(st.none() | st.lists(st.builds(Relation, ends, ends, ANY_TEXT), max_size=3).map(tuple))
    entities = draw(st.sampled_from([None, (), made]))
    sentence = Sentence.from_text(draw(ANY_TEXT), text, made)
    return replace(sentence, choices=choices, relations=relations, entities=entities)


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


def test_of_several_kinds_the_wanted_one_is_learned(tmp_path):
    path = tmp_path / "one.corpus.json"
    people = [one.labelled((Span(0, len(one.words[0].text), "PER"),)) for one in texts(110)]
    chosen = [
        replace(one, choices=(Choice("a" if i % 2 else "b"),) if i < 100 else None) for i, one in enumerate(people)
    ]
    write_corpus([replace(one, relations=()) for one in chosen[:60]] + chosen[60:], path)
    sizes = {}
    for kind in (None, "choices", "relations"):
        corpus = load_corpus(str(path), kind=kind)
        sizes[corpus.kind] = len(corpus.train) + len(corpus.test)
        assert all(one.marks(corpus.kind) is not None for one in (*corpus.train, *corpus.test))
    assert sizes == {"spans": 110, "choices": 100, "relations": 60}
    related = load_corpus(str(path), kind="relations")
    assert all(one.unlabelled().entities == one.spans for one in related.train), "between the labelled spans"
