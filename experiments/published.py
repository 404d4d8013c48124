"""Published corpora by name: what they are, where they come from, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path

from corpus import Kind, Sentence
from corpus.conll import read_conll
from corpus.slots import read_intents, read_slots
from experiments.formats import read_characters, read_conll04, read_conll2012, read_word_tags
from experiments.relation_formats import read_nyt10, read_semeval, read_wiki_kbp
from experiments.text_formats import (
    QUESTIONS,
    SENTIMENTS,
    read_abstracts,
    read_ag_news,
    read_label_first,
    read_pubmed,
    read_reviews,
    read_tsv,
)

Layout = Callable[[Path, str], tuple[list[Sentence], list[str]]]
"""Reads the pool or the test set: its path, its name -> sentences, and the group of each ([] if there are none)."""


@dataclass(frozen=True)
class Known:
    """A published corpus."""

    what: str
    published: str
    folder: str
    """Below the folder of corpora."""
    train: str
    """In that folder, as its publisher names it."""
    test: str
    layout: Layout
    files: tuple[str, ...] = ("",)
    """What of each of the two there must be: what their files' names end in, or a pattern below them."""
    kind: Kind = "spans"
    """What is to be learned from it."""
    dev: str | None = None
    """As `train`; only read where it is asked for."""
    apart: bool = False
    """Whether texts of the pool that end as one of the test set are left out: the two are not of one publisher."""


def _ungrouped(read: Callable[[Path, str], list[Sentence]]) -> Layout:
    return lambda path, name: (read(path, name), [])


def _conll2003(path: Path, name: str) -> tuple[list[Sentence], list[str]]:
    return read_conll(path, scheme="IOB1", word=0, tag=3, name=name), []


def _slots(path: Path, name: str) -> tuple[list[Sentence], list[str]]:
    words, tags, intents = (path.with_name(path.name + ending) for ending in SLOT_FILES)
    sentences = read_slots(words, tags, name=name)
    return sentences, read_intents(intents, sentences)


def _ontonotes(pattern: str, between: str) -> Layout:
    def layout(path: Path, name: str) -> tuple[list[Sentence], list[str]]:
        sentences: list[Sentence] = []
        genres: list[str] = []
        for file in sorted(path.parent.glob(path.name + pattern)):
            of_file, its_genres = read_conll2012(file, between=between)
            named = [genre != "pt" for genre in its_genres]  # nobody marked names in the Bible
            sentences += compress(of_file, named)
            genres += compress(its_genres, named)
        return sentences, genres

    return layout


SLOT_FILES = (".seq.in", ".seq.out", ".label")
MULTIHEAD = "github.com/bekou/multihead_joint_entity_relation_extraction, data/CoNLL04"
SLOT_GATED = "github.com/MiuLab/SlotGated-SLU (what is train/seq.in there is train.seq.in here)"
ENGLISH, CHINESE = (f"/**/{language}/**/*_gold_conll" for language in ("english", "chinese"))
ONTONOTES = (
    "LDC2013T19, by licence of the Linguistic Data Consortium; in columns by conll.cemantix.org/2012, of whose "
    "conll-2012/v4/data the folders train and test are wanted"
)

KNOWN: dict[str, Known] = {
    "conll2003": Known(
        what="English news, 4 kinds of entities; Tjong Kim Sang and De Meulder 2003",
        published="clips.uantwerpen.be/conll2003/ner, over Reuters' text, which NIST gives out for research",
        folder="conll2003",
        train="eng.train",
        test="eng.testb",
        dev="eng.testa",
        layout=_conll2003,
    ),
    "ontonotes": Known(
        what="English of 6 genres, which are the groups, 18 kinds of entities, no Bible (pt); Pradhan et al. 2013",
        published=ONTONOTES,
        folder="ontonotes",
        train="train",
        test="test",
        layout=_ontonotes(ENGLISH, between=" "),
        files=(ENGLISH,),
    ),
    "ontonotes-chinese": Known(
        what="Chinese of 6 genres, which are the groups, 18 kinds of entities; Pradhan et al. 2013",
        published=ONTONOTES,
        folder="ontonotes",
        train="train",
        test="test",
        layout=_ontonotes(CHINESE, between=""),
        files=(CHINESE,),
    ),
    "atis": Known(
        what="questions about flights, 79 slots, intents; Hemphill et al. 1990",
        published=SLOT_GATED,
        folder="atis",
        train="train",
        test="test",
        dev="valid",
        layout=_slots,
        files=SLOT_FILES,
    ),
    "snips": Known(
        what="commands to an assistant, 39 slots, 7 intents; Coucke et al. 2018",
        published=SLOT_GATED,
        folder="snips",
        train="train",
        test="test",
        dev="valid",
        layout=_slots,
        files=SLOT_FILES,
    ),
    "fmtod": Known(
        what="alarms, reminders and the weather, in English, 15 slots, 12 intents; Schuster et al. 2019",
        published="github.com/sz128/slot_filling_and_intent_detection_of_SLU, data/multilingual_task_oriented_data/en",
        folder="fmtod",
        train="train",
        test="test",
        dev="valid",
        layout=read_word_tags,
    ),
    "weibo": Known(
        what="Chinese microblogs, a character a word, 8 kinds of entities; Peng and Dredze 2015",
        published="github.com/hltcoe/golden-horse, data",
        folder="weibo_ner",
        train="weiboNER_2nd_conll.train",
        test="weiboNER_2nd_conll.test",
        dev="weiboNER_2nd_conll.dev",
        layout=_ungrouped(read_characters),
    ),
    "conll04": Known(
        what="English news, 4 kinds of entities; Roth and Yih 2004",
        published=MULTIHEAD,
        folder="conll04",
        train="train.txt",
        test="test.txt",
        dev="dev.txt",
        layout=_ungrouped(read_conll04),
    ),
    "conll04-relations": Known(
        what="the same, 5 relations between its entities, which are given",
        published=MULTIHEAD,
        folder="conll04",
        train="train.txt",
        test="test.txt",
        dev="dev.txt",
        layout=_ungrouped(read_conll04),
        kind="relations",
    ),
    "semeval2010-task8": Known(
        what="English sentences with two marked nominals, 9 directed relations or none; Hendrickx et al. 2010",
        published="semeval2.fbk.eu, task 8 (SemEval2010_task8_all_data.zip)",
        folder="semeval2010-task8",
        train="TRAIN_FILE.TXT",
        test="TEST_FILE_FULL.TXT",
        layout=_ungrouped(read_semeval),
        kind="relations",
    ),
    "nyt10": Known(
        what="English news, 52 relations of Freebase or none, found by distant supervision; Riedel et al. 2010",
        published="github.com/thunlp/NRE, by Lin et al. 2016",
        folder="nyt10",
        train="train.txt",
        test="test.txt",
        layout=_ungrouped(read_nyt10),
        kind="relations",
    ),
    "nyt10-json": Known(
        what="the same as JSON",
        published="github.com/thunlp/OpenNRE, benchmark/download_nyt10.sh",
        folder="nyt10",
        train="nyt10_train.txt",
        test="nyt10_test.txt",
        dev="nyt10_val.txt",
        layout=_ungrouped(read_nyt10),
        kind="relations",
    ),
    "wiki-kbp": Known(
        what="English Wikipedia and news, relations of TAC-KBP's slots or none; Ling and Weld 2012, Ren et al. 2017",
        published="github.com/INK-USC/USC-DS-RelationExtraction, data/source/KBP",
        folder="wiki-kbp",
        train="train.json",
        test="test.json",
        layout=_ungrouped(read_wiki_kbp),
        kind="relations",
    ),
    "sst2": Known(
        what="sentences of film reviews, negative or positive; Socher et al. 2013",
        published="github.com/clairett/pytorch-sentiment-classification, data/SST2",
        folder="sst2",
        train="train.tsv",
        test="test.tsv",
        dev="dev.tsv",
        layout=_ungrouped(partial(read_tsv, labels=SENTIMENTS)),
        kind="choices",
    ),
    "ag_news": Known(
        what="English news of 4 topics, without titles; Zhang et al. 2015, the pool a part of Yuan et al. 2020",
        published="github.com/forest-snow/alps, data/ag_news/dev.tsv (alps_dev.tsv here), and "
        "github.com/mhjabreel/CharCnn_Keras, data/ag_news_csv",
        folder="ag_news",
        train="alps_dev.tsv",
        test="test.csv",
        layout=_ungrouped(read_ag_news),
        kind="choices",
        apart=True,
    ),
    "trec": Known(
        what="questions by what they ask for, 6 classes; Li and Roth 2002",
        published="github.com/AcademiaSinicaNLPLab/sentiment_dataset, data",
        folder="trec",
        train="TREC.train.all",
        test="TREC.test.all",
        layout=_ungrouped(partial(read_label_first, labels=QUESTIONS)),
        kind="choices",
    ),
    "csabstruct": Known(
        what="sentences of abstracts of computer science, 5 roles; Cohan et al. 2019",
        published="github.com/allenai/sequential_sentence_classification, data/CSAbstruct",
        folder="csabstruct",
        train="train.jsonl",
        test="test.jsonl",
        dev="dev.jsonl",
        layout=_ungrouped(read_abstracts),
        kind="choices",
    ),
    "pubmed": Known(
        what="sentences of abstracts of medicine, 5 roles; Dernoncourt and Lee 2017",
        published="github.com/Franck-Dernoncourt/pubmed-rct, PubMed_20k_RCT",
        folder="pubmed",
        train="train.txt",
        test="test.txt",
        dev="dev.txt",
        layout=_ungrouped(read_pubmed),
        kind="choices",
    ),
    "imdb": Known(
        what="film reviews, negative or positive; Maas et al. 2011",
        published="ai.stanford.edu/~amaas/data/sentiment",
        folder="aclImdb",
        train="train",
        test="test",
        layout=_ungrouped(read_reviews),
        files=("/pos/*.txt", "/neg/*.txt"),
        kind="choices",
    ),
}
"""By name."""
