"""Every strategy orders the queue of a whole round, with a real tagger or classifier and real readers."""

import pytest

from corpus import Choice, Kind, Sentence
from learning import rounds
from learning.database import Project, Round
from learning.intake import mark_due
from learning.settings import ProjectSettings
from learning.venue import Collected
from strategies import STRATEGIES
from taggers import TAGGERS
from tests.learning.texts import bare, texts


def chosen(sentence: Sentence) -> Sentence:
    """A text about somebody, or about nobody."""
    somebody = any(span.label == "PER" for span in sentence.spans or ())
    return sentence.marked([Choice("somebody" if somebody else "nobody")], ["choices"])


SEQUENCES = sorted(STRATEGIES.keys() - {"batch-bald"})


class ListVenue:
    def __init__(self, kind: Kind = "spans"):
        everything = texts(60) if kind == "spans" else [chosen(sentence) for sentence in texts(60)]
        self.collected = Collected(everything[:30], [], bare(everything[30:]), [], kinds=(kind,))
        self.queue = []

    def collect(self):
        return self.collected

    def publish(self, version, queue, predictions):
        self.queue = list(queue)


def trained(tmp_path_factory, kind: Kind, **changes):
    """A workspace whose project has a model, trained once for all strategies."""
    from learning.settings import Settings
    from learning.workspace import Workspace

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("away"))  # from any .env
        settings = Settings(data_dir=tmp_path_factory.mktemp("data"), tagger="transformer", round_size=5)
    settings = settings.model_copy(update=changes)
    workspace = Workspace(settings)
    with workspace.db.write() as session:
        project = Project(key="2.1700000000", external_id=2, label_config="<View/>")
        session.add(project)
        session.flush()
        id = project.id
    one_round(workspace, id, ListVenue(kind), settings, "fit")
    return workspace, id


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return trained(tmp_path_factory, "spans", tagger_options={"epochs": 1})


@pytest.fixture(scope="module")
def classifying(tmp_path_factory):
    return trained(tmp_path_factory, "choices", classifier_options={"epochs": 1})


def one_round(workspace, project, venue, settings, kind="rank"):
    with workspace.db.write() as session:
        mark_due(session.get_one(Project, project), kind, "test")
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, settings)
    with workspace.db.read() as session:
        return session.get_one(Round, round_id)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_it_orders_the_queue(fitted, name):
    workspace, project = fitted
    settings = workspace.settings.model_copy(update={"strategy": name, "adapt_seconds": 1})
    venue = ListVenue()
    done = one_round(workspace, project, venue, settings)
    assert (done.kind, done.state, done.metrics["strategy"]) == ("rank", "done", name)
    assert sorted(map(int, venue.queue)) == list(range(31, 61))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_it_orders_the_queue_by_choices(classifying, name):
    workspace, project = classifying
    settings = workspace.settings.model_copy(update={"strategy": name, "adapt_seconds": 1})
    venue = ListVenue("choices")
    done = one_round(workspace, project, venue, settings)
    assert (done.kind, done.state, done.metrics["strategy"]) == ("rank", "done", name)
    assert sorted(map(int, venue.queue)) == list(range(31, 61))


@pytest.mark.parametrize("tagger", sorted(name for name, entry in TAGGERS.items() if entry.kind == "spans"))
def test_batch_bald_is_refused_for_sequences_with_the_reason(tagger):
    with pytest.raises(ValueError, match="decisions on texts"):
        ProjectSettings(tagger=tagger, strategy="batch-bald").check_for(["spans"])


@pytest.mark.parametrize("name", ["bald", "variation-ratio", "sequence-variation-ratio", "power-bald"])
def test_what_needs_dropout_is_refused_for_a_tagger_without(name):
    with pytest.raises(ValueError, match="dropout"):
        ProjectSettings(tagger="crf", strategy=name).check_for(["spans"])


@pytest.mark.parametrize(("tagger", "dropout"), [("transformer", "locked"), ("flair-bilstm-crf", "last")])
def test_another_taggers_dropout_is_refused(tagger, dropout):
    with pytest.raises(ValueError, match=f"no dropout '{dropout}'; it has: "):
        ProjectSettings(tagger=tagger, strategy="bald", strategy_options={"dropout": dropout}).check_for(["spans"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"filter": "upps"}, "unknown filter 'upps'; known: anchors, ups"),
        ({"filter": "ups", "filter_options": {"size": 3}}, "'size'"),
        ({"cold_start": "mnlp"}, "needs a model first"),
        ({"tagger": "crf", "adapt": True}, "no encoder"),
        ({"round_words": 0}, "round_words"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words(given, said):
    with pytest.raises(ValueError, match=said):
        ProjectSettings(**given)
