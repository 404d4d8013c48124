"""What was backed up comes back, while the backend writes and after its disk is gone; nothing else gets in."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from typer.testing import CliRunner

import cli
from learning import archives, backup, rounds
from learning.archives import MANIFEST, DamagedArchive
from learning.database import FILE, Annotation, DamagedDatabase, Database, Project, Round
from learning.migrations import HEAD, NewerDatabase
from learning.settings import Settings
from learning.workspace import Workspace
from server import heartbeat
from tests.learning.test_migrations import FIRST_RELEASE, postgres, rows  # noqa: F401
from tests.learning.test_rounds import ListVenue, current, whole_round
from tests.learning.texts import bare, texts

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Of a data folder that is not there yet: a new disk."""
    monkeypatch.chdir(tmp_path)
    return Settings(data_dir=tmp_path / "new", tagger="crf", cold_start="random")


@pytest.fixture
def made(workspace, project, tmp_path):
    """A backup of a project after two rounds."""
    for labelled in (20, 30):
        whole_round(workspace, project, ListVenue(labelled))
    done = backup.backup(workspace.settings, tmp_path / "backup.zip")
    assert (done.database, done.models, done.left_out) == (True, 2, ())
    return done.path


@pytest.fixture
def small(settings, tmp_path):
    """A backup of the first release's database, without models."""
    old = Settings(data_dir=tmp_path / "old")
    old.data_dir.mkdir()
    with sqlite3.connect(old.data_dir / FILE) as connection:
        connection.executescript(FIRST_RELEASE)
    return backup.backup(old, tmp_path / "small.zip").path


def content(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, whatever it is called."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def close(workspace) -> None:
    """End what a backend's processes would hold."""
    workspace.db.engine.dispose()


def test_everything_comes_back_on_a_new_disk(workspace, project, made, settings):
    before, known = rows(workspace.db.engine), bare(texts(40, seed=5))
    version = current(workspace, project).version
    predicted = workspace.models.load(project, version).predict(known)
    assert any(predicted)
    close(workspace)
    shutil.rmtree(workspace.settings.data_dir)

    done = backup.restore(settings, made)
    assert (done.database, done.models, done.aside) == (True, 2, None)
    restored = Workspace(settings)
    after = rows(restored.db.engine)
    (now_due,) = after["projects"]
    assert (now_due["due"], now_due["due_reason"]) == ("rank", "restored from a backup")
    assert now_due["due_model"] == current(restored, project).id
    assert after | {"projects": [now_due | {"due": None, "due_reason": None, "due_model": None}]} == before
    assert restored.models.load(project, version).predict(known) == predicted
    assert restored.models.versions(project) == {row["version"] for row in before["rounds"]}
    assert not [*settings.data_dir.glob(".*")], "nothing is left of the work"

    venue = ListVenue(30)  # and it goes on: the round that is due publishes the queue anew, with the same model
    round_id = rounds.claim(restored.db, project)
    rounds.run(restored.db, restored.models, round_id, venue, settings)
    rounds.publish(restored.db, restored.models, round_id, venue, settings)
    this = current(restored, project)
    assert (this.kind, this.version in venue.published) == ("rank", True)
    assert restored.db.read and now_due["current_round_id"] == this.model_round_id


def test_it_is_for_its_owner_only_and_whole_or_not_there(workspace, made, tmp_path, monkeypatch):
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert zipfile.ZipFile(made).testzip() is None
    folder = tmp_path / "backups"
    folder.mkdir()
    first = backup.backup(workspace.settings, folder).path
    assert first.parent == folder
    assert first.suffix == ".zip"
    with pytest.raises(ValueError, match="is there already"):
        backup.backup(workspace.settings, made)

    def breaks(self, *_):
        raise OSError("the disk is full")

    monkeypatch.setattr(archives.Archive, "check", breaks)
    with pytest.raises(OSError, match="disk is full"):
        backup.backup(workspace.settings, folder / "second.zip")
    assert [*folder.iterdir()] == [first]
    assert not [*workspace.settings.data_dir.glob(".*")]


def test_restored_files_are_for_their_owner_only(made, settings):
    backup.restore(settings, made)
    files = [settings.data_dir, *settings.data_dir.rglob("*")]
    assert [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077] == []


def write_pairs(data_dir, ready, stop) -> None:
    """Annotations 2n and 2n + 1 in one transaction, n = 1, 2, …"""
    db, n = Database.in_folder(data_dir), 0
    while not stop.is_set():
        n += 1
        with db.write() as session:
            for id in (2 * n, 2 * n + 1):
                session.add(Annotation(project_id=1, id=id, task_id=n, result=["x" * 500], updated_at="", revision=n))
        if n == 20:
            ready.set()


def test_while_another_process_writes(workspace, project, settings, tmp_path):
    """Each backup holds every transaction that was committed before it began, and none by halves."""
    spawn = multiprocessing.get_context("spawn")
    ready, stop = spawn.Event(), spawn.Event()
    writer = spawn.Process(target=write_pairs, args=(workspace.settings.data_dir, ready, stop))
    writer.start()
    counts = []
    try:
        assert ready.wait(120)
        for number in range(5):
            with workspace.db.read() as session:
                committed = len(session.scalars(select(Annotation.id)).all())
            file = backup.backup(workspace.settings, tmp_path / f"{number}.zip").path
            with zipfile.ZipFile(file) as packed:
                packed.extract(FILE, tmp_path / str(number))
            with sqlite3.connect(tmp_path / str(number) / FILE) as copy:
                ids = [id for (id,) in copy.execute("SELECT id FROM annotations ORDER BY id")]
            assert ids == list(range(2, len(ids) + 2))
            assert len(ids) % 2 == 0
            assert len(ids) >= committed
            counts.append(len(ids))
    finally:
        stop.set()
        writer.join(60)
    assert writer.exitcode == 0
    assert counts[-1] > counts[0], "it went on writing meanwhile"


def test_while_rounds_come_and_go(workspace, project, settings, tmp_path):
    """Whichever moment a backup is of: the model in use is in it."""
    workspace.settings.keep_versions = 1
    whole_round(workspace, project, ListVenue(20))
    stop = threading.Event()

    def learn():
        while not stop.is_set():
            whole_round(workspace, project, ListVenue(20))

    trainer = threading.Thread(target=learn)
    trainer.start()
    try:
        files, seen = list[Path](), set[str]()
        while len(files) < 6 or len(seen) < 3:
            files.append(backup.backup(workspace.settings, tmp_path / f"{len(files)}.zip").path)
            seen.add(current(workspace, project).version)
    finally:
        stop.set()
        trainer.join()
    in_use = set()
    for file in files:
        backup.restore(settings, file, force=True)
        restored = Workspace(settings)
        version = current(restored, project).version
        assert len(restored.models.load(project, version).predict(bare(texts(3)))) == 3
        in_use.add(version)
        close(restored)
    assert len(in_use) > 1, "rounds went on meanwhile"


def test_a_model_that_is_not_whole_is_left_out_and_told(workspace, project, made, tmp_path):
    newest = workspace.models.folder(project, current(workspace, project).version)
    next(file for file in newest.iterdir() if file.suffix not in {".json", ""}).write_bytes(b"damage")
    done = backup.backup(workspace.settings, tmp_path / "second.zip")
    assert done.models == 1
    (told,) = done.left_out
    assert newest.name in told


def test_models_that_no_round_names_stay_behind(workspace, project, made, tmp_path):
    shelf = workspace.models.shelf(project)
    shutil.copytree(
        workspace.models.folder(project, current(workspace, project).version), shelf / "v99-20260101-000000"
    )
    assert backup.backup(workspace.settings, tmp_path / "second.zip").models == 2


def test_a_database_that_is_there_is_replaced_only_when_told_and_kept(workspace, project, made):
    settings = workspace.settings
    with workspace.db.write() as session:
        session.get_one(Project, project).title = "later"
    close(workspace)
    before = content(settings.data_dir)
    with pytest.raises(ValueError, match="--force"):
        backup.restore(settings, made)
    assert content(settings.data_dir) == before
    done = backup.restore(settings, made, force=True)
    with Workspace(settings).db.read() as session:
        assert session.get_one(Project, project).title is None
    with Database(f"sqlite:///{done.aside / FILE}").read() as session:
        assert session.get_one(Project, project).title == "later"
    assert content(done.aside / "models") == content(settings.data_dir / "models") != {}


HOLDS_IT = """
import sys
from pathlib import Path
from sqlalchemy import text
from learning.database import Database
db = Database.in_folder(Path(sys.argv[1]))
with db.read() as session:
    session.execute(text("SELECT 1"))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_database_that_a_process_has_open_is_not_replaced(workspace, made):
    """As the web processes have it, between two requests."""
    close(workspace)
    words = [sys.executable, "-c", HOLDS_IT, str(workspace.settings.data_dir)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="stop the backend"):
            backup.restore(workspace.settings, made, force=True)
        process.stdin.close()
        assert process.wait(60) == 0
    backup.restore(workspace.settings, made, force=True)


def test_a_damaged_database_is_not_backed_up_but_replaced(workspace, project, made, tmp_path):
    close(workspace)
    file = workspace.settings.data_dir / FILE
    damage = file.read_bytes()[: 3 * 4096] + b"\xa5" * (file.stat().st_size - 3 * 4096)
    file.write_bytes(damage)
    with pytest.raises(DamagedDatabase, match="cli restore"):
        backup.backup(workspace.settings, tmp_path / "second.zip")
    assert not (tmp_path / "second.zip").exists()
    done = backup.restore(workspace.settings, made, force=True)
    assert (done.aside / FILE).stat().st_size == len(damage)
    Workspace(workspace.settings).db.check()


def test_of_an_earlier_release_is_lifted_and_the_original_is_not(settings, tmp_path, small):
    with sqlite3.connect(tmp_path / "old" / FILE) as left, sqlite3.connect(":memory:") as first:
        first.executescript(FIRST_RELEASE)
        assert list(left.iterdump()) == list(first.iterdump()), "one can back up with a new release before upgrading"
    backup.restore(settings, small)
    found = rows(create_engine(f"sqlite:///{settings.data_dir / FILE}"))
    assert found["alembic_version"] == [{"version_num": HEAD}]
    assert len(found["annotations"]) == 3


def test_of_a_later_release_is_refused(workspace, made, settings, tmp_path):
    with sqlite3.connect(workspace.settings.data_dir / FILE) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9041'")
    later = backup.backup(workspace.settings, tmp_path / "later.zip").path
    with pytest.raises(NewerDatabase, match="9041"):
        backup.restore(settings, later)
    assert content(settings.data_dir) == {}


def altered(made: Path, target: Path, *, add=(), alter=None, drop=None, lie=None) -> Path:
    """The archive with entries added, the bytes of one replaced or dropped, or its manifest changed by `lie`."""
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(target, "w") as out:
        for part in source.infolist():
            data = source.read(part)
            if part.filename == MANIFEST and lie is not None:
                manifest = json.loads(data)
                lie(manifest)
                data = json.dumps(manifest).encode()
            if part.filename == drop:
                continue
            out.writestr(part, alter[1] if alter and part.filename == alter[0] else data)
        for part, data in add:
            out.writestr(part, data)
    return target


def link(name: str) -> zipfile.ZipInfo:
    part = zipfile.ZipInfo(name)
    part.create_system, part.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return part


HOSTILE = [
    "../evil", "/etc/evil", "//evil", "models/1/../../../evil", "models/1/./evil", "models\\1\\..\\..\\evil", "C:/evil",
    "models//1/evil", "models/1/", "..", ".", "models/1/v1/..", "models/1/v1/a\x01/../../../../evil",
]  # fmt: skip


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_paths_are_refused(small, settings, tmp_path, name, listed):
    def lie(manifest):
        if listed:
            manifest["files"][name] = "0" * 64

    evil = altered(small, tmp_path / "evil.zip", add=[(name, b"evil")], lie=lie)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DamagedArchive, match="nothing was changed"):
        backup.restore(settings, evil)
    assert set(tmp_path.rglob("*")) == before
    assert not any(Path(folder, "evil").exists() for folder in ("/", "/etc", tmp_path.parent, Path.cwd()))


@pytest.mark.parametrize("name", ["models/1/v1-20260101-000000/link", FILE])
def test_links_and_doubles_are_refused(small, settings, tmp_path, name):
    def lie(manifest):
        manifest["files"][name] = "0" * 64

    with pytest.warns(UserWarning, match="Duplicate") if name == FILE else pytest.MonkeyPatch.context():
        evil = altered(small, tmp_path / "evil.zip", add=[(link(name), b"/etc/passwd")], lie=lie)
    with pytest.raises(DamagedArchive):
        backup.restore(settings, evil)
    assert not settings.data_dir.exists()


def test_files_that_are_no_part_of_a_backup_are_refused(small, settings, tmp_path):
    sums = archives.sha256(Path(__file__))
    for name in (".env", "trainer-alive", "models/evil", "models/x/evil", "server/__init__.py"):
        evil = altered(
            small,
            tmp_path / "evil.zip",
            add=[(name, Path(__file__).read_bytes())],
            lie=lambda manifest, name=name: manifest["files"].update({name: sums}),
        )
        with pytest.raises(DamagedArchive, match="is no backup"):
            backup.restore(settings, evil)


def a_model_file(made: Path) -> str:
    return next(name for name in zipfile.ZipFile(made).namelist() if name.endswith("tagger.json"))


def damaged_ones(made: Path, tmp_path: Path):
    """Name and file of archives that are damaged in all the ways one can think of."""
    whole = made.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        (cut := tmp_path / f"cut-{share}.zip").write_bytes(whole[: int(share * len(whole))])
        yield cut
    for position in range(7, len(whole), len(whole) // 40):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        (file := tmp_path / f"flipped-{position}.zip").write_bytes(flipped)
        yield file
    model = a_model_file(made)
    yield altered(made, tmp_path / "other-bytes.zip", alter=(model, b"{}"))
    yield altered(made, tmp_path / "dropped.zip", drop=model)
    yield altered(made, tmp_path / "no-manifest.zip", drop=MANIFEST)
    yield altered(made, tmp_path / "no-json.zip", alter=(MANIFEST, b"\xff{"))
    yield altered(made, tmp_path / "other-format.zip", lie=lambda manifest: manifest.update(format=2))
    yield altered(  # a folder of a model that is not whole, although the manifest agrees
        made, tmp_path / "half-a-model.zip", drop=model, lie=lambda manifest: manifest["files"].pop(model)
    )


def test_a_damaged_archive_changes_nothing(workspace, made, tmp_path):
    close(workspace)
    settings = workspace.settings
    backup.in_use(settings.data_dir / FILE)  # puts the write-ahead log into the file, as restoring would
    before = content(settings.data_dir)
    good = content_of(made)
    tried = 0
    for file in damaged_ones(made, tmp_path):
        try:
            backup.restore(settings, file, force=True)
        except DamagedArchive as error:
            assert str(file) in str(error)
            assert content(settings.data_dir) == before, file
            tried += 1
        else:  # a byte that says nothing, such as a date
            assert content_of(file) == good, file
            shutil.rmtree(settings.data_dir)
            backup.restore(settings, made)
            before = content(settings.data_dir)
    assert tried > 40


def content_of(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_without_room_nothing_is_written(small, settings, monkeypatch):
    usage = shutil.disk_usage(small.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="more than is free"):
        backup.restore(settings, small)
    assert content(settings.data_dir) == {}


def test_killed_restorations_leave_nothing_for_long(workspace, made):
    left = workspace.settings.data_dir / ".restore-killed"
    left.mkdir()
    close(workspace)
    backup.restore(workspace.settings, made, force=True)
    assert left.exists(), "somebody may be at it"
    os.utime(left, (time.time() - 2 * backup.ABANDONED,) * 2)
    backup.restore(workspace.settings, made, force=True)
    assert not left.exists()


def test_without_a_database_or_a_backup_it_says_so(settings, tmp_path):
    with pytest.raises(FileNotFoundError, match="no data folder"):
        backup.backup(settings, tmp_path / "backup.zip")
    settings.data_dir.mkdir()
    with pytest.raises(FileNotFoundError, match="no database"):
        backup.backup(settings, tmp_path / "backup.zip")
    with pytest.raises(FileNotFoundError):
        backup.restore(settings, tmp_path / "backup.zip")
    assert content(tmp_path) == {}


def test_the_commands(workspace, project, made, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(workspace.settings.data_dir))
    close(workspace)

    def run(*words: str):
        result = CliRunner().invoke(cli.app, list(words))
        return result.exit_code, " ".join(result.output.split())

    code, said = run("backup", str(tmp_path / "second.zip"))
    assert (code, "2 models" in said, "keep it safe" in said) == (0, True, True)
    heartbeat.beat(workspace)
    code, said = run("restore", str(tmp_path / "second.zip"), "--force")
    assert (code, "stop the backend" in said) == (2, True)
    os.utime(workspace.settings.data_dir / heartbeat.NAME, (time.time() - 60,) * 2)
    code, said = run("restore", str(tmp_path / "second.zip"))
    assert (code, "--force" in said) == (2, True)
    code, said = run("restore", str(tmp_path / "second.zip"), "--force")
    assert (code, "is kept in" in said, "the database and 2 models" in said) == (0, True, True)
    (tmp_path / "second.zip").write_bytes(b"no zip")
    code, said = run("restore", str(tmp_path / "second.zip"), "--force")
    assert (code, "cannot be used" in said) == (2, True)


def test_beside_postgresql_the_models_alone(postgres, tmp_path, monkeypatch, made, workspace, project):  # noqa: F811
    settings = workspace.settings.model_copy(update={"database_url": postgres})
    served, lite = Workspace(settings), workspace
    with served.db.write() as session, lite.db.read() as there:
        for kind in (Project, Round):
            for row in there.scalars(select(kind)):
                session.merge(row)
            session.flush()
    done = backup.backup(settings, tmp_path / "models.zip")
    assert (done.database, done.models) == (False, 2)
    before = content(settings.data_dir / "models")
    shutil.rmtree(settings.data_dir / "models")
    assert backup.restore(settings, done.path).models == 2
    assert content(settings.data_dir / "models") == before
    with pytest.raises(ValueError, match="DATABASE_URL"):
        backup.restore(settings, made)
    with pytest.raises(ValueError, match="DATABASE_URL"):
        backup.restore(lite.settings, done.path, force=True)
    close(served)
