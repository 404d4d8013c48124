from types import SimpleNamespace

import pytest
from sqlalchemy import select

from learning import review
from learning.database import Annotation, Project, Round
from learning.saving import Saving
from learning.suspects import Suspects
from learning.venue import Collected
from tests.learning.texts import bare, texts

EVERYTHING = texts(80)
COLLECTED = Collected(EVERYTHING[:50], EVERYTHING[50:70], bare(EVERYTHING[70:]))
FOUND = Saving(0.3, 0.1, 0.4, 900, 0.8)


@pytest.fixture
def fitted(workspace, project):
    """The id of a round that has trained a model on annotations that came in the opposite order of their ids."""
    with workspace.db.write() as session:
        made = Round(
            project_id=project, number=1, version="v1", kind="fit", state="done", reason="", owner="", revision=0
        )
        made.metrics = {"seconds": {"fit": 2.0}, "labelled_words": 7}
        session.add(made)
        for id in range(1, 71):
            session.add(Annotation(project_id=project, id=id, task_id=id, result=[], updated_at="", revision=100 - id))
        session.flush()
        return made.id


@pytest.fixture
def asked(monkeypatch):
    """What the two looks were asked, neither of which takes long here."""
    seen = SimpleNamespace(suspects=[], saving=[], words=100.0)

    def suspects(labelled, rng, kinds):
        assert kinds == ("spans",)
        seen.suspects.append([sentence.id for sentence in labelled])
        return Suspects(len(labelled))

    def saving(labelled, holdout, settings, rng, kind):
        seen.saving.append([sentence.id for sentence in labelled])
        return FOUND

    monkeypatch.setattr(review, "suspects", suspects)
    monkeypatch.setattr(review, "saving", saving)
    monkeypatch.setattr(review, "trained_words", lambda *_: seen.words)
    return seen


@pytest.fixture
def look(workspace, project, fitted):
    def look(collect=lambda: COLLECTED, **settings):
        in_force = workspace.settings.model_copy(update=settings)
        review.look_closer(workspace.db, fitted, collect, in_force)
        with workspace.db.read() as session:
            return session.get_one(Project, project).suspects, session.get_one(Round, fitted).metrics

    return look


def test_a_delivered_round_is_reviewed_for_real(look):
    suspects, metrics = look()
    assert (suspects["version"], suspects["checked"], suspects["items"]) == ("v1", 70, [])
    assert "saving" not in metrics  # too small a hold-out


def test_annotations_come_in_the_order_they_were_made(look, asked):
    _, metrics = look()
    assert asked.suspects == [[str(id) for id in range(70, 0, -1)]]
    assert asked.saving == [[str(id) for id in range(50, 0, -1)]]
    assert metrics == {"seconds": {"fit": 2.0}, "labelled_words": 7, "saving": FOUND.as_json()}


def test_only_a_round_that_trained_is_reviewed(workspace, fitted, look, asked):
    with workspace.db.write() as session:
        session.get_one(Round, fitted).kind = "rank"
    look()
    assert asked.suspects == asked.saving == []


def test_the_saving_waits_while_a_round_is_due(workspace, fitted, look, asked):
    with workspace.db.write() as session:
        session.add(Project(key="other", external_id=3, label_config="", due="fit"))
    look()
    assert (len(asked.suspects), len(asked.saving)) == (1, 0)
    with workspace.db.write() as session:
        session.scalar(select(Project).where(Project.key == "other")).paused = True
    look()
    assert len(asked.saving) == 1


def test_the_saving_is_not_estimated_where_it_would_take_long(look, asked):
    asked.words = 31 * sum(len(sentence) for sentence in COLLECTED.labelled)  # 62 seconds
    assert "saving" not in look()[1]
    asked.words *= 29 / 31
    assert "saving" in look()[1]


def test_random_order_saves_nothing_against_itself(look, asked):
    look(strategy="random")
    assert (len(asked.suspects), len(asked.saving)) == (1, 0)


def test_few_annotations_are_not_doubted(look, asked):
    suspects, _ = look(lambda: Collected(EVERYTHING[:29], EVERYTHING[50:70], []))
    assert suspects is None
    assert asked.suspects == []


def test_failures_are_logged_and_take_nothing_along(look, asked, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(review, "suspects", broken)
    suspects, metrics = look()
    assert suspects is None
    assert metrics["saving"] == FOUND.as_json()
    assert "label errors could not be sought" in caplog.text
    assert "out of luck" in caplog.text
    look(broken)
    assert "could not be read again" in caplog.text
