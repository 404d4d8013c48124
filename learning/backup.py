"""Backups: the database and the models that its rounds name in one zip, and the way back from it.

What it is not: a way to take models from strangers. Some hold pickles, which are code: restore your own backups only.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import make_url, select

from learning.archives import Archive, DamagedArchive, pack
from learning.database import FILE, DamagedDatabase, Database, Project, Round
from learning.intake import mark_due
from learning.settings import Settings
from taggers import Damaged
from taggers.checksums import verify

MODELS = "models"
ABANDONED = 24 * 3600.0
"""Seconds after which a staging folder belongs to nobody any more."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was written or restored."""

    path: Path
    """The backup, or the data folder."""
    database: bool
    models: int
    left_out: tuple[str, ...] = ()
    """Models that are not whole, and why."""
    aside: Path | None = None
    """Where restoring has put what was there before."""


def database_file(settings: Settings) -> Path | None:
    """The file of an SQLite database; None where a server has the database."""
    if settings.database_url is None:
        return settings.data_dir / FILE
    url = make_url(settings.database_url)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def backup(settings: Settings, target: Path) -> Done:
    """Write a backup while the backend runs, to `target` or, if that is a folder, to a new file in it.

    It is there whole or not at all, and for its owner only: it holds access tokens. Raises ValueError if `target` is a
    file already, FileNotFoundError if there is no database, DamagedDatabase rather than keep a damaged one.
    """
    if target.is_dir():
        target = target / f"active-tagger-{datetime.now():%Y%m%d-%H%M%S}.zip"
    if target.exists():
        raise ValueError(f"{target} is there already: name another file, or a folder")
    if not settings.data_dir.is_dir():
        raise FileNotFoundError(f"there is no data folder {settings.data_dir.resolve()}: set DATA_DIR to the backend's")
    _tidy(settings.data_dir)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.data_dir) as folder:
        staged, stored = Path(folder), settings.data_dir / MODELS
        _link_models(stored, staged / MODELS)  # before the database and after it: a round may end meanwhile, which
        named = _stage_database(settings, staged)  # deletes models that the copy names, or adds such
        _link_models(stored, staged / MODELS)
        left_out = tuple(_leave_out(staged / MODELS, named))
        target.parent.mkdir(parents=True, exist_ok=True)
        pack(staged, target)
        return Done(target, (staged / FILE).exists(), len(_models(staged / MODELS)), left_out)


def restore(settings: Settings, file: Path, *, force: bool = False) -> Done:
    """Put a backup in the place of what is in the data folder, all of it or nothing.

    Nothing is touched before the whole backup is unpacked beside it and found to be good. Afterwards every project is
    due to be ranked, so that Label Studio gets the queue that belongs to the restored model; what people annotated in
    between is found by comparing. The backend must not run: its processes know what is not so any more.

    Raises DamagedArchive; ValueError if a database is there and `force` is not set, if it is in use, or if the backup
    does not fit this backend's kind of database; UnusableDatabase if a later release has made the backup.
    """
    database = database_file(settings)
    with Archive(file) as packed:
        _check_kind(packed, database)
        if database is not None and database.exists() and database.stat().st_size:
            if not force:
                raise ValueError(
                    f"{database} is there already: --force restores all the same, and keeps what is there aside"
                )
            if in_use(database):
                raise ValueError(f"{database} is open in a running process: stop the backend first")
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(settings.data_dir)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.data_dir) as folder:
            staged = Path(folder)
            packed.unpack(staged)
            for model in _models(staged / MODELS):
                try:
                    verify(model)
                except Damaged as error:
                    raise DamagedArchive(f"{file}: {error}") from None
            if database is not None:
                _make_ready(staged / FILE)
            models = len(_models(staged / MODELS))
            aside = _swap(settings.data_dir, staged, database)
    return Done(settings.data_dir, database is not None, models, aside=aside)


def in_use(database: Path) -> bool:
    """Whether another process of this machine has an SQLite database open."""
    with closing(sqlite3.connect(database, timeout=1)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # a lock that every open connection stands against
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:  # a damaged one cannot tell
            return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        return False


def _stage_database(settings: Settings, staged: Path) -> set[tuple[str, str]]:
    """A copy of the database as it is at one moment; project and version of each round that it names."""
    wanted = "SELECT DISTINCT project_id, version FROM rounds"
    source = database_file(settings)
    if source is None:
        with Database(settings.database_url or "").read() as session:
            rounds = session.execute(select(Round.project_id, Round.version)).all()
        return {(str(project), version) for project, version in rounds}
    if not source.exists():
        raise FileNotFoundError(f"there is no database {source}: set DATA_DIR to the folder that the backend uses")
    try:
        with closing(sqlite3.connect(source, timeout=15)) as one, closing(sqlite3.connect(staged / FILE)) as copy:
            one.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            found = [row[0] for row in copy.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise DamagedDatabase(str(source), "; ".join(found))
            return {(str(project), version) for project, version in copy.execute(wanted)}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedDatabase(str(source), str(error)) from None
        raise


def _models(stored: Path) -> list[Path]:
    """The folders of all models, also of those that rank: `<project>/<version>`, `<project>/acquisition/<version>`."""
    return sorted([*stored.glob("[0-9]*/v[0-9]*"), *stored.glob("[0-9]*/acquisition/v[0-9]*")])


def _link_models(stored: Path, staged: Path) -> None:
    """All models, and adapted encoders, that are not `staged` yet. Their files never change: a second name for each
    keeps it although the backend deletes the first."""
    for folder in [*_models(stored), *stored.glob("[0-9]*/adapted-*")]:
        copy = staged / folder.relative_to(stored)
        if not copy.exists():
            try:
                for file in folder.rglob("*"):
                    if file.is_file():
                        _link(file, copy / file.relative_to(folder))
            except FileNotFoundError:  # deleted meanwhile
                shutil.rmtree(copy, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _leave_out(staged: Path, named: set[tuple[str, str]]) -> Iterator[str]:
    """Take away models that no round names, and those that are not whole; of the latter, why."""
    for folder in _models(staged):
        if (folder.relative_to(staged).parts[0], folder.name) not in named:
            shutil.rmtree(folder)
            continue
        try:
            verify(folder)
        except Damaged as error:
            shutil.rmtree(folder)
            yield f"project {folder.relative_to(staged).parts[0]}: {error}"


def _check_kind(packed: Archive, database: Path | None) -> None:
    """Raise ValueError if a backup is not of a backend with this kind of database, or of something else altogether."""
    names = packed.manifest.files
    if odd := [name for name in names if name != FILE and not re.match(r"models/[0-9]+/", name)]:
        raise DamagedArchive(f"{packed.file} is no backup: {odd[0]!r} is in it")
    if FILE in names and database is None:
        raise ValueError(f"{packed.file} holds an SQLite database: leave DATABASE_URL unset to restore it")
    if FILE not in names and database is not None:
        raise ValueError(f"{packed.file} holds models only, beside a database server: set DATABASE_URL to restore it")


def _make_ready(database: Path) -> None:
    """Bring an unpacked database to this release's schema and see that it is whole; its rounds are to be ranked."""
    db = Database(f"sqlite:///{database}")
    try:
        db.check()
        with db.write() as session:
            for project in session.scalars(select(Project).where(Project.current_round_id.is_not(None))):
                current = session.get_one(Round, project.current_round_id)
                mark_due(project, "rank", "restored from a backup", current.model_round_id)
                project.retry_at = None
    finally:
        db.engine.dispose()


def _swap(data_dir: Path, staged: Path, database: Path | None) -> Path | None:
    """Put what is staged in the place of what is there; the folder that keeps the latter, None if there was nothing.

    Interrupted on the way it leaves no database, so that it is seen, and everything in the one or the other folder.
    """
    there = [data_dir / MODELS, data_dir / "simulations"]
    if database is not None:
        there = [*(database.with_name(database.name + end) for end in ("", "-wal", "-shm")), *there]
    aside = None
    for path in there:
        if path.exists() and (path.is_file() or any(path.iterdir())):
            aside = aside or _new_folder(data_dir)
            shutil.move(path, aside / path.name)
    if (staged / MODELS).exists():
        if (data_dir / MODELS).exists():
            (data_dir / MODELS).rmdir()
        (staged / MODELS).rename(data_dir / MODELS)
    if database is not None:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(staged / FILE, database)
    return aside


def _new_folder(data_dir: Path) -> Path:
    name = f"before-restore-{datetime.now():%Y%m%d-%H%M%S}"
    folder = data_dir / name
    number = 1
    while folder.exists():
        number += 1
        folder = data_dir / f"{name}-{number}"
    folder.mkdir(mode=0o700)
    return folder


def _tidy(data_dir: Path) -> None:
    """Delete what backups and restorations that were killed have left."""
    for folder in [*data_dir.glob(".backup-*"), *data_dir.glob(".restore-*")]:
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > ABANDONED:
                shutil.rmtree(folder)
