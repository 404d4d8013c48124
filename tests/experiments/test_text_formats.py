"""Corpora of texts to classify, on lines in their publishers' formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus import Sentence
from experiments.corpora import load_corpus
from tests.experiments.test_corpora import write


def chosen(sentence: Sentence) -> tuple[str, str]:
    assert sentence.choices is not None and len(sentence.choices) == 1
    assert sentence.spans is None and sentence.relations is None
    return sentence.text, sentence.choices[0].label


def test_sst2(tmp_path: Path) -> None:
    corpora = write(tmp_path / "sst2", train__tsv="dull , and long\t0\n\nfine\t1\n", test__tsv="so so\t0\n")
    corpus = load_corpus("sst2", corpora, "choices")
    assert corpus.kind == "choices"
    assert list(map(chosen, corpus.train)) == [("dull , and long", "negative"), ("fine", "positive")]
    assert [s.id for s in corpus.train] == ["train:1", "train:3"]
    assert len(corpus.train[0]) == 4


def test_a_dev_set_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    corpora = write(tmp_path / "sst2", train__tsv="dull\t0\n", test__tsv="so so\t0\n")
    assert not load_corpus("sst2", corpora).dev
    with pytest.raises(FileNotFoundError, match=r"needs dev\.tsv"):
        load_corpus("sst2", corpora, dev=True)
    write(tmp_path / "sst2", dev__tsv="fine\t1\n")
    assert list(map(chosen, load_corpus("sst2", corpora, dev=True).dev)) == [("fine", "positive")]
    with pytest.raises(ValueError, match=r"'trec' has no dev set of its own"):
        load_corpus("trec", corpora, dev=True)


def test_ag_news_has_no_titles_and_no_text_twice(tmp_path: Path) -> None:
    ends = " -- The council of the city voted on Monday for a park by the river, and nobody was against it."
    corpora = write(
        tmp_path / "ag_news",
        alps_dev__tsv=f"OSLO (Reuters){ends}\tWorld\nA team\\won\tSports\n",
        test__csv=f'"1","Park voted","BERGEN{ends}"\n"4","Chip, ""new""","A smaller chip\\is here"\n',
    )
    corpus = load_corpus("ag_news", corpora)
    assert list(map(chosen, corpus.train)) == [("A team won", "Sports")], "the other one is in the test set"
    assert list(map(chosen, corpus.test)) == [(f"BERGEN{ends}", "World"), ("A smaller chip is here", "Sci/Tech")]


def test_trec_is_in_latin_1(tmp_path: Path) -> None:
    folder = tmp_path / "trec"
    folder.mkdir()
    (folder / "TREC.train.all").write_bytes("3 Who is Zoë ?\n5 When ?\n".encode("latin-1"))
    (folder / "TREC.test.all").write_bytes(b"2 What is R.N. ?\n")
    corpus = load_corpus("trec", tmp_path)
    assert list(map(chosen, corpus.train)) == [("Who is Zoë ?", "human"), ("When ?", "number")]
    assert list(map(chosen, corpus.test)) == [("What is R.N. ?", "abbreviation")]


def test_csabstruct_has_a_text_for_each_sentence(tmp_path: Path) -> None:
    rows = [
        {"abstract_id": 0, "sentences": ["We ask.", "We find."], "labels": ["objective", "result"], "confs": [1, 0.7]},
        {"abstract_id": 1, "sentences": ["It is so."], "labels": ["other"], "confs": [1]},
    ]
    train = "".join(json.dumps(row) + "\n" for row in rows)
    corpus = load_corpus("csabstruct", write(tmp_path / "csabstruct", train__jsonl=train, test__jsonl=train))
    expected = [("train:1:1", "objective"), ("train:1:2", "result"), ("train:2:1", "other")]
    assert [(s.id, chosen(s)[1]) for s in corpus.train] == expected


def test_pubmed(tmp_path: Path) -> None:
    train = "###24293578\nOBJECTIVE\tTo see .\nMETHODS\tWe gave 5 mg .\n\n###24293579\nRESULTS\tIt helped .\n\n"
    corpus = load_corpus("pubmed", write(tmp_path / "pubmed", train__txt=train, test__txt=train))
    assert list(map(chosen, corpus.train)) == [
        ("To see .", "OBJECTIVE"),
        ("We gave 5 mg .", "METHODS"),
        ("It helped .", "RESULTS"),
    ]


def test_imdb_is_a_folder_for_each_label(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "aclImdb" / part / "pos", **{"1_9__txt": "Good.<br /><br />See it!"})
        write(tmp_path / "aclImdb" / part / "neg", **{"0_2__txt": "Bad.\n", "1_1__txt": "Worse"})
    corpus = load_corpus("imdb", tmp_path)
    assert [s.id for s in corpus.train] == ["train:neg/0_2", "train:neg/1_1", "train:pos/1_9"]
    assert chosen(corpus.train[0]) == ("Bad.", "negative")
    assert chosen(corpus.train[2]) == ("Good.\nSee it!", "positive"), "breaks are ends of lines"


def test_a_corpus_of_another_kind_is_refused(tmp_path: Path) -> None:
    corpora = write(tmp_path / "sst2", train__tsv="dull\t0\n", test__tsv="so so\t0\n")
    with pytest.raises(ValueError, match="'sst2' has choices to learn, and the model marks spans"):
        load_corpus("sst2", corpora, "spans")
