from itertools import combinations

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from corpus import Choice, Sentence, Span
from learning import rounds
from learning.batches import annotated, described, diversity, last_batch
from learning.database import Annotation, Project, Round
from learning.intake import mark_due
from learning.venue import Collected
from tests.learning.texts import bare, texts


def test_diversity_is_one_less_the_mean_cosine_of_all_pairs():
    sentences = texts(30)
    bags = CountVectorizer(analyzer=lambda text: [word.text.lower() for word in text.words]).fit_transform(sentences)
    cosines = cosine_similarity(bags)
    mean = np.mean([cosines[i, j] for i, j in combinations(range(30), 2)])
    assert diversity(sentences) == pytest.approx(1 - mean)


def test_diversity_at_its_ends():
    same = [Sentence.from_text(id, text) for id, text in (("1", "Go on"), ("2", "go ON"), ("3", "on go"))]
    assert diversity(same) == pytest.approx(0)
    assert diversity([Sentence.from_text("1", "a b a"), Sentence.from_text("2", "c")]) == pytest.approx(1)
    assert diversity(same[:1]) is diversity([]) is diversity([same[0], Sentence.from_text("4", "")]) is None


def test_a_batch_beside_its_pool():
    batch = [
        Sentence.from_text("1", "Ada met Grace in Oslo", (Span(0, 3, "PER"), Span(8, 13, "PER"), Span(17, 21, "LOC"))),
        Sentence.from_text("2", "Zoë came", (Span(0, 3, "PER"),)),
        Sentence.from_text("3", "Nobody did", ()),
    ]
    pool = [Sentence.from_text("4", "Rain in Lima"), Sentence.from_text("5", "Bern")]
    predictions = {"4": [Span(8, 12, "LOC")], "5": [Span(0, 4, "LOC")], "2": [Span(0, 3, "LOC")] * 9}
    found = described(batch, pool, predictions)
    assert (found.tasks, found.words, found.mean_words, found.pool_mean_words) == (3, 9, 3.0, 2.0)
    assert [(each.label, each.count, each.share, each.pool_share) for each in found.labels] == [
        ("PER", 3, 0.75, 0.0),
        ("LOC", 1, 0.25, 1.0),
    ]
    assert "3 tasks had 3.0 words on average, the pool has 2.0" in found.text
    assert "75% of their spans were PER, 0% of what the model sees there" in found.text
    assert set(found.as_json(4)) == {
        *("round", "tasks", "words", "mean_words", "pool_mean_words", "labels", "diversity", "text")
    }


def test_each_kind_of_mark_has_a_mix_of_its_own():
    batch = [
        Sentence.from_text(id, text).marked([*spans, Choice(label)], ["spans", "choices"])
        for id, text, spans, label in (
            ("1", "Ada left", [Span(0, 3, "PER")], "news"),
            ("2", "Bob left", [Span(0, 3, "PER")], "news"),
            ("3", "Rain", [], "weather"),
        )
    ]
    pool = [Sentence.from_text(id, "Bern is dry") for id in ("4", "5")]
    found = described(batch, pool, {id: [Span(0, 4, "PER"), Choice("sport")] for id in ("4", "5")})
    assert [(each.kind, each.label, each.count, each.pool_share) for each in found.labels] == [
        ("spans", "PER", 2, 1.0),
        ("choices", "news", 2, 0.0),
        ("choices", "weather", 1, 0.0),
        ("choices", "sport", 0, 1.0),
    ]
    assert sum(each.share for each in found.labels if each.kind == "choices") == pytest.approx(1)
    assert "; 0% of their choices were sport, 100% of what the model sees there" in found.text


def test_a_batch_that_is_like_the_pool_names_no_label():
    everything = texts(400)
    found = described(everything[:200], bare(everything[200:]), {s.id: list(s.spans) for s in everything})
    assert "spans" not in found.text
    assert "about as many words in common as texts of the pool" in found.text


def test_neither_spans_nor_a_pool_are_needed():
    found = described([Sentence.from_text("1", "nothing", ())], [], {})
    assert (found.labels, found.pool_mean_words, found.diversity) == ((), None, None)
    assert found.text == "The last 1 task had 1.0 words on average."


def annotate(workspace, project, ids, revision, **state):
    with workspace.db.write() as session:
        for id in ids:
            session.merge(
                Annotation(
                    project_id=project, id=id, task_id=id, result=[], updated_at="now", revision=revision, **state
                )
            )
        session.get_one(Project, project).revision = revision


class Venue:
    def __init__(self):
        self.labelled = 0

    def collect(self):
        everything = texts(60)
        return Collected(
            everything[5 : self.labelled], everything[:5], bare(everything[self.labelled :]), [], [], self.labelled
        )

    def publish(self, *what):
        pass


def test_rounds_tell_what_was_annotated_since_the_last_one(workspace, project):
    venue, batches = Venue(), []
    for labelled, kind in ((20, "fit"), (32, "rank"), (40, "fit")):
        annotate(workspace, project, range(venue.labelled + 1, labelled + 1), labelled)
        venue.labelled = labelled
        with workspace.db.write() as session:
            mark_due(session.get_one(Project, project), kind, "test")
        id = rounds.claim(workspace.db, project)
        rounds.run(workspace.db, workspace.models, id, venue, workspace.settings)
        rounds.publish(workspace.db, workspace.models, id, venue, workspace.settings)
        with workspace.db.read() as session:
            batches.append(session.get_one(Round, id).metrics.get("batch"))
    assert (batches[0]["round"], batches[0]["tasks"], batches[1]) == (1, 20, None)  # hold-out tasks among them
    assert (batches[2]["round"], batches[2]["tasks"]) == (3, 20)
    assert batches[2]["words"] == sum(len(sentence) for sentence in texts(60)[20:40])


def test_skipped_and_deleted_annotations_are_no_batch(workspace, project):
    annotate(workspace, project, [1, 2], 5)
    annotate(workspace, project, [3], 6, cancelled=True)
    annotate(workspace, project, [4], 7, deleted=True)
    annotate(workspace, project, [2], 8)
    with workspace.db.read() as session:
        assert annotated(session, session.get_one(Project, project)) == {"1": 5, "2": 8}
        nobody = Collected(texts(10)[5:], [], [])
        assert last_batch(session, Round(project_id=project, number=1), nobody, {}) is None
