"""Corpora of relations, on lines in their publishers' formats."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from corpus import Sentence
from experiments.corpora import load_corpus
from experiments.relation_formats import occurrences
from tests.experiments.test_corpora import related, write


def given(sentence: Sentence) -> list[str]:
    assert sentence.entities is not None and sentence.spans is None
    return [sentence.text[entity.start : entity.end] for entity in sentence.entities]


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_semeval_has_two_nominals_and_a_direction(tmp_path: Path) -> None:
    train = (
        '1\t"The <e1>flood</e1> came of the <e2>rain</e2>."\nCause-Effect(e2,e1)\nComment: "2\t" is no number.\n\n'
        '12\t"A <e1>cup</e1> holds "<e2>tea</e2>"."\nContent-Container(e2,e1)\nComment:\n\n'
        '3\t"The <e1>man</e1> <e2>sang</e2>."\nOther\nComment:\n\n'
        '4\t"The <e1>baker</e1>\'s <e2>bread</e2>"\nProduct-Producer(e1,e2)\n'
    )
    corpora = write(tmp_path / "semeval2010-task8", TRAIN_FILE__TXT=train, TEST_FILE_FULL__TXT=train)
    corpus = load_corpus("semeval2010-task8", corpora, "relations")
    assert [s.id for s in corpus.train] == ["train:1", "train:12", "train:3", "train:4"]
    assert [s.text for s in corpus.train[:2]] == ["The flood came of the rain.", 'A cup holds "tea".']
    assert list(map(given, corpus.train)) == [["flood", "rain"], ["cup", "tea"], ["man", "sang"], ["baker", "bread"]]
    assert list(map(related, corpus.train)) == [
        [("rain", "Cause-Effect", "flood")],
        [("tea", "Content-Container", "cup")],
        [],
        [("baker", "Product-Producer", "bread")],
    ]


TABBED = (
    "m.01\tm.02\toslo\tnew_norway\t/location/contains\tin new_norway , osloers call oslo home . ###END###\n"
    "m.03\tm.04\tada_berg\tacme\tNA\tacme hired ada_berg . ###END###\n"
    "m.05\tm.05\tann\tann\t/people/same\tann met ann . ###END###\n"
)
SAID = [
    ("in new_norway , osloers call oslo home .", [("oslo", "/location/contains", "new_norway")]),
    ("acme hired ada_berg .", []),
    ("ann met ann .", [("ann", "/people/same", "ann")]),
]


def test_nyt10_in_tabs(tmp_path: Path) -> None:
    corpus = load_corpus("nyt10", write(tmp_path / "nyt10", train__txt=TABBED, test__txt=TABBED))
    assert [(s.text, related(s)) for s in corpus.train] == SAID
    assert given(corpus.train[1]) == ["acme", "ada_berg"], "in the order of the text"
    first = corpus.train[0]
    assert first.relations and first.relations[0].head.start == first.text.index("oslo home"), "the whole word"
    assert len({(e.start, e.end) for e in corpus.train[2].entities or ()}) == 2


def test_nyt10_as_json_lines_and_as_a_list(tmp_path: Path) -> None:
    def place(text: str, name: str, last: bool = False) -> list[int]:
        start = text.rindex(name) if last else text.index(name)
        return [start, start + len(name)]

    ends = [("oslo", "new_norway"), ("ada_berg", "acme"), ("ann", "ann")]
    labels = ["/location/contains", "NA", "/people/same"]
    of_lines, of_list = [], []
    for (text, _), (head, tail), label in zip(SAID, ends, labels, strict=True):
        h, t = {"id": "m.1", "name": head}, {"id": "m.2", "name": tail}
        if head == tail:
            h["pos"], t["pos"] = place(text, head), place(text, tail, last=True)  # type: ignore[assignment]
        of_lines.append({"text": text, "relation": label, "h": h, "t": t})
        of_list.append({"sentence": text, "relation": label, "head": {"word": head}, "tail": {"word": tail}})
    corpora = write(
        tmp_path / "nyt10",
        train__txt=TABBED,
        test__txt=TABBED,
        nyt10_train__txt=lines(*of_lines),
        nyt10_test__txt=json.dumps(of_list),
    )
    tabbed, as_json = load_corpus("nyt10", corpora), load_corpus("nyt10-json", corpora)
    for one, other in zip([*tabbed.train, *tabbed.test], [*as_json.train, *as_json.test], strict=True):
        assert (one.text, one.relations, one.entities) == (other.text, other.relations, other.entities)


def test_nyt10_lines_without_their_entities_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = TABBED + "m.1\tm.2\tbonn\trome\tNA\tnobody is here . ###END###\n"
    corpora = write(tmp_path / "nyt10", train__txt=train, test__txt=TABBED)
    with caplog.at_level(logging.WARNING):
        corpus = load_corpus("nyt10", corpora)
    assert len(corpus.train) == 3
    assert "train.txt: 1 lines without both of their entities" in caplog.text


def test_wiki_kbp_mentions_are_found_one_after_another(tmp_path: Path) -> None:
    mentions = [
        {"start": 0, "text": "Ann", "label": "/person,/person/artist"},
        {"start": 1, "text": "Oslo", "label": "/location"},
        {"start": 2, "text": "Ann", "label": "/person"},
    ]
    told = [
        {"em1Text": "Ann", "em2Text": "Oslo", "label": "per:city_of_birth"},
        {"em1Text": "Oslo", "em2Text": "Ann", "label": "None"},
        {"em1Text": "Ann", "em2Text": "Oslo", "label": "per:city_of_birth"},
    ]
    row = {
        "articleId": "a",
        "sentId": "0",
        "sentText": "Annie says Ann left Oslo , and Ann sang . \r",
        "entityMentions": mentions,
        "relationMentions": told,
    }
    corpora = write(tmp_path / "wiki-kbp", train__json=lines(row), test__json=lines(row))
    (sentence,) = load_corpus("wiki-kbp", corpora).train
    assert [(given(sentence)[i], e.label) for i, e in enumerate(sentence.entities or ())] == [
        ("Ann", "/person"),
        ("Oslo", "/location"),
        ("Ann", "/person"),
    ]
    assert related(sentence) == [("Ann", "per:city_of_birth", "Oslo")], "once"
    assert sentence.relations and sentence.relations[0].head.start == len("Annie says ")
    strange = {**row, "relationMentions": [{"em1Text": "Bo", "em2Text": "Oslo", "label": "x"}]}
    write(tmp_path / "wiki-kbp", train__json=lines(strange))
    with pytest.raises(ValueError, match=r"train\.json:1: 'Bo' has a relation, but is none of the mentions"):
        load_corpus("wiki-kbp", corpora)


def test_whole_words_come_first() -> None:
    assert occurrences("Annie and Ann", "Ann") == [(10, 13)]
    assert occurrences("Annie", "Ann") == [(0, 3)]
    assert occurrences("a.b a+b", "a+b") == [(4, 7)]
    assert occurrences("anything", "") == []
