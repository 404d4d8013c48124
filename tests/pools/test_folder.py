"""A pool's rows keep their numbers whatever happens to an import."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pools import folder
from pools.folder import Added, Pool

ROWS = 8
"""Of a full part, here."""
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "PART_ROWS", ROWS)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # thousands of them, and no power is cut here


def numbered(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"Sentence {number}."} for number in range(first, first + count)]


def content(pool: Pool) -> list[dict[str, Any]]:
    return [task for part in pool.parts for task in pool.read(part)]


def stored(pool: Pool) -> list[tuple[str, list[dict[str, Any]]]]:
    """All that its files hold."""
    return [(part.path.name, pq.read_table(part.path).to_pylist()) for part in Pool.open(pool.folder).parts]


def files(pool: Pool) -> set[str]:
    return {str(path.relative_to(pool.folder)) for path in pool.folder.rglob("*") if path.is_file()}


def test_parts_are_full_but_the_last_of_an_import_and_rows_are_counted_on(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path / "pool")
    assert pool.size == 0
    assert pool.add(numbered(2 * ROWS + 3)) == Added(new=2 * ROWS + 3, repeated=0)
    assert pool.add(numbered(ROWS + 1, first=100)) == Added(new=ROWS + 1, repeated=0)
    assert [(part.number, part.first, part.rows) for part in pool.parts] == [
        (0, 0, 8),
        (1, 8, 8),
        (2, 16, 3),
        (3, 19, 8),
        (4, 27, 1),
    ]
    assert Pool.open(pool.folder).parts == pool.parts
    assert Pool.open(pool.folder).size == pool.size == 28
    rows = [row["row"] for _, rows in stored(pool) for row in rows]
    assert rows == list(range(28))


def test_a_part_that_was_written_is_never_touched_again(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path / "pool")
    pool.add(numbered(ROWS + 3))
    before = {part.path: (part.path.read_bytes(), part.path.stat().st_mtime_ns) for part in pool.parts}
    pool.add(numbered(5 * ROWS))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_what_is_there_already_is_not_added_again(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path / "pool")
    pool.add([{"text": "a", "id": 1}, {"id": 1, "text": "a"}, {"text": "a", "id": 2}])
    assert content(pool) == [{"text": "a", "id": 1}, {"text": "a", "id": 2}]
    assert Pool.open(pool.folder).add([{"text": "a", "id": 2}, {"text": "a"}]) == Added(new=1, repeated=1)
    # What differs in JSON is different, though Python calls it equal.
    assert pool.add([{"text": "a", "id": True}, {"text": "a", "id": 1.0}]) == Added(new=2, repeated=0)


def test_progress_is_told_every_part_and_at_the_end(tmp_path: Path) -> None:
    told: list[Added] = []
    Pool.make(tmp_path).add([*numbered(ROWS), *numbered(ROWS), {"text": "new"}], told.append)
    assert told == [Added(8, 0), Added(8, 8), Added(9, 8)]


def test_long_texts_fill_a_part_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "PART_BYTES", 3000)
    pool = Pool.make(tmp_path)
    pool.add({"text": f"{number}" + "ü" * 500} for number in range(10))  # a bit more than 1000 bytes each
    assert [part.rows for part in pool.parts] == [3, 3, 3, 1]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
surrogates = st.text(st.characters(codec=None, categories=["Cs", "Ll", "So"]), max_size=4)
anything = st.dictionaries(st.text(max_size=5) | surrogates, values | surrogates, max_size=4).map(
    lambda task: json.loads(json.dumps(task))  # two halves of a character that meet are one in JSON
)


@settings(max_examples=50, deadline=None)
@given(imports=st.lists(st.lists(anything, max_size=12), max_size=3))
def test_any_json_comes_back_once_and_in_order(imports: list[list[dict[str, Any]]]) -> None:
    expected = {json.dumps(task, sort_keys=True): task for tasks in reversed(imports) for task in reversed(tasks)}
    order = list(dict.fromkeys(json.dumps(task, sort_keys=True) for tasks in imports for task in tasks))
    with tempfile.TemporaryDirectory() as place:
        pool = Pool.make(place)
        for tasks in imports:
            pool.add(tasks)
        found = content(Pool.open(place))
    assert list(map(repr, found)) == [repr(dict(sorted_(expected[key]))) for key in order]  # repr: 1 is not 1.0 or True


def sorted_(task: Any) -> Any:
    """The same data with its fields in the order in which they are stored."""
    match task:
        case dict():
            return {key: sorted_(task[key]) for key in sorted(task)}
        case list():
            return [sorted_(inner) for inner in task]
    return task


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=4), data=st.data())
def test_at_gives_these_rows_in_this_order(counts: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        pool = Pool.make(place)
        for number, count in enumerate(counts):
            pool.add(numbered(count, first=1000 * number))
        everything = content(pool)
        wanted = data.draw(st.lists(st.integers(0, len(everything) - 1)) if everything else st.just([]))
        assert pool.at(np.array(wanted, dtype=np.int64)) == [everything[row] for row in wanted]
        for outside in (-1, len(everything)):
            with pytest.raises(IndexError, match=f"has {len(everything)} rows"):
                pool.at(np.array([outside]))


def test_at_reads_only_the_parts_it_needs(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path)
    pool.add(numbered(5 * ROWS))
    for number in (0, 2, 4):
        pool.parts[number].path.write_bytes(b"")
    assert pool.at(np.array([ROWS, 4 * ROWS - 1])) == [{"text": "Sentence 8."}, {"text": "Sentence 31."}]
    with pytest.raises(ValueError, match=r"part-00000\.parquet is damaged"):
        pool.at(np.array([0]))


# -- imports that are broken off --------------------------------------------------------------------------------------


def in_a_process(work: Callable[[], object]) -> int:
    """How a process that does this ends; negative for the signal that killed it."""
    process = FORK.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


def dying_at(step: int, place: Path, tasks: list[dict[str, Any]]) -> None:
    """Import, and die at one of the steps in which something changes on the disk."""
    steps = 0

    def alive(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            alive()
            result = function(*args, **options)
            alive()
            return result

        return called

    def halfway(table: object, path: Path, **options: Any) -> None:
        write(table, path, **options)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        alive()
        path.write_bytes(whole)

    write = pq.write_table
    pq.write_table = watched(halfway)
    os.fsync, os.replace, tempfile.mkstemp = watched(os.fsync), watched(os.replace), watched(tempfile.mkstemp)
    Pool.make(place).add(tasks)


def test_killed_at_any_step_and_repeated_it_gives_the_rows_of_one_go(tmp_path: Path) -> None:
    earlier, tasks = numbered(3), numbered(2 * ROWS + 5)
    whole = Pool.make(tmp_path / "whole")
    whole.add(earlier)
    whole.add(tasks)
    killed = 0
    for step in range(1, 200):
        pool = Pool.make(tmp_path / str(step))
        pool.add(earlier)
        ended = in_a_process(lambda pool=pool, step=step: dying_at(step, pool.folder, tasks))  # type: ignore[misc]
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        killed += 1
        Pool.open(pool.folder).add(tasks)
        assert stored(pool) == stored(whole)
        assert files(pool) == files(whole)
    assert killed > 20
    assert stored(pool) == stored(whole)


def test_killed_again_and_again_it_goes_on(tmp_path: Path) -> None:
    tasks = numbered(6 * ROWS + 1)
    whole = Pool.make(tmp_path / "whole")
    whole.add(tasks)
    pool = Pool.make(tmp_path / "pool")
    deaths = 0
    # Each time it dies halfway through its second part; so each time it comes one part further.
    while in_a_process(lambda: dying_at(15, pool.folder, tasks)) == -signal.SIGKILL:
        deaths += 1
        assert deaths < 10
    assert deaths >= 3
    assert stored(pool) == stored(whole)


def test_a_source_that_fails_leaves_full_parts_only(tmp_path: Path) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield from numbered(2 * ROWS + 5)
        raise ValueError("texts.jsonl:22: no JSON")

    pool = Pool.make(tmp_path / "pool")
    with pytest.raises(ValueError, match=r"texts\.jsonl:22"):
        pool.add(failing())
    assert [part.rows for part in Pool.open(pool.folder).parts] == [ROWS, ROWS]
    assert pool.add(numbered(3 * ROWS)) == Added(new=ROWS, repeated=2 * ROWS)
    assert content(pool) == numbered(3 * ROWS)


def test_a_full_disk_leaves_the_pool_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: object, path: Path, **options: Any) -> None:
        path.write_bytes(b"PAR1 as far as it went")
        raise OSError(errno.ENOSPC, "No space left on device")

    pool = Pool.make(tmp_path)
    pool.add(numbered(ROWS + 2))
    pool.note_sent("7", {0: 100})
    before, names = stored(pool), files(pool)
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(OSError, match="No space left"):
            pool.add(numbered(4 * ROWS))
        with pytest.raises(OSError, match="No space left"):
            pool.note_sent("7", {1: 101})
    assert (stored(pool), files(pool)) == (before, names)
    assert pool.sent("7") == {0: 100}
    assert pool.size == ROWS + 2
    pool.add(numbered(4 * ROWS))
    assert content(pool) == numbered(4 * ROWS)


def test_a_disk_that_really_refuses_leaves_the_pool_as_it_was(tmp_path: Path) -> None:
    """By a limit on the size of files, which the system answers with an error as it does a full disk."""
    long = [{"text": np.random.default_rng(row).bytes(4000).hex()} for row in range(3 * ROWS)]

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            Pool.open(pool.folder).add(long)
        except OSError as error:
            os._exit(error.errno or 1)

    pool = Pool.make(tmp_path)
    pool.add(numbered(3))
    before, names = stored(pool), files(pool)
    assert in_a_process(limited) == errno.EFBIG
    assert (stored(pool), files(pool)) == (before, names)
    pool.add(long)
    assert content(pool) == numbered(3) + long


def test_two_imports_at_once_are_refused_until_the_first_ends_however_it_does(tmp_path: Path) -> None:
    reading, begun = FORK.Pipe(duplex=False)

    def slow() -> Iterator[dict[str, Any]]:
        yield from numbered(ROWS)
        begun.send("one part is written")
        signal.pause()

    pool = Pool.make(tmp_path)
    first = FORK.Process(target=lambda: Pool.open(tmp_path).add(slow()))
    first.start()
    assert reading.poll(30)
    with pytest.raises(ValueError, match=r"another import into .* is running"):
        pool.add(numbered(3))
    pool.note_sent("7", {0: 5})  # of what is there, more can be sent meanwhile
    assert first.is_alive()
    first.kill()
    first.join()
    assert pool.add(numbered(ROWS + 3)) == Added(new=3, repeated=ROWS)


def test_another_process_may_have_added_since_the_pool_was_opened(tmp_path: Path) -> None:
    mine = Pool.make(tmp_path)
    Pool.open(tmp_path).add(numbered(5))
    assert mine.add(numbered(6)) == Added(new=1, repeated=5)
    assert content(mine) == numbered(6)


# -- what is no pool, or none any more --------------------------------------------------------------------------------


def test_what_is_no_pool_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing holds no pool: make one with"):
        Pool.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        Pool.make(tmp_path / "file")
    with pytest.raises(ValueError, match="holds other files and no pool"):
        Pool.make(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


@pytest.mark.parametrize("said", ["", "{}", "[1]", "\xff", '{"format"'])
def test_a_pool_that_does_not_say_its_format_is_refused(tmp_path: Path, said: str) -> None:
    Pool.make(tmp_path)
    (tmp_path / "pool.json").write_text(said, "latin-1")
    with pytest.raises(ValueError, match=r"pool\.json cannot be read"):
        Pool.open(tmp_path)


def test_a_pool_of_a_later_format_is_refused(tmp_path: Path) -> None:
    Pool.make(tmp_path)
    (tmp_path / "pool.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="format 2; this version of Active Tagger reads 1"):
        Pool.make(tmp_path)


def test_lost_swapped_and_torn_parts_are_told_of(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path)
    pool.add(numbered(3 * ROWS))
    second, third = (part.path for part in pool.parts[1:])
    kept = second.read_bytes()
    place = pq.read_metadata(second).row_group(0).column(2).data_page_offset - 10  # the end of the texts

    second.unlink()
    with pytest.raises(ValueError, match=r"part-00001\.parquet is missing"):
        Pool.open(tmp_path)
    second.write_bytes(third.read_bytes())
    with pytest.raises(ValueError, match=r"part-00001\.parquet does not begin with row 8"):
        Pool.open(tmp_path)
    second.write_bytes(kept[:-20])
    with pytest.raises(ValueError, match=r"part-00001\.parquet is damaged"):
        Pool.open(tmp_path)
    second.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])  # one bit
    with pytest.raises(ValueError, match=r"part-00001\.parquet is damaged"):
        pool.read(pool.parts[1])
    second.write_bytes(kept)
    assert content(Pool.open(tmp_path)) == numbered(3 * ROWS)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("a text", "is a str, not an object"),
        ({"text": {1, 2}}, "is no JSON: Object of type set"),
        ({"text": float("nan")}, "is no JSON: Out of range float"),
        ({1: "a", "b": "c"}, "is no JSON: '<' not supported"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, task: Any, words: str) -> None:
    pool = Pool.make(tmp_path)
    with pytest.raises(ValueError, match=f"task 2 of this import {words}"):
        pool.add([{"text": "good"}, task])
    assert pool.size == 0


# -- what was sent ----------------------------------------------------------------------------------------------------


def test_what_was_sent_is_remembered_by_project_and_a_later_note_holds(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path)
    pool.add(numbered(5))
    assert pool.sent("7") == {}
    pool.note_sent("7", {3: 30, 1: 10})
    pool.note_sent("7", {3: 31, 2: 20})
    pool.note_sent("8", {0: 2**62})
    again = Pool.open(tmp_path)
    assert again.sent("7") == {3: 31, 1: 10, 2: 20}
    assert again.sent("8") == {0: 2**62}
    assert again.sent("9") == {}
    assert again.projects() == ["7", "8"]
    again.note_sent("9", {})
    assert again.sent("9") == {}


@given(project=st.text(min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_no_project_key_leads_out_of_the_folder(project: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        pool = Pool.make(Path(place) / "pool")
        pool.note_sent(project, {1: 2})
        assert pool.sent(project) == {1: 2}
        assert pool.projects() == [project]
        assert {path.parent for path in Path(place).rglob("*.parquet")} == {Path(place) / "pool" / "sent"}


def test_notes_made_at_once_are_all_kept(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda row: Pool.open(tmp_path).note_sent("7", {row: 10 * row}), range(40)))
    assert pool.sent("7") == {row: 10 * row for row in range(40)}


def test_what_was_sent_is_read_whole_while_it_is_written(tmp_path: Path) -> None:
    pool = Pool.make(tmp_path)
    pool.note_sent("7", {0: 0})
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(lambda: [pool.note_sent("7", {row: 10 * row}) for row in range(100)])
        sizes = [0]
        while not writing.done():
            sent = pool.sent("7")
            assert sent == {row: 10 * row for row in range(len(sent))}
            sizes.append(len(sent))
    assert sizes == sorted(sizes)
    assert len(pool.sent("7")) == 100
