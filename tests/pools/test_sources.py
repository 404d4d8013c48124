"""Texts from anywhere come as tasks, whole and in order; what is none is told of with its place."""

import csv
import datetime
import gzip
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelstudio.client import Refused
from pools import formats
from pools.folder import Pool
from pools.formats import READERS
from pools.sources import tasks
from tests.end_to_end.conftest import label_studio
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.labelstudio.web import Server

__all__ = ["label_studio"]

ROWS = [
    {"text": "Ærø lies\nin the “sea”, they say.", "id": 1, "tags": ["a", {"b": None}]},
    {"text": "  🇩🇰 blanks are kept ", "id": 2, "tags": []},
    {"text": 'He said "no", twice.\u2028Twice.', "id": 3, "tags": [1.5]},
]


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def lines_of(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# -- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "A.JSONL"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    assert list(tasks(written(tmp_path / name, lines_of(ROWS)))) == ROWS


def test_json_lines_with_a_byte_order_mark_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    content = "\ufeff" + lines_of(ROWS).replace("\n", "\r\n").replace("}\r\n", "}\r\n\r\n  \r\n") + "\r\n"
    assert list(tasks(written(tmp_path / "a.jsonl", content))) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: {"id": 9, "data": row, "annotations": [{"result": []}]}])
def test_json_as_a_list_of_texts_fields_or_exported_tasks(tmp_path: Path, indent: int | None, wrap: Any) -> None:
    content = json.dumps([wrap(row) for row in ROWS], indent=indent)
    assert list(tasks(written(tmp_path / "a.json", content))) == ROWS


def test_json_may_also_be_objects_in_a_row_one_object_or_a_list_of_strings(tmp_path: Path) -> None:
    assert list(tasks(written(tmp_path / "rows.json", lines_of(ROWS)))) == ROWS
    assert list(tasks(written(tmp_path / "one.json", "\ufeff" + json.dumps(ROWS[0])))) == ROWS[:1]
    assert list(tasks(written(tmp_path / "texts.json", '["one", "two"]'))) == [{"text": "one"}, {"text": "two"}]
    assert list(tasks(written(tmp_path / "empty.json", " [ ] "))) == []


def test_a_field_named_data_is_a_field_where_the_text_stands_beside_it(tmp_path: Path) -> None:
    rows = [{"text": "outside", "data": {"text": "inside"}}]
    assert list(tasks(written(tmp_path / "a.jsonl", lines_of(rows)))) == rows


@settings(max_examples=60, deadline=None)
@given(data=st.data(), chunk=st.integers(1, 40))
def test_json_is_read_the_same_however_it_is_cut(data: st.DataObject, chunk: int) -> None:
    value = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3))
    rows = data.draw(st.lists(st.dictionaries(st.text(max_size=4), value, max_size=3) | st.text(), max_size=5))
    content = json.dumps(
        rows, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1]))
    ).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "CHUNK", chunk)
        found = list(formats.json_values(io.BytesIO(content), "a.json"))
    assert [row for _, row in found] == rows
    for (place, _), row in zip(found, rows, strict=True):
        if isinstance(row, dict) and b"\n" in content:
            line = content.decode().split("\n")[int(place.removeprefix("a.json:")) - 1]
            assert line.strip().startswith("{")


@pytest.mark.parametrize(("delimiter", "suffix"), [(",", "csv"), (";", "csv"), ("\t", "csv"), ("\t", "tsv")])
def test_columns_come_as_strings_with_quotes_and_line_ends_in_them(tmp_path: Path, delimiter: str, suffix: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([["id", "text"], ["007", ROWS[0]["text"]], ["1e3", ROWS[2]["text"]], ["", "a;b,c\td"]])
    assert list(tasks(written(tmp_path / f"a.{suffix}", "\ufeff" + file.getvalue()))) == [
        {"text": ROWS[0]["text"], "id": "007"},
        {"text": ROWS[2]["text"], "id": "1e3"},
        {"text": "a;b,c\td", "id": ""},
    ]


def test_a_csv_of_one_column_and_one_with_numbered_rows(tmp_path: Path) -> None:
    assert list(tasks(written(tmp_path / "a.csv", "text\none\ntwo"))) == [{"text": "one"}, {"text": "two"}]
    assert list(tasks(written(tmp_path / "b.csv", ",text\n0,one\n\n1,two\n"))) == [{"text": "one"}, {"text": "two"}]
    assert list(tasks(written(tmp_path / "c.csv", ""))) == []


def test_a_cell_may_be_longer_than_python_reads_by_itself(tmp_path: Path) -> None:
    text = "word " * 100_000
    assert list(tasks(written(tmp_path / "a.csv", f'text\n"{text}"\n'))) == [{"text": text}]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=5), delimiter=st.sampled_from(",\t"))
def test_whatever_a_csv_writer_writes_is_read(rows: list[tuple[str, str]], delimiter: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([("text", "other"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        found = list(tasks(written(Path(folder) / "a.csv", file.getvalue())))
    assert found == [{"text": text, "other": other} for text, other in rows if text.strip()]


def test_plain_text_has_a_text_a_line_and_nothing_else_ends_one(tmp_path: Path) -> None:
    content = "\ufeff one \r\ntwo\u2028three\x0cfour\n\n \t\n{last"
    skipped: list[str] = []
    path = written(tmp_path / "a.txt", content)
    found = [" one ", "two\u2028three\x0cfour", "{last"]
    assert list(tasks(path, on_skip=skipped.append)) == [{"text": text} for text in found]
    assert skipped == [f"{path}:3", f"{path}:4"]


def test_parquet_and_arrow(tmp_path: Path) -> None:
    rows = [{**row, "id": number} for number, row in enumerate(ROWS * 2000)]
    del rows[0]["tags"]
    table = pa.Table.from_pylist([{"text": row["text"], "id": row["id"]} for row in rows])
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    with pa.ipc.new_stream(tmp_path / "b.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=3000)
    with pa.ipc.new_file(tmp_path / "c.feather", table.schema) as whole:
        whole.write_table(table)
    for name in ("a.parquet", "b.arrow", "c.feather"):
        assert list(tasks(str(tmp_path / name))) == table.to_pylist()


def test_what_json_has_no_form_for_is_written_in_the_usual_one(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
    table = pa.Table.from_pylist(
        [
            {
                "text": b"bytes \xc3\xa6",
                "day": day.date(),
                "time": day,
                "price": Decimal("1.50"),
                "score": float("nan"),
                "lasted": datetime.timedelta(seconds=90),
                "nested": [{"day": day.date()}],
            }
        ]
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(tasks(str(tmp_path / "a.parquet"))) == [
        {
            "text": "bytes æ",
            "day": "2024-02-29",
            "time": "2024-02-29T12:30:00+00:00",
            "price": "1.50",
            "score": None,
            "lasted": "0:01:30",
            "nested": [{"day": "2024-02-29"}],
        }
    ]


def test_what_no_database_takes_is_replaced(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl", '{"text": "a\\u0000b\\ud800", "x\\u0000": ["\\udfff"], "n": NaN, "m": 1e999}\n'
    )
    assert list(tasks(path)) == [{"text": "ab?", "x": ["?"], "n": None, "m": None}]


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | cells,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cells, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(st.dictionaries(cells, json_data, max_size=3), cells), max_size=6))
def test_from_a_file_into_a_pool_and_back(rows: list[tuple[dict[str, Any], str]]) -> None:
    written_rows = [{**others, "text": f"{number}{text}"} for number, (others, text) in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a.jsonl.gz", gzip.compress(lines_of(written_rows).encode()))
        pool = Pool.make(Path(folder) / "pool")
        pool.add(tasks(path))
        assert [task for part in pool.parts for task in pool.read(part)] == written_rows


# -- fields -----------------------------------------------------------------------------------------------------------


def test_the_text_may_have_another_name_in_the_source_and_in_the_task(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"body": "one", "text": "other", "id": 1}\n')
    assert list(tasks(path, text_field="body")) == [{"text": "one", "id": 1}]
    assert list(tasks(path, text_field="body", field="review")) == [{"review": "one", "text": "other", "id": 1}]
    assert list(tasks(path, field="body")) == [{"body": "one", "text": "other", "id": 1}]
    plain = written(tmp_path / "a.txt", "one\n")
    assert list(tasks(plain, text_field="body")) == [{"text": "one"}]


def test_texts_that_are_empty_are_left_out_and_told_of(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", lines_of([{"text": t} for t in ["", "a", None, " \n", "\u3000", "b"]]))
    skipped: list[str] = []
    assert list(tasks(path, on_skip=skipped.append)) == [{"text": "a"}, {"text": "b"}]
    assert skipped == [f"{path}:{line}" for line in (1, 3, 4, 5)]
    assert len(list(tasks(path))) == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"text": "a"}\n["b"]\n', r"a\.jsonl:2: should be an object with fields, is a list"),
        ("a.jsonl", '{"text": "a"}\n\n7\n', r"a\.jsonl:3: should be an object with fields, is a int"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: no JSON \(Expecting value.*each line"),
        ("a.jsonl", '{"body": "a", "id": 1}\n', r"a\.jsonl:1: no field 'text'.*--text-field; known: 'body', 'id'"),
        ("a.jsonl", "{}\n", r"a\.jsonl:1: no field 'text'.*known: none"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": ["b", "c"]}\n',
            r"a\.jsonl:2: the text, field 'text', is a list, not a str",
        ),
        ("a.jsonl", '{"text": 5}\n', r"a\.jsonl:1: the text, field 'text', is a int, not a string"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xe6"}\n', r"a\.jsonl:2: not UTF-8 .*save the file as UTF-8"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16"), r"a\.jsonl:1: not UTF-8"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: no JSON"),
        ("a.json", '[{"text": "a"},\n {"text": "b"},\n {"text" "c"}]', r"a\.json:3: no JSON \(Expecting ':'"),
        ("a.json", '[{"text": "a"},\n {"text": "b"}\n', r"a\.json:3: no JSON \(the list does not end"),
        ("a.json", '[{"text": "a"}]\n\n[{"text": "b"}]', r"a\.json:3: no JSON \(the list has ended before"),
        ("a.json", '{"text": "a"}\n]', r"a\.json:2: no JSON \(the list has ended before"),
        ("a.json", '[{"text": "a"},\n 12]', r"a\.json:2: should be an object with fields, is a int"),
        ("a.json", b'[{"text": "a"},\n {"text":\n "\xe6"}]', r"a\.json:3: not UTF-8"),
        ("a.json", '[\n{"text": "a", "n": ' + "9" * 5000 + "}]", r"a\.json:2: no JSON \(Exceeds the limit"),
        ("a.json", "[\n" + "[" * 100_000, r"a\.json:2: no JSON"),
        ("a.csv", "id,body\n1,a\n", r"a\.csv:2: no field 'text'.*known: 'id', 'body'"),
        ("a.csv", 'id,text\n1,"a\nb"\n2,c,d\n', r"a\.csv:4: 3 cells, where the first line names 2 columns"),
        ("a.csv", "id,text\n1,a\n2\n", r"a\.csv:3: 1 cells, where"),
        (
            "a.csv",
            'id,text\n1,"a\n2,b\n',
            r"a\.csv:3: no CSV \(unexpected end of data\); is a quotation mark left open",
        ),
        ("a.csv", 'id,text\n1,"a" b\n', r"a\.csv:2: no CSV"),
        ("a.csv", "text,text\na,b\n", r"a\.csv:1: more than one column is named 'text'"),
        ("a.csv", b"id,text\n1,a\n2,\xe6\n", r"a\.csv:3: not UTF-8"),
        ("a.txt", b"a\n\xe6\n", r"a\.txt:2: not UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9999)[:-30], r"a\.jsonl\.gz: damaged"),
        ("a.jsonl.gz", b'{"text": "a"}\n', r"a\.jsonl\.gz: damaged, or no jsonl \(Not a gzipped file"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet: damaged, or no parquet"),
        ("a.arrow", b"no arrow at all", r"a\.arrow: damaged, or no arrow"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(tasks(written(tmp_path / name, content)))


def test_what_comes_before_a_bad_line_has_come(tmp_path: Path) -> None:
    found: Iterator[dict[str, Any]] = tasks(written(tmp_path / "a.jsonl", '{"text": "a"}\nbad\n'))
    assert next(found) == {"text": "a"}
    with pytest.raises(ValueError, match=r"a\.jsonl:2"):
        next(found)


def test_a_column_of_parquet_that_is_no_json_is_named_by_its_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "picture": [b"ok", b"\x89PNG"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet, row 2: .*can't decode byte 0x89"):
        list(tasks(str(tmp_path / "a.parquet")))


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_compressed_files(tmp_path: Path, compression: str, suffix: str) -> None:
    path = f"{tmp_path}/a.{suffix}.{compression}"
    with fsspec.open(path, "wb", compression="infer") as file:
        file.write((lines_of(ROWS) if suffix == "jsonl" else json.dumps(ROWS)).encode())
    assert list(tasks(path)) == ROWS


def test_globs_and_folders_come_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    written(tmp_path / "b.jsonl", '{"text": "b"}\n')
    written(tmp_path / "a.jsonl", '{"text": "a"}\n')
    written(tmp_path / "deep" / "c.txt", "c\n")
    written(tmp_path / "_SUCCESS", "")
    written(tmp_path / "._a.jsonl", b"\0\xff")
    written(tmp_path / "notes.md", "# no data")
    assert [task["text"] for task in tasks(f"{tmp_path}/*.jsonl")] == ["a", "b"]
    assert [task["text"] for task in tasks(f"{tmp_path}/**/[bc].*")] == ["b", "c"]
    assert [task["text"] for task in tasks(str(tmp_path))] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"notes\.md: say by --format what it is: jsonl, json, csv"):
        tasks(f"{tmp_path}/[an]*")


def test_a_name_that_looks_like_a_glob_is_a_name_where_there_is_such_a_file(tmp_path: Path) -> None:
    assert list(tasks(written(tmp_path / "a[1].txt", "one"))) == [{"text": "one"}]


def test_format_says_what_the_name_does_not(tmp_path: Path) -> None:
    path = written(tmp_path / "export-2024", '{"text": "a"}\n')
    assert list(tasks(path, format="jsonl")) == [{"text": "a"}]
    assert list(tasks(path, format="txt")) == [{"text": '{"text": "a"}'}]
    with pytest.raises(ValueError, match="export-2024: say by --format"):
        tasks(path)
    with pytest.raises(ValueError, match=f"unknown format 'xml'; known: {', '.join(READERS)}"):
        tasks(path, format="xml")


@pytest.mark.parametrize("source", ["nothing.jsonl", "nothing/*.jsonl", "memory://nothing.jsonl", ""])
def test_what_is_not_there_is_told_at_once(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="there is no such file"):
        tasks(source)


def test_object_storage() -> None:
    storage = fsspec.filesystem("memory")
    try:
        storage.pipe("/bucket/b.jsonl", lines_of(ROWS).encode())
        storage.pipe("/bucket/a.txt.gz", gzip.compress(b"first\n"))
        assert list(tasks("memory://bucket/b.jsonl")) == ROWS
        assert list(tasks("memory://bucket/*")) == [{"text": "first"}, *ROWS]
        storage.pipe("/bucket/c.jsonl", b"[]")
        with pytest.raises(ValueError, match=r"^memory:///bucket/c\.jsonl:1: should be an object"):
            list(tasks("memory://bucket/c.jsonl"))
    finally:
        storage.rm("/bucket", recursive=True)


def test_storage_whose_library_is_not_there_is_named_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"s3://bucket/a\.jsonl needs another library: .*s3fs") as told:
        tasks("s3://key:secret@bucket/a.jsonl?token=secret")
    assert "secret" not in str(told.value)
    with pytest.raises(ValueError, match="Protocol not known: nowhere"):
        tasks("nowhere://a.jsonl")


def test_a_web_address_and_no_secret_of_it_in_an_error() -> None:
    pytest.importorskip("aiohttp")
    server = Server()
    server.pages["/a.jsonl"] = (200, {}, lines_of(ROWS).encode() + b"[]\n")
    found = tasks(f"{server.url}/a.jsonl?token=secret")
    assert [next(found) for _ in ROWS] == ROWS
    with pytest.raises(ValueError, match=rf"^{server.url}/a\.jsonl:4: should be an object"):
        next(found)
    with pytest.raises(ValueError, match="no such file") as told:
        tasks(f"{server.url}/b.jsonl?token=secret")
    assert "secret" not in str(told.value)
    server.shutdown()


# -- data sets --------------------------------------------------------------------------------------------------------


def saved(folder: Path, texts: list[str], **state: Any) -> Path:
    """A folder as `datasets.Dataset.save_to_disk` lays it out, in two files."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
    for name, part in zip(names, (texts[:2], texts[2:]), strict=True):
        table = pa.table({"text": part, "label": list(range(len(part)))})
        with pa.ipc.new_stream(folder / name, table.schema) as out:
            out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], **state}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"text": {"dtype": "string"}}}))
    return folder


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", ["a", "b", "c"])
    expected = [{"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": "c", "label": 0}]
    assert list(tasks(str(folder))) == expected


def test_a_folder_of_several_splits_asks_which(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "all" / split, [split])
    (tmp_path / "all" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ValueError, match=r"all holds several splits, name one: .*all/train, .*all/test"):
        tasks(str(tmp_path / "all"))
    assert list(tasks(str(tmp_path / "all" / "train"))) == [{"text": "train", "label": 0}]


def test_a_folder_whose_rows_are_in_another_order_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved", ["a"], _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(ValueError, match="save it anew"):
        tasks(str(folder))


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("hf://someone/reviews", (("someone/reviews",), {"split": "train", "streaming": True})),
        ("hf://reviews:test[:10%]", (("reviews",), {"split": "test[:10%]", "streaming": False})),
        ("hf://reviews:unlabelled", (("reviews",), {"split": "unlabelled", "streaming": True})),
        ("hf://glue:sst2:test", (("glue", "sst2"), {"split": "test", "streaming": True})),
    ],
)
def test_a_data_set_of_hugging_face_is_streamed(monkeypatch: pytest.MonkeyPatch, source: str, asked: Any) -> None:
    calls: list[Any] = []
    library = ModuleType("datasets")
    rows: list[dict[str, Any]] = [{"text": "a", "label": 1}, {"text": None, "label": 0}, {"text": "b", "label": 0}]

    def load_dataset(*name: str, **options: Any) -> list[dict[str, Any]]:
        calls.append((name, options))
        return rows

    library.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)
    skipped: list[str] = []
    assert list(tasks(source, on_skip=skipped.append)) == [rows[0], rows[2]]
    assert calls == [asked]
    assert skipped == [f"{source}, row 2"]


def test_without_the_library_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="needs the library `datasets`: pip install datasets; or name files"):
        tasks("hf://reviews")


# -- Label Studio -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    server = Server()
    project = {
        "id": 7,
        "title": "Reviews",
        "label_config": "<View/>",
        "sampling": "Sequential sampling",
        "model_version": "",
        "created_at": "2024-05-01T00:00:00Z",
    }
    found = [
        {"id": 30 + number, "data": data, "created_at": "2024-05-01T00:00:00Z", "total_annotations": 0}
        | {"cancelled_annotations": 0}
        for number, data in enumerate([{"text": "a", "n": 1}, {"text": ""}, {"text": "b"}])
    ]
    for path, body in [
        ("/api/current-user/whoami", {"id": 1}),
        ("/api/projects/7", project),
        ("/api/tasks", {"tasks": found, "total": len(found)}),
    ]:
        server.pages[path] = (200, {"Content-Type": "application/json"}, json.dumps(body).encode())
    monkeypatch.chdir(tmp_path)  # where no .env says anything
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_URL", server.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "c0ffee" * 6 + "beef")
    yield server
    server.shutdown()


def test_a_project_in_label_studio(stand_in: Server) -> None:
    skipped: list[str] = []
    assert list(tasks("label-studio:7", on_skip=skipped.append)) == [{"text": "a", "n": 1}, {"text": "b"}]
    assert skipped == ["task 31 of project 'Reviews' (7)"]
    with pytest.raises(ValueError, match=r"^task 30 of project 'Reviews' \(7\): no field 'body'"):
        list(tasks("label-studio:7", text_field="body"))


def test_a_project_that_is_not_there_and_one_that_is_no_number(stand_in: Server) -> None:
    with pytest.raises(Refused) as told:
        tasks("label-studio:8")
    assert told.value.status == 404
    for name in ("", "Reviews", "-1", "7.5", "٧"):
        with pytest.raises(ValueError, match="write the project's number, as in label-studio:7"):
            tasks(f"label-studio:{name}")


def test_without_address_and_key_it_is_said_which_to_set(stand_in: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(ValueError, match="set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        tasks("label-studio:7")


@pytest.mark.slow
def test_a_project_in_a_real_label_studio(
    label_studio: RunningLabelStudio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = '<View><Labels name="l" toName="t"><Label value="A"/></Labels><Text name="t" value="$text"/></View>'
    created = label_studio.api.post("/api/projects/", json={"title": "Pool", "label_config": config}).json()["id"]
    label_studio.api.post(f"/api/projects/{created}/import", json=[{"data": row} for row in ROWS]).raise_for_status()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.legacy_token)
    assert list(tasks(f"label-studio:{created}")) == ROWS
