"""What taggers ask of labelled sentences: which tags there are, and how well predictions agree."""

from __future__ import annotations

from collections.abc import Sequence

from corpus import Kind, Mark, Sentence


def bio_tags(train: Sequence[Sentence]) -> tuple[str, ...]:
    """All BIO tags for the labels of `train`: "O", then B and I of each label in alphabetical order."""
    labels = sorted({span.label for sentence in train for span in sentence.spans or ()})
    return ("O", *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def exact_f1(gold: Sequence[Sentence], predicted: Sequence[Sequence[Mark]], kind: Kind = "spans") -> float:
    """Micro-averaged F1 of exact matches (place and label); 1 if there is nothing to find and nothing found."""
    found = correct = wanted = 0
    for sentence, marks in zip(gold, predicted, strict=True):
        truth = set(sentence.marks(kind) or ())
        found, wanted, correct = found + len(marks), wanted + len(truth), correct + len(truth & set(marks))
    return 2 * correct / (found + wanted) if found + wanted else 1.0
