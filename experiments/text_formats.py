"""Readers of corpora of texts to classify, as they are published: each text has one choice."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus import Choice, Sentence
from corpus.lines import read_lines

SENTIMENTS = {"0": "negative", "1": "positive"}
QUESTIONS = {
    "0": "description",
    "1": "entity",
    "2": "abbreviation",
    "3": "human",
    "4": "location",
    "5": "number",
}
NEWS = ("World", "Sports", "Business", "Sci/Tech")
_BREAK = re.compile(r"(?:\s*<br\s*/?>\s*)+")


def read_tsv(path: Path, name: str, labels: dict[str, str] | None = None) -> list[Sentence]:
    """A text, a tab and its label a line; `labels` has better names for them (and then, all of them).

    Texts are named `name` and their line, from 1: "train:12". Blank lines are skipped.
    Raises ValueError, with file and line, for any other line.
    """
    found = []
    for number, line in _lines(path):
        text, _, label = line.rpartition("\t")
        found.append(_text(path, number, f"{name}:{number}", text, _named(path, number, label.strip(), labels)))
    return found


def read_label_first(path: Path, name: str, labels: dict[str, str]) -> list[Sentence]:
    """A label, a blank and its text a line, in Latin-1, as TREC's questions; else as `read_tsv`."""
    found = []
    for number, line in enumerate(path.read_text(encoding="latin-1").split("\n"), start=1):
        if line.strip():
            label, _, text = line.partition(" ")
            found.append(_text(path, number, f"{name}:{number}", text, _named(path, number, label, labels)))
    return found


def read_ag_news(path: Path, name: str) -> list[Sentence]:
    """AG News, either part as it is published: `test.csv` of Zhang et al. 2015 (class from 1, title and description;
    the title is left out, as the pool has none) or the pool of Yuan et al. 2020, a description, a tab and its class.

    Raises ValueError, with file and line, for any other line.
    """
    classes = {str(number): label for number, label in enumerate(NEWS, start=1)} | {label: label for label in NEWS}
    rows: Iterator[tuple[int, list[str]]] = ((number, line.rsplit("\t", 1)[::-1]) for number, line in _lines(path))
    if path.suffix == ".csv":
        rows = ((number, [row[0], *row[2:]]) for number, row in enumerate(csv.reader(read_lines(path)), start=1) if row)
    found = []
    for number, cells in rows:
        if len(cells) != 2:
            raise ValueError(f"{path}:{number}: should be class, title and description, or description, tab and class")
        label = _named(path, number, cells[0].strip(), classes)
        found.append(_text(path, number, f"{name}:{number}", cells[1].replace("\\", " "), label))
    return found


def read_abstracts(path: Path, name: str) -> list[Sentence]:
    """CSAbstruct: an abstract a line, as JSON with `sentences` and their `labels`; each sentence is a text of its own,
    named by line and number: "train:12:3".

    Raises ValueError, with file and line, for any other line.
    """
    found = []
    for number, row in json_lines(path):
        sentences, labels = row.get("sentences"), row.get("labels")
        if not isinstance(sentences, list) or not isinstance(labels, list) or len(sentences) != len(labels):
            raise ValueError(f"{path}:{number}: should have as many `labels` as `sentences`")
        for i, (text, label) in enumerate(zip(sentences, labels, strict=True), start=1):
            found.append(_text(path, number, f"{name}:{number}:{i}", text, label))
    return found


def read_pubmed(path: Path, name: str) -> list[Sentence]:
    """PubMed RCT: a line `###24293578` before each abstract, then a role, a tab and a sentence a line.

    Sentences are named by their line. Raises ValueError, with file and line, for any other line.
    """
    found = []
    for number, line in _lines(path):
        if not line.startswith("###"):
            label, _, text = line.partition("\t")
            found.append(_text(path, number, f"{name}:{number}", text, label))
    return found


def read_reviews(path: Path, name: str) -> list[Sentence]:
    """IMDB: a review a file in the folders `pos` and `neg`, named by folder and file; `<br />` becomes a line's end."""
    found = []
    for folder, label in (("neg", SENTIMENTS["0"]), ("pos", SENTIMENTS["1"])):
        for file in sorted((path / folder).glob("*.txt")):
            text = _BREAK.sub("\n", "\n".join(read_lines(file)))
            found.append(_text(file, 1, f"{name}:{folder}/{file.stem}", text, label))
    return found


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON object of each line, with its number, from 1. Blank lines are skipped.

    Raises ValueError, with file and line, for any other line.
    """
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: should be a JSON object, but is {line[:80]!r}")
        yield number, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(read_lines(path), start=1) if line.strip())


def _named(path: Path, number: int, label: str, labels: dict[str, str] | None) -> str:
    if labels is not None and label not in labels:
        raise ValueError(f"{path}:{number}: {label!r} is no label of this corpus; its labels: {', '.join(labels)}")
    return label if labels is None else labels[label]


def _text(path: Path, number: int, id: str, text: str, label: str) -> Sentence:
    if not text.strip() or not label.strip():
        raise ValueError(f"{path}:{number}: should hold a text and its label")
    return Sentence.from_text(id, text.strip()).marked([Choice(label.strip())], ["choices"])
