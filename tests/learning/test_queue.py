import numpy as np
import pytest

from corpus import Sentence
from learning.loop import fit
from learning.queue import Queued, cold_order, cold_start, mix, order
from learning.settings import ProjectSettings
from learning.venue import Collected
from strategies import FILTERS, STRATEGIES
from tests.learning.texts import bare, texts

CRF = ProjectSettings(tagger="crf", strategy="mnlp", round_size=10, cold_start="random")


def test_queue_is_the_strategys_ranking_of_the_taggers_scores():
    labelled, pool = texts(40), texts(60, seed=9)
    rng = np.random.default_rng(3)
    tagger = fit(labelled, CRF, rng)
    settings = CRF.model_copy(update={"holdout_share": 0.0})
    ordered = order(tagger, Collected([], [], bare(pool), []), settings, rng)
    expected = {}
    for batch in tagger.infer(bare(pool)):
        for i, log_prob, length in zip(batch.indices, batch.log_prob_B, batch.lengths, strict=True):
            expected[pool[i].id] = -log_prob / length
    assert {queued.id for queued in ordered.queue} == set(expected)
    for queued in ordered.queue:
        assert queued.priority == pytest.approx(expected[queued.id])
    priorities = [queued.priority for queued in ordered.queue]
    assert priorities == sorted(priorities, reverse=True)


def test_a_strategy_that_the_model_cannot_serve_is_refused_in_words():
    """The settings were checked for another tagger: this model comes from a version before."""
    rng = np.random.default_rng(0)
    tagger = fit(texts(20), CRF, rng)
    later = ProjectSettings(tagger="transformer", strategy="badge")
    with pytest.raises(ValueError, match="hidden"):
        order(tagger, Collected([], [], bare(texts(5)), []), later, rng)


def test_everything_is_predicted_and_only_the_unlabelled_are_queued():
    sentences = texts(80)
    collected = Collected(sentences[:40], sentences[40:50], bare(sentences[50:70]), bare(sentences[70:]))
    rng = np.random.default_rng(0)
    ordered = order(fit(collected.labelled, CRF, rng), collected, CRF, rng)
    assert set(ordered.predictions) == {s.id for s in sentences}
    assert sorted(int(q.id) for q in ordered.queue) == list(range(51, 81))
    assert {q.id for q in ordered.queue if q.holdout} == {s.id for s in sentences[70:]}


def test_predictions_equal_the_taggers_own():
    labelled, pool = texts(40), texts(30, seed=4)
    rng = np.random.default_rng(0)
    tagger = fit(labelled, CRF, rng)
    ordered = order(tagger, Collected([], [], bare(pool), []), CRF, rng)
    for sentence, spans in zip(pool, tagger.predict(bare(pool)), strict=True):
        assert ordered.predictions[sentence.id] == spans


def test_mixing_keeps_the_ranking_and_spreads_the_hold_out():
    ranked = [Queued(f"r{i}", float(-i)) for i in range(900)]
    held = [Sentence.from_text(f"h{i}", "x") for i in range(100)]
    queue = mix(ranked, held, 0.1, np.random.default_rng(0))
    assert [q for q in queue if not q.holdout] == ranked
    places = [i for i, q in enumerate(queue) if q.holdout]
    assert len(places) == 100
    assert 5 <= sum(place < 100 for place in places) <= 17  # about a tenth of the first hundred
    assert [queue[i].id for i in places] != [f"h{i}" for i in range(100)]


def test_mixing_loses_nobody_at_the_extremes():
    ranked = [Queued(f"r{i}", 0.0) for i in range(5)]
    held = [Sentence.from_text(f"h{i}", "x") for i in range(5)]
    for share in (0.0, 0.5):
        assert len(mix(ranked, held, share, np.random.default_rng(0))) == 10
    assert mix([], held, 0.1, np.random.default_rng(0))
    assert mix([], [], 0.1, np.random.default_rng(0)) == []


def test_cold_order_is_a_seeded_shuffle():
    collected = Collected([], [], bare(texts(50)), [])
    first = cold_order(collected, CRF, np.random.default_rng(7))
    again = cold_order(collected, CRF, np.random.default_rng(7))
    assert first.queue == again.queue
    assert [q.id for q in first.queue] != [s.id for s in collected.pool]
    assert {q.id for q in first.queue} == {s.id for s in collected.pool}


class Recorder:
    """Counts the sentences that a tagger was asked to infer, and with how many passes."""

    def __init__(self, tagger):
        self.tagger, self.asked = tagger, []
        self.name, self.kind, self.predict, self.marks = tagger.name, tagger.kind, tagger.predict, tagger.marks
        self.parts = {self.kind: self}

    def infer(self, sentences, *, passes=0, dropout=None):
        self.asked.append((len(sentences), passes, dropout))
        return self.tagger.infer(sentences)


def filtered(settings, n=400):
    rng = np.random.default_rng(0)
    tagger = Recorder(fit(texts(40), settings, rng))
    return tagger, order(tagger, Collected(texts(40), [], bare(texts(n, seed=9)), []), settings, rng)


def test_the_strategy_sees_only_what_the_filter_keeps():
    options = {"share": 0.2, "temperature": 0.001}
    settings = CRF.model_copy(update={"holdout_share": 0.0, "filter": "ups", "filter_options": options})
    tagger, ordered = filtered(settings)
    kept = [queued for queued in ordered.queue if queued.priority is not None]
    assert 80 <= len(kept) <= 84
    assert ordered.queue[: len(kept)] == kept
    assert {queued.id for queued in ordered.queue} == {str(i) for i in range(1, 401)}
    assert set(ordered.predictions) == {str(i) for i in range(1, 401)}
    assert [n for n, *_ in tagger.asked] == [400, len(kept)]
    _, unfiltered = filtered(CRF.model_copy(update={"holdout_share": 0.0}))
    priorities = [queued.priority for queued in unfiltered.queue]
    assert [queued.priority for queued in kept[:80]] == priorities[:80]  # the same head, for a fifth of the work


def test_a_filter_that_would_leave_too_few_is_passed_over():
    settings = CRF.model_copy(update={"filter": "ups", "round_size": 100})
    _, ordered = filtered(settings)
    assert all(queued.priority is not None for queued in ordered.queue if not queued.holdout)


def test_anchors_are_the_labelled_of_each_class():
    seen = []

    class Spy(FILTERS["anchors"]):
        def keep(self, pool, labelled, classes, rng):
            seen.append((len(pool), len(labelled), classes))
            return super().keep(pool, labelled, classes, rng)

    settings = CRF.model_copy(update={"filter": "anchors", "filter_options": {"size": 30, "neighbours": 8}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FILTERS, "anchors", Spy)
        _, ordered = filtered(settings, n=200)
    (pool, labelled, classes), *_ = seen
    assert (pool, labelled) == (200, 40)
    assert classes == [frozenset(span.label for span in s.spans) for s in texts(40)]
    assert sum(queued.priority is not None for queued in ordered.queue) == 30


def test_a_budget_in_words_sets_how_many_are_chosen():
    limits = []

    class Spy(STRATEGIES["mnlp"]):
        def rank(self, pool, labelled, limit, rng):
            limits.append((limit, pool.lengths.mean()))
            return super().rank(pool, labelled, limit, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STRATEGIES, "mnlp", Spy)
        filtered(CRF)
        filtered(CRF.model_copy(update={"round_words": 130}))
    (by_tasks, _), (by_words, mean) = limits
    assert by_tasks == 2 * 10
    assert by_words == np.ceil(2 * 130 / mean)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"strategy": "mnlp"}, "bert-km"),
        ({"strategy": "mnlp", "masked_lm": "bert-base-uncased"}, "alps"),
        ({"strategy": "mnlp", "masked_lm": "adapted", "cold_start": "random"}, "random"),
        ({"strategy": "mnlp", "cold_start": "alps"}, "alps"),
        ({"strategy": "random"}, "random"),
        ({"strategy": "alps", "cold_start": "random"}, "alps"),
        ({"strategy": "bert-km"}, "bert-km"),
        ({"strategy": "entropy", "cold_start": "bert-km"}, "bert-km"),
    ],
)
def test_the_cold_start_rule(given, expected):
    assert cold_start(ProjectSettings(tagger="crf", **given)) == expected


def test_an_encoder_out_of_reach_makes_the_first_order_random_and_says_so():
    settings = ProjectSettings(tagger="transformer", tagger_options={"encoder": "/no/such/folder"})
    collected = Collected([], [], bare(texts(30)), [])
    ordered = cold_order(collected, settings, np.random.default_rng(0))
    assert ordered.strategy == "random"
    assert {queued.id for queued in ordered.queue} == {str(i) for i in range(1, 31)}
    assert ordered.note is not None
    assert "bert-km" in ordered.note and "/no/such/folder" in ordered.note
    asked_for = settings.model_copy(update={"cold_start": "bert-km"})
    with pytest.raises(ValueError, match="/no/such/folder"):
        cold_order(collected, asked_for, np.random.default_rng(0))


def test_a_cold_start_by_bert_km_begins_with_unlike_texts():
    """Three kinds of text, the rarest is met early all the same."""
    kinds = ["The cat sat on the mat again.", "Quarterly revenue rose by nine percent.", "Add two eggs and some flour."]
    sizes = [70, 25, 5]
    pool = [
        Sentence.from_text(f"{kind}-{i}", f"{kinds[kind]} {'I see. ' * (i % 3)}".strip())
        for kind, size in enumerate(sizes)
        for i in range(size)
    ]
    settings = ProjectSettings(tagger="crf", round_size=3, holdout_share=0.0)
    ordered = cold_order(Collected([], [], pool, []), settings, np.random.default_rng(0))
    assert ordered.strategy == "bert-km"
    assert {queued.id[0] for queued in ordered.queue[:6]} == {"0", "1", "2"}
