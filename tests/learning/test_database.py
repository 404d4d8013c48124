import sqlite3
import stat

import pytest
from sqlalchemy import select

from learning.database import FILE, DamagedDatabase, Database, Project, Task

REMEDY = r"active-tagger\.db is damaged .*cli restore FILE"


@pytest.fixture
def folder(tmp_path):
    """A database of some hundred pages, all of them in its one file."""
    db = Database.in_folder(tmp_path)
    with db.write() as session:
        session.add(Project(key="4.1", external_id=4, label_config="<View/>"))
        session.flush()
        for id in range(500):
            data = {"text": f"{id} " + "words " * 100}
            session.add(Task(project_id=1, id=id, data=data, created_at="", draw=0.5, revision=1))
    db.engine.dispose()
    return tmp_path


def overwrite(folder, page: int, content: bytes) -> None:
    with (folder / FILE).open("r+b") as file:
        file.seek(page * 4096)
        file.write(content)


def test_it_is_for_its_owner_only(folder):
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def test_a_whole_database_passes(folder):
    Database.in_folder(folder).check()


@pytest.mark.parametrize("page", [25, 40, 60])
def test_a_damaged_page_is_found_by_the_check(folder, page):
    overwrite(folder, page, b"\xa5" * 4096)
    db = Database.in_folder(folder)  # opening it reads other pages
    with pytest.raises(DamagedDatabase, match=REMEDY):
        db.check()


def test_a_damaged_page_that_is_met_at_work(folder):
    overwrite(folder, 40, b"\xa5" * 4096)
    db = Database.in_folder(folder)
    with pytest.raises(DamagedDatabase, match=REMEDY) as raised, db.read() as session:
        session.scalars(select(Task)).all()
    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)
    with db.read() as session:
        assert session.get_one(Project, 1).external_id == 4, "what is whole can still be read"


@pytest.mark.parametrize("content", [b"no database at all " * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_database(folder, content):
    (folder / FILE).write_bytes(content)
    with pytest.raises(DamagedDatabase, match=REMEDY):
        Database.in_folder(folder).check()


def test_a_file_that_was_cut_off(folder):
    with (folder / FILE).open("r+b") as file:
        file.truncate(30 * 4096)
    with pytest.raises(DamagedDatabase, match=REMEDY):
        Database.in_folder(folder).check()


def test_other_errors_are_not_taken_for_damage(folder):
    with pytest.raises(Exception, match="UNIQUE constraint") as raised, Database.in_folder(folder).write() as session:
        session.add(Project(key="4.1", external_id=4, label_config="<View/>"))
    assert not isinstance(raised.value, DamagedDatabase)
