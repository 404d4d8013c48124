"""PostgreSQL as the database: what `test_rounds` and others say of SQLite, and what several machines need beyond."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from labelstudio.records import AnnotationRecord
from learning import database, faults, recorder, rounds
from learning.database import Annotation, Database, Project, Round, Trainer, clock
from learning.intake import put_annotations
from learning.migrations import UnusableDatabase
from learning.settings import Settings
from learning.workspace import Workspace
from server import heartbeat, simulations
from tests.learning.test_history import *  # noqa: F403
from tests.learning.test_intake import *  # noqa: F403
from tests.learning.test_interruptions import *  # noqa: F403
from tests.learning.test_rounds import *  # noqa: F403
from tests.learning.test_rounds import ListVenue, due, elsewhere, get, whole_round
from tests.postgresql import PostgreSQL, running

pytestmark = pytest.mark.slow

del test_progress_is_written_on_after_the_clock_was_set_back  # noqa: F821 - by the server's clock, which no test sets
del test_same_seed_same_round  # noqa: F821 - in a second data folder, which here is no second database


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


@pytest.fixture
def workspace(server, tmp_path, monkeypatch):
    """As that of `conftest`, but for the database."""
    monkeypatch.chdir(tmp_path)
    common = {"tagger": "crf", "strategy": "mnlp", "round_size": 10, "cold_start": "random"}
    made = Workspace(Settings(data_dir=tmp_path / "data", database_url=server.new_database(), **common))
    yield made
    made.db.engine.dispose()


def at_once(count, work):
    """`work(i)` in as many threads, each with connections of its own; what they returned."""
    found, start = [None] * count, threading.Barrier(count)

    def one(i):
        start.wait()
        found[i] = work(i)

    threads = [threading.Thread(target=one, args=[i]) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.fixture
def machines(workspace):
    """Four that share the database, each as a process of its own would open it."""
    with ExitStack() as stack:
        opened = [Database(workspace.settings.database_url) for _ in range(4)]
        for db in opened:
            stack.callback(db.engine.dispose)
        yield opened


def test_of_several_machines_one_claims_a_round(workspace, project, machines):
    for number in range(1, 6):
        due(workspace, project)
        claimed = at_once(4, lambda i: rounds.claim(machines[i], project))
        (id,) = [id for id in claimed if id is not None]
        assert get(workspace, id).number == number
        rounds.fail(workspace.db, id, "test", transient=False)


def test_of_several_machines_one_takes_up_what_a_lost_one_was_at(workspace, project, machines):
    due(workspace, project)
    with elsewhere():
        id = rounds.claim(workspace.db, project)
    with workspace.db.write() as session:
        session.get_one(Round, id).heartbeat = clock(session) - 2 * rounds.HEARTBEAT_LIMIT
    found = at_once(4, lambda i: rounds.interrupt_dead(machines[i]))
    assert sorted(found) == [[], [], [], [id]]


def test_of_several_machines_one_takes_a_simulation(workspace, project, machines, monkeypatch):
    with workspace.db.write() as session:
        session.add(database.Simulation(project_id=project, settings={}))
    monkeypatch.setattr(simulations, "owner", lambda: f"machine/{threading.get_ident()}:1")
    assert sorted(at_once(4, lambda i: simulations.claim(machines[i]) or 0)) == [0, 0, 0, 1]
    with workspace.db.read() as session:
        this = session.get_one(database.Simulation, 1)
        assert (this.state, this.failures) == ("running", 0)


def test_no_change_is_lost_and_none_written_twice(workspace, project, machines):
    """Each machine is told of all annotations, as when two compare with Label Studio at once."""

    def told(i):
        for id in range(1, 41):
            with machines[i].write() as session:
                put_annotations(session, session.get_one(Project, project), [AnnotationRecord(id, id, [], "2026")])

    at_once(4, told)
    with workspace.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Annotation)) == 40
        revisions = session.scalars(select(Annotation.revision).order_by(Annotation.revision)).all()
        assert (list(revisions), session.get_one(Project, project).revision) == (list(range(1, 41)), 40)


def test_a_reader_sees_one_moment(workspace, project, machines):
    with machines[0].read() as session:
        before = session.scalar(select(func.count()).select_from(Annotation))
        with machines[1].write() as other:
            put_annotations(other, other.get_one(Project, project), [AnnotationRecord(1, 1, [], "2026")])
        assert session.scalar(select(func.count()).select_from(Annotation)) == before == 0


def test_machines_whose_clocks_differ_do_not_take_each_other_for_dead(workspace, project, monkeypatch):
    due(workspace, project)
    with elsewhere():
        id = rounds.claim(workspace.db, project)
    for hours in (-5, 5):
        wrong = datetime(2026, 1, 1) + timedelta(hours=hours)
        for module in (database, recorder):
            monkeypatch.setattr(module, "now", lambda wrong=wrong: wrong)
        assert rounds.interrupt_dead(workspace.db) == []
        heartbeat.beat(workspace)
        assert heartbeat.silent_for(workspace) < 10
    with workspace.db.read() as session:
        assert abs(clock(session) - get(workspace, id).heartbeat) < timedelta(seconds=20)


def test_each_trainer_gives_its_own_sign_and_one_is_the_first(workspace, monkeypatch):
    assert (heartbeat.silent_for(workspace), heartbeat.is_first(workspace)) == (None, True)
    for name in ("b", "a"):
        with elsewhere(name):
            heartbeat.beat(workspace)
    told = heartbeat.signs(workspace)
    assert len(told) == 2
    firsts = []
    for name in ("a", "b"):
        with elsewhere(name):
            firsts.append(heartbeat.is_first(workspace))
    assert firsts == [True, False]
    with workspace.db.write() as session:  # the first is lost
        this = session.get_one(Trainer, min(told))
        this.seen_at = clock(session) - timedelta(seconds=2 * heartbeat.LIMIT)
    with elsewhere("b"):
        assert heartbeat.is_first(workspace)
        heartbeat.end(workspace)
    assert list(heartbeat.signs(workspace)) == [min(told)]


def test_a_writer_that_waits_too_long_says_why(workspace, project, machines, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 1.0)
    impatient = Database(workspace.settings.database_url)
    with machines[0].write(), pytest.raises(OperationalError) as refused, impatient.write():
        pass
    assert faults.known(refused.value) == faults.LOCKED
    with impatient.write():
        pass
    impatient.engine.dispose()


@contextmanager
def own_server(folder, port):
    """A server that a test may stop, and a workspace on it with one project."""
    with running(port=port) as server:
        workspace = Workspace(Settings(data_dir=folder / "data", database_url=server.url(), tagger="crf"))
        with workspace.db.write() as session:
            session.add(Project(key="2.17", external_id=2, label_config="<View/>"))
        yield server, workspace
        workspace.db.engine.dispose()


def test_a_round_survives_that_the_server_starts_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with own_server(tmp_path, 5433) as (server, workspace):
        venue = ListVenue(30)
        write, seen = rounds.Recorder._write, []

        def while_it_is_away(recorder, progress):
            if progress["step"] == "evaluate" and not seen:
                server.stop()
                with pytest.raises(OperationalError) as error:
                    write(recorder, progress)
                seen.append(faults.known(error.value))
                try:
                    write(recorder, progress)
                finally:
                    server.start()
            else:
                write(recorder, progress)

        monkeypatch.setattr(rounds.Recorder, "_write", while_it_is_away)
        done = whole_round(workspace, 1, venue)
        assert (done.state, done.kind, done.number) == ("done", "fit", 1)
        assert "see that it runs" in seen[0]


def test_a_trained_model_waits_for_the_server_instead_of_being_thrown_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with own_server(tmp_path, 5434) as (server, workspace):
        write, tried = rounds.Recorder._write, []

        def it_stops_in_mid_fit(recorder, progress):
            step = progress["step"]
            tried.append(step)
            if (step, tried.count(step)) == ("fit", 1):
                server.stop()
            if (step, tried.count(step)) == ("store", 3):
                server.start()
            write(recorder, progress)

        monkeypatch.setattr(rounds.Recorder, "_write", it_stops_in_mid_fit)
        monkeypatch.setattr(recorder, "TRY_AGAIN", 0.01)
        done = whole_round(workspace, 1, ListVenue(30))
        assert (done.state, done.kind, done.number) == ("done", "fit", 1)
        assert tried.count("store") == 3
        assert len(done.metrics["evaluation"]) > 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres at home", "cannot be read"),
        ("postgresql+nosuch://tester@localhost/tagger", "cannot be read"),
        ("mysql+pymysql://tester@localhost/tagger", "of kind 'mysql'"),
        ("postgresql+pg8000://tester@localhost/tagger", "'pg8000'.*pip install 'psycopg"),
        ("postgresql+psycopg://tester:secret@127.0.0.1:1/tagger", "see that PostgreSQL runs"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_words(url, said):
    began = time.monotonic()
    with pytest.raises(UnusableDatabase, match=said) as refused:
        Database(url)
    assert "secret" not in str(refused.value)
    assert time.monotonic() - began < 10


def test_a_database_that_is_not_there_is_told_in_words(server: PostgreSQL):
    with pytest.raises(UnusableDatabase, match='"nosuch" does not exist'):
        Database(server.url("nosuch"))
