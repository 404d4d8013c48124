"""Projects with choices, with relations, and with several kinds of marks, through settings, loop, queue and rounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from corpus import Choice, Relation, Sentence, kind_of
from learning import queue, rounds
from learning.database import Prediction, Project, Round
from learning.intake import mark_due
from learning.loop import evaluate, fit, fit_kinds
from learning.marks import as_json
from learning.measuring import Measuring
from learning.queue import Queued, mean_places, order, ranked
from learning.readers import Readers
from learning.serving import answer, find_current
from learning.settings import ProjectSettings
from learning.venue import Collected
from strategies import STRATEGIES
from tests.learning.texts import bare, texts
from tests.learning.word_between import WordBetween, relations_by_a_word  # noqa: F401

BOTH = ("spans", "choices")
RELATED = ("spans", "relations")
ALL = ("spans", "choices", "relations")


def settings_of(**changes) -> ProjectSettings:
    quick = {"tagger": "crf", "classifier": "tfidf-classifier", "relation_classifier": "word-between"}
    return ProjectSettings(**{**quick, "round_size": 10, "cold_start": "random", "holdout_share": 0.0, **changes})


def marked(n: int, kinds, seed: int = 0) -> list[Sentence]:
    """Texts about people (who live somewhere, or do not), about places, and about rain."""
    made = []
    for sentence in texts(n, seed):
        spans, labels = sentence.spans, [span.label for span in sentence.spans]
        choice = "people" if "PER" in labels else "places" if labels else "weather"
        lives = [Relation(spans[0], spans[1], "lives in")] if " lives in " in sentence.text else []
        own = [mark for mark in (*spans, Choice(choice), *lives) if kind_of(mark) in kinds]
        made.append(sentence.marked(own, kinds))
    return made


def collected(kinds, labelled: int = 30, pool: int = 40, holdout: int = 0) -> Collected:
    learn, test = marked(labelled, kinds), marked(holdout, kinds, seed=5)
    waiting = bare(marked(pool, kinds, seed=9))
    numbered = [replace(s, id=str(i)) for i, s in enumerate((*learn, *test, *waiting), 1)]
    return Collected(
        numbered[:labelled], numbered[labelled : labelled + holdout], numbered[labelled + holdout :], kinds=kinds
    )


def ids(queue) -> list[str]:
    return [queued.id for queued in queue]


def unsureness(model, sentences) -> dict[str, float]:
    """MNLP from its definition, by id."""
    found = {}
    for batch in model.infer(sentences):
        for i, log_prob, length in zip(batch.indices, batch.log_prob_B, batch.lengths, strict=True):
            found[sentences[i].id] = -log_prob / max(length, 1)
    return found


# settings


def test_settings_of_a_kind_name_its_model():
    settings = settings_of(classifier_options={"words": 5}, acquisition="crf", acquisition_options={"iterations": 3})
    spans, choices, relations = (settings.of(kind) for kind in ALL)
    assert spans is settings
    assert (choices.tagger, choices.tagger_options, choices.acquisition) == (
        "tfidf-classifier",
        {"words": 5},
        None,
    )
    assert (relations.tagger, relations.acquisition, relations.acquisition_options) == ("word-between", None, {})
    assert choices.of("choices") is choices and choices.of("relations").tagger == "word-between"


def test_what_orders_the_queue():
    assert settings_of().ordering(ALL) == ALL
    assert settings_of(queue_by="choices").ordering(BOTH) == ("choices",)
    assert settings_of(queue_by="choices").ordering(["spans"]) == ("spans",)  # there is nothing to choose from
    with pytest.raises(ValueError, match="this project has no relations; take 'all' or one of: spans, choices"):
        settings_of(queue_by="relations").ordering(BOTH)


def test_a_strategy_must_fit_the_models_that_order_the_queue():
    badge = settings_of(strategy="badge", classifier="transformer-classifier")
    badge.check_for(["choices"])
    with pytest.raises(ValueError, match="'badge' needs of the tagger what this one does not provide: hidden states"):
        badge.check_for(["spans"])
    with pytest.raises(ValueError, match=r"the queue by spans: .*set queue_by to: choices"):
        badge.check_for(BOTH)
    badge.model_copy(update={"queue_by": "choices"}).check_for(BOTH)
    with pytest.raises(ValueError, match="hidden"):
        settings_of(strategy="badge", relation_classifier="relation-classifier", acquisition="crf").check_for(["spans"])


def test_what_no_model_provides_is_refused_before_the_project_is_known():
    with pytest.raises(ValueError, match="dropout"):
        settings_of(strategy="bald")
    settings_of(strategy="bald", classifier="transformer-classifier")
    with pytest.raises(ValueError, match="hidden"):  # the settings of one kind alone, as the simulator has them
        settings_of(tagger="tfidf-classifier", strategy="badge")


def test_batch_bald_is_for_choices_and_relations():
    settings = ProjectSettings(strategy="batch-bald")
    settings.check_for(["choices"])
    settings.check_for(RELATED[1:])
    with pytest.raises(ValueError, match=r"the queue by spans: .*decisions on texts"):
        settings.check_for(RELATED)


# one kind


def test_a_project_of_choices_is_learned_from_what_was_chosen():
    found = collected(("choices",), labelled=40)
    unclear = replace(found.labelled[0], choices=None)  # the annotator chose nothing
    settings = settings_of()
    with_it = fit_kinds([unclear, *found.labelled[1:]], found.kinds, settings, np.random.default_rng(0))
    without = fit_kinds(found.labelled[1:], found.kinds, settings, np.random.default_rng(0))
    alone = fit(found.labelled[1:], settings.of("choices"), np.random.default_rng(0))
    assert with_it.name == "tfidf-classifier" and list(with_it.parts) == ["choices"]
    assert with_it.predict(found.pool) == without.predict(found.pool) == alone.predict(found.pool)
    right = [marks == [Choice("people")] for marks in with_it.predict(found.pool)]
    assert right == [any(s.text.startswith(name) or name in s.text for name in PEOPLE) for s in found.pool]
    with pytest.raises(ValueError, match="no text has choices that somebody has labelled"):
        fit_kinds([unclear], found.kinds, settings, np.random.default_rng(0))


PEOPLE = [span_text for s in texts(200) for span_text in {s.text[x.start : x.end] for x in s.spans if x.label == "PER"}]


def test_the_queue_by_choices_is_the_classifiers():
    found, settings = collected(("choices",)), settings_of()
    model = fit_kinds(found.labelled, found.kinds, settings, np.random.default_rng(0))
    ordered = order(model, found, settings, np.random.default_rng(1))
    expected = unsureness(model, found.pool)
    assert [queued.priority for queued in ordered.queue] == pytest.approx([expected[id] for id in ids(ordered.queue)])
    assert [expected[id] for id in ids(ordered.queue)] == sorted(expected.values(), reverse=True)
    everything = [*found.labelled, *found.pool]
    assert [ordered.predictions[s.id] for s in everything] == model.predict(bare(everything))


def test_the_simulators_settings_are_of_one_kind():
    found, settings = (
        collected(("choices",)),
        settings_of(tagger="tfidf-classifier", classifier="transformer-classifier"),
    )
    model = fit(found.labelled, settings, np.random.default_rng(0))
    expected = unsureness(model, found.pool)
    by_text = ranked(model, replace(found, kinds=("spans",)), settings, 5, np.random.default_rng(0))
    assert [expected[id] for id in ids(by_text)] == sorted(expected.values(), reverse=True)


def test_a_budget_in_words_counts_words_and_no_decisions(monkeypatch):
    limits = []

    class Spy(STRATEGIES["mnlp"]):
        def rank(self, pool, labelled, limit, rng):
            limits.append(limit)
            return super().rank(pool, labelled, limit, rng)

    monkeypatch.setitem(STRATEGIES, "mnlp", Spy)
    found, settings = collected(("choices",)), settings_of(round_words=130)
    order(
        fit_kinds(found.labelled, found.kinds, settings, np.random.default_rng(0)),
        found,
        settings,
        np.random.default_rng(0),
    )
    assert limits == [math.ceil(260 / np.mean([len(s) for s in found.pool]))]


def test_anchors_are_of_the_classes_that_are_chosen():
    found, settings = collected(("choices",)), settings_of()
    model = fit_kinds(found.labelled, found.kinds, settings, np.random.default_rng(0))
    measuring = Measuring(found, model, Readers(settings), lambda *_, **__: None, {})
    assert measuring.kind == "choices" and measuring.learned == found.labelled
    open_choice = replace(found, labelled=[replace(found.labelled[0], choices=None), *found.labelled[1:]])
    assert Measuring(open_choice, model, Readers(settings), lambda *_, **__: None, {}).learned == found.labelled[1:]


# relations


def test_relations_are_sought_between_the_spans_that_were_found():
    found, settings = collected(RELATED, labelled=60), settings_of(queue_by="relations")
    model = fit_kinds(found.labelled, RELATED, settings, np.random.default_rng(0))
    assert list(model.parts) == ["spans", "relations"]
    ordered = order(model, found, settings, np.random.default_rng(0))
    everything = [*found.labelled, *found.pool]
    assert [ordered.predictions[s.id] for s in everything] == model.predict(bare(everything))
    related = [s for s in found.pool if any(kind_of(mark) == "relations" for mark in ordered.predictions[s.id])]
    assert related == [s for s in found.pool if " lives in " in s.text]
    spans = model.parts["spans"].predict(found.pool)
    between = [replace(s, entities=tuple(marks)) for s, marks in zip(found.pool, spans, strict=True)]
    expected = unsureness(model.parts["relations"], between)
    assert [queued.priority for queued in ordered.queue] == pytest.approx([expected[id] for id in ids(ordered.queue)])
    alone = [s.id for s, marks in zip(found.pool, spans, strict=True) if len(marks) < 2]
    assert alone and set(ids(ordered.queue)[-len(alone) :]) == set(alone)  # nothing to decide: last


def test_labelled_texts_are_measured_between_their_annotated_spans(monkeypatch):
    found, settings = collected(RELATED, labelled=30), settings_of(strategy="coreset", queue_by="relations")
    model = fit_kinds(found.labelled, RELATED, settings, np.random.default_rng(0))
    learned = {s.id: s for s in found.labelled}
    seen = {}
    infer = WordBetween.infer

    def spy(self, sentences, **rest):
        for s in sentences:
            seen.setdefault(s.id, []).append(s)
        return infer(self, sentences, **rest)

    monkeypatch.setattr(WordBetween, "infer", spy)
    ordered = order(model, found, settings, np.random.default_rng(0))
    assert all(s.relations is None and s.spans is None for sentences in seen.values() for s in sentences)
    assert all(seen[id][0].entities == s.spans for id, s in learned.items())
    assert [ordered.predictions[id] for id in learned] == model.predict(bare(found.labelled))  # between those found


def test_given_entities_stay():
    ada_in_oslo = marked(200, ALL)
    given = [replace(s, entities=s.spans, spans=None, choices=None) for s in ada_in_oslo]
    found, settings = Collected(given[:50], [], bare(given[50:]), kinds=("relations",)), settings_of()
    model = fit_kinds(found.labelled, found.kinds, settings, np.random.default_rng(0))
    ordered = order(model, found, settings, np.random.default_rng(0))
    for sentence in given[50:]:
        assert ordered.predictions[sentence.id] == list(sentence.relations)


# several kinds


def test_the_mean_of_the_places():
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(30)]
    rankings = [[Queued(names[i], 0.0) for i in rng.permutation(30)] for _ in range(3)]
    mixed = mean_places(rankings, np.random.default_rng(0))
    mean = {name: sum(ids(ranking).index(name) for ranking in rankings) / 3 for name in names}
    assert sorted(ids(mixed)) == sorted(names)
    assert [mean[queued.id] for queued in mixed] == sorted(mean.values())
    assert [queued.priority for queued in mixed] == pytest.approx([1 - mean[queued.id] / 30 for queued in mixed])
    assert mean_places(rankings[:1], rng) == rankings[0]
    assert mean_places([[], []], rng) == []


def test_equal_means_are_ordered_at_random():
    forth = [Queued(str(i), 0.0) for i in range(20)]
    orders = {tuple(ids(mean_places([forth, forth[::-1]], np.random.default_rng(seed)))) for seed in range(5)}
    assert len(orders) == 5


def test_each_kind_or_their_mean_orders_the_queue(monkeypatch):
    seen = []
    monkeypatch.setattr(queue, "mean_places", lambda rankings, rng: seen.append(rankings) or mean_places(rankings, rng))
    found, settings = collected(BOTH), settings_of()
    model = fit_kinds(found.labelled, BOTH, settings, np.random.default_rng(0))
    queues = {}
    for by in ("spans", "choices", "all"):
        ordered = order(model, found, settings.model_copy(update={"queue_by": by}), np.random.default_rng(0))
        queues[by] = ids(ordered.queue)
        assert [ordered.predictions[s.id] for s in found.pool] == model.predict(found.pool)
    of_spans, of_choices, together = seen
    for kind, ranking in [*zip(BOTH, (*of_spans, *of_choices), strict=True), *zip(BOTH, together, strict=True)]:
        expected = unsureness(model.parts[kind], found.pool)
        assert [expected[id] for id in ids(ranking)] == sorted(expected.values(), reverse=True)
    assert (queues["spans"], queues["choices"]) == (ids(*of_spans), ids(*of_choices))
    mean = {id: sum(ids(ranking).index(id) for ranking in together) / 2 for id in queues["all"]}
    assert [mean[id] for id in queues["all"]] == sorted(mean.values())


def test_a_strategy_that_looks_at_no_model_orders_once():
    found, settings = collected(BOTH), settings_of(strategy="random")
    model = fit_kinds(found.labelled, BOTH, settings, np.random.default_rng(0))
    steps = []
    ordered = order(model, found, settings, np.random.default_rng(0), lambda step, **_: steps.append(step))
    assert steps.count("rank") == 1
    assert [ordered.predictions[s.id] for s in found.pool] == model.predict(found.pool)


def test_each_part_learns_from_what_is_labelled_so():
    found = collected(BOTH)
    half = [replace(s, choices=None) if i % 2 else s for i, s in enumerate(found.labelled)]
    settings, rng = settings_of(), np.random.default_rng(0)
    parts = fit_kinds(half, BOTH, settings, rng).parts
    assert parts["spans"].predict(found.pool) == fit(found.labelled, settings, rng).predict(found.pool)
    alone = fit(found.labelled[::2], settings.of("choices"), rng)
    assert parts["choices"].predict(found.pool) == alone.predict(found.pool)
    only_spans = fit_kinds([replace(s, choices=None) for s in half], BOTH, settings, rng)
    assert only_spans.name == "crf"  # of choices there is nothing to learn yet
    ordered = order(only_spans, found, settings.model_copy(update={"queue_by": "choices"}), rng)
    assert len(ordered.queue) == len(found.pool)  # so the spans order the queue


def test_evaluation_is_of_what_the_project_is_judged_by():
    found, settings = collected(ALL, labelled=60, holdout=100), settings_of()
    model = fit_kinds(found.labelled, ALL, settings, np.random.default_rng(0))
    evaluation = evaluate(model, found, settings, np.random.default_rng(0))
    told = evaluation.as_json()
    assert (told["evaluation"]["kind"], told["evaluation"]["method"]) == ("relations", "hold-out")
    support = {label: each["support"] for label, each in told["evaluation"]["per_label"].items()}
    assert support == {"lives in": sum(len(s.relations) for s in found.holdout)}
    assert {kind: scores["kind"] for kind, scores in told["also"].items()} == {"spans": "spans", "choices": "choices"}
    assert all(scores["f1"] > 0.8 for scores in (told["evaluation"], *told["also"].values()))
    few = replace(found, holdout=[replace(s, relations=()) for s in found.holdout])  # nothing to find
    assert evaluate(model, few, settings, np.random.default_rng(0)).method == "cross-validation"


# rounds


class ListVenue:
    def __init__(self, found: Collected) -> None:
        self.found = found
        self.published = {}

    def collect(self):
        return self.found

    def publish(self, version, queue, predictions):
        self.published[version] = list(queue), dict(predictions)


def whole_round(workspace, project, venue, settings, kind="fit") -> Round:
    with workspace.db.write() as session:
        mark_due(session.get_one(Project, project), kind, "test")
    round_id = rounds.claim(workspace.db, project)
    rounds.run(workspace.db, workspace.models, round_id, venue, settings)
    rounds.publish(workspace.db, workspace.models, round_id, venue, settings)
    with workspace.db.read() as session:
        return session.get_one(Round, round_id)


@pytest.mark.parametrize(("kinds", "main"), [(("choices",), "choices"), (BOTH, "spans"), (ALL, "relations")])
def test_a_round_from_annotations_to_the_queue(workspace, project, kinds, main):
    venue, settings = ListVenue(collected(kinds, labelled=40, holdout=30)), settings_of()
    done = whole_round(workspace, project, venue, settings)
    assert (done.state, done.metrics["evaluation"]["kind"]) == ("done", main)
    assert set(done.metrics.get("also", {})) == set(kinds) - {main}
    published, predictions = venue.published[done.version]
    assert sorted(published) == sorted(s.id for s in venue.found.pool)
    workspace.models._loaded.clear()
    model = workspace.models.load(project, done.version)
    assert list(model.parts) == list(kinds)
    everything = bare(venue.found.sentences())
    assert [predictions[s.id] for s in everything] == model.predict(everything)
    with workspace.db.read() as session:
        stored = session.scalars(select(Prediction).where(Prediction.round_id == done.id)).all()
    assert {str(row.task_id): row.spans for row in stored} == {id: as_json(marks) for id, marks in predictions.items()}
    again = whole_round(workspace, project, venue, settings, kind="rank")
    assert (again.kind, again.metrics["evaluation"]) == ("rank", done.metrics["evaluation"])
    assert again.metrics.get("also") == done.metrics.get("also")


def test_texts_that_no_round_has_seen_get_all_marks(workspace, project):
    venue = ListVenue(collected(ALL, labelled=60))
    done = whole_round(workspace, project, venue, settings_of())
    model = workspace.models.load(project, done.version)
    stranger = Sentence.from_text("999", "Grace lives in Kyoto now")
    known = venue.found.pool[0]
    with workspace.db.read() as session:
        current = find_current(session, "2")
    asked = [(999, stranger.text), (int(known.id), known.text), (998, "It rains a lot")]
    unseen, stored, rain = answer(workspace, current, asked).items
    assert [unseen.marks] == model.predict([stranger])
    assert [kind_of(mark) for mark in unseen.marks] == ["spans", "spans", "choices", "relations"]
    assert stored.marks == venue.published[done.version][1][known.id]
    (pair,) = model.parts["relations"].infer([replace(stranger, entities=tuple(unseen.marks[:2]))])
    assert unseen.sureness == pytest.approx(math.exp(pair.log_prob_B[0])) and unseen.sureness < 1
    assert (rain.marks, rain.sureness) == ([Choice("weather")], 1.0)  # no pair, no doubt


def test_an_acquisition_model_ranks_its_kind_and_the_others_stay(workspace, project):
    settings = settings_of(acquisition="crf", acquisition_options={"iterations": 3}, queue_by="spans")
    venue = ListVenue(collected(BOTH, labelled=20, pool=60))
    first = whole_round(workspace, project, venue, settings)
    tags, ranks = (load(project, first.version) for load in (workspace.models.load, workspace.models.load_acquisition))
    assert [ranks.parts["spans"].options.iterations, tags.parts["spans"].options.iterations] == [3, 100]
    pool = venue.found.pool
    assert ranks.parts["choices"].predict(pool) == tags.parts["choices"].predict(pool)
    venue.found = collected(BOTH, labelled=40, pool=40)
    quick = whole_round(workspace, project, venue, settings)
    assert (quick.kind, quick.model_round_id) == ("acquisition", first.id)
    everything = bare(venue.found.sentences())
    assert [venue.published[quick.version][1][s.id] for s in everything] == tags.predict(everything)


def test_a_strategy_that_does_not_fit_ends_the_round_in_words(workspace, project):
    with pytest.raises(ValueError, match="the queue by spans: 'badge' needs"):
        settings = settings_of(strategy="badge", classifier="transformer-classifier")
        whole_round(workspace, project, ListVenue(collected(BOTH)), settings)


def test_a_project_in_which_nobody_chose_anything_waits(workspace, project):
    found = collected(("choices",))
    venue = ListVenue(replace(found, labelled=[replace(s, choices=None) for s in found.labelled]))
    done = whole_round(workspace, project, venue, settings_of())
    assert (done.kind, done.model_round_id) == ("cold start", None)
    assert sorted(venue.published[done.version][0]) == sorted(s.id for s in found.pool)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["badge", "batl", "power-bald"])
def test_a_real_model_of_relations_orders_the_queue(strategy):
    found = collected(RELATED, labelled=12, pool=12)
    settings = settings_of(
        relation_classifier="relation-classifier",
        relation_options={"epochs": 1},
        strategy=strategy,
        queue_by="relations",
    )
    settings.check_for(RELATED)
    model = fit_kinds(found.labelled, RELATED, settings, np.random.default_rng(0))
    ordered = order(model, found, settings, np.random.default_rng(0))
    assert sorted(ids(ordered.queue)) == sorted(s.id for s in found.pool)
    assert [ordered.predictions[s.id] for s in found.pool] == model.predict(found.pool)
