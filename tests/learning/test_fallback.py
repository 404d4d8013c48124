"""A damaged model: what serves meanwhile, what is told, and how the next round mends it."""

import shutil

import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from corpus import Sentence
from learning import rounds
from learning.database import Project, Round
from learning.fallback import REASON, model_or_older
from learning.serving import answer, find_current
from learning.workspace import Workspace
from taggers import Damaged
from taggers.crf import CRFTagger
from tests.learning.damages import DAMAGES, damage
from tests.learning.test_rounds import ListVenue, current, due, get, whole_round

pytestmark = pytest.mark.slow

NEW = "Ada Lovelace met Emmy Noether in Lima"
KEY = "2.1700000000"


def anew(workspace) -> Workspace:
    """As after a restart: nothing is in memory."""
    return Workspace(workspace.settings)


def the_project(workspace, project) -> Project:
    with workspace.db.read() as session:
        return session.get_one(Project, project)


def served(workspace, text=NEW, id=999):
    with workspace.db.read() as session:
        found = find_current(session, KEY)
    return answer(workspace, found, [(id, text)])


def sureness(tagger) -> float:
    """Of the new text, from its definition; it tells one model from another."""
    [batch] = tagger.infer([Sentence.from_text("1", NEW)])
    return float(np.exp(batch.log_prob_B[0] / batch.lengths[0]))


def count(workspace, reason=REASON) -> int:
    with workspace.db.read() as session:
        return session.scalar(select(func.count()).select_from(Round).where(Round.reason == reason))


def mended(workspace, project, venue) -> Round:
    """The round that is due already."""
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, workspace.settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, workspace.settings)
    return get(workspace, round_id)


@pytest.mark.parametrize("name", DAMAGES)
def test_an_older_model_tags_until_the_next_round_mends_it(workspace, project, name):
    old, venue = whole_round(workspace, project, ListVenue(20)), ListVenue(40)
    older = sureness(workspace.models.load(project, old.version))
    new = whole_round(workspace, project, venue)
    assert sureness(workspace.models.load(project, new.version)) != pytest.approx(older)
    damage(name, workspace.models.folder(project, new.version))
    workspace = anew(workspace)

    first = served(workspace)
    assert first.version == new.version
    assert first.items[0].sureness == pytest.approx(older) and first.items[0].marks
    mine = the_project(workspace, project)
    assert (mine.due, mine.due_reason) == ("fit", REASON)
    assert new.version in mine.notice and str(workspace.settings.data_dir) not in mine.notice
    queued = venue.collected.pool[0]
    assert served(workspace, queued.text, int(queued.id)).items[0].position is not None  # what is stored is as before

    done = mended(workspace, project, venue)
    assert (done.kind, done.reason, done.state) == ("fit", REASON, "done")
    assert served(workspace).version == done.version
    newest = sureness(workspace.models.load(project, done.version))
    assert served(workspace).items[0].sureness == pytest.approx(newest) != pytest.approx(older)
    assert the_project(workspace, project).due is None and count(workspace) == 1


def test_without_any_whole_model_answers_are_empty(workspace, project):
    venue = ListVenue(20)
    for _ in range(2):
        damage("a byte flipped", workspace.models.folder(project, whole_round(workspace, project, venue).version))
    workspace = anew(workspace)
    found = served(workspace)
    assert (found.items[0].marks, found.items[0].sureness) == ([], 0.0)
    assert the_project(workspace, project).due == "fit"


def test_the_whole_folder_of_models_may_vanish(workspace, project):
    venue = ListVenue(20)
    whole_round(workspace, project, venue)
    shutil.rmtree(workspace.models.root)
    workspace = anew(workspace)
    assert served(workspace).items[0].marks == []
    assert mended(workspace, project, venue).kind == "fit"
    assert served(workspace).items[0].marks


def test_a_model_in_memory_goes_on_tagging(workspace, project):
    done = whole_round(workspace, project, ListVenue(20))
    before = served(workspace)
    damage("no folder", workspace.models.folder(project, done.version))
    assert served(workspace) == before
    assert the_project(workspace, project).due is None


def test_one_round_is_asked_for_even_if_it_fails(workspace, project):
    venue = ListVenue(20)
    damage("a byte flipped", workspace.models.folder(project, whole_round(workspace, project, venue).version))
    workspace = anew(workspace)
    for _ in range(3):
        served(workspace)
    round_id = rounds.claim(workspace.db, project)
    notice = the_project(workspace, project).notice
    with workspace.db.write() as session:  # as collecting does
        session.get_one(Project, project).notice = None
    served(workspace)
    assert the_project(workspace, project).notice is None, "while a round is under way it may be over soon"
    rounds.fail(workspace.db, round_id, "no luck", transient=False)
    for _ in range(3):
        served(workspace)
    mine = the_project(workspace, project)
    assert (mine.due, mine.notice) == (None, notice)
    assert count(workspace) == 1
    due(workspace, project)  # people, or new annotations
    assert mended(workspace, project, venue).state == "done"
    damage("a byte flipped", workspace.models.folder(project, current(workspace, project).version))
    workspace = anew(workspace)
    served(workspace)
    assert the_project(workspace, project).due_reason == REASON, "another model, another damage"


def test_what_waits_is_not_lost(workspace, project):
    venue = ListVenue(20)
    old, new = (whole_round(workspace, project, venue) for _ in range(2))
    damage("a byte flipped", workspace.models.folder(project, new.version))
    workspace = anew(workspace)
    rounds.rollback(workspace.db, workspace.models, project, old.version)
    served(workspace)
    mine = the_project(workspace, project)
    assert (mine.due, mine.due_model) == ("rank", old.id)
    assert mended(workspace, project, venue).model_round_id == old.id


def test_one_that_was_just_replaced_and_deleted_is_not_damaged(workspace, project):
    venue = ListVenue(20)
    old, new = (whole_round(workspace, project, venue) for _ in range(2))
    workspace.models.prune(project, [new.version])
    workspace = anew(workspace)
    assert model_or_older(workspace.db, workspace.models, project, old.version) is None
    mine = the_project(workspace, project)
    assert (mine.due, mine.notice) == (None, None)


def test_answers_do_not_wait_for_what_cannot_be_written_down(workspace, project, monkeypatch):
    venue = ListVenue(20)
    _, new = (whole_round(workspace, project, venue) for _ in range(2))
    damage("a byte flipped", workspace.models.folder(project, new.version))
    workspace = anew(workspace)

    def full():
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(workspace.db, "write", full)
    assert served(workspace).items[0].marks


def test_damage_is_looked_at_once_and_again_when_it_changes(workspace, project, monkeypatch):
    done = whole_round(workspace, project, ListVenue(20))
    folder = workspace.models.folder(project, done.version)
    file = folder / "model.crfsuite"
    whole = file.read_bytes()
    damage("a byte flipped", folder)
    workspace = anew(workspace)
    with pytest.raises(Damaged):
        workspace.models.load(project, done.version)
    with monkeypatch.context() as patch:
        patch.setattr("taggers.load", None)  # to be called would be another error
        with pytest.raises(Damaged):
            workspace.models.load(project, done.version)
    file.write_bytes(whole)  # from a backup
    assert isinstance(workspace.models.load(project, done.version), CRFTagger)


def test_what_else_a_model_needs_may_be_missing(workspace, project, monkeypatch):
    """An encoder that is out of reach: told, but a new training would want it as well."""
    done = whole_round(workspace, project, ListVenue(20))
    workspace = anew(workspace)

    def out_of_reach(folder):
        raise ValueError("encoder 'far/away' is not within reach")

    monkeypatch.setattr("taggers.load", out_of_reach)
    assert model_or_older(workspace.db, workspace.models, project, done.version) is None
    mine = the_project(workspace, project)
    assert mine.due is None and "far/away" in mine.notice
    monkeypatch.undo()
    assert isinstance(model_or_older(workspace.db, workspace.models, project, done.version), CRFTagger)


@pytest.mark.parametrize("name", DAMAGES)
def test_ranking_with_a_damaged_model_trains_anew(workspace, project, name):
    venue = ListVenue(20)
    done = whole_round(workspace, project, venue)
    damage(name, workspace.models.folder(project, done.version))
    workspace = anew(workspace)
    again = whole_round(workspace, project, venue, "rank")
    assert (again.kind, again.state, again.model_round_id) == ("fit", "done", again.id)
    assert workspace.models.load(project, again.version)


def test_ranking_with_a_damaged_model_and_no_labels_begins_cold(workspace, project):
    done = whole_round(workspace, project, ListVenue(20))
    damage("a byte flipped", workspace.models.folder(project, done.version))
    again = whole_round(anew(workspace), project, ListVenue(0), "rank")
    assert (again.kind, again.model_round_id) == ("cold start", None)


@pytest.mark.parametrize("folder", ["", "acquisition"])
def test_training_goes_on_without_the_damaged_one_of_two(workspace, project, folder):
    changes = {"acquisition": "crf", "acquisition_options": {"iterations": 3}, "holdout_share": 0.0}
    workspace.settings = workspace.settings.model_copy(update=changes)
    venue = ListVenue(20)
    done = whole_round(workspace, project, venue)
    damage("a byte flipped", workspace.models.shelf(project) / folder / done.version)
    workspace = anew(workspace)
    with pytest.raises(Damaged):
        workspace.models.verify(project, done.version)
    ranked = whole_round(workspace, project, venue, "rank")
    assert (ranked.kind, ranked.state) == ("acquisition" if folder else "fit", "done")
    fitted = mended(workspace, project, venue) if folder else ranked  # the quick one's successor
    assert fitted.kind == "fit"
    workspace.models.verify(project, fitted.version)


def test_what_is_left_of_a_version_is_deleted_in_its_turn(workspace, project):
    workspace.settings = workspace.settings.model_copy(update={"keep_versions": 1})
    venue = ListVenue(20)
    (workspace.models.shelf(project) / "adapted-0123").mkdir(parents=True)
    done = whole_round(workspace, project, venue)
    damage("an empty folder", workspace.models.folder(project, done.version))
    again = whole_round(anew(workspace), project, venue)
    assert {folder.name for folder in workspace.models.shelf(project).iterdir()} == {again.version, "adapted-0123"}


def test_nobody_else_can_read_it(workspace, project):
    whole_round(workspace, project, ListVenue(20))
    for folder in (workspace.settings.data_dir, workspace.models.root):
        assert folder.stat().st_mode & 0o077 == 0
