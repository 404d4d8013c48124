"""Whether more labels still pay: stopping advice from settling predictions and the learning curve, never a stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import Kind
from learning.agreement import Agreement
from learning.loop import MIN_HOLDOUT_SENTENCES, MIN_HOLDOUT_SPANS

SETTLED = 0.99
"""The mean kappa of the last ROUNDS comparisons from which predictions count as settled (the paper's cutoff)."""
ROUNDS = 3
MIN_MARKED = 100
"""A stop set in which fewer words are tagged (texts have a choice, pairs are related) cannot show a kappa of 0.99: one
of them moves it by about 0.01."""
RECENT = 0.2
"""The curve's slope is taken over the last ROUNDS rounds, and over those more that lie in this share of the words."""
WIDE = 0.02
"""A gain known no better than to ± this much F1 calls for a larger hold-out."""
Z = 1.96
DECISIONS: dict[Kind, tuple[str, str]] = {
    "spans": ("words", "words of the hold-out tasks are tagged"),
    "choices": ("choices", "choices are made for the hold-out tasks"),
    "relations": ("pairs", "pairs in the hold-out tasks are related"),
}
"""What two models are compared by, and how it is said that there are few of them."""


@dataclass(frozen=True, slots=True)
class Point:
    """A round that trained a model, as the learning curve sees it."""

    words: int
    """Words in all tasks labelled so far."""
    f1: float
    low: float
    high: float
    """F1 in [0, 1] with its 95% interval."""
    method: str
    """"hold-out" or "cross-validation"."""
    holdout_tasks: int
    """Labelled hold-out tasks, whatever the method."""
    agreement: Agreement | None = None
    """With the round before, on the same stop set; None for the first model."""
    counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Per hold-out task its gold, predicted and right marks. Where rounds have them, they are compared task by task."""
    kind: Kind = "spans"
    """What was found."""

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any]) -> Point | None:
        """The point of a round's stored metrics (`labelled_words`, `holdout_sentences`, `evaluation`, and, if they are
        there, `agreement` and `holdout_counts`); None for a round without F1."""
        scores, agreement = metrics.get("evaluation"), metrics.get("agreement")
        if scores is None:
            return None
        return cls(
            metrics["labelled_words"],
            scores["f1"],
            scores["low"],
            scores["high"],
            scores["method"],
            metrics["holdout_sentences"],
            Agreement(**agreement) if agreement else None,
            metrics.get("holdout_counts") or {},
            scores.get("kind", "spans"),
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """What the last `words` labelled words brought: F1 in [0, 1] and its 95% interval, from `tasks` hold-out tasks."""

    words: int
    f1: float
    half: float
    """Half the interval's width."""
    sampling: float
    """What of `half` the size of the hold-out explains; the rest is F1 jumping from round to round."""
    tasks: float

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.f1 - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.f1 + self.half


@dataclass(frozen=True, slots=True)
class Advice:
    """What a person may do next, and the figures it rests on."""

    text: str
    stable: bool | None
    """Whether the predictions have settled; None if it cannot be told."""
    flat: bool | None
    """True if even the upper end of the gain's interval is not worth labelling for (F1 may fall, too), False if F1
    surely grows, None if the figures show neither."""
    kappas: tuple[float, ...]
    """Of the last comparisons, at most ROUNDS, the newest last."""
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    words: int | None
    """Words whose gain this is."""

    def as_json(self) -> dict[str, Any]:
        """The same as a dict of plain values."""
        return {**asdict(self), "kappas": list(self.kappas)}


def recent_gain(history: Sequence[Point]) -> Gain | None:
    """The learning curve's slope over its recent part, times the words that part covers; None with too few points.

    Weighted least squares through the points on the hold-out (cross-validation is about other texts and never mixed
    in). Rounds are evaluated on nearly the same hold-out, so their errors are alike and cancel in a difference. Where
    all points have `counts`, that is used: the covariance of their F1 over the tasks they share, by linearisation,
    dF_t,i = (2 right − F_t (gold + predicted)) / mean(gold + predicted). Else the variances come from the
    intervals and the rounds are taken for independent, which is conservative: the interval is too wide.

    Points that scatter about the line more than that (training is random, too) widen the interval by as much. And an
    interval is never narrower than ± 3/n for n tasks, the share of them that n without a change cannot exclude.
    """
    points = _recent([point for point in history if point.method == "hold-out"])
    words = np.array([point.words for point in points], dtype=np.float64)
    if not history or history[-1].method != "hold-out" or len(points) < ROUNDS or np.ptp(words) == 0:
        return None
    shared = _shared_counts(points)
    if len(shared) >= MIN_HOLDOUT_SENTENCES:
        tasks = float(len(shared))
        f1, covariance = _paired(shared)
    else:
        tasks = len(points) / sum(1 / max(point.holdout_tasks, 1) for point in points)
        f1 = np.array([point.f1 for point in points])
        covariance = np.diag([((point.high - point.low) / (2 * Z)) ** 2 for point in points])
    least = 3 / tasks
    weight = 1 / np.maximum(np.diag(covariance), (least / Z) ** 2)
    centred = words - np.average(words, weights=weight)
    span = float(np.ptp(words))
    share = span * weight * centred / (weight * centred**2).sum()  # of each point in the gain
    gain = float(share @ f1)
    rest = f1 - np.average(f1, weights=weight) - gain / span * centred
    scatter = (weight * rest**2).sum() / (len(points) - 2) * (share**2 / weight).sum()
    sampling = max(Z * math.sqrt(max(share @ covariance @ share, 0)), least)
    return Gain(int(span), gain, max(sampling, Z * math.sqrt(scatter)), sampling, tasks)


def advise(history: Sequence[Point], worth: float = 0.01) -> Advice:
    """Advice from the rounds so far, oldest first: those that trained a model, all with the same tagger and options.

    worth: the F1 in [0, 1] that the last words must have brought for labelling to pay. Two signs are read: whether
    predictions settle (mean kappa of the last three comparisons ≥ 0.99; Bloodgood & Vijay-Shanker 2009) and whether
    the curve is flat (`recent_gain`'s upper end below `worth`). The advice is to stop only if both say so.
    """
    if not worth > 0:
        raise ValueError(f"worth must be above 0, not {worth}: it is the F1 gain that labels must bring to pay")
    compared = _compared(history)
    stable = _stable(compared)
    gain = recent_gain(history)
    flat = None if gain is None else True if gain.high < worth else False if gain.low > 0 else None
    if gain is None:
        text = f"Go on labelling: {_missing(history)}."
        if compared:
            text += f" {_upper(_predictions(compared))}."
    else:
        text = _text(gain, flat, stable, compared, history[-1].holdout_tasks)
    figures = (None, None, None, None) if gain is None else (gain.f1, gain.low, gain.high, gain.words)
    return Advice(text, stable, flat, tuple(each.kappa for each in compared), *figures)


def _recent(points: list[Point]) -> list[Point]:
    """The last ROUNDS points, and those before them as long as they lie within the last RECENT share of the words."""
    first = max(len(points) - ROUNDS, 0)
    while first > 0 and points[first - 1].words >= (1 - RECENT) * points[-1].words:
        first -= 1
    return points[first:]


def _shared_counts(points: Sequence[Point]) -> NDArray[np.float64]:
    """(N, T, 3): gold, predicted and right marks of the N tasks that all T points have counted."""
    shared = sorted(set.intersection(*(set(point.counts) for point in points)))
    return np.array([[point.counts[task] for point in points] for task in shared], dtype=np.float64)


def _paired(counts_NT3: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F1 (T,) of each round over the same tasks, and its covariance (T, T)."""
    found = counts_NT3[:, :, 0] + counts_NT3[:, :, 1]
    right = 2 * counts_NT3[:, :, 2]
    mean = np.maximum(found.mean(0), 1 / len(found))  # no marks at all: F1 is 0
    f1 = right.mean(0) / mean
    change = (right - f1 * found) / mean
    return f1, change.T @ change / (len(found) * (len(found) - 1))


def _compared(history: Sequence[Point]) -> list[Agreement]:
    """The comparisons of the last rounds without a gap, at most ROUNDS."""
    compared: list[Agreement] = []
    for point in reversed(history[-ROUNDS:]):
        if point.agreement is None or point.agreement.kind != history[-1].kind:
            break
        compared.insert(0, point.agreement)
    return compared


def _stable(compared: Sequence[Agreement]) -> bool | None:
    if len(compared) < ROUNDS or min(each.entity_words for each in compared) < MIN_MARKED:
        return None
    return _mean_kappa(compared) >= SETTLED


def _mean_kappa(compared: Sequence[Agreement]) -> float:
    return round(fmean(each.kappa for each in compared), 9)  # three times 0.99 is 0.99


def _text(gain: Gain, flat: bool | None, stable: bool | None, compared: Sequence[Agreement], holdout: int) -> str:
    brought = f"the last {gain.words:,} words brought {_points(gain)}"
    settling = _predictions(compared)
    if gain.high < 0:
        return (
            f"F1 fell: {brought}. Before you label on, check whether the latest annotations follow the same rules as "
            "the earlier ones."
        )
    match flat, stable:
        case True, True:
            return (
                f"The model has settled: {settling}, and {brought}. Labelling on is unlikely to pay; label 50 more "
                "tasks at random to be sure, or stop."
            )
        case True, False:
            return f"The signs disagree: {brought}, but {settling}. Label one more round and look again."
        case True, None:
            return f"Labelling on may not pay: {brought}. {_upper(settling)}; label 50 more tasks at random to be sure."
        case False, True:
            return f"Go on labelling: {brought}, although {settling}."
        case False, _:
            return f"Go on labelling: {brought}."
    hope = "Label one more round and look again" if stable else "Go on labelling"
    if gain.sampling <= WIDE:
        return f"{hope}: {brought}, too close to call. {_upper(settling)}."
    more = math.ceil(gain.tasks * (gain.sampling / WIDE) ** 2) - holdout
    wanted = f"about {_rounded(more)} more hold-out tasks" if more > 0 else "more rounds on the hold-out as it is now"
    return (
        f"{hope}: {brought}, and the hold-out is too small to tell; {wanted} would narrow that to "
        f"± {100 * WIDE:.0f} at best. {_upper(settling)}."
    )


def _predictions(compared: Sequence[Agreement]) -> str:
    """What the comparisons say, as a clause."""
    if len(compared) < ROUNDS:
        more = ROUNDS - len(compared)
        return f"whether the predictions settle shows after {_number(more)} more round{'s' if more > 1 else ''}"
    tagged = min(each.entity_words for each in compared)
    decisions, few = DECISIONS[compared[-1].kind]
    if tagged < MIN_MARKED:
        return f"whether the predictions settle cannot be told, since only {tagged} {few} and it takes {MIN_MARKED}"
    share = sum(each.changed for each in compared) / sum(each.words for each in compared)
    verb = "hardly change any more" if _stable(compared) else "still change"
    mean = math.floor(1_000 * _mean_kappa(compared)) / 1_000  # 0.9896 must not read as 0.990
    return f"the predictions {verb} ({100 * share:.1f}% of the {decisions} from round to round, kappa {mean:.3f})"


def _missing(history: Sequence[Point]) -> str:
    """What is wanted before the slope can be told, as a clause."""
    if history and history[-1].method != "hold-out":
        more = MIN_HOLDOUT_SENTENCES - history[-1].holdout_tasks
        enough = f"hold-out tasks with {MIN_HOLDOUT_SPANS} {history[-1].kind} in all"
        wanted = f"{more} more hold-out tasks" if more > 0 else enough
        return (
            f"what more labels bring can be told after {wanted} and {_number(ROUNDS)} rounds with them; until then F1 "
            "is cross-validated on texts that were chosen, not drawn"
        )
    more = max(1, ROUNDS - sum(point.method == "hold-out" for point in history))
    return f"what more labels bring can be told after {_number(more)} more round{'s' if more > 1 else ''}"


def _points(gain: Gain) -> str:
    return f"{100 * gain.f1:+z.1f} ± {100 * gain.half:.1f} F1 points"


def _rounded(count: int) -> str:
    """Up to two significant digits: it is an estimate."""
    step = 10 ** max(len(str(count)) - 2, 0)
    return f"{math.ceil(count / step) * step:,}"


def _number(count: int) -> str:
    return ("no", "one", "two", "three")[count]


def _upper(clause: str) -> str:
    return clause[0].upper() + clause[1:]
