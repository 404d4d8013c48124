"""The end of a round: measure the pool, rank it, and mix the hold-out in. A project with several kinds of marks has a
model of each; they are asked one after the other, since relations stand between the spans that were found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from corpus import KINDS, Mark, Sentence, kind_of
from learning.measuring import Measuring, open_reader
from learning.ranking import mean_ranking, ordering, rank
from learning.readers import Readers
from learning.settings import ProjectSettings
from learning.steps import OnStep, silently
from learning.venue import Collected
from strategies import STRATEGIES
from taggers import Tagger


@dataclass(frozen=True, slots=True)
class Queued:
    """A sentence's place in the queue is its place in the list; `priority` is the strategy's own figure for it."""

    id: str
    priority: float | None
    """None for what was not ranked. Where several kinds of marks order the queue, 1 − the mean of its places by each,
    as a share of the pool."""
    holdout: bool = False


@dataclass(frozen=True, slots=True)
class Ordered:
    """What a round has to say: the queue of the unlabelled, and the marks of everything."""

    queue: list[Queued]
    strategy: str
    """The one that ordered the queue: another than the settings' before the first training."""
    predictions: dict[str, list[Mark]] = field(default_factory=dict)
    note: str | None = None
    """What people should know about this order."""


def order(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    readers: Readers | None = None,
    successor: Tagger | None = None,
    known: Mapping[str, list[Mark]] | None = None,
) -> Ordered:
    """Measure the pool with `tagger`, rank what the filter leaves of it, and mix the hold-out in at random; the marks
    are those of `successor` where another model is trained for use (Shelmanov et al. 2021, fig. 3), by id in `known`
    as far as it has given them already.

    Raises ValueError if the strategy or the filter needs what the tagger does not provide (after rolling back to
    another kind), or a model that is not within reach.
    """
    asking = _Asking(collected, settings, rng, on_step, readers or Readers(settings))
    places = asking.all(tagger, successor or tagger, known or {})
    queue = mix(places, collected.holdout_pool, settings.holdout_share, rng)
    return Ordered(queue, settings.strategy, asking.found)


def ranked(
    tagger: Tagger,
    collected: Collected,
    settings: ProjectSettings,
    limit: int,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    readers: Readers | None = None,
) -> list[Queued]:
    """The pool in the strategy's order by a model of one kind, of which `limit` sentences are to be labelled before the
    next. See `order`."""
    measuring = Measuring(collected, tagger, readers or Readers(settings), on_step, {})
    return _ranked(measuring, settings, limit, rng)


def cold_order(
    collected: Collected,
    settings: ProjectSettings,
    rng: np.random.Generator,
    on_step: OnStep = silently,
    readers: Readers | None = None,
) -> Ordered:
    """The queue before there is a model, by a strategy that needs none.

    Raises ValueError if the settings name one whose model is not within reach; "auto" then goes on at random.
    """
    name, note = cold_start(settings) if collected.pool else "random", None
    readers = readers or Readers(settings)
    try:
        if STRATEGIES[name].reads != "tagger":
            open_reader(readers, STRATEGIES[name].reads, collected, on_step)
    except ValueError as error:
        if settings.cold_start != "auto" or name == settings.strategy:
            raise
        note = f"a cold start by {name} is not possible, so the first order is random: {error}"
        name = "random"
    options = settings.strategy_options if name == settings.strategy else {}
    cold = settings.model_copy(update={"strategy": name, "strategy_options": options, "filter": None})
    queue = _ranked(Measuring(collected, None, readers, on_step, {}), cold, None, rng)
    return Ordered(mix(queue, collected.holdout_pool, settings.holdout_share, rng), name, note=note)


def cold_start(settings: ProjectSettings) -> str:
    """The strategy of the first queue: the project's own if it needs no trained tagger, else its cold start."""
    own = STRATEGIES[settings.strategy]
    if own.reads != "tagger" or not own.needs:
        return settings.strategy
    if settings.cold_start != "auto":
        return settings.cold_start
    return "alps" if settings.masked_lm else "bert-km"


def _ranked(
    measuring: Measuring, settings: ProjectSettings, limit: int | None, rng: np.random.Generator
) -> list[Queued]:
    pool = measuring.pool
    ranking = rank(measuring, settings, lambda kept: limit or _limit(settings, pool, kept), rng)
    priorities = [None if math.isnan(priority) else float(priority) for priority in ranking.priority]
    return [Queued(pool[i].id, priorities[i]) for i in ranking.order]


def mix(
    ranked: Sequence[Queued], holdout_pool: Sequence[Sentence], share: float, rng: np.random.Generator
) -> list[Queued]:
    """Each place goes, with probability `share`, to a random hold-out sentence, else to the next of `ranked`, whose
    order stays; what is left over follows."""
    drawn = [Queued(holdout_pool[i].id, None, holdout=True) for i in rng.permutation(len(holdout_pool))]
    places = rng.random(len(ranked) + len(drawn)) < share
    queue: list[Queued] = []
    first = second = 0
    for for_holdout in places:
        if second < len(drawn) and (for_holdout or first == len(ranked)):
            queue.append(drawn[second])
            second += 1
        else:
            queue.append(ranked[first])
            first += 1
    return queue


def mean_places(rankings: Sequence[Sequence[Queued]], rng: np.random.Generator) -> list[Queued]:
    """One order of several of the same texts: by the mean of a text's places, ties at random. See `Queued.priority`."""
    if len(rankings) == 1:
        return list(rankings[0])
    ids = [queued.id for queued in rankings[0]]
    places = [{queued.id: place for place, queued in enumerate(ranking)} for ranking in rankings]
    mean = mean_ranking(np.array([[place[id] for id in ids] for place in places]), rng)
    return [Queued(ids[i], float(mean.priority[i])) for i in mean.order]


def _limit(settings: ProjectSettings, pool: Sequence[Sentence], kept: NDArray[np.int64]) -> int:
    """How many sentences to choose one by one: two rounds' worth, since a batch goes on being labelled while the next
    round trains."""
    lengths = np.array([len(pool[i]) for i in kept])
    if settings.round_words is None or not lengths.any():
        return 2 * settings.round_size
    return math.ceil(2 * settings.round_words / lengths.mean())


class _Asking:
    """Asks the model of each kind of mark in turn: for the order of the pool, and for the marks of every text."""

    def __init__(
        self,
        collected: Collected,
        settings: ProjectSettings,
        rng: np.random.Generator,
        on_step: OnStep,
        readers: Readers,
    ) -> None:
        self._collected, self._settings, self._rng, self._on_step = collected, settings, rng, on_step
        self._readers = readers
        self.found: dict[str, list[Mark]] = {}
        """The marks of every text by its id, of the kinds that were asked for already."""

    def all(self, ranks: Tagger, tags: Tagger, known: Mapping[str, list[Mark]]) -> list[Queued]:
        """The pool in the order of the models of `ranks`; `found` are the marks of those of `tags`."""
        rankings = []
        orders = ordering(self._settings, self._collected.kinds, ranks.parts)
        for kind in KINDS:
            model = ranks.parts.get(kind) or tags.parts.get(kind)
            if model is None:
                continue
            measuring = Measuring(self._collected, model, self._readers, self._on_step, self.found)
            if kind in orders:
                rankings.append(_ranked(measuring, self._settings.of(kind), None, self._rng))
            if kind in tags.parts:
                self._mark(measuring, tags.parts[kind], known)
        return mean_places(rankings, self._rng)

    def _mark(self, measuring: Measuring, tagger: Tagger, known: Mapping[str, list[Mark]]) -> None:
        own = {id: [mark for mark in marks if kind_of(mark) == tagger.kind] for id, marks in known.items()}
        for id, marks in measuring.predictions(tagger, own).items():
            self.found[id] = [*self.found.get(id, []), *marks]
