"""Full disks, locks, damage and too little memory, brought about for real processes: what they say, what goes on, and
that it ends by itself when the cause is gone. Label Studio's part is played by its own events."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.end_to_end.backend import ROOT, RunningBackend
from tests.end_to_end.test_live_loop import distinct
from tests.server.conftest import Sender

pytestmark = pytest.mark.slow

PROJECT = 4
ROUND = 10
"""Annotations that start one."""


class Patient(RunningBackend):
    """Waits longer: what is tried here says nothing about speed."""

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """As ever, on a machine that may have much else to do."""
        return super().wait_for(condition, what, max(seconds, 240))


class Fed:
    """A backend with one project of 200 texts, told of everything as Label Studio would."""

    def __init__(self, folder: Path, **settings: str) -> None:
        settings = {"LABEL_STUDIO_URL": "", "ROUND_SIZE": str(ROUND), "HOLDOUT_SHARE": "0", **settings}
        self.backend = Patient(folder, **settings)
        self.sender = Sender(httpx.Client(base_url=self.backend.url, timeout=60), PROJECT)
        self.sentences = {int(sentence.id): sentence for sentence in distinct(200)}
        self.accepted: set[int] = set()
        self.refused: list[httpx.Response] = []
        self.next = 1

    def introduce(self) -> dict[str, Any]:
        """Connect the project, tell its texts, label the first; the round that follows."""
        self.sender.setup().raise_for_status()
        tasks = [self.sender.task(id, sentence.text) for id, sentence in self.sentences.items()]
        self.sender.webhook("TASKS_CREATED", tasks=tasks).raise_for_status()
        self.label(ROUND)
        return self.backend.round_after(PROJECT, kind="fit")

    def label(self, count: int) -> None:
        """Annotate the next texts. What the backend refuses, it has to refuse in the agreed way."""
        for _ in range(count):
            id = self.next
            self.next += 1
            spans = [(s.start, s.end, s.label) for s in self.sentences[id].spans or ()]
            annotation = self.sender.annotation(1000 + id, id, spans)
            task = self.sender.task(id, self.sentences[id].text)
            answer = self.sender.webhook("ANNOTATION_CREATED", task=task, annotation=annotation)
            if answer.is_success:
                self.accepted.add(1000 + id)
            else:
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) > 0
                assert "Traceback" not in answer.text and str(self.backend.folder) not in answer.text
                self.refused.append(answer)

    def serves(self, version: str) -> None:
        """The last good model answers, for texts that it has ranked and for new ones."""
        setup = self.sender.setup()
        assert setup.json() == {"model_version": version}
        told = self.sender.predict(
            self.sender.task(150, self.sentences[150].text), self.sender.task(900, "Ada lives in Oslo now")
        )
        assert told.status_code == 200, told.text
        ranked, new = told.json()["results"]
        assert ranked["model_version"] == new["model_version"] == version
        assert {region["value"]["labels"][0] for region in new["result"]} == {"PER", "LOC"}

    def says(self, words: str, *, doctor: bool) -> None:
        """The project's state tells of the fault, and `doctor` where it meets the same."""

        def told() -> bool:
            (shown,) = httpx.get(f"{self.backend.url}/api/projects", timeout=30).raise_for_status().json()["projects"]
            return words in f"{shown['notice']} {shown['error']}"

        self.backend.wait_for(told, words, 60)
        assert not doctor or words.lower() in self.doctor()

    def doctor(self) -> str:
        """What the command prints, in one line and small letters. Without a Label Studio something is always wrong."""
        command = [sys.executable, "-m", "cli", "doctor"]
        environment = self.backend.environment | {"COLUMNS": "400"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode in (1, 2), done.stderr
        return " ".join((done.stdout + done.stderr).split()).lower()

    def nothing_is_lost(self) -> None:
        """Every annotation that was answered 2xx is in the database."""
        with sqlite3.connect(f"file:{self.backend.folder / 'data/active-tagger.db'}?mode=ro", uri=True) as database:
            stored = {id for (id,) in database.execute("SELECT id FROM annotations WHERE NOT deleted")}
        assert self.accepted <= stored

    def processes(self) -> list[psutil.Process]:
        """All of them."""
        return psutil.Process(self.backend.process.pid).children(recursive=True)


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A file system of this size at `folder`, in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={int(megabytes * 1024)}k"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def fed(tmp_path: Path) -> Iterator[Callable[..., Fed]]:
    """Starts a backend; it is stopped at the end."""
    started: list[Fed] = []

    def start(**settings: str) -> Fed:
        started.append(Fed(tmp_path, **settings))
        return started[-1]

    yield start
    for one in started:
        if one.backend.process.poll() is None:
            one.backend.stop()


@contextmanager
def full(fed: Fed) -> Iterator[None]:
    """Not one block is free."""
    ballast = fed.backend.folder / "data" / "ballast"
    with ballast.open("wb") as file:
        for size in (2**16, 2**12):
            with suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def no_file_may_grow(fed: Fed) -> Iterator[None]:
    """As full, without the rights to mount anything: no process of the backend may write beyond a file's first page."""
    before = {process: process.rlimit(psutil.RLIMIT_FSIZE) for process in fed.processes()}
    for process, (_, hard) in before.items():
        process.rlimit(psutil.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        for process, limits in before.items():
            if process.is_running():
                process.rlimit(psutil.RLIMIT_FSIZE, limits)


@contextmanager
def locked(fed: Fed) -> Iterator[None]:
    """Another process has begun to write, and does not end."""
    code = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('BEGIN IMMEDIATE'); print(1); input()"
    file = str(fed.backend.folder / "data" / "active-tagger.db")
    command = [sys.executable, "-u", "-c", code, file]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdin
        other.stdout.readline()
        try:
            yield
        finally:
            other.stdin.close()


@pytest.mark.parametrize(
    ("fault", "words", "megabytes"),
    [
        (full, "the disk of DATA_DIR is full", 16),
        (no_file_may_grow, "the disk of DATA_DIR reports an error, or a limit", 0),
        (locked, "another process keeps the database locked", 0),
    ],
)
def test_what_cannot_be_written_is_refused_and_all_goes_on_afterwards(
    fed: Callable[..., Fed], tmp_path: Path, fault: Callable[[Fed], AbstractContextManager[None]], words: str, megabytes
):
    with small_disk(tmp_path / "data", megabytes) if megabytes else nullcontext():
        one = fed()
        first = one.introduce()
        with fault(one):
            one.label(1)
            one.serves(first["version"])
            one.says(words, doctor=fault is not no_file_may_grow)  # that keeps these processes from it only
            one.serves(first["version"])
        assert one.refused and words in one.refused[0].json()["detail"]
        refused = len(one.refused)
        one.label(ROUND)
        assert len(one.refused) == refused
        one.backend.wait_for(lambda: trained_on(one.backend.project(PROJECT), 2 * ROUND), "the next model")
        one.backend.wait_for(lambda: words not in str(one.backend.project(PROJECT)["notice"]), "the notice to go")
        one.nothing_is_lost()
        log = one.backend.log.read_text()
        assert log.count("Traceback") == 0, log[-4000:]
        one.backend.stop()


@contextmanager
def no_room_for_models(fed: Fed) -> Iterator[None]:
    """The models have a disk of their own, of which not one block is left."""
    ballast = fed.backend.folder / "data" / "models" / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(fed: Fed) -> Iterator[None]:
    """A read-only view is mounted over the data folder: what is opened from now on cannot be written to."""
    folder = str(fed.backend.folder / "data")
    subprocess.run(["mount", "--rbind", folder, folder], check=True)  # with the disk of the models, which is on it
    try:
        for part in (f"{folder}/models", folder):
            subprocess.run(["mount", "-o", "remount,bind,ro", part], check=True)
        yield
    finally:
        subprocess.run(["umount", "-R", "-l", folder], check=True)


@contextmanager
def no_memory(fed: Fed) -> Iterator[None]:
    """The training process may take next to nothing more than it holds, and a text of 40,000 words comes in."""
    (training,) = (one for one in fed.processes() if one.rlimit(psutil.RLIMIT_DATA)[0] == 64 * 2**30)
    before = training.rlimit(psutil.RLIMIT_DATA)
    training.rlimit(psutil.RLIMIT_DATA, (training.memory_info().data + 2**22, before[1]))
    fed.sender.webhook("TASKS_CREATED", tasks=[fed.sender.task(500, "Ada lives in Oslo " * 10_000)]).raise_for_status()
    try:
        yield
    finally:
        training.rlimit(psutil.RLIMIT_DATA, before)


@pytest.mark.parametrize(
    ("fault", "words", "settings"),
    [
        (no_room_for_models, "the disk of DATA_DIR is full", {}),
        (read_only, "DATA_DIR cannot be written to", {}),
        (no_memory, "that TRAINER_MEMORY_GB allows", {"TRAINER_MEMORY_GB": "64"}),
    ],
)
def test_a_round_that_fails_leaves_the_last_good_model_and_is_tried_again(
    fed: Callable[..., Fed], tmp_path: Path, fault: Callable[[Fed], AbstractContextManager[None]], words: str, settings
):
    with small_disk(tmp_path / "data", 16), small_disk(tmp_path / "data" / "models", 1):
        one = fed(**settings)
        first = one.introduce()
        with fault(one):
            one.label(ROUND)
            shown = one.backend.wait_for(lambda: failed(one.backend.project(PROJECT)), "a failed round")
            assert words in shown["error"]
            one.serves(first["version"])
            assert one.backend.project(PROJECT)["version"] == first["version"]
            assert words.lower() in one.doctor()
        next_round = one.backend.wait_for(lambda: trained_on(one.backend.project(PROJECT), 2 * ROUND), "another try")
        assert next_round["number"] > shown["number"]
        one.backend.wait_for(lambda: one.backend.project(PROJECT)["error"] is None, "the error to go")
        one.nothing_is_lost()
        one.backend.stop()


def failed(project: dict[str, Any]) -> dict[str, Any] | None:
    return next((this for this in project["rounds"] if this["state"] == "failed"), None)


def trained_on(project: dict[str, Any], sentences: int) -> dict[str, Any] | None:
    done = (this for this in project["rounds"] if this["state"] == "done" and this["kind"] == "fit")
    return next((this for this in done if this["metrics"]["train_sentences"] >= sentences), None)


def test_times_from_before_the_clock_was_set_back_stop_nothing(fed: Callable[..., Fed]):
    one = fed()
    first = one.introduce()
    one.backend.stop()
    data = one.backend.folder / "data"
    with sqlite3.connect(data / "active-tagger.db") as database:
        later = "datetime('now', '+5 hours')"
        database.execute(f"UPDATE projects SET failures = 3, retry_at = {later}, touched_at = {later}, due = 'fit'")
        database.execute(f"UPDATE rounds SET started_at = {later}, heartbeat = {later}")
    (data / "trainer-alive").touch()  # as if it had been killed
    os.utime(data / "trainer-alive", (time.time() + 5 * 3600,) * 2)
    assert "its last sign of life is" in one.doctor()  # a trainer that does not run is not taken for one that does
    one.backend.start()
    second = one.backend.round_after(PROJECT, first["number"], "fit", 60)
    one.serves(second["version"])


def test_a_damaged_model_is_not_loaded_and_replaced_by_itself(fed: Callable[..., Fed]):
    one = fed()
    first = one.introduce()
    one.backend.stop()
    (file,) = (one.backend.folder / "data" / "models").rglob("*.crfsuite")
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 0xFF
    file.write_bytes(held)
    assert file.name in one.doctor()
    one.backend.start()
    told = one.sender.predict(
        one.sender.task(150, one.sentences[150].text), one.sender.task(900, "Ada lives in Oslo now")
    )
    ranked, new = told.json()["results"]
    assert ranked["model_version"] == new["model_version"] == first["version"]
    second = one.backend.round_after(PROJECT, first["number"], "fit")
    one.backend.wait_for(lambda: one.sender.setup().json() == {"model_version": second["version"]}, "the new version")
    one.serves(second["version"])
    one.nothing_is_lost()


def damage_database(data: Path) -> None:
    """Every page but the first is overwritten, as a failing disk would: whoever reads next finds it."""
    file = data / "active-tagger.db"
    with sqlite3.connect(file) as database:
        database.execute("UPDATE projects SET title = title")  # what other connections have read is out of date
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    size = file.stat().st_size
    with file.open("r+b") as pages:
        pages.seek(4096)
        pages.write(b"\xff" * (size - 4096))


def test_a_damaged_database_is_told_in_words_and_replaced_by_a_backup(fed: Callable[..., Fed], tmp_path: Path):
    one = fed()
    first = one.introduce()
    environment, backups = one.backend.environment, tmp_path / "backups"
    backups.mkdir()

    def cli(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "cli", *arguments], cwd=ROOT, env=environment, check=True, timeout=120)

    cli("backup", str(backups))
    (backup,) = backups.iterdir()
    damage_database(one.backend.folder / "data")
    one.label(1)  # 503, in the agreed way
    assert one.refused and "is damaged" in one.refused[0].json()["detail"]
    shown = httpx.get(f"{one.backend.url}/api/projects", timeout=30)
    assert shown.status_code == 503 and "is damaged" in shown.text and "cli restore" in shown.text, shown.text
    assert httpx.get(f"{one.backend.url}/health", timeout=5).status_code == 200
    assert "is damaged" in one.doctor()
    one.backend.stop()
    command = [sys.executable, "-m", "server"]
    refused = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1 and "cli restore" in refused.stderr and "Traceback" not in refused.stderr
    cli("restore", str(backup), "--force")
    one.backend.start()
    one.serves(first["version"])
    one.label(ROUND)
    one.backend.wait_for(lambda: trained_on(one.backend.project(PROJECT), 2 * ROUND), "the next model")
    one.nothing_is_lost()
    one.backend.stop()
