import itertools
import multiprocessing
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from corpus import Span
from learning import owners, recorder, rounds
from learning.database import Prediction, Project, Round, clock, now
from learning.intake import mark_due
from learning.serving import answer, find_current
from learning.venue import Collected
from learning.workspace import Workspace
from tests.learning.texts import texts

HOUR = timedelta(hours=1)


class ListVenue:
    """A venue whose sentences are lists, and which remembers what was published."""

    def __init__(self, labelled: int, *, total: int = 60) -> None:
        everything = texts(total)
        self.collected = Collected(
            everything[:labelled], [], [s.unlabelled() for s in everything[labelled:]], [], ["task 3: odd"], 7
        )
        self.published: dict[str, tuple[list[str], dict[str, list[Span]]]] = {}
        self.broken: Exception | None = None

    def collect(self):
        return self.collected

    def publish(self, version, queue, predictions):
        if self.broken:
            raise self.broken
        self.published[version] = (list(queue), dict(predictions))


def due(workspace, project, kind="fit"):
    with workspace.db.write() as session:
        mark_due(session.get_one(Project, project), kind, "test")


def whole_round(workspace, project, venue, kind="fit") -> Round:
    due(workspace, project, kind)
    round_id = rounds.claim(workspace.db, project)
    assert round_id is not None
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    return get(workspace, round_id)


def get(workspace, round_id) -> Round:
    with workspace.db.read() as session:
        return session.get_one(Round, round_id)


def current(workspace, project) -> Round | None:
    with workspace.db.read() as session:
        mine = session.get_one(Project, project)
        return session.get(Round, mine.current_round_id) if mine.current_round_id else None


def test_a_round_from_annotations_to_the_queue(workspace, project):
    venue = ListVenue(40)
    done = whole_round(workspace, project, venue)
    assert (done.kind, done.state, done.number, done.revision) == ("fit", "done", 1, 7)
    assert done.metrics["train_sentences"] == 40
    assert done.metrics["evaluation"]["f1"] > 0.8
    assert done.problems == ["task 3: odd"]
    queue, predictions = venue.published[done.version]
    assert sorted(map(int, queue)) == list(range(41, 61))
    assert set(predictions) == {s.id for s in texts(60)}
    found = workspace.models.load(project, done.version).predict(venue.collected.pool)
    assert [predictions[s.id] for s in venue.collected.pool] == found
    assert current(workspace, project).id == done.id


def test_same_seed_same_round(workspace, project, tmp_path):
    other = Workspace(workspace.settings.model_copy(update={"data_dir": tmp_path / "other"}))
    with other.db.write() as session:
        session.add(Project(id=project, key="2.1700000000", external_id=2, label_config="<View/>"))
    venue = ListVenue(30)
    first = whole_round(workspace, project, venue)
    (published,) = venue.published.values()
    second = whole_round(other, project, venue)
    assert {**first.metrics, "seconds": None} == {**second.metrics, "seconds": None}
    assert venue.published[second.version] == published


def test_a_round_tells_where_its_seconds_went(workspace, project, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # ticks when it is read

    class SlowVenue(ListVenue):
        def collect(self):
            [next(clock) for _ in range(20)]
            return super().collect()

        def publish(self, *what):
            [next(clock) for _ in range(30)]
            super().publish(*what)

    seconds = whole_round(workspace, project, SlowVenue(40)).metrics["seconds"]
    assert list(seconds)[:2] == ["collect", "fit"]
    assert {"evaluate", "measure", "rank", "store", "publish"} <= set(seconds)
    assert (seconds["collect"], seconds["publish"]) == (21, 31)
    assert all(taken < 20 for step, taken in seconds.items() if step not in ("collect", "publish"))


def test_before_any_label_the_queue_is_random(workspace, project):
    venue = ListVenue(0)
    done = whole_round(workspace, project, venue, "rank")
    assert (done.kind, done.state, done.model_round_id) == ("cold start", "done", None)
    assert sorted(map(int, venue.published[done.version][0])) == list(range(1, 61))


def test_a_project_that_comes_with_labels_trains_at_once(workspace, project):
    assert whole_round(workspace, project, ListVenue(9), "rank").kind == "cold start"
    assert whole_round(workspace, project, ListVenue(10), "rank").kind == "fit"


def test_ranking_again_keeps_the_model(workspace, project):
    venue = ListVenue(30)
    fitted = whole_round(workspace, project, venue)
    ranked = whole_round(workspace, project, venue, "rank")
    assert (ranked.kind, ranked.model_round_id) == ("rank", fitted.id)
    assert ranked.metrics["evaluation"] == fitted.metrics["evaluation"]
    assert venue.published[ranked.version][1] == venue.published[fitted.version][1]
    assert workspace.models.versions(project) == {fitted.version}


def test_only_one_round_is_claimed_and_the_mark_is_taken_off(workspace, project):
    assert rounds.claim(workspace.db, project) is None
    due(workspace, project)
    assert rounds.ready(workspace.db, HOUR) == [project]
    assert rounds.claim(workspace.db, project) is not None
    due(workspace, project)  # while it runs
    assert rounds.claim(workspace.db, project) is None
    assert rounds.ready(workspace.db, HOUR) == []


def claim_in_another_process(url, project, results):
    from learning.database import Database

    results.put(rounds.claim(Database(url), project))


@pytest.mark.slow
def test_of_many_processes_one_claims(workspace, project):
    due(workspace, project)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    url = str(workspace.db.engine.url)
    processes = [context.Process(target=claim_in_another_process, args=[url, project, results]) for _ in range(3)]
    for process in processes:
        process.start()
    claims = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(claim is not None for claim in claims) == 1


def test_publishing_that_fails_is_repeated_without_training(workspace, project):
    venue = ListVenue(20)
    before = whole_round(workspace, project, venue)
    venue.broken = ConnectionError("Label Studio is gone")
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    with pytest.raises(ConnectionError):
        rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.fail(workspace.db, round_id, "gone", transient=True)
    assert get(workspace, round_id).state == "publishing"
    assert current(workspace, project).id == before.id
    assert rounds.ready(workspace.db, HOUR) == []  # it waits a while
    with workspace.db.write() as session:
        session.get_one(Project, project).retry_at = now() - timedelta(seconds=1)
    assert rounds.ready(workspace.db, HOUR) == [project]
    venue.broken = None
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert current(workspace, project).id == round_id
    assert get(workspace, round_id).error is None


def test_a_failed_round_waits_longer_each_time(workspace, project):
    waits = []
    for _ in range(3):
        due(workspace, project)
        round_id = rounds.claim(workspace.db, project)
        rounds.fail(workspace.db, round_id, "disk full", transient=True)
        with workspace.db.write() as session:
            mine = session.get_one(Project, project)
            assert (mine.due, session.get_one(Round, round_id).state) == ("fit", "failed")
            waits.append(mine.retry_at - now())
    assert waits == sorted(waits)
    assert waits[2] > 1.5 * waits[1] > 2 * waits[0]


def test_a_lasting_failure_is_not_tried_again_by_itself(workspace, project):
    due(workspace, project)
    rounds.fail(workspace.db, rounds.claim(workspace.db, project), "no such option", transient=False)
    with workspace.db.read() as session:
        assert session.get_one(Project, project).due is None


def test_a_dead_rounds_work_is_taken_up_again(workspace, project):
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)
    assert rounds.interrupt_dead(workspace.db) == []  # this process is alive
    dead = multiprocessing.get_context("spawn").Process(target=int)
    dead.start()
    dead.join()
    with workspace.db.write() as session:
        this = session.get_one(Round, round_id)
        this.owner = f"{this.owner.rpartition(':')[0]}:{dead.pid}"
    assert rounds.interrupt_dead(workspace.db) == [round_id]
    assert get(workspace, round_id).state == "interrupted"
    assert rounds.ready(workspace.db, HOUR) == [project]
    assert whole_round(workspace, project, ListVenue(20)).state == "done"


@contextmanager
def elsewhere(name="another"):
    """What is done meanwhile is done on another machine."""
    with pytest.MonkeyPatch.context() as there:
        there.setattr(owners, "here", lambda: name)
        yield


def grow_old(workspace, round_id):
    with workspace.db.write() as session:
        session.get_one(Round, round_id).heartbeat = clock(session) - 2 * rounds.HEARTBEAT_LIMIT


def test_a_round_on_another_machine_is_dead_without_a_heartbeat(workspace, project):
    due(workspace, project)
    with elsewhere():
        round_id = rounds.claim(workspace.db, project)
    assert rounds.interrupt_dead(workspace.db) == []
    grow_old(workspace, round_id)
    assert rounds.beat(workspace.db) is None, "the sign of another one's life is not ours to give"
    with elsewhere():
        assert rounds.beat(workspace.db) == "running"
    assert rounds.interrupt_dead(workspace.db) == []
    grow_old(workspace, round_id)
    assert rounds.interrupt_dead(workspace.db) == [round_id]
    assert get(workspace, round_id).error == rounds.LOST
    assert rounds.ready(workspace.db, HOUR) == [project]


def test_what_one_machine_publishes_another_one_leaves_alone_as_long_as_it_lives(workspace, project):
    venue = ListVenue(20)
    with elsewhere():
        due(workspace, project)
        round_id = rounds.claim(workspace.db, project)
        rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert rounds.take_up(workspace.db, project) is None
    with elsewhere():
        assert rounds.take_up(workspace.db, project) == round_id
    grow_old(workspace, round_id)
    assert rounds.interrupt_dead(workspace.db) == [round_id]
    assert rounds.take_up(workspace.db, project) == round_id
    with elsewhere():  # it was only slow
        assert rounds.take_up(workspace.db, project) is None
        rounds.fail(workspace.db, round_id, "too late", transient=True)
    assert get(workspace, round_id).error is None
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert (get(workspace, round_id).state, list(venue.published)) == ("done", [get(workspace, round_id).version])


def test_a_slow_publisher_whose_round_another_one_has_taken_up_changes_nothing(workspace, project):
    venue = ListVenue(20)
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)

    def taken_up_meanwhile(*_):
        grow_old(workspace, round_id)
        with elsewhere():
            assert rounds.interrupt_dead(workspace.db) == [round_id]
            assert rounds.take_up(workspace.db, project) == round_id

    venue.publish = taken_up_meanwhile
    with pytest.raises(rounds.TakenForDead):
        rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert get(workspace, round_id).state == "publishing"
    assert current(workspace, project) is None


def test_a_model_that_is_stored_while_old_ones_are_deleted_stays(workspace, project):
    venue = ListVenue(20)
    first = whole_round(workspace, project, venue)
    stored = workspace.models.stored(project)
    second = whole_round(workspace, project, venue)
    half_saved = workspace.models.shelf(project) / ".v3-half"
    half_saved.mkdir()
    workspace.models.prune(project, [], stored)
    assert workspace.models.versions(project) == {second.version} != {first.version}
    assert half_saved.is_dir()


def test_rolling_back_serves_the_earlier_model(workspace, project):
    venue = ListVenue(15)
    old = whole_round(workspace, project, venue)
    venue.collected = ListVenue(50).collected
    new = whole_round(workspace, project, venue)
    rounds.rollback(workspace.db, workspace.models, project, old.version)
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    back = current(workspace, project)
    assert (back.kind, back.model_round_id) == ("rank", old.id)
    predicted = workspace.models.load(project, old.version).predict([s.unlabelled() for s in texts(60)])
    assert [venue.published[back.version][1][s.id] for s in texts(60)] == predicted
    with pytest.raises(ValueError, match=new.version):
        rounds.rollback(workspace.db, workspace.models, project, "v99")


def test_old_models_and_predictions_go_but_the_one_in_use_stays(workspace, project):
    venue = ListVenue(12)
    settings = workspace.settings.model_copy(update={"keep_versions": 2})
    workspace.settings = settings
    fitted = [whole_round(workspace, project, venue) for _ in range(4)]
    assert workspace.models.versions(project) == {this.version for this in fitted[2:]}
    with workspace.db.read() as session:
        assert {p.round_id for p in session.scalars(select(Prediction))} == {fitted[3].id}
    rounds.rollback(workspace.db, workspace.models, project, fitted[2].version)
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, settings)
    assert fitted[2].version in workspace.models.versions(project)


def test_old_versions_are_taken_back_when_people_have_paused(workspace, project):
    venue = ListVenue(12)
    old, new = (whole_round(workspace, project, venue) for _ in range(2))
    assert rounds.ready(workspace.db, HOUR) == rounds.outdated(workspace.db, project, HOUR) == []
    with workspace.db.write() as session:
        session.get_one(Project, project).touched_at = now() - 2 * HOUR
    assert rounds.ready(workspace.db, HOUR) == [project]
    assert [this.id for this in rounds.outdated(workspace.db, project, HOUR)] == [old.id]
    due(workspace, project)
    assert rounds.outdated(workspace.db, project, HOUR) == []  # the round goes first
    with workspace.db.write() as session:
        session.get_one(Project, project).due = None
    rounds.taken_back(workspace.db, old.id)
    assert rounds.ready(workspace.db, HOUR) == []
    assert current(workspace, project).id == new.id


def test_answers_come_from_the_store_and_by_inference_for_other_texts(workspace, project):
    venue = ListVenue(40)
    done = whole_round(workspace, project, venue)
    queue, predictions = venue.published[done.version]
    with workspace.db.read() as session:
        mine = find_current(session, session.get_one(Project, project).key)
    known = venue.collected.pool[3]
    changed = texts(1, seed=5)[0]
    stranger = type(changed)(known.id, changed.text, changed.words)  # the id of one task, the text of another
    asked = [(int(sentence.id), sentence.text) for sentence in (known, stranger, texts(60)[0])]
    answers = answer(workspace, mine, asked)
    assert answers.version == done.version
    assert answers.queue_length == len(queue)
    assert (answers.items[0].position, answers.items[0].marks) == (queue.index(known.id), predictions[known.id])
    tagger = workspace.models.load(project, done.version)
    assert (answers.items[1].position, answers.items[1].marks) == (None, tagger.predict([stranger])[0])
    assert 0 <= answers.items[1].sureness <= 1
    assert answers.items[2].position is None


def test_a_model_is_whole_or_not_there(workspace, project, monkeypatch):
    venue = ListVenue(20)
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)

    def full(self, folder):
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    from taggers.crf import CRFTagger

    monkeypatch.setattr(CRFTagger, "_write", full)
    with pytest.raises(OSError, match="No space"):
        rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert workspace.models.versions(project) == set()


def test_a_paused_project_begins_no_round_and_finishes_the_one_that_runs(workspace, project):
    venue = ListVenue(40)
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)
    due(workspace, project)
    with workspace.db.write() as session:
        session.get_one(Project, project).paused = True
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    venue.broken = OSError("away")
    with pytest.raises(OSError, match="away"):
        rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.fail(workspace.db, round_id, "away", transient=True)
    with workspace.db.write() as session:
        session.get_one(Project, project).retry_at = None
    assert list(rounds.ready(workspace.db, HOUR)) == [project], "what was begun is published"
    assert rounds.claim(workspace.db, project) is None
    venue.broken = None
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    assert list(rounds.ready(workspace.db, HOUR)) == []
    with workspace.db.write() as session:
        session.get_one(Project, project).paused = False
    assert list(rounds.ready(workspace.db, HOUR)) == [project]
    assert rounds.claim(workspace.db, project) is not None
