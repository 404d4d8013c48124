"""A database of any earlier release becomes one of this release, with all that is in it, or stays as it was."""

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from alembic import autogenerate, command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, inspect, select, text

from learning import migrations
from learning.database import Base, Database, Project, RemoteText, Round, Simulation
from learning.migrations import HEAD, REVISIONS, NewerDatabase

pytestmark = pytest.mark.slow

FIRST_RELEASE = (Path(__file__).parent / "first_release.sql").read_text()


@pytest.fixture
def file(tmp_path):
    """The database of the first release, with rows in every table."""
    made = tmp_path / "active-tagger.db"
    with sqlite3.connect(made) as connection:
        connection.executescript(FIRST_RELEASE)
    connection.close()
    return made


def alembic(connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def lift(url: str, to: str, *, stamped: bool = True) -> None:
    """The first release's database as a later one left it."""
    engine = create_engine(url)
    with engine.begin() as connection:
        command.stamp(alembic(connection), "0001")
        command.upgrade(alembic(connection), to)
        if not stamped:
            connection.exec_driver_sql("DROP TABLE alembic_version")
    engine.dispose()


def shape(engine) -> dict:
    """Everything that makes up a schema, whatever the order of its columns."""
    there = inspect(engine)
    return {
        table: (
            {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in there.get_columns(table)
            },
            there.get_pk_constraint(table)["constrained_columns"],
            sorted((key["constrained_columns"], key["referred_table"]) for key in there.get_foreign_keys(table)),
            sorted((index["name"], index["column_names"], index["unique"]) for index in there.get_indexes(table)),
            sorted(unique["column_names"] for unique in there.get_unique_constraints(table)),
        )
        for table in there.get_table_names()
    }


def rows(engine) -> dict:
    """All that the tables hold, by column, in the order of their keys."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: [row._asdict() for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in tables.sorted_tables
        }


ROWS = {"projects": 2, "tasks": 2, "annotations": 3, "rounds": 6, "predictions": 2}
"""The first release's tables, and how many rows are in them."""
ADDED = {
    "projects": {"touched_at", "title", "paused", "suspects"},
    "rounds": {"delivered"},
    "predictions": {"words"},
}


def of_the_first_release(found: dict) -> dict:
    """`rows` without what later releases have added."""
    kept = ("projects", "tasks", "annotations", "rounds", "predictions")
    return {
        table: [
            {name: value for name, value in row.items() if name not in ADDED.get(table, ())} for row in found[table]
        ]
        for table in kept
    }


def expected() -> dict:
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(FIRST_RELEASE)
    copy = create_engine("sqlite://", creator=lambda: connection)
    found = rows(copy)
    found["projects"][0] |= {
        "due": "rank",
        "due_reason": "the lengths of its texts are to be counted",
        "due_model": 3,
    }
    return found


def check_all_is_there(db: Database) -> None:
    found = rows(db.engine)
    assert of_the_first_release(found) == expected()
    assert [len(found[table]) for table in ("projects", "tasks", "annotations", "rounds", "predictions")] == [
        2,
        2,
        3,
        6,
        2,
    ]
    assert [(row["title"], row["paused"], row["suspects"]) for row in found["projects"]] == [(None, False, None)] * 2
    assert [row["touched_at"] for row in found["projects"]] == [datetime(2026, 3, 1, 8), datetime(2026, 3, 2, 8)]
    assert {row["number"]: row["delivered"] for row in found["rounds"]} == {
        1: True, 2: True, 3: True, 4: False, 5: True, 6: False,
    }  # fmt: skip
    assert [row["words"] for row in found["predictions"]] == [0, 0]
    assert found["simulations"] == found["remote_texts"] == []
    assert found["alembic_version"] == [{"version_num": HEAD}]


def check_it_works(db: Database) -> None:
    """All models can be read and written, and the keys between the tables hold again."""
    with db.write() as session:
        one = session.get_one(Project, 1)
        assert (one.extra_params, one.connection["access_token"], one.suspects) == ({"round_size": 3}, "abc", None)
        session.add(Simulation(project_id=1, settings={}))
        session.add(RemoteText(project_id=1, address="http://example.com/1.txt", text="Ada"))
        session.add(
            Round(project_id=1, number=7, version="v7", kind="fit", state="done", reason="", owner="", revision=9)
        )
    with pytest.raises(Exception, match=r"(?i)foreign key"), db.write() as session:
        session.add(Simulation(project_id=99, settings={}))
        session.flush()
    with pytest.raises(Exception, match=r"(?i)unique"), db.write() as session:
        session.add(Project(key="4.1700000000", external_id=4, label_config="<View/>"))
        session.flush()


def test_from_the_first_release_nothing_is_lost(file):
    db = Database(f"sqlite:///{file}")
    check_all_is_there(db)
    check_it_works(db)
    assert len(rows(Database(f"sqlite:///{file}").engine)["rounds"]) == 7, "opened again it is left alone"


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("release", REVISIONS)
def test_from_every_release(file, release, stamped):
    lift(f"sqlite:///{file}", release, stamped=stamped)
    check_all_is_there(Database(f"sqlite:///{file}"))


def test_tables_that_an_earlier_release_made_in_an_older_database(file):
    """The release of 0004 opened databases of 0001 and made its table there, but no columns."""
    with sqlite3.connect(file) as connection:
        simulations = Base.metadata.tables["simulations"]
        engine = create_engine("sqlite://", creator=lambda: connection)
        simulations.create(engine)
        connection.execute(
            "INSERT INTO simulations (project_id, state, settings, progress, failures, owner, heartbeat, created_at)"
            " VALUES (1, 'done', '{}', '{}', 0, '', '2026-03-01 08:00:00.000000', '2026-03-01 08:00:00.000000')"
        )
    db = Database(f"sqlite:///{file}")
    with db.read() as session:
        assert session.scalars(select(Simulation)).one().state == "done"
    assert shape(db.engine) == shape(Database(f"sqlite:///{file.with_name('new.db')}").engine)


def test_migrated_and_new_databases_have_the_schema_of_the_models(file, tmp_path):
    migrated, new = Database(f"sqlite:///{file}"), Database.in_folder(tmp_path / "new")
    assert shape(migrated.engine) == shape(new.engine)
    for db in (migrated, new):
        with db.engine.connect() as connection:
            assert autogenerate.compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_an_empty_database_brought_up_by_the_revisions_alone(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'by-revisions.db'}")
    with engine.begin() as connection:
        command.upgrade(alembic(connection), "head")
    assert shape(engine) == shape(Database.in_folder(tmp_path / "new").engine)


def test_the_revisions_are_those_that_alembic_finds():
    found = ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
    assert tuple(script.revision for script in found)[::-1] == REVISIONS


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    Database.in_folder(tmp_path)
    file = tmp_path / "active-tagger.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9041'")
    with pytest.raises(NewerDatabase, match=rf"9041.*up to {HEAD}.*later release.*cli restore"):
        Database.in_folder(tmp_path)
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9041",)]


def open_and_tell(url: str, start, told) -> None:
    start.wait()
    told.put(rows(Database(url).engine))


@pytest.mark.parametrize("old", [True, False])
def test_several_processes_at_once(tmp_path, file, old):
    if not old:
        file.unlink()
    spawn = multiprocessing.get_context("spawn")
    start, told = spawn.Barrier(4), spawn.Queue()
    processes = [spawn.Process(target=open_and_tell, args=(f"sqlite:///{file}", start, told)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [told.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert all(each == found[0] for each in found)
    assert found[0]["alembic_version"] == [{"version_num": HEAD}]
    assert len(found[0]["annotations"]) == (3 if old else 0)


def test_a_new_database_that_another_process_is_opening_is_waited_for(tmp_path):
    """SQLite itself does not: it says at once that the file is locked."""
    file = tmp_path / "new.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    held = threading.Timer(0.5, other.close)
    held.start()
    began = time.monotonic()
    assert Database(f"sqlite:///{file}").engine is not None
    assert time.monotonic() - began > 0.4
    held.join()


@pytest.mark.parametrize("release", REVISIONS[1:])
def test_a_failure_on_the_way_leaves_the_old_database(file, monkeypatch, release):
    """Whichever revision breaks off, everything before it is undone too."""
    before = sqlite3.connect(file)
    dump = list(before.iterdump())
    upgrade = command.upgrade

    def breaks(config, _):
        upgrade(config, release)
        raise OSError("the disk is full")

    monkeypatch.setattr(command, "upgrade", breaks)
    with pytest.raises(OSError, match="disk is full"):
        Database(f"sqlite:///{file}")
    assert list(before.iterdump()) == dump
    before.close()
    monkeypatch.undo()
    check_all_is_there(Database(f"sqlite:///{file}"))


def test_killed_on_the_way_leaves_the_old_database(file):
    """The power goes after all statements, before the commit."""
    code = (
        "import os, signal, sys\n"
        "from alembic import command\n"
        "from learning.database import Database\n"
        "upgrade = command.upgrade\n"
        "def dies(*args):\n    upgrade(*args)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "command.upgrade = dies\n"
        "Database(sys.argv[1])\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code, f"sqlite:///{file}"], cwd=root, capture_output=True, timeout=120)
    assert run.returncode == -9, run.stderr.decode()
    with sqlite3.connect(file) as connection:
        assert "touched_at" not in {row[1] for row in connection.execute("PRAGMA table_info(projects)")}
    check_all_is_there(Database(f"sqlite:///{file}"))


def test_rows_that_would_be_orphans_undo_an_upgrade(file, monkeypatch):
    """SQLite's keys are off while tables are made anew; what that lets through is found before the commit."""
    upgrade = command.upgrade

    def loses_rows(config, target):
        upgrade(config, target)
        config.attributes["connection"].execute(text("DELETE FROM rounds"))

    monkeypatch.setattr(command, "upgrade", loses_rows)
    with pytest.raises(migrations.UnusableDatabase, match="'predictions' belongs to no 'rounds'"):
        Database(f"sqlite:///{file}")
    monkeypatch.undo()
    check_all_is_there(Database(f"sqlite:///{file}"))


def test_the_usual_start_is_quick_and_without_alembic(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from learning.database import Database\n"
        "Database.in_folder(Path(sys.argv[1]))\n"
        "times = []\n"
        "for _ in range(10):\n"
        "    began = time.process_time()\n    Database.in_folder(Path(sys.argv[1]))\n"
        "    times.append(time.process_time() - began)\n"
        "print(min(times), 'alembic' in sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root, capture_output=True, text=True, timeout=120)
    seconds, alembic_is_there = run.stdout.split()
    assert alembic_is_there == "False"
    assert float(seconds) < 0.05


@pytest.fixture
def postgres(tmp_path):
    """The address of an empty PostgreSQL database of its own, where that and a driver are installed."""
    pytest.importorskip("psycopg")
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path("/tmp") / f"active-tagger-{os.getpid()}-{time.time_ns()}"  # a socket's path must be short
    folder.mkdir()
    user = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres"}
    options = f"-k {folder} -c listen_addresses= -c fsync=off"

    def run(*words):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=120, **user)

    run("initdb", "--username=tester", "--auth=trust", "--no-sync", "-D", f"{folder}/data")
    run("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start")
    try:
        yield f"postgresql+psycopg://tester@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_postgresql_from_the_first_release(postgres, file, tmp_path):
    """Its data comes from the SQLite database of the first release."""
    engine = create_engine(postgres)
    with engine.begin() as connection:
        command.upgrade(alembic(connection), "0001")
        connection.exec_driver_sql("DROP TABLE alembic_version")
        tables = MetaData()
        tables.reflect(connection)
        for name, found in rows(create_engine(f"sqlite:///{file}")).items():
            connection.execute(tables.tables[name].insert(), found)
            if name in ("projects", "rounds"):
                connection.exec_driver_sql(f"SELECT setval('{name}_id_seq', 100)")
    spawn = multiprocessing.get_context("spawn")
    start, told = spawn.Barrier(3), spawn.Queue()
    processes = [spawn.Process(target=open_and_tell, args=(postgres, start, told)) for _ in range(3)]
    for process in processes:
        process.start()
    assert len({str(told.get(timeout=120)) for _ in processes}) == 1
    for process in processes:
        process.join(60)
    db = Database(postgres)
    check_all_is_there(db)
    check_it_works(db)
    with db.engine.connect() as connection:
        assert autogenerate.compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    db.engine.dispose()
    engine.dispose()
