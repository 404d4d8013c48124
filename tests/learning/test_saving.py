import numpy as np
import pytest

from corpus import Sentence
from demo.grammar import generate
from learning import saving as module
from learning.loop import fit
from learning.saving import FOLDS, MIN_HOLDOUT_SENTENCES, Saving, saving, trained_words
from learning.settings import ProjectSettings
from tests.learning.texts import texts

pytestmark = pytest.mark.slow

CRF = ProjectSettings(tagger="crf", strategy="mnlp", tagger_options={"iterations": 30})


def with_dull_ones(sentences):
    """A text that teaches nothing after each; so half of a random sample is of no use."""
    texts = [f"report no. {i}: it rained all the day, as it does in this season" for i in range(len(sentences))]
    dull = [Sentence.from_text(f"{10_000 + i}", text, ()) for i, text in enumerate(texts)]
    return [sentence for pair in zip(sentences, dull, strict=True) for sentence in pair]


MESSAGES = generate(360, seed=1)
HOLDOUT = with_dull_ones(MESSAGES[:70])


def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def pool():
    return with_dull_ones(MESSAGES[70:])


@pytest.fixture(scope="module")
def at_random(pool):
    return saving(pool[:340], HOLDOUT, CRF, rng())


def test_random_order_saves_nothing_that_could_be_told(at_random):
    assert at_random.low < 0 < at_random.high
    assert "cannot be told yet" in at_random.text


def test_leaving_out_what_teaches_nothing_saves_words(pool, at_random):
    """More than half of the words are the dull texts'."""
    useful = [sentence for sentence in pool if sentence.spans]
    found = saving(useful, HOLDOUT, CRF, rng())
    assert found.low > 0
    assert found.share > at_random.share + 0.25
    assert (found.random_words, found.f1) == (at_random.random_words, at_random.f1)
    assert "has saved" in found.text


def test_labelling_what_teaches_nothing_first_costs_words(pool, at_random):
    dull = [sentence for sentence in pool if not sentence.spans]
    found = saving([*dull[:50], *pool[100:]], HOLDOUT, CRF, rng())
    assert found.share < at_random.share - 0.25


def test_the_random_side_is_what_folds_of_the_hold_out_bring(at_random):
    """F1 of taggers that never saw what they are tested on, by an own count of spans."""
    right = gold = found = 0
    for fold in np.array_split(rng().permutation(len(HOLDOUT)), FOLDS):
        tagger = fit([s for i, s in enumerate(HOLDOUT) if i not in set(fold)], CRF, rng())
        for i in fold:
            spans = set(tagger.predict([HOLDOUT[i].unlabelled()])[0])
            gold, found = gold + len(HOLDOUT[i].spans), found + len(spans)
            right += len(spans & set(HOLDOUT[i].spans))
    assert at_random.f1 == pytest.approx(2 * right / (gold + found))
    assert at_random.random_words == pytest.approx(0.8 * sum(map(len, HOLDOUT)), abs=1)


def test_same_generator_same_saving(pool, at_random):
    assert saving(pool[:340], HOLDOUT, CRF, rng()) == at_random


def test_trainings_cost_as_many_words_as_was_told(pool, monkeypatch):
    trained = []

    def watched(labelled, *more):
        trained.append(sum(map(len, labelled)))
        return fit(labelled, *more)

    monkeypatch.setattr(module, "fit", watched)
    saving(pool[:340], HOLDOUT, CRF, rng())
    assert trained_words(pool[:340], HOLDOUT) == sum(trained)
    ordered = trained[FOLDS:]
    assert ordered == sorted(ordered)
    assert ordered[-1] >= 2 * np.mean(trained[:FOLDS]) > ordered[-2]


def test_too_little_gives_no_estimate(pool):
    assert saving(pool, HOLDOUT[: MIN_HOLDOUT_SENTENCES - 1], CRF, rng()) is None
    assert saving(pool[:40], HOLDOUT, CRF, rng()) is None
    assert saving(pool, [sentence.labelled(()) for sentence in HOLDOUT], CRF, rng()) is None
    assert saving([], HOLDOUT, CRF, rng()) is None
    assert trained_words(texts(3), HOLDOUT) == 0


def test_what_is_said():
    assert "saved about 34% of the words (95% interval 18% to 47%)" in Saving(0.34, 0.18, 0.47, 5120, 0.71).text
    assert "cost about 20% more words" in Saving(-0.2, -0.5, -0.1, 5120, 0.71).text
    assert "F1 of 0.71 that 5,120 words labelled at random" in Saving(0.1, -0.5, 0.3, 5120, 0.71).text
    assert set(Saving(0.1, -0.5, 0.3, 5120, 0.71).as_json()) >= {"text", "share", "low", "high"}
