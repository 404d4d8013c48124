"""One run: the live loop's own fit, evaluation and ranking, with gold labels as the annotator."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

import taggers
from corpus import Inference, Sentence, Span
from experiments.corpora import Corpus
from experiments.measures import tag_calibration
from experiments.plan import FULL, Amount, PseudoLabels
from experiments.results import Iteration, Run, add
from learning.loop import fit
from learning.metrics import Scores, span_scores
from learning.queue import ranked
from learning.readers import Readers
from learning.settings import ProjectSettings
from learning.steps import OnStep, silently
from learning.venue import Collected
from strategies import strategy, within
from taggers import Tagger, spans_of


class Annotator:
    """Gives gold labels."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._waiting = {sentence.id: sentence for sentence in sentences}
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
        return Collected(self.labelled, [], [sentence.unlabelled() for sentence in self._waiting.values()])


def complete(corpus: Corpus, run: Run, on_step: OnStep = silently) -> Run:
    """Bring a run to its end; see `simulate`."""
    return [run, *simulate(corpus, run, on_step)][-1]


def simulate(corpus: Corpus, run: Run, on_step: OnStep = silently) -> Iterator[Run]:
    """Go on with a run, from its last round that is written down, to its end; gives the run after each round.

    A round draws from a generator of the run's seed and its own number, so a run that was interrupted comes to the
    same result. Seeds decide the start too: it is the same for all strategies and models.
    """
    settings, seed = run.plan.settings(run.strategy, run.seed), run.seed
    total = sum(map(len, corpus.train))
    annotator = Annotator(corpus.train)
    everything = [sentence.id for sentence in corpus.train]
    if run.strategy == FULL:
        annotator.label(everything)
    else:
        drawn = [everything[i] for i in np.random.default_rng(seed).permutation(len(everything))]
        annotator.label(annotator.affordable(drawn, Amount.of(run.plan.start, total)))
    for iteration in run.iterations:
        annotator.label(iteration.batch)
    readers = Readers(settings, run.folder / "encoders")
    budget = Amount.of(run.plan.budget, total)
    while not run.finished:
        iteration = _round(corpus, annotator, run, len(run.iterations), budget, settings, readers, on_step)
        run = add(run, iteration)
        annotator.label(iteration.batch)
        yield run


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
        tagger = fit(labelled, fitting, of_fit, on_step, _earlier(run, "model"), pseudo)
    ranks = tagger
    if settings.acquisition is not None:
        with _timed(seconds, "fit acquisition"):
            ranks = fit(labelled, fitting.ranking, of_fit, on_step, _earlier(run, "acquisition"))
    if settings.warm_start:
        _keep(run, model=tagger, **({} if ranks is tagger else {"acquisition": ranks}))
    with _timed(seconds, "evaluate"):
        scores, calibration_error = evaluated(tagger, corpus.test, of_scores)
    batch: list[str] = []
    if number + 1 < run.rounds and collected.pool:
        with _timed(seconds, "query"):
            words = sum(map(len, collected.pool)) / len(collected.pool)
            # Some more than the mean says: a strategy that likes short texts gets more of them for its words.
            limit = budget.sentences or math.ceil(1.25 * (budget.words or 0) / max(words, 1))
            seen = replace(collected, pool=_drawn(collected.pool, run.plan.pool_share, of_rank))
            queue = ranked(ranks, seen, settings, limit, of_rank, on_step, readers)
        batch = annotator.affordable([place.id for place in queue], budget)
    if run.strategy == FULL:
        _keep_entropies(run.folder, tagger, corpus.train)
    words_labelled = sum(map(len, labelled))
    return Iteration(number, len(labelled), words_labelled, scores.as_json(), calibration_error, seconds, batch)


def _drawn(pool: Sequence[Sentence], share: float, rng: np.random.Generator) -> list[Sentence]:
    """The part of the pool that is looked at; all of it takes nothing from the generator."""
    if share == 1:
        return list(pool)
    return [pool[i] for i in np.sort(rng.permutation(len(pool))[: math.ceil(share * len(pool))])]


def evaluated(tagger: Tagger, test: Sequence[Sentence], rng: np.random.Generator) -> tuple[Scores, float]:
    """Scores, and the expected calibration error of its tags."""
    found: list[list[Span]] = [[] for _ in test]
    hidden = [sentence.unlabelled() for sentence in test]

    def batches() -> Iterator[Inference]:
        for batch in tagger.infer(hidden):
            for i, spans in zip(batch.indices, spans_of(batch, hidden), strict=True):
                found[i] = spans
            yield batch

    calibration_error = tag_calibration(batches(), test)
    return span_scores(test, found, rng), calibration_error


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
    found: list[list[Span]] = [[] for _ in collected.pool]
    for batch in teacher.infer(collected.pool):
        sureness[batch.indices] = batch.log_prob_B / np.maximum(batch.lengths, 1)
        for i, spans in zip(batch.indices, spans_of(batch, collected.pool), strict=True):
            found[i] = spans
    kept = np.sort(np.argsort(-sureness, kind="stable")[: round(wanted.keep * len(sureness))])
    return [collected.pool[i].labelled(tuple(found[i])) for i in kept]


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
