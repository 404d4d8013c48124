"""One run: the live loop's own fit, evaluation and ranking, with gold labels as the annotator."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import taggers
from corpus import Inference, Kind, Mark, Sentence
from experiments.corpora import Corpus
from experiments.decisions import gold_decisions
from experiments.measures import calibration, precision_at, precision_recall
from experiments.plan import FULL, Amount, PseudoLabels
from experiments.results import Iteration, Run, add, keep_start, started
from learning.loop import fit
from learning.measuring import Measuring
from learning.metrics import scores
from learning.queue import ranked
from learning.readers import Readers
from learning.settings import ProjectSettings
from learning.steps import OnStep, silently
from learning.venue import Collected
from strategies import STRATEGIES, strategy, within
from taggers import Tagger

SUREST = (100, 200, 300)
"""P@N is told of these many relations (Seo et al. 2022, table 2)."""
STARTED_BY = {"ft-bert-km": "bert-km"}
"""Whose first batch a strategy takes that needs a model first (Yuan et al. 2020, sec. 4.2)."""


class Annotator:
    """Gives gold labels."""

    def __init__(self, sentences: Sequence[Sentence], kind: Kind = "spans") -> None:
        self._waiting = {sentence.id: sentence for sentence in sentences}
        self._kind: Kind = kind
        self.labelled: list[Sentence] = []
        """In the order in which they were labelled."""

    def label(self, ids: Sequence[str]) -> None:
        """Label these."""
        self.labelled += [self._waiting.pop(id) for id in ids]

    def affordable(self, queue: Sequence[str], amount: Amount) -> list[str]:
        """The head of the queue that `amount` pays for; its first one in any case, so that no run stands still."""
        lengths = np.array([len(self._waiting[id]) for id in queue], np.int64)
        taken = within(np.arange(len(queue)), lengths, amount.words, amount.sentences)
        return list(queue[: max(1, len(taken))])

    def collect(self) -> Collected:
        """What a round sees: the labels of the pool are not shown."""
        pool = [sentence.unlabelled() for sentence in self._waiting.values()]
        return Collected(self.labelled, [], pool, kinds=(self._kind,))


def complete(corpus: Corpus, run: Run, on_step: OnStep = silently) -> Run:
    """Bring a run to its end; see `simulate`."""
    return [run, *simulate(corpus, run, on_step)][-1]


def simulate(corpus: Corpus, run: Run, on_step: OnStep = silently) -> Iterator[Run]:
    """Go on with a run, from its last round that is written down, to its end; gives the run after each round.

    A round draws from a generator of the run's seed and its own number, so a run that was interrupted comes to the
    same result. Seeds decide a random start too: it is the same for all strategies and models.
    """
    settings = run.plan.settings(run.strategy, run.seed)
    total = sum(map(len, corpus.train))
    annotator = Annotator(corpus.train, corpus.kind)
    readers = Readers(settings, run.folder / "encoders")
    if run.strategy == FULL:
        annotator.label([sentence.id for sentence in corpus.train])
    else:
        annotator.label(_start(annotator, run, Amount.of(run.plan.start, total), readers, on_step))
    for iteration in run.iterations:
        annotator.label(iteration.batch)
    budget = Amount.of(run.plan.budget, total)
    while not run.finished:
        iteration = _round(corpus, annotator, run, len(run.iterations), budget, settings, readers, on_step)
        run = add(run, iteration)
        annotator.label(iteration.batch)
        yield run


def _start(annotator: Annotator, run: Run, amount: Amount, readers: Readers, on_step: OnStep) -> list[str]:
    """What is labelled before there is a model."""
    pool, rng = annotator.collect().pool, np.random.default_rng(run.seed)
    first = STARTED_BY.get(run.strategy, run.strategy)
    if run.plan.start_by == "random" or STRATEGIES[first].reads == "tagger":
        return annotator.affordable([pool[i].id for i in rng.permutation(len(pool))], amount)
    if (known := started(run)) is None:
        chooses = strategy(first, **run.plan.strategy_options.get(first, {}))
        measuring = Measuring(annotator.collect(), None, readers, on_step, {})
        measured, _ = measuring.of(chooses, np.arange(len(pool)))
        order = chooses.rank(measured, None, _limit(amount, pool), rng).order
        known = annotator.affordable([pool[i].id for i in order], amount)
        keep_start(run, known)
    return known


def _limit(amount: Amount, pool: Sequence[Sentence]) -> int:
    """How many sentences to choose for it: some more than the mean says, since a strategy that likes short texts gets
    more of them for its words."""
    words = sum(map(len, pool)) / len(pool)
    return amount.sentences or math.ceil(1.25 * (amount.words or 0) / max(words, 1))


def _round(
    corpus: Corpus,
    annotator: Annotator,
    run: Run,
    number: int,
    budget: Amount,
    settings: ProjectSettings,
    readers: Readers,
    on_step: OnStep,
) -> Iteration:
    of_fit, of_scores, of_rank = np.random.default_rng([run.seed, number]).spawn(3)
    seconds: dict[str, float] = {}
    collected, labelled = annotator.collect(), annotator.labelled
    fitting = readers.for_fitting([*labelled, *collected.pool], on_step)
    with _timed(seconds, "fit"):
        pseudo = pseudo_labelled(collected, run.plan.pseudo_labels, fitting, of_fit)
        tagger = _fitted(labelled, corpus, run, fitting, of_fit, on_step, _earlier(run, "model"), pseudo)
    ranks = tagger
    if settings.acquisition is not None:
        with _timed(seconds, "fit acquisition"):
            ranks = _fitted(labelled, corpus, run, fitting.ranking, of_fit, on_step, _earlier(run, "acquisition"))
    if settings.warm_start:
        _keep(run, model=tagger, **({} if ranks is tagger else {"acquisition": ranks}))
    with _timed(seconds, "evaluate"):
        found, calibration_error = evaluated(tagger, corpus.test, of_scores)
    batch: list[str] = []
    if number + 1 < run.rounds and collected.pool:
        with _timed(seconds, "query"):
            seen = replace(collected, pool=_drawn(collected.pool, run.plan.pool_share, of_rank))
            queue = ranked(ranks, seen, settings, _limit(budget, collected.pool), of_rank, on_step, readers)
        batch = annotator.affordable([place.id for place in queue], budget)
    if run.strategy == FULL:
        _keep_entropies(run.folder, tagger, corpus.train)
    words_labelled = sum(map(len, labelled))
    return Iteration(number, len(labelled), words_labelled, found, calibration_error, seconds, batch)


def _drawn(pool: Sequence[Sentence], share: float, rng: np.random.Generator) -> list[Sentence]:
    """The part of the pool that is looked at; all of it takes nothing from the generator."""
    if share == 1:
        return list(pool)
    return [pool[i] for i in np.sort(rng.permutation(len(pool))[: math.ceil(share * len(pool))])]


def evaluated(model: Tagger, test: Sequence[Sentence], rng: np.random.Generator) -> tuple[dict[str, Any], float]:
    """Scores (`learning.metrics.Scores.as_json`), and the expected calibration error of the model's decisions.

    Of relations besides, by confidence: `precision_at` N, and `precision_recall`, points of that curve.
    """
    found: list[list[Mark]] = [[] for _ in test]
    hidden = [sentence.unlabelled() for sentence in test]

    def batches() -> Iterator[Inference]:
        for batch in model.infer(hidden):
            for i, marks in zip(batch.indices, model.marks(batch, hidden), strict=True):
                found[i] = marks
            yield batch

    calibration_error = calibration(batches(), test, gold_decisions(model))
    told = scores(model.kind, test, found, rng).as_json()
    return (told | _by_confidence(test, found) if model.kind == "relations" else told), calibration_error


def _by_confidence(test: Sequence[Sentence], found: Sequence[Sequence[Mark]]) -> dict[str, Any]:
    finds = [
        (mark.confidence or 0.0, mark in (sentence.relations or ()))
        for sentence, marks in zip(test, found, strict=True)
        for mark in marks
    ]
    confidences, right = [find[0] for find in finds], [find[1] for find in finds]
    gold = sum(len(sentence.relations or ()) for sentence in test)
    surest = precision_at(confidences, right, SUREST)
    return {
        "precision_at": {str(n): of for n, of in surest.items()},
        "precision_recall": precision_recall(confidences, right, gold),
    }


def _fitted(
    labelled: Sequence[Sentence],
    corpus: Corpus,
    run: Run,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep,
    start: Tagger | None,
    besides: Sequence[Sentence] = (),
) -> Tagger:
    """As `learning.loop.fit`, or with the corpus's own dev set."""
    if not run.plan.own_dev:
        return fit(labelled, settings, rng, on_step, start, besides)
    kind = taggers.tagger_class(settings.tagger)
    model = kind(kind.Options(**settings.tagger_options), seed=settings.seed)
    on_step("fit", epoch=0)
    model.fit([*labelled, *besides], corpus.dev, start=start if start and model.goes_on_from(start) else None)
    return model


def pseudo_labelled(
    collected: Collected, wanted: PseudoLabels | None, settings: ProjectSettings, rng: np.random.Generator
) -> list[Sentence]:
    """The part of the pool that a teacher is surest of, by −mnlp, with what it says; none if none are `wanted`.

    The idea of PLASM (Tsvigun et al. 2022), whose filter of wrong labels is TracIn's instead.
    """
    if wanted is None or not collected.pool:
        return []
    of_teacher = {"tagger": wanted.tagger, "tagger_options": wanted.tagger_options} if wanted.tagger else {}
    teacher = fit(collected.labelled, settings.model_copy(update={**of_teacher, "acquisition": None}), rng)
    sureness = np.full(len(collected.pool), -np.inf)
    found: list[list[Mark]] = [[] for _ in collected.pool]
    for batch in teacher.infer(collected.pool):
        sureness[batch.indices] = batch.log_prob_B / np.maximum(batch.lengths, 1)
        for i, marks in zip(batch.indices, teacher.marks(batch, collected.pool), strict=True):
            found[i] = marks
    kept = np.sort(np.argsort(-sureness, kind="stable")[: round(wanted.keep * len(sureness))])
    return [collected.pool[i].marked(found[i], (teacher.kind,)) for i in kept]


def _earlier(run: Run, name: str) -> Tagger | None:
    """The last round's model, kept where a run starts warm."""
    folder = run.folder / name
    return taggers.load(folder) if run.plan.warm_start and folder.is_dir() and run.iterations else None


def _keep(run: Run, **models: Tagger) -> None:
    for name, model in models.items():
        shutil.rmtree(run.folder / name, ignore_errors=True)
        model.save(run.folder / name)


def _keep_entropies(folder: Path, tagger: Tagger, sentences: Sequence[Sentence]) -> None:
    """What the model of all data finds uncertain, to judge batches by (Yuan et al. 2020, eq. 4)."""
    entropy, entropies = strategy("entropy"), np.zeros(len(sentences))
    for batch in tagger.infer([sentence.unlabelled() for sentence in sentences]):
        entropies[batch.indices] = entropy.measure(batch)
    np.savez_compressed(folder / "entropies.npz", ids=np.array([s.id for s in sentences]), entropies=entropies)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - began, 3)
