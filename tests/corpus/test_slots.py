"""Parallel files of words and tags are read line by line, and a mismatch is found."""

from pathlib import Path

import pytest

from corpus import Span
from corpus.slots import read_intents, read_slots


def pair(folder: Path, words: str, tags: str) -> tuple[Path, Path]:
    paths = folder / "train.seq.in", folder / "train.seq.out"
    for path, text in zip(paths, (words, tags), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_words_and_slots(tmp_path: Path) -> None:
    words, tags = pair(tmp_path, "fly to  new york \nhello\n", "O O B-to-loc.city I-to-loc.city\nO\n")
    first, second = read_slots(words, tags)
    assert (first.id, first.text) == ("train:1", "fly to new york")
    assert first.spans == (Span(7, 15, "to-loc.city"),)
    assert (second.id, second.spans) == ("train:2", ())
    assert read_slots(words, tags, name="atis")[1].id == "atis:2"


def test_blank_lines_are_skipped_and_ids_are_lines(tmp_path: Path) -> None:
    assert [s.id for s in read_slots(*pair(tmp_path, "a\n\nb\n", "O\n\nO\n"))] == ["train:1", "train:3"]


def test_a_mismatch_names_the_line_and_both_lengths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seq.out:2: 1 tags for the 3 words of .*seq.in:2"):
        read_slots(*pair(tmp_path, "a\nb c d\n", "O\nO\n"))
    with pytest.raises(ValueError, match=r"seq.in has 2 lines, but .*seq.out has 1"):
        read_slots(*pair(tmp_path, "a\nb\n", "O\n"))


def test_a_wrong_tag_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"seq.out:2: 'city' is no tag of BIO"):
        read_slots(*pair(tmp_path, "a\nb\n", "O\ncity\n"))


def test_intents(tmp_path: Path) -> None:
    sentences = read_slots(*pair(tmp_path, "a\n\nb\n", "O\n\nO\n"))
    path = tmp_path / "train.label"
    path.write_text("flight\n\nflight#airfare\n", encoding="utf-8")
    assert read_intents(path, sentences) == ["flight", "flight#airfare"]
    with pytest.raises(ValueError, match=r"train.label: 2 intents for 1 sentences"):
        read_intents(path, sentences[:1])
