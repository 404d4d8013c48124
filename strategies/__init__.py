"""Query strategies by name: which sentences to label next. Pure NumPy, no I/O.

A new strategy is a new module with a small class, and one line in `STRATEGIES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from strategies.badge import Badge, WBadge
from strategies.base import Measured, Ranking, Strategy
from strategies.batch_bald import BatchBald
from strategies.batl import Batl
from strategies.budget import within
from strategies.clustering import Alps, BertKM, FtBertKM
from strategies.coreset import Coreset
from strategies.discriminative import Discriminative
from strategies.filters import FILTERS, Filter
from strategies.measure import join
from strategies.stochastic import (
    PowerBald,
    PowerEntropy,
    PowerLeastConfidence,
    PowerMargin,
    PowerNormalizedLogProbability,
    PowerSequenceVariationRatio,
    PowerVariationRatio,
)
from strategies.uherding import UHerding
from strategies.uncertainty import Entropy, LeastConfidence, Margin, NormalizedLogProbability
from strategies.uniform import Random
from strategies.variation import Bald, SequenceVariationRatio, VariationRatio

__all__ = [
    "FILTERS",
    "STRATEGIES",
    "Filter",
    "Measured",
    "Ranking",
    "Strategy",
    "check",
    "join",
    "pool_filter",
    "strategy",
    "within",
]

STRATEGIES: dict[str, type[Strategy]] = {
    "random": Random,
    "lc": LeastConfidence,
    "mnlp": NormalizedLogProbability,
    "entropy": Entropy,
    "margin": Margin,
    "variation-ratio": VariationRatio,
    "sequence-variation-ratio": SequenceVariationRatio,
    "bald": Bald,
    "power-lc": PowerLeastConfidence,
    "power-mnlp": PowerNormalizedLogProbability,
    "power-entropy": PowerEntropy,
    "power-margin": PowerMargin,
    "power-variation-ratio": PowerVariationRatio,
    "power-sequence-variation-ratio": PowerSequenceVariationRatio,
    "power-bald": PowerBald,
    "batch-bald": BatchBald,
    "badge": Badge,
    "w-badge": WBadge,
    "coreset": Coreset,
    "alps": Alps,
    "bert-km": BertKM,
    "ft-bert-km": FtBertKM,
    "batl": Batl,
    "discriminative": Discriminative,
    "uherding": UHerding,
}

NEEDS = {
    "log_prob": "the probability of the best tags",
    "marginals": "the probability of every tag",
    "hidden": "hidden states",
    "samples": "stochastic passes, which a tagger with dropout has",
    "surprisal": "surprisal, which a masked-language model gives",
    "per_text": "decisions on texts, as a classifier gives them ('bald' and 'power-bald' are for decisions on words)",
}
"""What a model may lack, in words."""

_TYPES: dict[type, tuple[set[type], str]] = {
    bool: ({bool}, "true or false"),
    int: ({int}, "a whole number"),
    float: ({int, float}, "a number"),
    str: ({str}, "a text"),
}
"""By the type of an option's default: what it may be, and that in words."""

_Kind = TypeVar("_Kind", Strategy, Filter)


def strategy(name: str, **options: Any) -> Strategy:
    """The strategy registered under `name`, with its options.

    Raises ValueError if there is no such strategy, or if it has no such option or not with such a value.
    """
    return _make("strategy", name, STRATEGIES, options)


def pool_filter(name: str, **options: Any) -> Filter:
    """The filter registered under `name`, with its options.

    Raises ValueError if there is no such filter, or if it has no such option or not with such a value.
    """
    return _make("filter", name, FILTERS, options)


def check(chosen: Strategy | Filter, provides: frozenset[str]) -> None:
    """Raise ValueError if the tagger does not provide what `chosen` needs of it."""
    missing = chosen.needs - provides
    if chosen.reads != "tagger" or not missing:
        return
    names = {kind: name for name, kind in [*STRATEGIES.items(), *FILTERS.items()]}
    working = [name for name, kind in STRATEGIES.items() if kind.reads != "tagger" or kind.needs <= provides]
    raise ValueError(
        f"{names.get(type(chosen), type(chosen).__name__)!r} needs of the tagger what this one does not provide: "
        f"{'; '.join(NEEDS.get(need, need) for need in sorted(missing))}. "
        f"Take another tagger, or one of the strategies that work with this one: {_listed(working)}"
    )


def _make(what: str, name: str, registry: Mapping[str, type[_Kind]], options: dict[str, Any]) -> _Kind:
    if name not in registry:
        raise ValueError(f"unknown {what} {name!r}; known: {_listed(registry)}")
    known = inspect.signature(registry[name]).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise ValueError(
            f"{what} {name!r} has no option {', '.join(map(repr, unknown))}; its options: {', '.join(known) or 'none'}"
        )
    made = registry[name](**options)  # whose own checks say more
    for option, value in options.items():
        allowed = _TYPES.get(type(known[option].default))
        if allowed and type(value) not in allowed[0]:
            raise ValueError(f"option {option!r} of {what} {name!r} must be {allowed[1]}, not {value!r}")
    return made


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
