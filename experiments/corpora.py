"""Corpora to simulate on: known ones by name, a Label Studio export, or files in CoNLL columns."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from corpus import KINDS, Kind, Scheme, Sentence
from corpus.conll import read_conll
from experiments.formats import CORPUS_SUFFIX, read_corpus
from experiments.published import KNOWN
from labelstudio.export import read_export

FOLDER, VARIABLE, OPTION = Path("corpora"), "ACTIVE_TAGGER_CORPORA", "--corpora"
"""Where known corpora are looked for: the default, and how another folder is named."""
ENDING = 50
"""Letters and digits at the end of a text."""
TEST_SHARE, FEWEST = 0.2, 50
"""Of labelled texts that come without a test set: the share that becomes it, and how many there must be."""


@dataclass(frozen=True)
class Corpus:
    """Texts with gold labels of one kind; ids are unique."""

    name: str
    train: Sequence[Sentence]
    """The pool."""
    test: Sequence[Sentence]
    groups: Mapping[str, str] = field(default_factory=dict)
    """Id of a sentence of `train` -> its genre, intent or domain, where the corpus tells."""
    kind: Kind = "spans"
    """What is to be learned. Of relations, the entities are given."""
    dev: Sequence[Sentence] = ()
    """What its publisher gives to stop training by; empty where there is none."""


def load_corpus(source: str, folder: Path | None = None, kind: Kind | None = None, *, dev: bool = False) -> Corpus:
    """The corpus that `source` names, or that lies there.

    - A name of `KNOWN`, looked for in `folder` (else in what ACTIVE_TAGGER_CORPORA names, else in "corpora"), with its
      publisher's split. A file or folder of such a name is meant by "./atis".
    - A Label Studio export ("JSON"; its name ends in .json): the texts that somebody has labelled; ids are the tasks'.
    - Texts that `experiments.formats.write_corpus` wrote (its name ends in .corpus.json), as far as they are labelled.
    - A file in CoNLL columns, word first and tag last.
    - A folder with two such files, one with "train" in its name, one with "test".

    `kind` is what is to be learned; None = what the corpus is known for, of an export what is labelled first in
    `corpus.KINDS`. Relations are sought between the entities that are given, else between the labelled spans.
    `dev`: with the publisher's set to stop training by, which known corpora may have.
    Where there is no test set, a random 20% of the texts become it: the same ones at each call, however they are
    ordered. (If a strategy chose what was labelled, that test set is as one-sided as its choice.)

    Texts without words are left out. Texts of the pool that also stand in the test set stay, as in the papers, unless
    the corpus is known for texts that got into both.

    Raises ValueError if `source` is none of these, or its files cannot be read as such, or they hold too little or
    nothing of that kind, or have no dev set; FileNotFoundError if a known corpus is not in the folder.
    """
    if source in KNOWN:
        return _known(source, folder or Path(os.environ.get(VARIABLE) or FOLDER), kind, dev)
    if dev:
        raise ValueError(f"{source!r} has no dev set of its own: let a share of what is labelled be it")
    path = Path(source)
    if path.is_dir():
        return _of_kind(_from_folder(path), kind)
    if not path.is_file():
        raise ValueError(f"{source!r} is neither a known corpus ({', '.join(sorted(KNOWN))}) nor a file or folder")
    if path.suffix.lower() == ".json":
        return _labelled(path, read_corpus(path) if path.name.endswith(CORPUS_SUFFIX) else read_export(path), kind)
    return _of_kind(_split(path, _read_columns(path)), kind)


def _known(name: str, corpora: Path, kind: Kind | None, dev: bool) -> Corpus:
    known = KNOWN[name]
    if dev and known.dev is None:
        raise ValueError(f"corpus {name!r} has no dev set of its own: let a share of what is labelled be it")
    folder, of_dev = corpora / known.folder, known.dev if dev else None
    parts = [part for part in (known.train, known.test, of_dev) if part is not None]
    patterns = [part + ending for part in parts for ending in known.files]
    missing = [pattern for pattern in patterns if not any(folder.glob(pattern))]
    if missing:
        raise FileNotFoundError(
            f"corpus {name!r} ({known.what}) needs {', '.join(missing)} in {folder}. Published: {known.published}. "
            f"Put the files there, or name the folder that holds {known.folder}/ by {OPTION} or {VARIABLE}"
        )
    train, groups = known.layout(folder / known.train, "train")
    test, _ = known.layout(folder / known.test, "test")
    of_train = {sentence.id: group for sentence, group in zip(train, groups, strict=True)} if groups else {}
    if known.apart:
        tested = set(map(_ending, test))
        train = [sentence for sentence in train if _ending(sentence) not in tested]
    stops = [one for one in known.layout(folder / of_dev, "dev")[0] if one.words] if of_dev else []
    found = replace(_corpus(name, train, test, of_train), dev=stops, kind=known.kind)
    return _of_kind(found, kind)


def _ending(sentence: Sentence) -> str:
    """By which two printings of a text are known to be one: its last letters and digits. Who says it, and where, stands
    in front and differs."""
    return "".join(filter(str.isalnum, sentence.text.casefold()))[-ENDING:]


def _of_kind(corpus: Corpus, kind: Kind | None) -> Corpus:
    """Raises ValueError if the corpus is not of that kind."""
    if kind not in (None, corpus.kind):
        raise ValueError(
            f"corpus {corpus.name!r} has {corpus.kind} to learn, and the model marks {kind}: take one of the other kind"
        )
    if corpus.kind != "relations":
        return corpus
    parts = {name: [_with_entities(one) for one in getattr(corpus, name)] for name in ("train", "test", "dev")}
    return replace(corpus, **parts)  # type: ignore[arg-type]


def _with_entities(sentence: Sentence) -> Sentence:
    return sentence if sentence.entities is not None else replace(sentence, entities=sentence.spans or ())


def _labelled(path: Path, sentences: Sequence[Sentence], kind: Kind | None) -> Corpus:
    """What is labelled with `kind`, or with what comes first of what anything is labelled with."""
    there = [each for each in KINDS if any(sentence.marks(each) is not None for sentence in sentences)]
    wanted: Kind = kind or (there[0] if there else "spans")
    labelled = [sentence for sentence in sentences if sentence.marks(wanted) is not None]
    return _of_kind(replace(_split(path, labelled), kind=wanted), wanted)


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
