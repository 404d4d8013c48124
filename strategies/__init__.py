"""Query strategies by name: which sentences to label next. Pure NumPy, no I/O.

A new strategy is a new module with a small class, and one line in `STRATEGIES`.
"""

from __future__ import annotations

import inspect
from typing import Any

from strategies.badge import Badge, WBadge
from strategies.base import Measured, Ranking, Strategy
from strategies.budget import within
from strategies.measure import join
from strategies.uncertainty import Entropy, LeastConfidence, NormalizedLogProbability
from strategies.uniform import Random

__all__ = ["STRATEGIES", "Measured", "Ranking", "Strategy", "check", "join", "strategy", "within"]

STRATEGIES: dict[str, type[Strategy]] = {
    "random": Random,
    "lc": LeastConfidence,
    "mnlp": NormalizedLogProbability,
    "entropy": Entropy,
    "badge": Badge,
    "w-badge": WBadge,
}


def strategy(name: str, **options: Any) -> Strategy:
    """The strategy registered under `name`, with its options.

    Raises ValueError, with the known ones, if there is no such strategy or it has no such option.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; known: {', '.join(sorted(STRATEGIES))}")
    known = inspect.signature(STRATEGIES[name]).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise ValueError(
            f"strategy {name!r} has no option {', '.join(map(repr, unknown))}; "
            f"its options: {', '.join(known) or 'none'}"
        )
    return STRATEGIES[name](**options)


def check(strategy: Strategy, provides: frozenset[str]) -> None:
    """Raise ValueError if `strategy` needs of the tagger what is not in `provides`."""
    missing = strategy.needs - provides
    if missing:
        names = {kind: name for name, kind in STRATEGIES.items()}
        working = [name for name, kind in STRATEGIES.items() if kind.needs <= provides]
        raise ValueError(
            f"strategy {names.get(type(strategy), type(strategy).__name__)!r} needs {_listed(missing)}, "
            f"and the tagger provides only {_listed(provides)}; "
            f"take another tagger, or one of the strategies that work with it: {_listed(working)}"
        )


def _listed(names: frozenset[str] | list[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
