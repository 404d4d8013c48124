from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from experiments import simulation
from experiments.plan import FULL, Amount, PseudoLabels
from experiments.results import Run, read_run
from experiments.simulation import Annotator, complete, pseudo_labelled, simulate
from learning.loop import fit
from learning.queue import order
from learning.venue import Collected
from taggers.crf import CRFTagger
from tests.learning.texts import texts


def results(run: Run) -> list[dict]:
    """All but the seconds."""
    return [asdict(replace(iteration, seconds={})) for iteration in run.iterations]


def test_each_round_learns_from_what_was_labelled_until_then(corpus, new_run):
    run = complete(corpus, new_run())
    assert [iteration.round for iteration in run.iterations] == [0, 1, 2, 3]
    lengths = {sentence.id: len(sentence) for sentence in corpus.train}
    chosen: set[str] = set()
    sentences, words = 10, run.iterations[0].words
    for iteration in run.iterations:
        assert (iteration.sentences, iteration.words) == (sentences, words)
        assert not chosen & set(iteration.batch)
        chosen |= set(iteration.batch)
        spent = sum(lengths[id] for id in iteration.batch)
        assert spent <= 60 and (spent > 60 - max(lengths.values()) or not iteration.batch)
        sentences, words = sentences + len(iteration.batch), words + spent
    assert run.iterations[-1].batch == [] and len(chosen) == sentences - 10
    assert run.f1[-1] > run.f1[0]
    assert {"fit", "evaluate", "query"} == set(run.iterations[0].seconds)


def test_the_batch_is_what_the_live_loop_would_have_served(corpus, new_run):
    run = complete(corpus, new_run("entropy"))
    annotator = Annotator(corpus.train)
    drawn = [corpus.train[i].id for i in np.random.default_rng(0).permutation(len(corpus.train))]
    annotator.label(drawn[:10])
    settings = run.plan.settings("entropy", 0)
    for number, iteration in enumerate(run.iterations[:-1]):
        collected = annotator.collect()
        tagger = fit(collected.labelled, settings, np.random.default_rng(0))
        queue = order(tagger, collected, settings, np.random.default_rng([0, number]).spawn(3)[2]).queue
        assert [place.id for place in queue][: len(iteration.batch)] == iteration.batch
        annotator.label(iteration.batch)


def test_a_strategy_may_see_a_random_part_of_the_pool_only(corpus, new_run, monkeypatch):
    seen: list[list[str]] = []

    def recorded(ranks, collected, *rest):
        seen.append([sentence.id for sentence in collected.pool])
        return ranked(ranks, collected, *rest)

    ranked = simulation.ranked
    monkeypatch.setattr(simulation, "ranked", recorded)
    run = complete(corpus, new_run("random", pool_share=0.25))
    labelled, pools = 10, []
    for ids, iteration in zip(seen, run.iterations, strict=False):
        left = len(corpus.train) - labelled
        assert len(set(ids)) == len(ids) == -(-left // 4)
        assert set(iteration.batch) <= set(ids)
        labelled += len(iteration.batch)
        pools.append(set(ids))
    assert len(pools) == 3 and not pools[0] >= pools[1], "drawn anew each round"


def test_strategies_and_models_start_from_the_same_texts(corpus, new_run):
    starts = []
    for name, strategy, changes in (("a", "mnlp", {}), ("b", "random", {"tagger_options": {"iterations": 20}})):
        run = new_run(strategy, name=name, rounds=0, **changes)
        (first,) = complete(corpus, run).iterations
        starts.append((first.sentences, first.words))
    assert starts[0] == starts[1]
    other = complete(corpus, new_run("mnlp", seed=1, rounds=0)).iterations[0]
    assert (other.sentences, other.words) != starts[0]


@pytest.mark.parametrize("done", [0, 1, 3])
def test_an_interrupted_run_comes_to_the_same_end(corpus, new_run, done):
    whole = complete(corpus, new_run("random", name="whole"))
    run = new_run("random", name="interrupted")
    going = simulate(corpus, run)
    for _ in range(done):
        next(going)
    going.close()
    with (run.folder / "results.jsonl").open("a") as file:
        file.write('{"round": 9, "sent')  # what the crash left
    resumed = complete(corpus, read_run(run.folder))
    assert results(resumed) == results(whole)
    assert results(read_run(run.folder)) == results(whole)
    assert results(complete(corpus, read_run(run.folder))) == results(whole)


def test_no_model_ever_sees_a_label_of_the_pool(corpus, new_run, monkeypatch):
    learned: list[set[str]] = []
    original_fit, original_infer = CRFTagger.fit, CRFTagger.infer

    def spied_fit(self, train, dev, **more):
        learned.append({sentence.id for sentence in [*train, *dev]})
        return original_fit(self, train, dev, **more)

    def spied_infer(self, sentences, **more):
        assert all(sentence.spans is None for sentence in sentences)
        return original_infer(self, sentences, **more)

    monkeypatch.setattr(CRFTagger, "fit", spied_fit)
    monkeypatch.setattr(CRFTagger, "infer", spied_infer)
    run = complete(corpus, new_run())
    for iteration, ids, following in zip(run.iterations, learned, [*learned[1:], None], strict=True):
        assert len(ids) == iteration.sentences
        assert following is None or following - ids == set(iteration.batch)


def test_full_data_is_learned_at_once(corpus, new_run):
    run = complete(corpus, new_run(FULL))
    (only,) = run.iterations
    assert (only.sentences, only.words, only.batch) == (120, sum(map(len, corpus.train)), [])
    stored = np.load(run.folder / "entropies.npz")
    assert list(stored["ids"]) == [sentence.id for sentence in corpus.train]
    assert (stored["entropies"] >= 0).all() and stored["entropies"].max() > 0


def test_a_pool_that_runs_dry_ends_the_run(corpus, new_run):
    run = complete(corpus, new_run(budget="70 sentences", rounds=9))
    assert [iteration.sentences for iteration in run.iterations] == [10, 80, 120]
    assert run.finished and complete(corpus, run) == run


def test_one_model_ranks_and_another_is_evaluated(corpus, new_run, monkeypatch):
    ranked_by = []
    original = simulation.ranked
    monkeypatch.setattr(
        simulation, "ranked", lambda tagger, *more: ranked_by.append(tagger.options) or original(tagger, *more)
    )
    options = {"acquisition": "crf", "acquisition_options": {"iterations": 3}}
    mismatched = complete(corpus, new_run("lc", name="mismatched", **options))
    own = complete(corpus, new_run("lc", name="own"))
    assert [options.iterations for options in ranked_by] == [3, 3, 3, 100, 100, 100]
    assert mismatched.f1[0] == own.f1[0], "both are evaluated by the successor"
    assert "fit acquisition" in mismatched.iterations[0].seconds


def test_pseudo_labels_are_those_that_the_teacher_is_surest_of(corpus, plan):
    labelled, pool = list(corpus.train[:60]), [sentence.unlabelled() for sentence in corpus.train[60:]]
    settings = plan.settings("mnlp", 0)
    collected = Collected(labelled, [], pool)
    found = pseudo_labelled(collected, PseudoLabels(keep=0.25), settings, np.random.default_rng(0))
    teacher = fit(labelled, settings, np.random.default_rng(0))
    surest = {}
    for batch in teacher.infer(pool):
        for i, log_prob, length in zip(batch.indices, batch.log_prob_B, batch.lengths, strict=True):
            surest[pool[i].id] = log_prob / length
    expected = sorted(surest, key=surest.__getitem__)[-15:]
    assert {sentence.id for sentence in found} == set(expected)
    said = dict(zip((s.id for s in pool), teacher.predict(pool), strict=True))
    assert all(list(sentence.spans or ()) == said[sentence.id] for sentence in found)
    assert pseudo_labelled(collected, None, settings, np.random.default_rng(0)) == []


def test_the_successor_learns_from_pseudo_labels_too(corpus, new_run, monkeypatch):
    learned = []
    original = CRFTagger.fit

    def spied(self, train, dev, **more):
        learned.append(len(train))
        return original(self, train, dev, **more)

    monkeypatch.setattr(CRFTagger, "fit", spied)
    complete(corpus, new_run(rounds=0, pseudo_labels=PseudoLabels(keep=0.5)))
    assert learned == [10, 10 + 55]


def test_an_affordable_head_of_the_queue():
    sentences = texts(10)
    annotator, ids = Annotator(sentences), [sentence.id for sentence in sentences]
    lengths = [len(sentence) for sentence in sentences]
    assert annotator.affordable(ids, Amount(sentences=4)) == ids[:4]
    assert annotator.affordable(ids, Amount(words=sum(lengths[:3]))) == ids[:3]
    assert annotator.affordable(ids, Amount(words=sum(lengths[:3]) - 1)) == ids[:2]
    assert annotator.affordable(ids, Amount(words=1)) == ids[:1], "no run stands still"


def test_amounts_are_read():
    assert Amount.of("2%", 50_497) == Amount(words=1010)
    assert Amount.of("500 words", 9) == Amount(words=500)
    assert Amount.of(" 100 sentences ", 9) == Amount(sentences=100)
    for wrong in ("", "2", "0%", "101%", "-3 words", "2 % of it"):
        with pytest.raises(ValueError, match="is no amount"):
            Amount.of(wrong, 100)


def test_a_folder_with_other_settings_is_refused(new_run):
    folder = new_run("mnlp").folder
    with pytest.raises(ValueError, match="begun with another budget, rounds: give this experiment another --name"):
        new_run("mnlp", budget="1 words", rounds=7)
    assert json.loads((folder / "run.json").read_text())["versions"]["numpy"] == np.__version__
