"""Where a round's sentences come from and where its queue goes: the loop's only view of the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corpus import Sentence, Span


@dataclass(frozen=True, slots=True)
class Collected:
    """A snapshot of a project. Every sentence stands in exactly one list."""

    labelled: list[Sentence]
    """To learn from; `spans` set."""
    holdout: list[Sentence]
    """To evaluate on, never to learn from; `spans` set."""
    pool: list[Sentence]
    """Unlabelled, for the strategy to order; `spans` is None."""
    holdout_pool: list[Sentence] = field(default_factory=list)
    """Unlabelled and drawn for the hold-out: queued at random, unseen by the strategy."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, each naming its task and the remedy."""
    revision: int = 0
    """The project's revision that this snapshot shows."""

    def sentences(self) -> list[Sentence]:
        """All of them."""
        return [*self.pool, *self.holdout_pool, *self.labelled, *self.holdout]


class Venue(Protocol):
    """A live Label Studio project, gold labels (the simulator), or a list (a test)."""

    def collect(self) -> Collected:
        """All that is known now."""
        ...

    def publish(self, version: str, queue: Sequence[str], predictions: Mapping[str, Sequence[Span]]) -> None:
        """Deliver a ranking: `queue` holds the unlabelled sentences' ids, the one to label next first;
        `predictions` the spans of every sentence, labelled ones too. May be called again after a failure."""
        ...
