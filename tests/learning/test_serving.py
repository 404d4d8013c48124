"""What a project is served from; answers by inference are tested with whole rounds in `test_rounds`."""

import numpy as np
import pytest

from corpus import Inference, Span
from learning import serving
from learning.database import Prediction, Project, Round, text_hash
from learning.serving import UNTRAINED, Answer, answer, find_current
from tests.learning.texts import texts

KEY = "2.1700000000"


class Sure:
    """A tagger that marks the first word, half sure of every word; its batches come last text first."""

    def __init__(self):
        self.parts = {"spans": self}

    @staticmethod
    def says(text: str) -> list[Span]:
        return [Span(0, len(text.split()[0]), "PER", 0.5)]

    def marks(self, batch, sentences):
        return [self.says(sentences[i].text) for i in batch.indices]

    def infer(self, sentences):
        for index in reversed(range(len(sentences))):
            words = len(sentences[index])
            path_BT = np.array([[1] + [0] * (words - 1)])
            marginals_BTC = np.full((1, words, 2), 0.5, np.float32)
            log_prob_B = np.array([words * np.log(0.5)])
            yield Inference(np.array([index]), np.array([words]), ("O", "B-PER"), path_BT, log_prob_B, marginals_BTC)


def stored_round(workspace, project: int, number: int, model: int | None = None) -> int:
    """A round that is the current one, with a model of its own or of the round `model`; its id."""
    with workspace.db.write() as session:
        row = {"project_id": project, "number": number, "version": f"v{number}", "state": "done", "revision": 0}
        this = Round(**row, kind="fit", reason="test", owner="nobody:0")
        session.add(this)
        session.flush()
        this.model_round_id = model or this.id
        session.get_one(Project, project).current_round_id = this.id
        return this.id


def look(workspace, key: str = KEY):
    with workspace.db.read() as session:
        return find_current(session, key)


def test_nothing_is_served_before_the_first_round(workspace, project):
    found = look(workspace)
    assert (found.project.id, found.round_id, found.version, found.model) == (project, None, UNTRAINED, None)
    assert answer(workspace, found, [(1, "Ada")]).items == [Answer([], None, 0.0)]
    assert look(workspace, "3.1700000000") is None


def test_a_round_may_rank_with_the_model_of_an_earlier_one(workspace, project):
    fitted = stored_round(workspace, project, 1)
    ranked = stored_round(workspace, project, 2, model=fitted)
    for key in (KEY, "2"):
        found = look(workspace, key)
        assert (found.project.id, found.round_id, found.version, found.model) == (project, ranked, "v2", "v1")
    with workspace.db.write() as session:
        session.get_one(Round, ranked).model_round_id = None  # as after a cold start
    assert (look(workspace).version, look(workspace).model) == ("v2", None)


@pytest.mark.parametrize("chunk", [2, 5_000])
def test_each_text_gets_its_own_answer(workspace, project, monkeypatch, chunk):
    monkeypatch.setattr(serving, "CHUNK", chunk)
    monkeypatch.setattr(workspace.models, "load", lambda *_: Sure())
    round_id = stored_round(workspace, project, 1)
    known = [sentence.text for sentence in texts(6)]
    with workspace.db.write() as session:
        for id, text in enumerate(known):
            place = None if id == 4 else id
            spans = [[0, 1 + id, "PER", 0.5]]
            session.add(
                Prediction(
                    round_id=round_id, task_id=id, text_hash=text_hash(text), words=1, spans=spans, position=place
                )
            )
    asked = [(5, known[5]), (0, "another text"), (77, known[1]), (4, known[4]), (2, known[2]), (2, "another text")]
    found = answer(workspace, look(workspace), asked)
    kept = {id: [Span(0, 1 + id, "PER", 0.5)] for id in range(6)}
    assert [(item.marks, item.position) for item in found.items] == [
        (kept[5], 5),
        (Sure.says("another text"), None),
        (Sure.says(known[1]), None),
        (kept[4], None),
        (kept[2], 2),
        (Sure.says("another text"), None),
    ]
    assert [round(item.sureness, 6) for item in found.items] == [1, 0.5, 0.5, 1, 1, 0.5]
    assert (found.version, found.queue_length) == ("v1", 5)
