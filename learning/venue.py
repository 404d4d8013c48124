"""Where a round's sentences come from and where its queue goes: the loop's only view of the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corpus import Kind, Mark, Sentence


@dataclass(frozen=True, slots=True)
class Collected:
    """A snapshot of a project. Every sentence stands in exactly one list."""

    labelled: list[Sentence]
    """To learn from: labelled in each of the `kinds`, or None in one that the annotator has left open."""
    holdout: list[Sentence]
    """To evaluate on, never to learn from; labelled as those."""
    pool: list[Sentence]
    """Unlabelled, for the strategy to order."""
    holdout_pool: list[Sentence] = field(default_factory=list)
    """Unlabelled and drawn for the hold-out: queued at random, unseen by the strategy."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, each naming its task and the remedy."""
    revision: int = 0
    """The project's revision that this snapshot shows."""
    kinds: tuple[Kind, ...] = ("spans",)
    """What is marked in the texts of this project, in the order of `corpus.KINDS`."""

    def sentences(self) -> list[Sentence]:
        """All of them."""
        return [*self.pool, *self.holdout_pool, *self.labelled, *self.holdout]


class Venue(Protocol):
    """A live Label Studio project, gold labels (the simulator), or a list (a test)."""

    def collect(self) -> Collected:
        """All that is known now."""
        ...

    def publish(self, version: str, queue: Sequence[str], predictions: Mapping[str, Sequence[Mark]]) -> None:
        """Deliver a ranking: `queue` holds the unlabelled sentences' ids, the one to label next first;
        `predictions` the marks of every sentence, labelled ones too. May be called again after a failure."""
        ...
