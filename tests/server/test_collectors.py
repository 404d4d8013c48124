"""Memory of the processes, from a real /proc and from one that is written here. (The rest: `test_telemetry.py`.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.collectors import memory


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
def test_memory_is_that_of_the_family(tmp_path: Path) -> None:
    [own] = [sample for sample in memory().samples if sample.labels == {"process": "web"}]
    assert 20e6 < own.value < 20e9
    psutil = pytest.importorskip("psutil")
    assert own.value == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    assert not memory(tmp_path / "none").samples


def stat(proc: Path, pid: int, parent: int, pages: int, command: str) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} (a) name) S {parent} 0 0")
    (folder / "statm").write_text(f"9 {pages} 0 0 0 0 0")
    (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode())


def test_memory_of_workers_and_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m server` starts them, another backend beside."""
    monkeypatch.setattr(os, "getpid", lambda: 22)
    monkeypatch.setattr(os, "getppid", lambda: 20)
    gunicorn, trainer = "python -m gunicorn server.app:app", "python -m server.trainer"
    stat(tmp_path, 10, 1, 1, "python -m server")
    stat(tmp_path, 20, 10, 2, gunicorn)
    stat(tmp_path, 21, 20, 4, gunicorn)
    stat(tmp_path, 22, 20, 8, gunicorn)
    stat(tmp_path, 30, 10, 16, trainer)
    stat(tmp_path, 31, 30, 32, "python -c from multiprocessing.spawn import spawn_main")
    stat(tmp_path, 90, 1, 1 << 20, "python -m server")
    stat(tmp_path, 91, 90, 1 << 20, trainer)
    page = os.sysconf("SC_PAGE_SIZE")
    found = {sample.labels["process"]: sample.value / page for sample in memory(tmp_path).samples}
    assert found == {"web": 2 + 4 + 8, "trainer": 16 + 32}
