"""Slot-filling corpora as ATIS and SNIPS: parallel files, a sentence a line (seq.in, seq.out, label)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.lines import read_lines, split_blanks
from corpus.sentence import Sentence
from corpus.tags import Scheme, decode


def read_slots(words: Path, tags: Path, *, scheme: Scheme = "BIO", name: str | None = None) -> list[Sentence]:
    """The sentences of two files: line by line the words (`seq.in`) and their tags (`seq.out`).

    Sentences are named `name` (the words file's up to the first dot, by default) and their line, from 1:
    "train:12". Lines that are blank in both files are skipped.

    Raises ValueError, with file and line, if the files do not match or a tag is not one of `scheme`.
    """
    word_lines, tag_lines = read_lines(words), read_lines(tags)
    _require_as_many(words, len(word_lines), tags, len(tag_lines))
    sentences = []
    for number, (word_line, tag_line) in enumerate(zip(word_lines, tag_lines, strict=True), start=1):
        texts, line_tags = split_blanks(word_line), split_blanks(tag_line)
        if not texts and not line_tags:
            continue
        if len(texts) != len(line_tags):
            raise ValueError(f"{tags}:{number}: {len(line_tags)} tags for the {len(texts)} words of {words}:{number}")
        sentence = Sentence.from_words(f"{name or words.name.split('.')[0]}:{number}", texts)
        try:
            sentences.append(sentence.labelled(tuple(decode(sentence.words, line_tags, scheme))))
        except ValueError as error:
            raise ValueError(f"{tags}:{number}: {error}") from error
    return sentences


def read_intents(path: Path, sentences: Sequence[Sentence]) -> list[str]:
    """The intent of each of `sentences`, from a file with one intent a line (`label`), blank lines apart.

    Raises ValueError if the file holds more or fewer intents than there are sentences.
    """
    intents = [line.strip() for line in read_lines(path) if line.strip()]
    if len(intents) != len(sentences):
        raise ValueError(f"{path}: {len(intents)} intents for {len(sentences)} sentences; give one for each")
    return intents


def _require_as_many(words: Path, word_lines: int, tags: Path, tag_lines: int) -> None:
    if word_lines != tag_lines:
        raise ValueError(
            f"{words} has {word_lines} lines, but {tags} has {tag_lines}: the same sentence must stand "
            "in the same line of both"
        )
