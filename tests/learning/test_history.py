"""What a round is compared with, through whole rounds over a list of texts."""

import pytest
from sqlalchemy import select

from corpus import Choice, Sentence
from learning import history, rounds
from learning.agreement import agreement
from learning.database import Project, Round
from learning.intake import mark_due
from learning.venue import Collected
from tests.learning.texts import bare, texts

EVERYTHING = texts(200)
STOP_SET = EVERYTHING[:60]
"""40 labelled hold-out tasks and 20 that nobody has labelled."""


class GrowingVenue:
    """The same texts each round, more of them labelled; remembers what was predicted."""

    def __init__(self):
        self.labelled = 0
        self.published = []

    def collect(self):
        rest = EVERYTHING[60:]
        pool = bare(rest[self.labelled :])
        return Collected(rest[: self.labelled], EVERYTHING[:40], pool, bare(EVERYTHING[40:60]))

    def publish(self, version, queue, predictions):
        self.published.append(dict(predictions))


@pytest.fixture
def venue():
    return GrowingVenue()


@pytest.fixture
def one_round(workspace, project, venue):
    def run(labelled, **settings):
        venue.labelled = labelled
        with workspace.db.write() as session:
            mark_due(session.get_one(Project, project), "fit", "test")
        in_force = workspace.settings.model_copy(update=settings)
        round_id = rounds.claim(workspace.db, project)
        rounds.run(workspace.db, workspace.models, round_id, venue, in_force)
        rounds.publish(workspace.db, workspace.models, round_id, venue, in_force)
        with workspace.db.read() as session:
            return session.get_one(Round, round_id).metrics

    return run


def advice(workspace, project):
    with workspace.db.read() as session:
        return history.advice(history.present_curve(session, session.get_one(Project, project)))


def test_a_new_model_is_compared_with_the_current_one_on_the_hold_out(one_round, venue):
    assert one_round(6)["agreement"] is None
    second = one_round(60)
    before, after = ([spans[s.id] for s in STOP_SET] for spans in venue.published)
    assert second["agreement"] == agreement(STOP_SET, before, after).as_json()
    assert second["agreement"]["sentences"] == 60
    assert second["agreement"]["kappa"] < 1


def test_hold_out_tasks_are_counted_one_by_one(one_round, venue):
    metrics = one_round(30)
    counts = metrics["holdout_counts"]
    assert set(counts) == {s.id for s in EVERYTHING[:40]}
    gold, predicted, right = (sum(row[i] for row in counts.values()) for i in range(3))
    assert gold == sum(len(s.spans or ()) for s in EVERYTHING[:40])
    assert predicted == sum(len(venue.published[0][s.id]) for s in EVERYTHING[:40])
    assert metrics["evaluation"]["f1"] == pytest.approx(2 * right / (gold + predicted))


def test_a_task_whose_text_has_changed_is_not_compared(one_round, venue, monkeypatch):
    one_round(20)
    changed = [s.labelled(s.spans) for s in texts(40, seed=5)]
    monkeypatch.setattr("tests.learning.test_history.EVERYTHING", [*changed, *EVERYTHING[40:]])
    same = sum(a.text == b.text for a, b in zip(changed, STOP_SET, strict=False))
    assert one_round(30)["agreement"]["sentences"] == 20 + same


def test_advice_comes_with_the_first_model_and_follows_one_curve(workspace, project, one_round):
    assert advice(workspace, project) is None
    for labelled in (10, 20):
        one_round(labelled)
    assert "one more round" in advice(workspace, project).text
    one_round(40)
    three = advice(workspace, project)
    assert three.words is not None and three.words > 0
    one_round(60, tagger_options={"iterations": 30})  # another model: a curve of its own
    assert "two more rounds" in advice(workspace, project).text
    one_round(80)  # back again: the earlier points count as well
    assert advice(workspace, project).words > three.words


def test_a_settled_model_is_said_to_have_settled(workspace, project, one_round):
    for labelled in (60, 80, 100, 120, 140):
        one_round(labelled)
    told = advice(workspace, project)
    assert told.kappas == pytest.approx([1.0] * 3, abs=0.05)
    with workspace.db.read() as session:
        metrics = session.scalars(select(Round.metrics).order_by(Round.number)).all()
    assert tuple(m["agreement"]["kappa"] for m in metrics[-3:]) == told.kappas


TOPICS = {"sport": ["match", "goal", "coach"], "money": ["bank", "loan", "tax"]}


def about(n: int) -> Sentence:
    """A text about one topic or the other, classified."""
    label = sorted(TOPICS)[n % 2]
    words = " ".join(TOPICS[label][(n + k) % 3] for k in range(n % 3 + 1))
    return Sentence.from_text(str(n), f"{words} of day {n}").marked([Choice(label)], ["choices"])


def test_a_project_of_choices_is_compared_by_them(workspace, project):
    everything = [about(n) for n in range(1, 61)]
    stop_set, rest = everything[:30], everything[30:]
    settings = workspace.settings.model_copy(update={"classifier": "tfidf-classifier"})
    metrics = []
    for labelled in (10, 20):
        pool = bare(rest[labelled:])
        venue = ListVenue(Collected(rest[:labelled], stop_set, pool, kinds=("choices",)))
        with workspace.db.write() as session:
            mark_due(session.get_one(Project, project), "fit", "test")
        id = rounds.claim(workspace.db, project)
        rounds.run(workspace.db, workspace.models, id, venue, settings)
        rounds.publish(workspace.db, workspace.models, id, venue, settings)
        with workspace.db.read() as session:
            metrics.append(session.get_one(Round, id).metrics)
    agreed = metrics[1]["agreement"]
    assert (agreed["kind"], agreed["words"], agreed["sentences"]) == ("choices", 30, 30)
    gold, found, right = (sum(row[i] for row in metrics[1]["holdout_counts"].values()) for i in range(3))
    assert gold == found == 30
    assert metrics[1]["evaluation"]["f1"] == pytest.approx(right / 30) and metrics[1]["evaluation"]["accuracy"]
    with workspace.db.read() as session:
        curve = history.present_curve(session, session.get_one(Project, project))
        assert [this.number for this in curve] == [1, 2]
        first = curve[0]
        first.metrics = {**first.metrics, "evaluation": {**first.metrics["evaluation"], "kind": "spans"}}
        again = history.present_curve(session, session.get_one(Project, project))
        assert [this.number for this in again] == [2], "F1 of spans and F1 of choices make no curve"
        session.expunge_all()


class ListVenue:
    """Gives what it is given."""

    def __init__(self, collected):
        self.collected = collected

    def collect(self):
        return self.collected

    def publish(self, version, queue, predictions):
        pass
