import sqlite3

from sqlalchemy import select

from learning.database import Database, Project


def test_a_database_of_an_earlier_release_gets_the_columns_it_lacks(tmp_path):
    with Database.in_folder(tmp_path).write() as session:
        session.add(Project(key="4.1", external_id=4, label_config="<View/>", extra_params={"round_size": 3}))
    earlier = sqlite3.connect(tmp_path / "active-tagger.db")
    for column in ("paused", "title", "suspects"):
        earlier.execute(f"ALTER TABLE projects DROP COLUMN {column}")
    earlier.close()
    for _ in range(2):
        db = Database.in_folder(tmp_path)
        with db.read() as session:
            project = session.scalars(select(Project)).one()
            assert (project.paused, project.title, project.suspects) == (False, None, None)
            assert project.extra_params == {"round_size": 3}
    with db.write() as session:
        session.scalars(select(Project)).one().paused = True
    with Database.in_folder(tmp_path).read() as session:
        assert session.scalars(select(Project)).one().paused
