"""Small pools of made-up tagger output, and ways to cut them into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies import Measured, Strategy, join

PASSES = 4
PIECES = 16
"""Length L of a surprisal vector."""


@dataclass(frozen=True)
class Tagged:
    """What a tagger says of one sentence: (n, C) marginals, (n, H) states, log P of its best path, and
    (M, n, C) marginals in M stochastic passes; and a masked-language model: (L,) surprisal."""

    marginals: NDArray[np.float32]
    hidden: NDArray[np.float32]
    log_prob: float
    samples: NDArray[np.float32]
    surprisal: NDArray[np.float32]
    per_text: bool = False
    """Whether a classifier said so, by one state of the text, which is the first."""
    yes_or_no: bool = False
    """Whether its distributions are about one label each."""

    def __len__(self) -> int:
        return len(self.marginals)


def tagged(
    marginals: object,
    hidden: object,
    log_prob: float | None = None,
    samples: object = None,
    surprisal: object = None,
) -> Tagged:
    """One sentence. What is left out: the log-probability of the product of the per-word maxima, passes that all say
    the same, and no surprise."""
    p = np.array(marginals, dtype=np.float32)
    h = np.array(hidden, dtype=np.float32)
    return Tagged(
        p,
        h,
        float(np.log(p.max(axis=1)).sum()) if log_prob is None else log_prob,
        np.repeat(p[None], PASSES, axis=0) if samples is None else np.array(samples, dtype=np.float32),
        np.zeros(PIECES, np.float32) if surprisal is None else np.array(surprisal, dtype=np.float32),
    )


def random_pool(n: int, seed: int, tags: int = 5, states: int = 7, words: Sequence[int] | None = None) -> list[Tagged]:
    """n sentences of 1 to 12 words (or of the lengths given), no two alike.

    As with a CRF, the best path is not as probable as the product of the per-word maxima.
    """
    rng = np.random.default_rng(seed)
    pool = []
    for length in rng.integers(1, 13, n) if words is None else words:
        logits = 2 * rng.standard_normal((length, tags))
        p = softmax(logits)
        log_prob = float(np.log(p.max(axis=1)).sum() * rng.uniform(0.6, 1.0)) if length else 0.0
        hidden = rng.standard_normal((length, states))
        samples = softmax(logits + rng.standard_normal((PASSES, length, tags)))
        surprisal = np.zeros(PIECES)
        surprisal[: length + 2] = rng.exponential(size=length + 2) * (rng.random(length + 2) < 0.4)
        pool.append(tagged(p, hidden, log_prob, samples, surprisal))
    return pool


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis."""
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True)


def wordless(tags: int = 5, states: int = 7) -> Tagged:
    """A sentence without words."""
    return tagged(np.zeros((0, tags)), np.zeros((0, states)), 0.0)


def inference(pool: Sequence[Tagged], indices: Sequence[int] | None = None) -> Inference:
    """One padded batch of the sentences at `indices` (all of them without)."""
    indices = range(len(pool)) if indices is None else indices
    longest = max(len(pool[i]) for i in indices)
    tags, states = pool[0].marginals.shape[1], pool[0].hidden.shape[1]
    marginals = np.zeros((len(indices), longest, tags), np.float32)
    hidden = np.zeros((len(indices), longest, states), np.float32)
    first = np.zeros((len(indices), states), np.float32)
    passes = len(pool[0].samples)
    samples = np.zeros((len(indices), passes, longest, tags), np.float32)
    for row, i in enumerate(indices):
        marginals[row, : len(pool[i])] = pool[i].marginals
        hidden[row, : len(pool[i].hidden)] = pool[i].hidden
        first[row] = pool[i].hidden[:1].sum(axis=0)
        samples[row, :, : len(pool[i])] = pool[i].samples
    return Inference(
        indices=np.array(indices, dtype=np.int64),
        lengths=np.array([len(pool[i]) for i in indices], dtype=np.int64),
        tags=tag_names(pool[0], tags),
        path_BT=marginals.argmax(axis=2).astype(np.int64),
        log_prob_B=np.array([pool[i].log_prob for i in indices], dtype=np.float64),
        marginals_BTC=marginals,
        hidden_BTH=None if pool[0].per_text else hidden,
        state_BH=first if pool[0].per_text else None,
        samples_BMTC=samples,
        sample_paths_BMT=samples.argmax(axis=3).astype(np.int64),
        surprisal_BL=np.array([pool[i].surprisal for i in indices]),
    )


def batches(pool: Sequence[Tagged], size: int) -> Iterator[Inference]:
    """The pool by length, as taggers do it, in batches of `size`."""
    order = sorted(range(len(pool)), key=lambda i: len(pool[i]))
    for start in range(0, len(pool), size):
        yield inference(pool, order[start : start + size])


def measured(strategy: Strategy, pool: Sequence[Tagged], size: int = 4) -> Measured:
    """The pool measured in batches of `size` and joined."""
    return join(((batch, strategy.measure(batch)) for batch in batches(pool, size)), len(pool))


def order(
    strategy: Strategy,
    pool: Sequence[Tagged],
    *,
    limit: int | None = None,
    seed: int = 0,
    size: int = 4,
    labelled: Sequence[Tagged] = (),
) -> list[int]:
    """The ranked pool; `labelled` is measured and handed over if the strategy uses it."""
    known = measured(strategy, labelled, size) if strategy.uses_labelled else None
    ranking = strategy.rank(measured(strategy, pool, size), known, limit, np.random.default_rng(seed))
    return [int(i) for i in ranking.order]


def tag_names(sentence: Tagged, tags: int) -> tuple[str, ...]:
    """As taggers, classifiers of one choice a text, and those of several name them."""
    if sentence.yes_or_no:
        return ("O", "yes")
    if sentence.per_text:
        return tuple(f"class {c}" for c in range(tags))
    return ("O", *(f"B-{c}" for c in range(1, tags)))


def one_choice(sentence: Tagged) -> Tagged:
    """The sentence as a classifier sees it that knows as many classes as there are tags."""
    return replace(first_word(sentence), per_text=True)


def several_choices(sentence: Tagged) -> Tagged:
    """The sentence as a classifier sees it that says yes or no to each of as many labels as there are tags."""
    first = first_word(sentence)
    yes_or_no = [np.stack([1 - yes, yes], axis=-1) for yes in (first.marginals, first.samples)]
    marginals_TC = yes_or_no[0].reshape(-1, 2)
    samples_MTC = yes_or_no[1].reshape(len(first.samples), -1, 2)
    return replace(first, marginals=marginals_TC, samples=samples_MTC, per_text=True, yes_or_no=True)


def first_word(sentence: Tagged) -> Tagged:
    """The sentence as one with a single pair: one distribution for the text, which stands at its only "word"."""
    return replace(
        sentence,
        marginals=sentence.marginals[:1],
        hidden=sentence.hidden[:1],
        samples=sentence.samples[:, :1],
    )


def first_words(batch: Inference) -> Inference:
    """The batch as one of texts with a single pair: one distribution a text, which stands at the only "word"."""
    assert batch.hidden_BTH is not None
    assert batch.samples_BMTC is not None
    assert batch.sample_paths_BMT is not None
    return replace(
        batch,
        lengths=np.minimum(batch.lengths, 1),
        path_BT=batch.path_BT[:, :1],
        marginals_BTC=batch.marginals_BTC[:, :1],
        hidden_BTH=batch.hidden_BTH[:, :1],
        samples_BMTC=batch.samples_BMTC[:, :, :1],
        sample_paths_BMT=batch.sample_paths_BMT[:, :, :1],
    )
