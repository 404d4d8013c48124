"""One model ranks while another is trained for use, and models that go on from the last one."""

import pytest

from corpus import Sentence
from learning import rounds
from learning.database import Project, Round
from learning.intake import mark_due
from learning.settings import ProjectSettings
from learning.venue import Collected
from taggers.bilstm import BiLSTMTagger
from taggers.crf import CRFTagger
from tests.learning.test_rounds import ListVenue, due, get, whole_round
from tests.learning.texts import texts

SMALL = {"iterations": 3}


def with_acquisition(workspace, **options):
    changes = {"acquisition": "crf", "acquisition_options": SMALL, "holdout_share": 0.0, **options}
    workspace.settings = workspace.settings.model_copy(update=changes)


def state(workspace, project) -> Project:
    with workspace.db.read() as session:
        return session.get_one(Project, project)


def next_round(workspace, project, venue) -> Round:
    """The round that is due already."""
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    return get(workspace, round_id)


def order_by(tagger, pool):
    """MNLP's order, from its definition."""
    sureness = {}
    for batch in tagger.infer(pool):
        for i, log_prob, length in zip(batch.indices, batch.log_prob_B, batch.lengths, strict=True):
            sureness[pool[i].id] = log_prob / length
    return sureness


def test_one_model_ranks_and_the_other_tags(workspace, project):
    with_acquisition(workspace)
    venue = ListVenue(40)
    done = whole_round(workspace, project, venue)
    tags = workspace.models.load(project, done.version)
    ranks = workspace.models.load_acquisition(project, done.version)
    assert (tags.options.iterations, ranks.options.iterations) == (100, 3)
    queue, predictions = venue.published[done.version]
    sureness = order_by(ranks, venue.collected.pool)
    assert [sureness[id] for id in queue] == sorted(sureness.values())
    other = order_by(tags, venue.collected.pool)
    assert [other[id] for id in queue] != sorted(other.values())  # so the test can tell the two
    everything = [s.unlabelled() for s in (*venue.collected.pool, *venue.collected.labelled)]
    assert [predictions[s.id] for s in everything] == tags.predict(everything)


def test_ranking_again_uses_the_stored_acquisition_model(workspace, project):
    with_acquisition(workspace)
    venue = ListVenue(40)
    first = whole_round(workspace, project, venue)
    workspace.models._loaded.clear()
    again = whole_round(workspace, project, venue, kind="rank")
    assert again.kind == "rank" and again.model_round_id == first.id
    sureness = order_by(workspace.models.load_acquisition(project, first.version), venue.collected.pool)
    assert [sureness[id] for id in venue.published[again.version][0]] == sorted(sureness.values())
    assert venue.published[again.version][1] == venue.published[first.version][1]


def test_acquisition_models_go_with_their_versions(workspace, project):
    with_acquisition(workspace, keep_versions=1)
    venue = ListVenue(40)
    whole_round(workspace, project, venue)
    for _ in range(2):
        whole_round(workspace, project, venue)
        version = next_round(workspace, project, venue).version
        assert workspace.models.versions(project) == {version}
        assert [f.name for f in (workspace.models.shelf(project) / "acquisition").iterdir()] == [version]


def test_the_model_that_ranks_goes_first_once_there_is_one_for_use(workspace, project):
    with_acquisition(workspace)
    venue = ListVenue(20)
    first = whole_round(workspace, project, venue)
    assert (first.kind, first.model_round_id) == ("fit", first.id)
    tags = workspace.models.load(project, first.version)
    venue.collected = ListVenue(40).collected
    quick = whole_round(workspace, project, venue)
    assert (quick.kind, quick.model_round_id) == ("acquisition", first.id)
    assert quick.metrics["evaluation"] == first.metrics["evaluation"]
    queue, predictions = venue.published[quick.version]
    assert len(queue) == 20 and queue != venue.published[first.version][0][:20]
    for sentence in venue.collected.pool:  # the same model for use: nothing is tagged anew
        assert predictions[sentence.id] == tags.predict([sentence])[0]
    assert state(workspace, project).due == "successor"
    with workspace.db.write() as session:  # whatever arrives meanwhile does not make it wait longer
        mark_due(session.get_one(Project, project), "fit", "new annotations")
    second = next_round(workspace, project, venue)
    assert (second.kind, second.reason) == ("fit", "test")
    assert second.model_round_id == second.id and state(workspace, project).due is None
    assert workspace.models.load(project, second.version) is not tags


def test_known_spans_are_not_asked_for_again(workspace, project, monkeypatch):
    with_acquisition(workspace)
    venue = ListVenue(20)
    whole_round(workspace, project, venue)
    everything = texts(60)
    changed = Sentence.from_text("60", "Ada is in Oslo")
    venue.collected = Collected(everything[:40], [], [*(s.unlabelled() for s in everything[40:59]), changed])
    asked = []
    predict = CRFTagger.predict
    monkeypatch.setattr(CRFTagger, "predict", lambda self, some: asked.extend(some) or predict(self, some))
    quick = whole_round(workspace, project, venue)
    assert asked == [changed]
    assert set(venue.published[quick.version][1]) == {s.id for s in everything}


def test_a_failed_successor_is_tried_again_as_such(workspace, project):
    with_acquisition(workspace)
    venue = ListVenue(20)
    whole_round(workspace, project, venue)
    whole_round(workspace, project, venue)
    round_id = rounds.claim(workspace.db, project)
    assert state(workspace, project).due is None
    rounds.fail(workspace.db, round_id, "OSError: disk full", transient=True)
    assert state(workspace, project).due == "successor"


def test_the_strategy_must_fit_the_model_that_ranks():
    with pytest.raises(ValueError, match="hidden"):
        ProjectSettings(tagger="transformer", acquisition="crf", strategy="badge").check_for(["spans"])
    ProjectSettings(tagger="crf", acquisition="transformer", strategy="badge").check_for(["spans"])
    with pytest.raises(ValueError, match="unknown tagger 'none such'"):
        ProjectSettings(tagger="crf", acquisition="none such")


def test_a_round_killed_between_the_two_models_leaves_no_version(workspace, project, monkeypatch):
    with_acquisition(workspace)
    due(workspace, project)
    round_id = rounds.claim(workspace.db, project)
    saved = []

    def save(self, folder):
        saved.append(folder)
        if len(saved) == 2:
            raise OSError("disk full")
        write(self, folder)

    write = CRFTagger.save
    monkeypatch.setattr(CRFTagger, "save", save)
    with pytest.raises(OSError, match="disk full"):
        rounds.run(workspace.db, workspace.models, round_id, ListVenue(40), workspace.settings)
    assert workspace.models.versions(project) == set()


@pytest.mark.slow
def test_a_warm_round_goes_on_from_the_current_model_and_its_folds_do_not(workspace, project, monkeypatch):
    """Folds of cross-validation must not start from a model that has seen their test texts."""
    tiny = {"word_units": 8, "units": 4, "epochs": 1}
    changes = {"tagger": "bilstm", "tagger_options": tiny, "warm_start": True, "holdout_share": 0.0}
    workspace.settings = workspace.settings.model_copy(update=changes)
    started = []
    fit = BiLSTMTagger.fit

    def spy(self, train, dev, *, start=None, **rest):
        started.append(start)
        fit(self, train, dev, start=start, **rest)

    monkeypatch.setattr(BiLSTMTagger, "fit", spy)
    venue = ListVenue(20)
    first = whole_round(workspace, project, venue)
    assert started == [None] * 4  # the model and three folds
    started.clear()
    whole_round(workspace, project, venue)
    assert [start is not None for start in started] == [True, False, False, False]
    assert started[0] is workspace.models.load(project, first.version)
    started.clear()
    other = {**tiny, "units": 5}  # another network cannot go on from it
    workspace.settings = workspace.settings.model_copy(update={"tagger_options": other})
    whole_round(workspace, project, venue)
    assert started == [None] * 4
    with pytest.raises(ValueError, match="learns from scratch"):
        ProjectSettings(tagger="crf", warm_start=True)
