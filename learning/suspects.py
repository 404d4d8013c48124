"""Suspected label errors: words and texts whose given label a model that never saw them finds improbable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import Kind, Sentence, Span
from corpus.tags import split_tag
from learning.agreement import word_labels
from learning.doubtful_choices import doubtful_choices, single
from taggers import spans_of, tagger_class

MIN_LABELLED = 50
"""With fewer sentences the folds' models know too little to contradict a person."""
MOST_CHECKED = 5_000
"""Only the newest so many sentences are checked: half a minute."""
MOST_SHOWN = 50
TEXT_SHOWN = 2_000
RELATIONS = "Relations are not checked."
SEVERAL = "Choices are checked only in projects in which every text has exactly one."
TAGGER = "crf"
"""Whatever the project's tagger is: it learns a fold in seconds, and other mistakes than the project's are welcome."""


@dataclass(frozen=True, slots=True)
class SuspectWord:
    """A word whose given label is doubted; labels without B and I, "" outside all spans."""

    start: int
    end: int
    given: str
    suggested: str
    confidence: float
    """The model's probability of the suggested label, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class SuspectChoice:
    """The label of a whole text that is doubted; `confidence` as of a word."""

    given: str
    suggested: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """A labelled text with doubtful words, or with a doubtful choice."""

    task: str
    text: str
    given: tuple[Span, ...]
    suggested: tuple[Span, ...]
    """What the model marks in the whole text."""
    words: tuple[SuspectWord, ...]
    choice: SuspectChoice | None = None


@dataclass(frozen=True, slots=True)
class Suspects:
    """The most doubtful texts, the worst first: those with doubtful words, then those with a doubtful choice."""

    checked: int
    """Sentences looked at."""
    items: tuple[Suspect, ...] = ()
    notes: tuple[str, ...] = ()
    """What was not looked at."""

    def as_json(self, version: str) -> dict[str, Any]:
        """The same as plain values, with the version of the round whose labels were checked. Of a text, the first
        TEXT_SHOWN characters."""
        items = [_as_json(item) for item in self.items]
        return {"version": version, "checked": self.checked, "items": items, "notes": list(self.notes)}


def suspects(
    labelled: Sequence[Sentence], rng: np.random.Generator, kinds: Sequence[Kind] = ("spans",), folds: int = 5
) -> Suspects:
    """What is doubtful of labelled sentences, the newest last: words in spans (see `_doubtful_words`) and, where every
    text has one, choices (see `doubtful_choices`). Of relations nothing is.

    At most MOST_SHOWN of each kind, none for fewer than MIN_LABELLED sentences. Raises ValueError if nobody has
    labelled the spans of one (None) where they are looked at.
    """
    checked, items, notes = 0, list[Suspect](), list[str]()
    if "spans" in kinds:
        sentences = labelled[-MOST_CHECKED:]
        checked = len(sentences)
        items += _doubtful_words(sentences, rng, folds)
    if "choices" in kinds:
        sentences = [sentence for sentence in labelled if sentence.choices is not None][-MOST_CHECKED:]
        if single(sentences):
            checked = max(checked, len(sentences))
            items += _with_doubtful_choices(sentences, rng, folds)
        else:
            notes.append(SEVERAL)
    if "relations" in kinds:
        notes.append(RELATIONS)
    return Suspects(checked, tuple(items), tuple(notes))


def _with_doubtful_choices(sentences: Sequence[Sentence], rng: np.random.Generator, folds: int) -> list[Suspect]:
    if len(sentences) < MIN_LABELLED:
        return []
    items = []
    for i, label, confidence in doubtful_choices(sentences, rng, folds)[:MOST_SHOWN]:
        sentence = sentences[i]
        (given,) = sentence.choices or ()
        doubt = SuspectChoice(given.label, label, confidence)
        items.append(Suspect(sentence.id, sentence.text, (), (), (), doubt))
    return items


def _doubtful_words(checked: Sequence[Sentence], rng: np.random.Generator, folds: int) -> list[Suspect]:
    """Confident learning (Northcutt et al. 2021) over the words of labelled sentences.

    Each word's label has a probability according to a CRF that was trained on the other folds. cleanlab
    (`token_classification`, Wang & Mueller 2022) takes the words that count off the diagonal of the confident joint:
    some other label is as probable there as it is on average where people gave it. The worst have the most entropy for
    the least probability of what was given. (With 5% of the spans of CoNLL-2003 spoilt, that is 8% to 10% of the
    texts, 25, 37 and 40 of the 50 shown are spoilt ones at 1,000, 3,000 and 5,000 texts. By cleanlab's own defaults,
    self-confidence and the noise rate, it is 17 and 22 at 1,000 and 3,000.)
    Only labels are compared, not B with I: two names that were marked as one are not found.

    It finds what contradicts most other labels: a mistake made consistently, or in a kind of text that hardly occurs,
    is learned like anything else, and rare names are doubted although they are right.
    """
    if len(checked) < MIN_LABELLED:
        return []
    given = [word_labels(sentence, _given(sentence)) for sentence in checked]
    names = sorted({label for labels in given for label in labels})
    if len(names) < 2:
        return []
    found, probabilities = _held_out(checked, names, rng, folds)
    number = {label: i for i, label in enumerate(names)}
    doubtful: dict[int, list[int]] = {}
    for i, t in _issues([[number[label] for label in labels] for labels in given], probabilities):
        doubtful.setdefault(i, []).append(t)
    items = []
    for i, places in doubtful.items():
        sentence, probability_TC = checked[i], probabilities[i]
        words = []
        for t in sorted(places):
            best = int(probability_TC[t].argmax())
            place = sentence.words[t]
            words.append(SuspectWord(place.start, place.end, given[i][t], names[best], float(probability_TC[t, best])))
        if word_labels(sentence, found[i]) != given[i]:  # else the best path as a whole agrees with the person
            items.append(Suspect(sentence.id, sentence.text, _given(sentence), tuple(found[i]), tuple(words)))
    return items[:MOST_SHOWN]


def _held_out(
    sentences: Sequence[Sentence], names: Sequence[str], rng: np.random.Generator, folds: int
) -> tuple[list[list[Span]], list[NDArray[np.float64]]]:
    """Of each sentence, by a model that was not trained on it: its spans, and (T, C) the probability of each label."""
    kind = tagger_class(TAGGER)
    spans: list[list[Span]] = [[] for _ in sentences]
    probabilities: list[NDArray[np.float64]] = [np.zeros((0, len(names))) for _ in sentences]
    for fold in np.array_split(rng.permutation(len(sentences)), folds):
        outside = set(fold.tolist())
        tagger = kind()
        tagger.fit([sentence for i, sentence in enumerate(sentences) if i not in outside], [])
        tested = [sentences[i].unlabelled() for i in fold]
        for batch in tagger.infer(tested):
            column = [names.index(split_tag(tag, "BIO")[1]) for tag in batch.tags]
            for row, length in enumerate(batch.lengths):
                by_label = np.zeros((length, len(names)))
                np.add.at(by_label.T, column, batch.marginals_BTC[row, :length].T)
                probabilities[fold[batch.indices[row]]] = by_label / by_label.sum(1, keepdims=True)
            for i, found in zip(batch.indices, spans_of(batch, tested), strict=True):
                spans[fold[i]] = found
    return spans, probabilities


def _issues(labels: list[list[int]], probabilities: list[NDArray[np.float64]]) -> Iterator[tuple[int, int]]:
    """Sentence and word of each doubtful label, the worst first."""
    from cleanlab.token_classification.filter import find_label_issues  # brings pandas: seconds

    yield from find_label_issues(
        labels,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="confidence_weighted_entropy",
        n_jobs=1,
    )


def _given(sentence: Sentence) -> tuple[Span, ...]:
    if sentence.spans is None:
        raise ValueError(f"task {sentence.id} has not been labelled: there is nothing to check")
    return sentence.spans


def _as_json(item: Suspect) -> dict[str, Any]:
    def plain(spans: Sequence[Span]) -> list[dict[str, Any]]:
        return [{"start": span.start, "end": span.end, "label": span.label} for span in spans]

    return {
        "task": int(item.task),
        "text": item.text[:TEXT_SHOWN],
        "given": plain(item.given),
        "suggested": plain(item.suggested),
        "words": [{**asdict(word), "confidence": round(word.confidence, 4)} for word in item.words],
        "choice": {**asdict(item.choice), "confidence": round(item.choice.confidence, 4)} if item.choice else None,
    }
