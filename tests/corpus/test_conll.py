"""CoNLL columns are read as they stand, errors say where, and what is written is read back."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus import Scheme, Sentence, Span
from corpus.conll import read_conll, write_conll
from corpus.tags import encode
from tests.corpus.texts import labelled

NEWS = """\
-DOCSTART- -X- O O

Ada NNP I-NP I-PER
Lovelace NNP I-NP I-PER
Turing NNP I-NP B-PER
met VBD I-VP O
-DOCSTART- -X- O O
Zürich NNP I-NP I-LOC


"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "news.train"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("blank", [" ", "\t", "  "])
def test_columns(tmp_path: Path, line_end: str, blank: str) -> None:
    path = written(tmp_path, NEWS.replace(" ", blank).replace("\n", line_end))
    first, second = read_conll(path, scheme="IOB1", name="train")
    assert (first.id, first.text) == ("train:1", "Ada Lovelace Turing met")
    assert first.spans == (Span(0, 12, "PER"), Span(13, 19, "PER"))
    assert (second.id, second.text, second.spans) == ("train:2", "Zürich", (Span(0, 6, "LOC"),))
    assert read_conll(path, scheme="IOB1")[0].id == "news.train:1"


def test_any_column_may_hold_word_or_tag(tmp_path: Path) -> None:
    path = written(tmp_path, "1\tNew\tS-X\t_\n2\tYork\tO\t_")
    (sentence,) = read_conll(path, scheme="BIOES", word=1, tag=2)
    assert (sentence.text, sentence.spans) == ("New York", (Span(0, 3, "X"),))


def test_only_blanks_and_tabs_part_columns(tmp_path: Path) -> None:
    (by_blank,) = read_conll(written(tmp_path, "10\u00a0000 O\na\u2028b\x85c B-X\n"))
    assert [word.text for word in by_blank.words] == ["10\u00a0000", "a\u2028b\x85c"]
    (by_tab,) = read_conll(written(tmp_path, "10 000\tB-job title\n"))
    assert by_tab.spans == (Span(0, 6, "job title"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", r":2: 1 columns, but 2 in the lines before"),
        ("a O\n\nb X-PER\n", r":3: 'X-PER' is no tag of BIO, which knows O, B-…, I-…"),
        ("a O\nb S-PER\n", r":2: 'S-PER' is no tag of BIO"),
        ("\tO\n", r":1: column 0 is empty"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match="news.train" + message):
        read_conll(written(tmp_path, text))


def test_a_missing_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"news.train:1: there is no column 3 among 2"):
        read_conll(written(tmp_path, "a O\n"), tag=3)


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    assert read_conll(written(tmp_path, "\ufeffa O\n"))[0].text == "a"


def test_another_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("a O\nZürich O\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt:2: not UTF-8"):
        read_conll(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sentences=st.lists(labelled(), max_size=4), scheme=st.sampled_from(get_args(Scheme)))
def test_what_is_written_is_read_back(tmp_path: Path, sentences: list[Sentence], scheme: Scheme) -> None:
    path = tmp_path / "pool.conll"
    problems = write_conll(sentences, path, scheme=scheme)
    encoded = [encode(sentence, scheme) for sentence in sentences]
    with_words = [e for e in encoded if e.words]
    read = read_conll(path, scheme=scheme)
    assert [[word.text for word in s.words] for s in read] == [[w.text for w in e.words] for e in with_words]
    assert [encode(sentence, scheme).tags for sentence in read] == [e.tags for e in with_words]
    assert len(problems) == sum(len(e.problems) for e in encoded) + len(encoded) - len(with_words)


@pytest.mark.parametrize("word", ["", "a\tb", "a\nb", " a", "-DOCSTART-", "\ud83d", "\ufeff"])
def test_what_columns_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path, word: str) -> None:
    path = tmp_path / "pool.conll"
    with pytest.raises(ValueError, match="task 7: CoNLL columns cannot hold"):
        write_conll([Sentence.from_words("7", ["fine", word], ())], path)
    assert not path.exists()


def test_an_unlabelled_sentence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="task 7 has not been labelled"):
        write_conll([Sentence.from_words("7", ["fine"])], tmp_path / "pool.conll")
