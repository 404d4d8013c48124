import numpy as np
import pytest

from corpus import Sentence
from learning.loop import Queued, cold_order, evaluate, fit, mix, order, split_dev
from learning.settings import ProjectSettings
from learning.venue import Collected
from tests.learning.texts import texts

CRF = ProjectSettings(tagger="crf", strategy="mnlp", round_size=10)


def bare(sentences: list[Sentence]) -> list[Sentence]:
    return [sentence.unlabelled() for sentence in sentences]


def test_dev_set_is_a_random_share_and_leaves_the_rest():
    sentences = texts(50)
    train, dev = split_dev(sentences, 0.2, np.random.default_rng(0))
    assert len(dev) == 10
    assert sorted([*train, *dev], key=lambda s: int(s.id)) == sentences
    assert split_dev(sentences, 0.2, np.random.default_rng(1))[1] != dev


def test_a_tiny_dev_set_is_left_empty():
    train, dev = split_dev(texts(20), 0.2, np.random.default_rng(0))
    assert (len(train), dev) == (20, [])


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


def test_evaluation_uses_the_hold_out_when_it_is_large_enough():
    sentences = texts(100)
    rng = np.random.default_rng(0)
    collected = Collected(sentences[:60], sentences[60:], [], [])
    evaluation = evaluate(fit(collected.labelled, CRF, rng), collected, CRF, rng)
    assert evaluation is not None
    assert (evaluation.method, evaluation.scores.sentences) == ("hold-out", 40)
    assert evaluation.scores.f1 > 0.9


def test_evaluation_crosses_over_while_the_hold_out_is_small():
    sentences = texts(50)
    rng = np.random.default_rng(0)
    collected = Collected(sentences[:45], sentences[45:], [], [])
    evaluation = evaluate(fit(collected.labelled, CRF, rng), collected, CRF, rng)
    assert evaluation is not None
    assert (evaluation.method, evaluation.scores.sentences) == ("cross-validation", 50)


def test_cross_validation_never_tests_on_what_it_trained_on():
    """Labels drawn at random cannot be predicted: scores near chance show that nothing leaked."""
    rng = np.random.default_rng(0)
    shuffled = [
        sentence.labelled(tuple(s for s in sentence.spans or () if rng.random() < 0.5)) for sentence in texts(60)
    ]
    unique = [
        Sentence.from_text(s.id, s.text, s.spans) for s in {sentence.text: sentence for sentence in shuffled}.values()
    ]
    evaluation = evaluate(fit(unique, CRF, rng), Collected(unique, [], [], []), CRF, rng)
    assert evaluation is not None
    assert evaluation.scores.f1 < 0.8


def test_too_few_labels_give_no_score():
    sentences = texts(4)
    rng = np.random.default_rng(0)
    assert evaluate(fit(sentences, CRF, rng), Collected(sentences, [], [], []), CRF, rng) is None


def test_cold_order_is_a_seeded_shuffle():
    collected = Collected([], [], bare(texts(50)), [])
    first = cold_order(collected, CRF, np.random.default_rng(7))
    again = cold_order(collected, CRF, np.random.default_rng(7))
    assert first.queue == again.queue
    assert [q.id for q in first.queue] != [s.id for s in collected.pool]
    assert {q.id for q in first.queue} == {s.id for s in collected.pool}
