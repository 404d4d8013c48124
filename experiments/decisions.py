"""The right answer to each decision that a model makes on a labelled text, as its `Inference` counts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corpus import Sentence
from experiments.measures import gold_tags
from taggers import Tagger
from taggers.classifier import Alternatives, Classifier
from taggers.pairs import candidates, classes


def gold_decisions(model: Tagger) -> Callable[[Sentence], Sequence[str]]:
    """Labelled sentence -> the right one of the model's tags for each decision on it.

    A tagger decides once a word; a classifier once a text or, where a text may have several choices, once a label that
    it has learned; a model of relations once a pair of entities that it asks about. The tags may be some that the
    model has never seen. The function raises ValueError for a sentence that nobody has labelled so.
    """
    if isinstance(model, Classifier):
        alternatives = model.alternatives
        return lambda sentence: _choices(sentence, alternatives)
    if model.kind == "relations":
        most, between = model.options.max_pairs, model.options.max_words_between
        return lambda sentence: _pairs(sentence, most, between)
    return gold_tags


def _choices(sentence: Sentence, alternatives: Alternatives) -> list[str]:
    if sentence.choices is None:
        raise ValueError(f"task {sentence.id} has no gold choices to compare with")
    chosen = [choice.label for choice in sentence.choices]
    if alternatives.several:
        return ["yes" if label in chosen else "O" for label in alternatives.labels]
    return [" ".join(chosen)]  # which is no label where there are several, or none


def _pairs(sentence: Sentence, most: int | None, between: int | None) -> list[str]:
    if sentence.relations is None:
        raise ValueError(f"task {sentence.id} has no gold relations to compare with")
    return classes(candidates(sentence, most, between).pairs, sentence.relations)[0]
