"""Corpora in CoNLL columns: a word a line, its tag in one of the columns, a blank line after a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from corpus.lines import read_lines, split_blanks
from corpus.sentence import Sentence
from corpus.tags import Scheme, decode, encode, split_tag

_DOCUMENT = "-DOCSTART-"
_WRITABLE = re.compile("(?! )[^\t\r\n\ufeff\ud800-\udfff]+(?<! )")


def read_conll(
    path: Path, *, scheme: Scheme = "BIO", word: int = 0, tag: int = -1, name: str | None = None
) -> list[Sentence]:
    """The sentences of a file; `word` and `tag` say in which columns to look, negative from the right.

    Columns are parted by tabs, in lines without tabs by blanks. Lines whose first column is `-DOCSTART-`
    only end a sentence.
    Sentences are named `name` (the file's, by default) and numbered from 1: "train:12".

    Raises ValueError, with file and line, if a column is missing or a tag is not one of `scheme`.
    """
    sentences: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []

    def end_sentence() -> None:
        if words:
            id = f"{name or path.name}:{len(sentences) + 1}"
            sentence = Sentence.from_words(id, words)
            sentences.append(sentence.labelled(tuple(decode(sentence.words, tags, scheme))))
            words.clear()
            tags.clear()

    width = None
    for number, line in enumerate(read_lines(path), start=1):
        cells = _columns(line)
        if not cells or cells[0] == _DOCUMENT:
            end_sentence()
            continue
        width = width or len(cells)
        try:
            if len(cells) != width:
                raise ValueError(f"{len(cells)} columns, but {width} in the lines before")
            words.append(_cell(cells, word))
            tags.append(_cell(cells, tag))
            split_tag(tags[-1], scheme)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    end_sentence()
    return sentences


def write_conll(sentences: Iterable[Sentence], path: Path, *, scheme: Scheme = "BIO") -> list[str]:
    """Write a word and its tag a line, parted by a tab; return what could not be written so.

    A word that a span cuts becomes two lines (see `corpus.tags.encode`).

    Raises ValueError if a sentence is not labelled or holds a word that columns cannot.
    """
    problems: list[str] = []
    lines = []
    for sentence in sentences:
        encoded = encode(sentence, scheme)
        problems += encoded.problems
        if not encoded.words:
            problems.append(f"task {sentence.id} left out: it has no words")
            continue
        for piece, tag in zip(encoded.words, encoded.tags, strict=True):
            for cell in (piece.text, tag):
                if cell == _DOCUMENT or not _WRITABLE.fullmatch(cell):
                    raise ValueError(f"task {sentence.id}: CoNLL columns cannot hold {cell!r}; replace it")
            lines.append(f"{piece.text}\t{tag}\n")
        lines.append("\n")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return problems


def _columns(line: str) -> list[str]:
    if "\t" not in line:
        return split_blanks(line)
    cells = [cell.strip(" ") for cell in line.split("\t")]
    return cells if any(cells) else []


def _cell(cells: list[str], column: int) -> str:
    if not -len(cells) <= column < len(cells):
        raise ValueError(f"there is no column {column} among {len(cells)} (they are counted from 0)")
    if not cells[column]:
        raise ValueError(f"column {column} is empty")
    return cells[column]
