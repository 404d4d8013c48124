"""Where a pool's texts come from: files here or in object storage, data sets, a project in Label Studio."""

from __future__ import annotations

import datetime
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.core import OpenFile, url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression

from labelstudio.records import storable, storable_text
from pools.formats import READERS, SUFFIXES, Rows

LABEL_STUDIO = "label-studio:"
HUGGING_FACE = "hf://"
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, pa.ArrowInvalid)


def tasks(
    source: str,
    *,
    text_field: str | None = None,
    format: str | None = None,
    field: str = "text",
    on_skip: Callable[[str], None] = lambda place: None,
) -> Iterator[dict[str, Any]]:
    """The data of tasks for Label Studio, `{field: text, **other fields}`, read as they are consumed.

    `source` is one of
    - a file, a glob or a folder of files, here or at any address that fsspec knows (s3://, gs://, https://, …), also
      compressed: JSON Lines, JSON (a list, or Label Studio's export without its annotations), CSV, TSV, Parquet,
      Arrow, or plain text with a text a line. `format` (of `formats.READERS`) is what the name's end says otherwise;
    - a folder that `datasets` has saved;
    - `hf://NAME`, `hf://NAME:SPLIT` or `hf://NAME:CONFIGURATION:SPLIT`, a data set of Hugging Face (the split is
      "train" where none is named);
    - `label-studio:NUMBER`, a project in the Label Studio of LABEL_STUDIO_URL.

    `text_field` is the name that the text has in the source, `field` that of the task's field (in the label config:
    `value="$text"`), which takes the place of another field of this name. A text that is empty, blank or null is left
    out; `on_skip` is told where. What databases and JSON do not have is replaced as everywhere (`storable`), times
    become ISO 8601.

    Raises ValueError at once when there is no such source, and while reading, with file and line, when a row holds no
    text or is no row at all.
    """
    if source.startswith(LABEL_STUDIO):
        rows = _project(source.removeprefix(LABEL_STUDIO))
    elif source.startswith(HUGGING_FACE) and not source.startswith(f"{HUGGING_FACE}datasets/"):
        rows = _dataset(source)
    else:
        rows = _files(source, format)
    return _tasks(rows, text_field or field, field, on_skip)


def _tasks(rows: Rows, name: str, field: str, on_skip: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    for place, row in rows:
        if isinstance(row, str):
            row = {name: row}
        if not isinstance(row, dict):
            raise ValueError(f"{place}: should be an object with fields, is a {type(row).__name__}")
        if name not in row and isinstance(row.get("data"), dict):  # a task as Label Studio exports it
            row = row["data"]
        if name not in row:
            known = ", ".join(map(repr, row)) or "none"
            raise ValueError(f"{place}: no field {name!r}. Name the one with the text by --text-field; known: {known}")
        text = row[name]
        if text is None or (isinstance(text, str) and not text.strip()):
            on_skip(place)
            continue
        try:
            text = _plain(text)
            if not isinstance(text, str):
                raise ValueError(f"the text, field {name!r}, is a {type(text).__name__}, not a string")
            others = {key: value for key, value in row.items() if key not in (name, field)}
            yield {field: text, **_plain(storable(others))}
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error


def _plain(value: Any) -> Any:
    """The value as JSON that any database takes; ValueError when it is none."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value if value.isascii() and "\0" not in value else storable_text(value)
        case dict():
            return {_plain(str(key)): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case bytes():  # a text, as some programs write it to Parquet
            return storable_text(value.decode())
        case datetime.date() | datetime.time():
            return value.isoformat()
        case Decimal() | UUID() | datetime.timedelta():
            return str(value)
        case _:
            raise ValueError(f"a {type(value).__name__} is no JSON: leave out its column")


def _files(source: str, format: str | None) -> Rows:
    if format is not None and format not in READERS:
        raise ValueError(f"unknown format {format!r}; known: {', '.join(READERS)}")
    try:
        files, path = url_to_fs(source)
    except ImportError as error:
        raise ValueError(f"{_public(source)} needs another library: {error}") from error
    if files.isfile(path):
        paths = [path]
    elif files.isdir(path):
        if _is_saved_dataset(files, path):
            return _saved_dataset(files, path)
        paths = [one for one in files.find(path) if not _is_hidden(one) and (format or _format(one))]
    else:
        paths = [one for one in files.glob(path) if not _is_hidden(one) and files.isfile(one)]
    if not paths:
        raise ValueError(f"{_public(source)}: there is no such file, and none below it whose name says what it is")
    for path in paths:
        if not (format or _format(path)):
            raise ValueError(f"{_public(path)}: say by --format what it is: {', '.join(READERS)}")
    return (row for path in sorted(paths) for row in _file(files, path, format or _format(path)))


def _file(files: AbstractFileSystem, path: str, format: str) -> Rows:
    name = path if isinstance(files, LocalFileSystem) else _public(files.unstrip_protocol(path))
    try:
        with OpenFile(files, path, "rb", compression="infer") as file:
            yield from READERS[format](file, name)
    except DAMAGED as error:
        raise ValueError(f"{name}: damaged, or no {format} ({error})") from error


def _format(path: str) -> str:
    """What the end of a file's name says that it is; empty when it says nothing."""
    name = PurePosixPath(urlsplit(path).path)
    if infer_compression(name.name):
        name = name.with_suffix("")
    return SUFFIXES.get(name.suffix.lower().removeprefix("."), "")


def _is_hidden(path: str) -> bool:
    """Whether it is one of the files that programs keep beside data, such as .DS_Store and _SUCCESS."""
    return PurePosixPath(path).name.startswith((".", "_"))


def _public(address: str) -> str:
    """An address without what may be a secret in it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else address


def _is_saved_dataset(files: AbstractFileSystem, folder: str) -> bool:
    return any(files.isfile(f"{folder}/{name}") for name in ("state.json", "dataset_dict.json"))


def _saved_dataset(files: AbstractFileSystem, folder: str) -> Rows:
    """A folder of `Dataset.save_to_disk`: state.json names its files, which are Arrow streams. A `DatasetDict` is a
    folder of such folders."""
    if not files.isfile(f"{folder}/state.json"):
        splits = json.loads(files.cat_file(f"{folder}/dataset_dict.json"))["splits"]
        raise ValueError(f"{folder} holds several splits, name one: {', '.join(f'{folder}/{s}' for s in splits)}")
    state = json.loads(files.cat_file(f"{folder}/state.json"))
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise ValueError(f"{folder}: saved by an old `datasets`, with its rows in another order: save it anew")
    return (row for one in state["_data_files"] for row in _file(files, f"{folder}/{one['filename']}", "arrow"))


def _dataset(source: str) -> Rows:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ValueError(
            f"{source} needs the library `datasets`: pip install datasets; or name files, as in "
            f"{HUGGING_FACE}datasets/NAME/**/*.parquet"
        ) from None
    name, *rest = re.split(r":(?![^\[]*\])", source.removeprefix(HUGGING_FACE))  # not at that of train[:10%]
    if len(rest) > 2:
        raise ValueError(f"{source}: write {HUGGING_FACE}NAME:SPLIT or {HUGGING_FACE}NAME:CONFIGURATION:SPLIT")
    *configuration, split = rest or ["train"]
    rows = load_dataset(name, *configuration, split=split, streaming="[" not in split)  # nor is a slice streamed
    return ((f"{source}, row {number}", row) for number, row in enumerate(rows, 1))


def _project(number: str) -> Rows:
    from learning.settings import Settings
    from server.connection import connect

    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"{LABEL_STUDIO}{number}: write the project's number, as in {LABEL_STUDIO}7")
    client = connect(Settings(), {})
    if client is None:
        raise ValueError(f"{LABEL_STUDIO}{number}: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY")
    project = client.project(int(number))
    found = client.tasks(project.id)
    return ((f"task {task.id} of project {project.title!r} ({project.id})", task.data) for task in found)
