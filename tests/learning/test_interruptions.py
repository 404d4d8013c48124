"""Rounds whose process is gone, was told to end, or dies again and again; and clocks that are set back."""

import multiprocessing
from datetime import timedelta
from itertools import pairwise

import pytest

from learning import database, recorder, rounds
from learning.database import Project, Round, now
from learning.intake import mark_due
from tests.learning.test_rounds import HOUR, ListVenue, current, due, get, whole_round


@pytest.fixture(scope="module")
def gone() -> str:
    """The owner's name of a process that has ended."""
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    return rounds.owner(process.pid)


def claimed(workspace, project, owner: str) -> int:
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)
    put(workspace, round_id, owner=owner)
    return round_id


def put(workspace, round_id, **values) -> None:
    with workspace.db.write() as session:
        this = session.get_one(Round, round_id)
        for name, value in values.items():
            setattr(this, name, value)


def project_of(workspace, project) -> Project:
    with workspace.db.read() as session:
        return session.get_one(Project, project)


def test_a_process_that_dies_again_and_again_waits_longer_each_time_and_says_so(workspace, project, gone):
    waits, errors = [], []
    for _ in range(14):
        round_id = claimed(workspace, project, gone)
        assert rounds.interrupt_dead(workspace.db) == [round_id]
        mine = project_of(workspace, project)
        assert mine.due == "fit"
        waits.append((mine.retry_at - now()).total_seconds() if mine.retry_at else 0.0)
        errors.append(get(workspace, round_id).error)
        assert list(rounds.ready(workspace.db, HOUR)) == ([project] if waits[-1] == 0 else [])
    assert waits[0] == 0.0  # once may be an accident
    assert waits[1] > 3
    assert all(later > 1.9 * earlier for earlier, later in pairwise(waits[1:8]))
    assert waits[-1] == pytest.approx(rounds.LONGEST_WAIT.total_seconds(), abs=5)
    assert errors[0] == "the training process was killed (out of memory?)"
    assert errors[-1] == f"{errors[0]}; 14 failures in a row"
    put_right = whole_round(workspace, project, ListVenue(20))
    assert (put_right.state, project_of(workspace, project).failures) == ("done", 0)


def test_dying_while_publishing_waits_longer_each_time_too(workspace, project, gone):
    round_id = claimed(workspace, project, rounds.owner())
    rounds.run(workspace.db, workspace.models, round_id, ListVenue(20), workspace.settings)
    for again in range(3):
        put(workspace, round_id, owner=gone, error=None)
        assert rounds.interrupt_dead(workspace.db) == [round_id]
        assert get(workspace, round_id).state == "publishing"
        assert list(rounds.ready(workspace.db, HOUR)) == ([] if again else [project])
    assert rounds.interrupt_dead(workspace.db) == []


def test_what_was_told_to_end_has_not_failed(workspace, project):
    running = claimed(workspace, project, rounds.owner(1))
    assert rounds.give_back(workspace.db, [rounds.owner(2)]) == []
    assert rounds.give_back(workspace.db, [rounds.owner(1)]) == [running]
    mine, this = project_of(workspace, project), get(workspace, running)
    assert (this.state, this.error, mine.due, mine.failures, mine.retry_at) == ("interrupted", None, "fit", 0, None)
    assert list(rounds.ready(workspace.db, HOUR)) == [project]


def test_what_was_told_to_end_while_publishing_is_published_later(workspace, project):
    venue = ListVenue(20)
    round_id = claimed(workspace, project, rounds.owner())
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.give_back(workspace.db, [rounds.owner()])
    assert get(workspace, round_id).state == "publishing"
    assert project_of(workspace, project).failures == 0
    assert list(rounds.ready(workspace.db, HOUR)) == [project]
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert current(workspace, project).id == round_id


def test_a_dead_process_is_seen_after_the_clock_was_set_back(workspace, project, gone):
    round_id = claimed(workspace, project, gone)
    put(workspace, round_id, heartbeat=now() + 5 * HOUR)
    assert rounds.interrupt_dead(workspace.db) == [round_id]


@pytest.mark.parametrize("owner", ["elsewhere:1", "this process"])
def test_a_sign_of_life_from_the_future_counts_as_one_of_now(workspace, project, owner):
    """So that another machine's process, or one whose number was given again, is not alive for hours."""
    round_id = claimed(workspace, project, rounds.owner() if owner == "this process" else owner)
    put(workspace, round_id, heartbeat=now() + 5 * HOUR)
    assert rounds.interrupt_dead(workspace.db) == []
    assert abs(get(workspace, round_id).heartbeat - now()) < timedelta(seconds=20)
    put(workspace, round_id, heartbeat=now() - 2 * rounds.HEARTBEAT_LIMIT)
    assert rounds.interrupt_dead(workspace.db) == [round_id]


@pytest.mark.parametrize(
    ("ahead", "waits"), [(timedelta(minutes=9), True), (timedelta(minutes=11), False), (timedelta(days=1), False)]
)
def test_a_wait_is_never_longer_than_the_longest(workspace, project, ahead, waits):
    with workspace.db.write() as session:
        mine = session.get_one(Project, project)
        mark_due(mine, "fit", "test")
        mine.retry_at = now() + ahead
    assert list(rounds.ready(workspace.db, HOUR)) == ([] if waits else [project])


def test_a_round_that_was_taken_for_dead_stores_nothing(workspace, project):
    venue = ListVenue(20)
    round_id = claimed(workspace, project, "elsewhere:1")

    def declared_dead():
        put(workspace, round_id, heartbeat=now() - 2 * rounds.HEARTBEAT_LIMIT)
        assert rounds.interrupt_dead(workspace.db) == [round_id]
        return venue.collected

    venue.collect = declared_dead
    with pytest.raises(rounds.TakenForDead):
        rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.fail(workspace.db, round_id, "taken for dead", transient=False)
    this, mine = get(workspace, round_id), project_of(workspace, project)
    assert (this.state, this.error) == ("interrupted", rounds.LOST)
    assert (mine.due, mine.failures) == ("fit", 1)


def test_progress_is_written_on_after_the_clock_was_set_back(workspace, project, monkeypatch):
    round_id = claimed(workspace, project, rounds.owner())
    on_step = rounds.Recorder(workspace.db, round_id)
    on_step("fit", epoch=1)
    earlier = now() - HOUR
    for module in (recorder, database):
        monkeypatch.setattr(module, "now", lambda: earlier)
    on_step("fit", epoch=2)
    assert get(workspace, round_id).progress == {"step": "fit", "epoch": 2}
    assert get(workspace, round_id).heartbeat == earlier
