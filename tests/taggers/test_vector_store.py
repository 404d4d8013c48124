"""The store of word vectors: several processes, kills, full disks and corrupt files never give a wrong vector."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from taggers import vector_store
from taggers.vector_store import Vectors, keep_in, store

WIDTH = 8
MADE = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from taggers import vector_store
def made(*numbers):
    return {n.to_bytes(8): np.random.default_rng(n).normal(size=(n % 5, 8)).astype(np.float16) for n in numbers}
vector_store.keep_in(Path(sys.argv[1]))
numbers = range(*map(int, sys.argv[2:4]))
vectors = vector_store.store("test", 8)
"""
"""How a child process begins; `made` is as here."""


def made(*numbers: int) -> Vectors:
    """Arrays of 0 to 4 words that their keys tell."""
    return {n.to_bytes(8): np.random.default_rng(n).normal(size=(n % 5, WIDTH)).astype(np.float16) for n in numbers}


def child(program: str, folder: Path, start: int, stop: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", MADE + program, str(folder), str(start), str(stop)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def as_if_new() -> None:
    """As in a process that has just begun."""
    vector_store._disk.cache_clear()
    vector_store._memory.__init__()  # type: ignore[misc]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    as_if_new()
    yield
    keep_in(None)
    as_if_new()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keep_in(tmp_path / "vectors")
    return tmp_path / "vectors"


def kept(*numbers: int) -> list[int]:
    """Which of these are there; those that are there must be right."""
    expected, there = made(*numbers), store("test", WIDTH).get([n.to_bytes(8) for n in numbers])
    for key, array in there.items():
        assert array.dtype == np.float16
        np.testing.assert_array_equal(array, expected[key])
    return [int.from_bytes(key) for key in there]


def rows_on_disk(folder: Path, generation: int = 0) -> int:
    return (folder / f"test.{generation}.fp16").stat().st_size // (2 * WIDTH)


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_put_comes_back(on_disk: bool, tmp_path: Path) -> None:
    keep_in(tmp_path / "vectors" if on_disk else None)
    assert store("test", WIDTH).get([]) == {} == store("test", WIDTH).get([b"unknown"])
    store("test", WIDTH).put(made(1, 2, 5))
    store("test", WIDTH).put({})
    store("test", WIDTH).put(made(2, 3))
    assert sorted(kept(1, 2, 3, 4, 5)) == [1, 2, 3, 5]
    assert store("other", WIDTH).get([(1).to_bytes(8)]) == {}, "each store has its own"
    assert list(tmp_path.iterdir()) == ([tmp_path / "vectors"] if on_disk else [])


def test_a_later_process_finds_them_and_what_is_there_stays(folder: Path) -> None:
    store("test", WIDTH).put(made(4))
    as_if_new()
    other = {(4).to_bytes(8): np.zeros((4, WIDTH), np.float16)}
    store("test", WIDTH).put({**other, **made(6)})
    as_if_new()
    assert sorted(kept(4, 5, 6)) == [4, 6] and rows_on_disk(folder) == 5


def test_views_stay_good_when_the_file_grows(folder: Path) -> None:
    store("test", WIDTH).put(made(3))
    early = store("test", WIDTH).get([(3).to_bytes(8)])[(3).to_bytes(8)]
    for n in range(4, 400, 20):
        store("test", WIDTH).put(made(*range(n, n + 20)))
        assert len(kept(*range(n, n + 20))) == 20
    np.testing.assert_array_equal(early, made(3)[(3).to_bytes(8)])
    assert early.flags.writeable, "torch warns of others"
    early[:] = 0
    as_if_new()
    assert kept(3) == [3], "what a view is set to stays in its process"


def test_memory_is_bounded_over_all_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "MEMORY_LIMIT", 10 * 2 * WIDTH)
    everything = [*made(*range(100, 150))]
    for n in range(100, 150):
        store("one", WIDTH).put(made(n))
        store("test", WIDTH).put(made(n))
        found = [store(name, WIDTH).get(everything) for name in ("one", "test")]
        assert sum(len(array) for of_store in found for array in of_store.values()) <= 10
        assert kept(n) == [n], "the newest are kept"
    store("test", WIDTH).put(made(149))
    assert vector_store._memory._size == sum(a.nbytes for a in vector_store._memory._vectors.values())


@pytest.mark.slow
def test_two_processes_write_at_once(folder: Path) -> None:
    program = "for n in numbers[::5]:\n    vectors.put(made(*range(n, n + 10)))\n"
    children = [child(program, folder, *numbers) for numbers in ((0, 150), (100, 250))]
    seen = 0
    while any(process.poll() is None for process in children):
        seen = max(seen, len(kept(*range(255))))
    for process in children:
        assert process.wait() == 0 and process.communicate()[1] == ""
    assert sorted(kept(*range(255))) == list(range(255))
    assert rows_on_disk(folder) == sum(n % 5 for n in range(255)), "nothing is written twice"


def test_a_kill_between_data_and_index(folder: Path) -> None:
    """The rows are there, the index knows nothing of them: whoever comes next writes over them."""
    store("test", WIDTH).put(made(4))
    process = child("os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\nvectors.put(made(13))", folder, 0, 0)
    assert process.wait() == -signal.SIGKILL
    assert rows_on_disk(folder) == 4 + 3 and kept(4, 13) == [4]
    store("test", WIDTH).put(made(9, 6))
    assert sorted(kept(4, 6, 9, 13)) == [4, 6, 9] and rows_on_disk(folder) == 4 + 4 + 1
    as_if_new()
    assert sorted(kept(4, 6, 9)) == [4, 6, 9]


def test_kills_at_any_moment(folder: Path) -> None:
    program = "print('begun', flush=True)\nfor n in numbers:\n    vectors.put(made(n))\n"
    rng, counts = np.random.default_rng(0), [0]
    for start in (0, 1000, 2000):
        process = child(program, folder, start, start + 1000)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0.01, 0.2))
        process.kill()
        process.wait()
        as_if_new()
        counts.append(len(kept(*range(3000))))
    assert counts[0] < counts[-1] < 3000, "not one was killed while it wrote"
    store("test", WIDTH).put(made(5000))
    assert kept(5000) == [5000]


def test_a_torn_tail_is_written_over(folder: Path) -> None:
    store("test", WIDTH).put(made(4))
    with (folder / "test.0.fp16").open("ab") as data:
        data.write(b"\x7f" * 101)
    store("test", WIDTH).put(made(8))
    as_if_new()
    assert sorted(kept(4, 8)) == [4, 8]


def test_a_full_disk(folder: Path) -> None:
    """A limit on the size of files: what fits is kept, the rest is remembered, later processes find no wrong one."""
    program = """
resource.setrlimit(resource.RLIMIT_FSIZE, (14000, 14000))
for n in numbers[::50]:
    vectors.put(made(*range(n, n + 50)))
there = vectors.get([n.to_bytes(8) for n in numbers])
assert all((there[key] == array).all() for key, array in made(*numbers).items())
"""
    process = child(program, folder, 0, 1000)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert said.count("memory must do") == 1, said
    there = kept(*range(1000))
    assert 10 < len(there) < 1000
    assert not list(folder.glob("*.corrupt"))
    store("test", WIDTH).put(made(*range(1000)))
    as_if_new()
    assert len(kept(*range(1000))) == 1000


def test_half_a_write(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    store("test", WIDTH).put(made(4))
    write = os.pwrite

    def little(file: int, data: memoryview, place: int) -> int:
        return write(file, data[:7], place)

    monkeypatch.setattr(os, "pwrite", little)
    store("test", WIDTH).put(made(7))

    room = itertools.count()

    def full(file: int, data: memoryview, place: int) -> int:
        if next(room) >= 3:
            raise OSError(28, "No space left on device")
        return little(file, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    store("test", WIDTH).put(made(3, 2))
    store("test", WIDTH).put(made(9))
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert sorted(kept(2, 3, 4, 7, 9)) == [2, 3, 4, 7, 9]
    as_if_new()
    assert sorted(kept(2, 3, 4, 7, 9)) == [4, 7]
    monkeypatch.setattr(os, "pwrite", write)
    store("test", WIDTH).put(made(2, 3))
    as_if_new()
    assert sorted(kept(2, 3, 4, 7)) == [2, 3, 4, 7]


def test_where_one_may_only_read(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "vectors"
        keep_in(folder)
        store("test", WIDTH).put(made(4))
        as_if_new()
        for path in (*folder.iterdir(), folder):
            path.chmod(0o555 if path.is_dir() else 0o444)
        process = os.fork()
        if process == 0:  # as nobody, for root may write anywhere
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                with caplog.at_level(logging.CRITICAL, "taggers"):
                    store("test", WIDTH).put(made(7))
                right = sorted(kept(4, 7)) == [4, 7]
                as_if_new()
                os._exit(0 if right and kept(4, 7) == [4] else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        folder.chmod(0o755)


def test_a_folder_that_cannot_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    keep_in(tmp_path / "file" / "vectors")
    for n in range(3):
        store("test", WIDTH).put(made(n))
    assert sorted(kept(0, 1, 2)) == [0, 1, 2]
    assert {record.levelname for record in caplog.records} == {"WARNING"} and len(caplog.records) == 1


def broken_index(folder: Path) -> None:
    (folder / "test.0.sqlite").write_bytes(b"no database" * 1000)


def broken_pages(folder: Path) -> None:
    with (folder / "test.0.sqlite").open("r+b") as index:
        index.seek(4096)
        index.write(b"\xff" * 8192)


def cut_data(folder: Path) -> None:
    os.truncate(folder / "test.0.fp16", 5)


def lost_data(folder: Path) -> None:
    (folder / "test.0.fp16").unlink()


@pytest.mark.parametrize("broken", [broken_index, broken_pages, cut_data, lost_data])
def test_what_is_corrupt_is_set_aside(broken, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store("test", WIDTH).put(made(1, 4))
    as_if_new()
    broken(folder)
    assert kept(1, 4) == []
    assert len(caplog.records) == 1 and "begun anew" in caplog.text
    store("test", WIDTH).put(made(4, 8))
    as_if_new()
    assert sorted(kept(1, 4, 8)) == [4, 8]
    assert (folder / "test.0.corrupt").exists() and rows_on_disk(folder, 1) == 7
    assert len(caplog.records) == 1, "said once"


def test_two_processes_meet_a_corrupt_index(folder: Path) -> None:
    """The second must not set aside what the first has begun."""
    first, second = (vector_store._Disk(folder, "test", WIDTH) for _ in range(2))
    first.put(made(4))
    assert second.get([*made(4)])
    broken_index(folder)
    first.put(made(8))
    assert first.get([*made(8)]).keys() == made(8).keys()
    second.put(made(9))
    assert second.get([*made(4, 8, 9)]).keys() == made(8, 9).keys() == first.get([*made(4, 8, 9)]).keys()
    assert [path.name for path in folder.glob("*.corrupt")] == ["test.0.corrupt"]


def test_a_store_in_use_elsewhere_is_waited_for(folder: Path) -> None:
    store("test", WIDTH).put(made(1))
    other = sqlite3.connect(folder / "test.0.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert kept(1) == [1], "readers need not wait"
    program = "print('begun', flush=True)\nvectors.put(made(2))\n"
    process = child(program, folder, 0, 0)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(0.1)
    assert process.poll() is None and kept(2) == []
    other.execute("ROLLBACK")
    assert process.wait() == 0 and kept(2) == [2]


def test_a_pool_is_looked_up_at_once(folder: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(14 * 14_000, WIDTH)).astype(np.float16)
    pool = {n.to_bytes(16): rows[14 * n : 14 * n + 14] for n in range(14_000)}
    store("test", WIDTH).put(pool)
    as_if_new()
    began = time.process_time()
    found = store("test", WIDTH).get([*pool])
    assert time.process_time() - began < 0.5
    assert found.keys() == pool.keys()
    np.testing.assert_array_equal(np.concatenate([found[key] for key in pool]), rows)
