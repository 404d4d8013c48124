"""Runs on corpora to classify and to find relations in, and what is reported of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from corpus import Choice, Inference, Relation, Sentence, Span
from experiments import simulation
from experiments.comparison import Comparison
from experiments.corpora import Corpus
from experiments.decisions import gold_decisions
from experiments.findings import findings
from experiments.measures import calibration_error
from experiments.plan import FULL, Plan
from experiments.results import open_run, read_run
from experiments.simulation import complete, evaluated
from taggers import Tagger, tagger_class
from taggers.classifier import Alternatives

WORDS = {"sport": ["goal", "team", "match", "coach"], "money": ["bank", "share", "price", "loan"]}


def news(n: int, seed: int = 0) -> list[Sentence]:
    """Texts on sport and on money, some with a word of the other."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        label, other = rng.permutation(list(WORDS))
        words = [*rng.choice(WORDS[label], 3), str(rng.choice(WORDS[other])), "the", f"n{rng.integers(50)}"]
        text = " ".join(str(word) for word in rng.permutation(words))
        found.append(Sentence.from_text(str(i), text).marked([Choice(str(label))], ["choices"]))
    return found


@pytest.fixture
def corpus() -> Corpus:
    everything = news(160)
    return Corpus("news", everything[:120], everything[120:], kind="choices")


PLAN = Plan(data="news", tagger="tfidf-classifier", start="10 sentences", budget="15 sentences", rounds=3, dev_share=0)


def test_a_classifier_learns_texts_and_is_told_of_by_its_accuracy(corpus, tmp_path):
    runs = [
        complete(corpus, open_run(tmp_path / "a", PLAN, name, seed))
        for name in ("entropy", "random", FULL)
        for seed in (0, 1)
    ]
    run = runs[0]
    assert [iteration.sentences for iteration in run.iterations] == [10, 25, 40, 55]
    assert list(run.labelled) == [10, 25, 40, 55], "labels are counted in texts, as the budget is"
    assert run.f1[-1] > 0.7 and run.iterations[-1].scores["accuracy"] is True
    assert 0 <= run.iterations[-1].calibration_error < 0.6
    comparison = Comparison("a", PLAN, runs, corpus)
    assert (comparison.measure, comparison.pool_labels, comparison.area_range) == ("accuracy", 120, (10, 55))
    captions = {table.caption: table for table in findings(comparison)}
    assert "Accuracy on the test set (%)" in captions
    assert "Share of the pool's sentences (%) needed for a share of the full-data accuracy" in captions
    assert [row[0] for row in captions["Labels of the batches (% of their choices)"].rows] == ["sport", "money"]


def test_gold_labels_are_hidden_from_the_classifier(corpus, tmp_path, monkeypatch):
    seen = []
    original = tagger_class("tfidf-classifier").infer

    def spied(self, sentences, **more):
        seen.append(all(one.choices is None for one in sentences))
        return original(self, sentences, **more)

    monkeypatch.setattr(tagger_class("tfidf-classifier"), "infer", spied)
    complete(corpus, open_run(tmp_path / "a", PLAN, "entropy", 0))
    assert len(seen) == 7 and all(seen)


class Reading:
    """Reads a text's length, so that a strategy can choose before there is a model."""

    calls = 0

    def infer(self, sentences):
        type(self).calls += 1
        n = len(sentences)
        surprisal = np.eye(n, 128, dtype=np.float32) + 0.01
        empty = np.zeros((n, 0), np.int64)
        yield Inference(
            np.arange(n), np.zeros(n, np.int64), ("O",), empty, np.zeros(n), np.zeros((n, 0, 1)), surprisal_BL=surprisal
        )


def test_a_strategy_that_needs_no_model_chooses_the_start(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation.Readers, "open", lambda self, reads, sentences, on_step: Reading())
    Reading.calls = 0
    plan = PLAN.model_copy(update={"start_by": "strategy", "rounds": 1})
    alps = open_run(tmp_path / "a", plan, "alps", 0)
    others = [complete(corpus, open_run(tmp_path / "a", plan, name, 0)) for name in ("entropy", "random")]
    assert Reading.calls == 0 and not any((run.folder / "start.json").exists() for run in others)
    first = next(simulation.simulate(corpus, alps))
    assert Reading.calls == 2, "for the start, and for the batch"
    start = simulation.started(alps)
    assert start is not None and len(set(start)) == 10 == first.iterations[0].sentences
    drawn = [corpus.train[i].id for i in np.random.default_rng(0).permutation(120)][:10]
    assert set(start) != set(drawn)
    complete(corpus, read_run(alps.folder))
    assert Reading.calls == 2, "the start is not chosen twice"
    at_random = open_run(tmp_path / "b", PLAN, "alps", 0)
    next(simulation.simulate(corpus, at_random))
    assert not (at_random.folder / "start.json").exists()


def test_the_corpus_s_own_dev_set_is_stopped_by(corpus, tmp_path, monkeypatch):
    given = []
    original = tagger_class("tfidf-classifier").fit

    def spied(self, train, dev, **more):
        given.append((len(train), [one.id for one in dev]))
        return original(self, train, dev, **more)

    monkeypatch.setattr(tagger_class("tfidf-classifier"), "fit", spied)
    own = replace(corpus, dev=[replace(one, id=f"dev:{one.id}") for one in news(6, seed=9)])
    complete(own, open_run(tmp_path / "a", PLAN.model_copy(update={"own_dev": True, "rounds": 0}), "random", 0))
    assert given == [(10, [f"dev:{i}" for i in range(6)])]


RELATED = replace(
    Sentence.from_text("1", "Ada in Oslo of Acme"),
    entities=(Span(0, 3, "PER"), Span(7, 11, "LOC"), Span(15, 19, "ORG")),
)


class Sure(Tagger):
    """Relates the first pair of each text, as sure as it is told to be."""

    name, kind = "sure", "relations"

    def __init__(self, sureness):
        self.sureness = sureness
        self.options = tagger_class("relation-classifier").Options()
        self.tags = ("O", ">at")

    def fit(self, *args, **more): ...
    def _write(self, folder): ...
    def _read(self, folder): ...

    def infer(self, sentences, **more):
        n = len(sentences)
        marginals = np.zeros((n, 3, 2), np.float32)
        marginals[:, 0, 1], marginals[:, 1:, 0] = self.sureness, 0.8
        marginals[:, 0, 0], marginals[:, 1:, 1] = 1 - np.array(self.sureness), 0.2
        path = np.tile([1, 0, 0], (n, 1))
        yield Inference(np.arange(n), np.full(n, 3), self.tags, path, np.zeros(n), marginals)

    def marks(self, batch, sentences):
        found = []
        for index in batch.indices:
            one, two, _ = sentences[index].entities
            found.append([Relation(one, two, "at", float(batch.marginals_BTC[index, 0, 1]))])
        return found


def test_relations_are_measured_pair_by_pair_and_by_confidence():
    one, two, three = RELATED.entities
    gold = [
        (Relation(one, two, "at"),),
        (Relation(two, one, "at"),),
        (Relation(one, two, "at"), Relation(two, three, "of")),
    ]
    test = [replace(RELATED, id=str(i), relations=of) for i, of in enumerate(gold)]
    model = Sure([0.6, 0.7, 0.9])
    told, error = evaluated(model, test, np.random.default_rng(0))
    assert (told["precision"], told["recall"]) == pytest.approx((2 / 3, 2 / 4)), "direction counts"
    confidences = [0.6, 0.7, 0.9, *[0.8] * 6]
    right = [True, False, True, True, True, True, True, True, False]  # the last one is "of"
    assert error == pytest.approx(calibration_error(confidences, right), abs=1e-6)
    assert told["precision_at"] == {"100": 0.02, "200": 0.01, "300": pytest.approx(2 / 300)}
    assert np.array(told["precision_recall"]) == pytest.approx(np.array([(1 / 4, 1), (1 / 4, 1 / 2), (2 / 4, 2 / 3)]))


def test_of_several_choices_each_label_is_decided():
    model = tagger_class("tfidf-classifier")()
    text = Sentence.from_text("1", "a b")
    model.alternatives = Alternatives(("x", "y", "z"), several=True)
    gold = gold_decisions(model)
    assert gold(text.marked([Choice("z"), Choice("new"), Choice("x")], ["choices"])) == ["yes", "O", "yes"]
    assert gold(text.marked([], ["choices"])) == ["O", "O", "O"]
    model.alternatives = Alternatives(("x", "y"), several=False)
    assert gold_decisions(model)(text.marked([Choice("new")], ["choices"])) == ["new"]
    with pytest.raises(ValueError, match="task 1 has no gold choices"):
        gold(text)


@pytest.mark.parametrize(
    ("tagger", "kind", "strategy"),
    [
        ("crf", "spans", "mnlp"),
        ("transformer-classifier", "choices", "batch-bald"),
        ("relation-classifier", "relations", "batl"),
    ],
)
def test_a_plan_is_of_its_taggers_kind(tagger, kind, strategy):
    plan = Plan(data="any", tagger=tagger, tagger_options={})
    settings = plan.settings(strategy, 3)
    assert plan.kind == kind
    assert (settings.tagger, settings.strategy, settings.of(kind)) == (tagger, strategy, settings)


def test_a_strategy_that_does_not_fit_the_plan_is_refused():
    with pytest.raises(ValueError, match="batch-bald"):
        Plan(data="any", tagger="crf").settings("batch-bald", 0)
    with pytest.raises(ValueError, match="badge"):
        Plan(data="any", tagger="tfidf-classifier").settings("badge", 0)
    with pytest.raises(ValueError, match="unknown tagger 'nobody'; known: auto"):
        Plan(data="any", tagger="nobody").settings("lc", 0)
