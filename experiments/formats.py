"""Readers of corpora that are published in a format of their own, and a format of ours that keeps everything."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from corpus import Choice, Relation, Sentence, Span, Word
from corpus.lines import read_lines, split_blanks
from corpus.tags import decode, split_tag

CORPUS_SUFFIX = ".corpus.json"
"""How the name of a file of `write_corpus` ends."""

_CHARACTER = re.compile(r"(\D+|\d)\d+")
"""A character and its number in its word: "中0", "t10", "31" for a 3."""
_BRACKETS = re.compile(r"(?:\(([^()*]+))?(\*\)?|\))")
"""A cell of CoNLL-2012's name column: "(ORG*", "*", "*)" or "(GPE)"."""
_NAMES = 10
"""That column."""


class _Row(NamedTuple):
    """A word and its BIO tag, with the number of their line."""

    line: int
    word: str
    tag: str


def write_corpus(sentences: Iterable[Sentence], path: Path) -> None:
    """Write ids, texts and marks with their exact offsets; the whole file or, after a crash, none."""
    rows = [{"id": one.id, "text": one.text, **_marks(one)} for one in sentences]
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="ascii") as file:
        json.dump(rows, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read_corpus(path: Path) -> list[Sentence]:
    """What `write_corpus` wrote; words are split anew. Raises ValueError, with the file, for anything else."""
    try:
        rows = json.loads(path.read_text(encoding="ascii"))
        return [_read(row) for row in rows]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no list of texts with `id`, `text` and `spans`: {error!r}") from error


def _marks(sentence: Sentence) -> dict[str, Any]:
    """Those that are None stay so; of files with spans alone, nothing more is told."""
    told: dict[str, Any] = {"spans": _rows(sentence.spans)}
    if sentence.choices is not None:
        told["choices"] = [choice.label for choice in sentence.choices]
    if sentence.relations is not None:
        told["relations"] = [[*(_rows((one.head, one.tail)) or ()), one.label] for one in sentence.relations]
    if sentence.entities is not None:
        told["entities"] = _rows(sentence.entities)
    return told


def _rows(spans: Sequence[Span] | None) -> list[list[Any]] | None:
    return None if spans is None else [[span.start, span.end, span.label] for span in spans]


def _read(row: Mapping[str, Any]) -> Sentence:
    choices, relations = row.get("choices"), row.get("relations")
    return replace(
        Sentence.from_text(row["id"], row["text"], _spans(row["spans"])),
        choices=None if choices is None else tuple(map(Choice, choices)),
        relations=None
        if relations is None
        else tuple(Relation(Span(*a), Span(*b), label) for a, b, label in relations),
        entities=_spans(row.get("entities")),
    )


def _spans(rows: Iterable[tuple[int, int, str]] | None) -> tuple[Span, ...] | None:
    return None if rows is None else tuple(Span(start, end, label) for start, end, label in rows)


def read_word_tags(path: Path, name: str) -> tuple[list[Sentence], list[str]]:
    """Sentences and their intents, a sentence a line: `wake:O me:O at:B-time nine:I-time <=> set_alarm`.

    A word may hold colons. Sentences are named `name` and their line, from 1: "train:12". Blank lines are skipped.
    Raises ValueError, with file and line, if a line has no intent, a word no tag, or a tag is not BIO.
    """
    sentences: list[Sentence] = []
    intents: list[str] = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        tagged, arrow, intent = line.rpartition("<=>")
        pairs = [cell.rpartition(":") for cell in split_blanks(tagged)]
        if not arrow or not all(word and tag for word, _, tag in pairs):
            raise ValueError(f"{path}:{number}: should read `word:TAG word:TAG … <=> intent`, but is {line!r}")
        sentences.append(_sentence(path, f"{name}:{number}", [_Row(number, word, tag) for word, _, tag in pairs]))
        intents.append(intent.strip())
    return sentences, intents


def read_characters(path: Path, name: str) -> list[Sentence]:
    """Sentences of a script without blanks: a line is a character with its number in its word, a tab and a BIO tag.

    Each character is a word here, and the text is what they make without blanks between them.
    Sentences end at blank lines, and are numbered from 1: "train:12".
    Raises ValueError, with file and line, for any other line.
    """
    sentences: list[Sentence] = []
    for block in _blocks(path, lambda line: not line.strip()):
        rows = []
        for number, line in block:
            character, _, tag = line.partition("\t")
            match = _CHARACTER.fullmatch(character)
            if not match:
                raise ValueError(f"{path}:{number}: should be a character and its number, a tab and a tag: {line!r}")
            rows.append(_Row(number, match[1], tag))
        sentences.append(_sentence(path, f"{name}:{len(sentences) + 1}", rows, between=""))
    return sentences


def read_conll04(path: Path, name: str) -> list[Sentence]:
    """Entities and relations of CoNLL04 as multihead_joint_entity_relation_extraction has it: a line `#doc 5121` before
    each sentence, then number, word, BIO tag, relations and where their tails end, parted by tabs.

    The last word of an entity has the relations that it is the head of, `['Work_For']`, and the numbers of the last
    words of their tails, `[14]`; `['N']` is none.
    Sentences are named `name` and numbered from 1. Raises ValueError, with file and line, for any other line.
    """
    sentences: list[Sentence] = []
    for block in _blocks(path, lambda line: not line.strip() or line.startswith("#doc")):
        cells = [_columns(path, number, line.split("\t"), 5) for number, line in block]
        rows = [_Row(number, cell[1], cell[2]) for (number, _), cell in zip(block, cells, strict=True)]
        sentence = _sentence(path, f"{name}:{len(sentences) + 1}", rows)
        arrows = [(number, cell[3], cell[4]) for (number, _), cell in zip(block, cells, strict=True)]
        sentences.append(replace(sentence, relations=tuple(_relations(path, sentence, arrows))))
    return sentences


def _relations(path: Path, sentence: Sentence, arrows: Iterable[tuple[int, str, str]]) -> Iterator[Relation]:
    ending = {span.end: span for span in sentence.spans or ()}
    for (line, labels, tails), word in zip(arrows, sentence.words, strict=True):
        try:
            for label, tail in zip(ast.literal_eval(labels), ast.literal_eval(tails), strict=True):
                if label != "N":
                    yield Relation(ending[word.end], ending[sentence.words[tail].end], label)
        except (ValueError, SyntaxError, TypeError, LookupError) as error:
            raise ValueError(
                f"{path}:{line}: {labels} and {tails} should be relations, and the last words of entities: {error!r}"
            ) from error


def read_conll2012(path: Path, *, between: str = " ") -> tuple[list[Sentence], list[str]]:
    """Sentences and their genres from a `*_gold_conll` file of OntoNotes 5.0 (columns: the CoNLL-2012 shared task).

    The names of its 11th column become the spans. The genre is where the document's name begins: "bc/cctv/00/cctv_0000"
    is "bc". Sentences are named by the document and numbered from 1 in the file. `between` joins the words.
    Raises ValueError, with file and line, if a column is missing or the brackets cannot be read.
    """
    sentences: list[Sentence] = []
    genres: list[str] = []
    for block in _blocks(path, lambda line: not line.strip() or line.startswith("#begin") or line.startswith("#end")):
        cells = [_columns(path, number, split_blanks(line), _NAMES + 1) for number, line in block]
        tags = _tags_of_brackets(path, [(number, row[_NAMES]) for (number, _), row in zip(block, cells, strict=True)])
        rows = [_Row(number, row[3], tag) for (number, _), row, tag in zip(block, cells, tags, strict=True)]
        document = cells[0][0]
        sentences.append(_sentence(path, f"{document}:{len(sentences) + 1}", rows, between))
        genres.append(document.split("/")[0])
    return sentences, genres


def _tags_of_brackets(path: Path, cells: Iterable[tuple[int, str]]) -> Iterator[str]:
    """BIO tags; a bracket that is left open closes where another opens, or with the sentence."""
    label: str | None = None
    for number, cell in cells:
        match = _BRACKETS.fullmatch(cell)
        if not match:
            raise ValueError(f"{path}:{number}: {cell!r} is no bracketed name, as (ORG*, *, *) or (GPE)")
        label = match[1] or label
        yield "O" if label is None else f"{'B' if match[1] else 'I'}-{label}"
        label = None if match[2].endswith(")") else label


def _blocks(path: Path, edge: Callable[[str], bool]) -> Iterator[list[tuple[int, str]]]:
    """The lines between those that are an `edge`, with their numbers."""
    for at_edge, lines in groupby(enumerate(read_lines(path), start=1), key=lambda numbered: edge(numbered[1])):
        if not at_edge:
            yield list(lines)


def _columns(path: Path, number: int, cells: list[str], fewest: int) -> list[str]:
    if len(cells) < fewest or not all(cells[:fewest]):
        raise ValueError(f"{path}:{number}: should have {fewest} columns at least, none of them empty")
    return cells


def _sentence(path: Path, id: str, rows: Iterable[_Row], between: str = " ") -> Sentence:
    words: list[Word] = []
    tags: list[str] = []
    start = 0
    for line, word, tag in rows:
        try:
            split_tag(tag, "BIO")
        except ValueError as error:
            raise ValueError(f"{path}:{line}: {error}") from error
        words.append(Word(word, start, start + len(word)))
        tags.append(tag)
        start += len(word) + len(between)
    return Sentence(id, between.join(word.text for word in words), tuple(words), tuple(decode(words, tags)))
