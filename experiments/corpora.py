"""Corpora to simulate on: known ones by name, a Label Studio export, or files in CoNLL columns."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from pathlib import Path

import numpy as np

from corpus import Scheme, Sentence
from corpus.conll import read_conll
from corpus.slots import read_intents, read_slots
from experiments.formats import (
    CORPUS_SUFFIX,
    read_characters,
    read_conll04,
    read_conll2012,
    read_corpus,
    read_word_tags,
)
from labelstudio.export import read_export

FOLDER, VARIABLE, OPTION = Path("corpora"), "ACTIVE_TAGGER_CORPORA", "--corpora"
"""Where known corpora are looked for: the default, and how another folder is named."""
TEST_SHARE, FEWEST = 0.2, 50
"""Of labelled texts that come without a test set: the share that becomes it, and how many there must be."""

Layout = Callable[[Path, str], tuple[list[Sentence], list[str]]]
"""Reads the pool or the test set: its path, its name -> sentences, and the group of each ([] if there are none)."""


@dataclass(frozen=True)
class Corpus:
    """Texts with gold spans; ids are unique."""

    name: str
    train: Sequence[Sentence]
    """The pool."""
    test: Sequence[Sentence]
    groups: Mapping[str, str] = field(default_factory=dict)
    """Id of a sentence of `train` -> its genre, intent or domain, where the corpus tells."""


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


def load_corpus(source: str, folder: Path | None = None) -> Corpus:
    """The corpus that `source` names, or that lies there.

    - A name of `KNOWN`, looked for in `folder` (else in what ACTIVE_TAGGER_CORPORA names, else in "corpora"), with its
      publisher's split. A file or folder of such a name is meant by "./atis".
    - A Label Studio export ("JSON"; its name ends in .json): the texts that somebody has labelled; ids are the tasks'.
    - Texts that `experiments.formats.write_corpus` wrote (its name ends in .corpus.json), as far as they are labelled.
    - A file in CoNLL columns, word first and tag last.
    - A folder with two such files, one with "train" in its name, one with "test".

    Where there is no test set, a random 20% of the texts become it: the same ones at each call, however they are
    ordered. (If a strategy chose what was labelled, that test set is as one-sided as its choice.)

    Texts without words are left out. Texts of the pool that also stand in the test set stay, as in the papers.

    Raises ValueError if `source` is none of these, or its files cannot be read as such, or they hold too little;
    FileNotFoundError if a known corpus is not in the folder.
    """
    if source in KNOWN:
        return _known(source, folder or Path(os.environ.get(VARIABLE) or FOLDER))
    path = Path(source)
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise ValueError(
            f"{source!r} is neither a known corpus ({', '.join(sorted(KNOWN))}) nor a file or folder. "
            f"Those to classify or to find relations in come later: {', '.join(LATER)}"
        )
    if path.name.endswith(CORPUS_SUFFIX):
        return _split(path, [sentence for sentence in read_corpus(path) if sentence.spans is not None])
    if path.suffix.lower() == ".json":
        return _split(path, [sentence for sentence in read_export(path) if sentence.spans is not None])
    return _split(path, _read_columns(path))


def _known(name: str, corpora: Path) -> Corpus:
    known = KNOWN[name]
    folder = corpora / known.folder
    patterns = [part + ending for part in (known.train, known.test) for ending in known.files]
    missing = [pattern for pattern in patterns if not any(folder.glob(pattern))]
    if missing:
        raise FileNotFoundError(
            f"corpus {name!r} ({known.what}) needs {', '.join(missing)} in {folder}. Published: {known.published}. "
            f"Put the files there, or name the folder that holds {known.folder}/ by {OPTION} or {VARIABLE}"
        )
    train, groups = known.layout(folder / known.train, "train")
    test, _ = known.layout(folder / known.test, "test")
    of_train = {sentence.id: group for sentence, group in zip(train, groups, strict=True)} if groups else {}
    return _corpus(name, train, test, of_train)


def _from_folder(folder: Path) -> Corpus:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    parts: list[list[Sentence]] = []
    for part in ("train", "test"):
        found = [path for path in files if part in path.name.lower()]
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise ValueError(
                f"{folder} should hold one file with {part!r} in its name, in CoNLL columns; there: {names}"
            )
        parts.append(_read_columns(found[0], part))
    return _corpus(folder.resolve().name, parts[0], parts[1])


def _read_columns(path: Path, name: str | None = None) -> list[Sentence]:
    """BIOES if a tag says so, else BIO, as which IOB1 reads the same."""
    scheme: Scheme = "BIOES" if re.search(rb"[ \t][ES]-\S+[ \t\r]*$", path.read_bytes(), re.MULTILINE) else "BIO"
    return read_conll(path, scheme=scheme, name=name)


def _split(path: Path, sentences: Sequence[Sentence]) -> Corpus:
    """A random share becomes the test set."""
    usable = [sentence for sentence in sentences if sentence.words]
    if len(usable) < FEWEST:
        raise ValueError(
            f"{path} holds {len(usable)} labelled texts: at least {FEWEST} are needed, for {TEST_SHARE:.0%} of them "
            "become the test set. Label more first"
        )
    ids = sorted(sentence.id for sentence in usable)
    drawn = np.random.default_rng(0).choice(ids, round(TEST_SHARE * len(ids)), replace=False)
    test = set(drawn.tolist())
    return _corpus(path.stem, [s for s in usable if s.id not in test], [s for s in usable if s.id in test])


def _corpus(
    name: str, train: Sequence[Sentence], test: Sequence[Sentence], groups: Mapping[str, str] | None = None
) -> Corpus:
    """Raises ValueError if two ids are the same, or a part is empty."""
    pool, tests = ([sentence for sentence in part if sentence.words] for part in (train, test))
    twice = [id for id, times in Counter(sentence.id for sentence in chain(pool, tests)).items() if times > 1]
    if twice:
        raise ValueError(f"corpus {name!r} has two texts with the id {twice[0]!r}: leave one of them out")
    if not pool or not tests:
        raise ValueError(f"corpus {name!r} has no text to {'test' if pool else 'train'} on")
    return Corpus(name, pool, tests, {s.id: groups[s.id] for s in pool} if groups else {})


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
        layout=_slots,
        files=SLOT_FILES,
    ),
    "snips": Known(
        what="commands to an assistant, 39 slots, 7 intents; Coucke et al. 2018",
        published=SLOT_GATED,
        folder="snips",
        train="train",
        test="test",
        layout=_slots,
        files=SLOT_FILES,
    ),
    "fmtod": Known(
        what="alarms, reminders and the weather, in English, 15 slots, 12 intents; Schuster et al. 2019",
        published="github.com/sz128/slot_filling_and_intent_detection_of_SLU, data/multilingual_task_oriented_data/en",
        folder="fmtod",
        train="train",
        test="test",
        layout=read_word_tags,
    ),
    "weibo": Known(
        what="Chinese microblogs, a character a word, 8 kinds of entities; Peng and Dredze 2015",
        published="github.com/hltcoe/golden-horse, data",
        folder="weibo_ner",
        train="weiboNER_2nd_conll.train",
        test="weiboNER_2nd_conll.test",
        layout=_ungrouped(read_characters),
    ),
    "conll04": Known(
        what="English news, 4 kinds of entities (relations are left out); Roth and Yih 2004",
        published="github.com/bekou/multihead_joint_entity_relation_extraction, data/CoNLL04",
        folder="conll04",
        train="train.txt",
        test="test.txt",
        layout=_ungrouped(read_conll04),
    ),
}
"""By name."""

LATER = ("sst2", "ag_news", "imdb", "pubmed", "trec", "csabstruct", "nyt10", "wiki-kbp", "semeval2010-task8")
