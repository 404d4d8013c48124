"""Files of texts, row by row: each reader takes an open file and says of each row where it stands."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

Rows = Iterator[tuple[str, Any]]
"""Of each row where it stands (file and line, or file and row) and what it holds: an object, or a text alone."""
CHUNK = 2**20
LONGEST = 2**27
"""Characters of one task or cell. More is a file that is not what its name says, or a quotation mark left open."""
BATCH = 1024


def lines(file: IO[bytes], name: str) -> Rows:
    """A text a line; only LF and CRLF end one."""
    for number, raw in enumerate(io.BufferedReader(file, CHUNK), 1):  # type: ignore[type-var]
        try:
            yield (
                f"{name}:{number}",
                raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r"),
            )
        except UnicodeDecodeError as error:
            raise ValueError(f"{name}:{number}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def json_lines(file: IO[bytes], name: str) -> Rows:
    """A JSON value a line."""
    for place, line in lines(file, name):
        if line.strip():
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: no JSON ({error}); each line should hold one task") from error


def json_values(file: IO[bytes], name: str) -> Rows:
    """The elements of a JSON list, or JSON values one after the other; read as they are consumed."""
    text = _Text(file, name)
    listed = text.peek() == "["
    if listed:
        text.take()
    while text.peek() not in ("", "]"):
        yield text.place, text.value()
        if text.peek() == ",":
            text.take()
    if listed and text.peek() == "]":
        text.take()
        listed = False
    if listed or text.peek():
        raise ValueError(f"{text.place}: no JSON (the list {'does not end' if listed else 'has ended before'})")


class _Text:
    """The text of a file, of which only what is being read is in memory."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._line = "", 0, 1

    @property
    def place(self) -> str:
        """Where reading has come to."""
        return f"{self._name}:{self._line}"

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            for at in range(self._at, len(self._text)):
                if not self._text[at].isspace():
                    self._pass(at)
                    return self._text[at]
            self._pass(len(self._text))
            if not self._more():
                return ""

    def take(self) -> None:
        """Go on behind the character at hand."""
        self._pass(self._at + 1)

    def value(self) -> Any:
        """The JSON value that begins here."""
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at < LONGEST and self._more():  # perhaps it only goes on
                    continue
                self._pass(min(error.pos, len(self._text)))
                raise ValueError(f"{self.place}: no JSON ({error.msg})") from error
            except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
                raise ValueError(f"{self.place}: no JSON ({error})") from error
            self._pass(end)
            return value

    def _pass(self, at: int) -> None:
        self._line += self._text.count("\n", self._at, at)
        self._at = at

    def _more(self) -> bool:
        """Read on: twice as much as is at hand, lest a long value be begun again and again."""
        self._text, self._at = self._text[self._at :], 0
        chunk = self._file.read(max(CHUNK, len(self._text)))
        try:
            self._text += self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self._line + self._text.count("\n") + error.object[: error.start].count(b"\n")
            raise ValueError(f"{self._name}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
        return bool(chunk)


def comma_separated(file: IO[bytes], name: str) -> Rows:
    """CSV with a line of column names, also with the semicolons or tabs that spreadsheets write."""
    texts = _whole_lines(file, name)
    header = next(texts, "")
    return _separated(chain([header], texts), name, max(",;\t", key=header.count))


def tab_separated(file: IO[bytes], name: str) -> Rows:
    """The same with tabs."""
    return _separated(_whole_lines(file, name), name, "\t")


def _whole_lines(file: IO[bytes], name: str) -> Iterator[str]:
    return (text + "\n" for _, text in lines(file, name))


def _separated(texts: Iterator[str], name: str, delimiter: str) -> Rows:
    csv.field_size_limit(LONGEST)  # of the whole process; the 131,072 that Python begins with is no long document
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    try:
        columns = next(reader, [])
        if twice := {column for column in columns if columns.count(column) > 1}:
            raise ValueError(f"{name}:1: more than one column is named {', '.join(map(repr, sorted(twice)))}")
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(columns):
                raise ValueError(
                    f"{name}:{line}: {len(cells)} cells, where the first line names {len(columns)} columns"
                )
            if cells:
                yield f"{name}:{line}", {column: cell for column, cell in zip(columns, cells, strict=True) if column}
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{name}:{reader.line_num}: no CSV ({error}); is a quotation mark left open?") from error


def parquet(file: IO[bytes], name: str) -> Rows:
    """The rows of a Parquet file."""
    return _batches(pq.ParquetFile(file).iter_batches(BATCH), name)


def arrow(file: IO[bytes], name: str) -> Rows:
    """The rows of an Arrow file: a stream, as `datasets` saves them, or one that can be read from its end (Feather)."""
    begin = file.read(6)
    file.seek(0)
    if begin == b"ARROW1":
        whole = pa.ipc.open_file(file)
        return _batches(map(whole.get_batch, range(whole.num_record_batches)), name)
    return _batches(pa.ipc.open_stream(file), name)


def _batches(batches: Iterator[pa.RecordBatch], name: str) -> Rows:
    row = 0
    for batch in batches:
        for start in range(0, len(batch), BATCH):
            for values in batch.slice(start, BATCH).to_pylist():
                row += 1
                yield f"{name}, row {row}", values


READERS: dict[str, Callable[[IO[bytes], str], Rows]] = {
    "jsonl": json_lines,
    "json": json_values,
    "csv": comma_separated,
    "tsv": tab_separated,
    "parquet": parquet,
    "arrow": arrow,
    "txt": lines,
}
"""By the name of the format."""
SUFFIXES = {name: name for name in READERS} | {"ndjson": "jsonl", "tab": "tsv", "pq": "parquet", "feather": "arrow"}
"""The format by a file's last suffix, compression left off."""
