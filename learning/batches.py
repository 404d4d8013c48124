"""What the last batch looked like beside the pool: lengths, label mix, diversity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from corpus import KINDS, Kind, Mark, Sentence
from learning.database import Annotation, Project, Round
from learning.metrics import of_kind
from learning.venue import Collected

NOTABLE = 0.1
"""A label's share of the batch that differs from its share of the pool by at least this is mentioned."""
ALIKE = 1.2
"""Up to this ratio the mean cosines of batch and pool are called the same."""


@dataclass(frozen=True, slots=True)
class LabelShare:
    """How often a label occurs, as a share of all marks of its kind."""

    label: str
    count: int
    """Marks that people made in the batch."""
    share: float
    """In [0, 1]; 0 if the batch has no marks of the kind."""
    pool_share: float | None
    """Of the marks that the model sees in the pool; None if it sees none."""
    kind: Kind = "spans"


@dataclass(frozen=True, slots=True)
class Batch:
    """The tasks that were annotated since the last training, hold-out ones too."""

    tasks: int
    words: int
    mean_words: float
    pool_mean_words: float | None
    """Of the tasks that nobody has labelled; None if there are none left."""
    labels: tuple[LabelShare, ...]
    """By kind, the label most frequent in the batch first."""
    diversity: float | None
    """See `diversity`."""
    text: str
    """The same in a sentence."""

    def as_json(self, number: int) -> dict[str, Any]:
        """The same as plain values, with the number of the round that learned from it."""
        return {"round": number, **asdict(self), "labels": [asdict(each) for each in self.labels]}


def annotated(session: Session, project: Project) -> dict[str, int]:
    """The revision with which each annotated (not skipped) task had its last annotation, by task id."""
    rows = session.execute(
        select(Annotation.task_id, func.max(Annotation.revision))
        .where(Annotation.project_id == project.id, ~Annotation.deleted, ~Annotation.cancelled)
        .group_by(Annotation.task_id)
    )
    return {str(task): revision for task, revision in rows}


def last_batch(
    session: Session, this: Round, collected: Collected, predictions: Mapping[str, Sequence[Mark]]
) -> Batch | None:
    """What was annotated between the training before `this` round and its snapshot; None if nothing was."""
    project = session.get_one(Project, this.project_id)
    before = select(func.max(Round.revision)).where(
        Round.project_id == project.id,
        Round.number < this.number,
        Round.kind == "fit",
        Round.state.in_(["publishing", "done", "superseded"]),
    )
    since = session.scalar(before) or 0
    new = {task for task, revision in annotated(session, project).items() if revision > since}
    batch = [sentence for sentence in (*collected.labelled, *collected.holdout) if sentence.id in new]
    return described(batch, [*collected.pool, *collected.holdout_pool], predictions) if batch else None


def described(batch: Sequence[Sentence], pool: Sequence[Sentence], predictions: Mapping[str, Sequence[Mark]]) -> Batch:
    """A batch of labelled sentences beside the pool, whose marks are those of `predictions`, by id.

    The pool's label mix is the model's, which overlooks rare labels: it is no more than a hint.
    """
    labels = tuple(share for kind in KINDS for share in _shares(kind, batch, pool, predictions))
    words = sum(len(sentence) for sentence in batch)
    mean = words / len(batch)
    pool_mean = fmean(len(sentence) for sentence in pool) if pool else None
    varied = diversity(batch)
    text = _text(len(batch), mean, pool_mean, labels, varied, diversity(pool))
    return Batch(len(batch), words, mean, pool_mean, labels, varied, text)


def _shares(
    kind: Kind, batch: Sequence[Sentence], pool: Sequence[Sentence], predictions: Mapping[str, Sequence[Mark]]
) -> list[LabelShare]:
    """Of the labels of one kind."""
    counts = Counter(mark.label for sentence in batch for mark in sentence.marks(kind) or ())
    pool_counts = Counter(mark.label for sentence in pool for mark in of_kind(kind, predictions.get(sentence.id, ())))
    marks, pool_marks = counts.total(), pool_counts.total()
    return [
        LabelShare(
            label,
            counts[label],
            counts[label] / marks if marks else 0.0,
            pool_counts[label] / pool_marks if pool_marks else None,
            kind,
        )
        for label in sorted({*counts, *pool_counts}, key=lambda label: (-counts[label], label))
    ]


def diversity(sentences: Sequence[Sentence]) -> float | None:
    """1 − the mean cosine between two different sentences' bags of words, in [0, 1]; None for fewer than two.

    Upper and lower case are one. High: the texts have few words in common. Sentences without words are left out.
    With u_i of length 1 the mean over all pairs is (‖Σ u_i‖² − n) / (n (n − 1)), so it takes one pass.
    """
    texts = [[word.text.casefold() for word in sentence.words] for sentence in sentences if sentence.words]
    n = len(texts)
    if n < 2:
        return None
    column: dict[str, int] = {}
    columns = [column.setdefault(word, len(column)) for text in texts for word in text]
    row_ends = np.cumsum([0, *(len(text) for text in texts)])
    bags = csr_array((np.ones(len(columns)), columns, row_ends), shape=(n, len(column)))
    bags.sum_duplicates()
    lengths = np.sqrt(bags.power(2).sum(axis=1))
    total = bags.T @ (1 / lengths)
    return float(np.clip(1 - (total @ total - n) / (n * (n - 1)), 0, 1))


def _text(
    tasks: int,
    mean: float,
    pool_mean: float | None,
    labels: Sequence[LabelShare],
    varied: float | None,
    pool_varied: float | None,
) -> str:
    text = f"The last {tasks:,} task{'s' * (tasks != 1)} had {mean:.1f} words on average"
    if pool_mean is not None:
        text += f", the pool has {pool_mean:.1f}"
    apart = [each for each in labels if each.pool_share is not None and abs(each.share - each.pool_share) >= NOTABLE]
    if apart:
        most = max(apart, key=lambda each: abs(each.share - (each.pool_share or 0)))
        text += (
            f"; {most.share:.0%} of their {most.kind} were {most.label}, "
            f"{most.pool_share:.0%} of what the model sees there"
        )
    if varied is not None and pool_varied is not None:
        text += f"; they have {_common(varied, pool_varied)} texts of the pool"
    return text + "."


def _common(varied: float, pool_varied: float) -> str:
    likeness, usual = 1 - varied, 1 - pool_varied
    if likeness > ALIKE * usual:
        return "more words in common than"
    return "fewer words in common than" if likeness < usual / ALIKE else "about as many words in common as"
