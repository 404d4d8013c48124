"""What a model is worth (calibration, accuracy, F1, P@N) and what a batch is like (diversity, uncertainty, density).

[Y20] Yuan et al. 2020 (ALPS), [B22] Seo et al. 2022 (BATL), [G17] Guo et al. 2017 (On Calibration of Modern Neural
Networks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import pairwise_distances_argmin

from corpus import Inference, Sentence
from corpus.tags import convert, encode
from strategies import strategy
from strategies.vectors import normalised

_ROWS = 4096
"""Vectors compared at a time in `coverage`."""
_PRODUCTS = 2**24
"""Cosines held at a time in `knn_density`: 64 MB."""


def calibration_error(confidences_N: ArrayLike, right_N: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error [G17, eq. 3], in [0, 1]: Σ_m |B_m|/N · |accuracy(B_m) − mean confidence(B_m)|.

    The bins are of equal width: B_m holds the confidences in ((m − 1)/bins, m/bins], B_1 those of 0 as well.
    confidences_N: probabilities in [0, 1]; right_N: whether each answer was right.
    Raises ValueError for no answers, or where the lengths differ.
    """
    confidences, right = np.asarray(confidences_N, np.float64), np.asarray(right_N, bool)
    _check_lengths(confidences, right, "confidences", "truths")
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of_N = np.digitize(confidences, inner_edges, right=True)
    surplus_by_bin = np.bincount(bin_of_N, weights=right - confidences, minlength=bins)
    return float(np.abs(surplus_by_bin).sum() / len(confidences))


def calibration(
    inferences: Iterable[Inference],
    sentences: Sequence[Sentence],
    gold_of: Callable[[Sentence], Sequence[str]] | None = None,
) -> float:
    """Expected calibration error (`calibration_error`) of a model over all decisions on labelled sentences, in [0, 1].

    Decisions are one a word of a tagger, one a text (or label) of a classifier, one a pair of entities of a model of
    relations. Its confidence is the marginal of its tag on the best path, and is right where that tag is the gold one.

    inferences: what `Tagger.infer(sentences)` gives; it is read as a stream. gold_of: the right tag of each decision
    on a sentence, `experiments.decisions.gold_decisions`; None = `gold_tags`.
    Raises ValueError for a sentence nobody has labelled, for inferences of other sentences, and if nothing is decided.
    """
    gold_of = gold_of or gold_tags
    confidences: list[NDArray[np.float32]] = []
    right: list[NDArray[np.bool_]] = []
    for batch in inferences:
        tags = np.array(batch.tags)
        for row, (index, length) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            gold = gold_of(sentences[index])
            if len(gold) != length:
                raise ValueError(
                    f"task {sentences[index].id} has {len(gold)} words, choices or pairs to decide on, but its "
                    f"inference {length}: give the sentences that the model was given"
                )
            path = batch.path_BT[row, :length]
            confidences.append(batch.marginals_BTC[row, np.arange(length), path])
            right.append(tags[path] == np.array(gold, dtype=str))
    if not confidences:
        raise ValueError("no sentences: calibration needs at least one decision")
    return calibration_error(np.concatenate(confidences), np.concatenate(right))


def gold_tags(sentence: Sentence) -> list[str]:
    """The BIO tag of each of `sentence.words`.

    A tagger reads whole words, while `corpus.tags.encode` cuts a word that a gold span begins or ends in. The rule:
    such a word has the tag of its first piece; an I- that thereby continues nothing becomes B-.
    Raises ValueError if nobody has labelled the sentence.
    """
    encoded = encode(sentence)
    tag_at = {piece.start: tag for piece, tag in zip(encoded.words, encoded.tags, strict=True)}
    return convert([tag_at[word.start] for word in sentence.words], "BIO", "BIO")


def vocabulary_overlap(batch: Iterable[Sentence], rest: Iterable[Sentence]) -> float:
    """Diversity of a batch [Y20, eq. 3], in [0, 1]: J(V, V') = |V ∩ V'| / |V ∪ V'|.

    V are the words of the batch, V' those of the rest of the pool, each form counted once, upper and lower case
    apart. High: the batch speaks as the pool does. 0 where neither has a word.
    """
    chosen, others = ({word.text for sentence in part for word in sentence.words} for part in (batch, rest))
    union = chosen | others
    return len(chosen & others) / len(union) if union else 0.0


def mean_entropy(entropies_N: ArrayLike) -> float:
    """Uncertainty of a batch [Y20, eq. 4; B22, eq. 8], in nats: (1/|D|) Σ_{x∈D} Σ_i f(x)_i ln(1/f(x)_i).

    entropies_N: of each sentence of the batch, by the model f that was trained on all of the data. A text with one
    label has the entropy of its distribution; a tagged sentence has the mean of its words' (the papers only classify),
    which is what `strategies.uncertainty.Entropy` measures. Raises ValueError for an empty batch.
    """
    entropies = np.asarray(entropies_N, np.float64)
    if entropies.size == 0:
        raise ValueError("an empty batch has no mean entropy")
    return float(entropies.mean())


def encoder_vectors(sentences: Sequence[Sentence]) -> NDArray[np.float32]:
    """(N, d) mean over words of what the packaged encoder says, which has learned from no label; a minute for ten
    thousand sentences."""
    from taggers.pretrained import PretrainedEncoder

    encoder, mean = PretrainedEncoder(), strategy("coreset")
    vectors_Nd = np.zeros((len(sentences), encoder.width), np.float32)
    for batch in encoder.infer([sentence.unlabelled() for sentence in sentences]):
        vectors_Nd[batch.indices] = mean.measure(batch)
    return vectors_Nd


def coverage(vectors_Ud: NDArray[np.floating], chosen: ArrayLike) -> float:
    """Diversity of a batch [B22, eq. 7, after Zhdanov 2019]: ((1/|U|) Σ_{x∈U} min_{s∈S} ‖x − s‖)⁻¹.

    vectors_Ud: of every text of the pool, the chosen ones (at distance 0) included; chosen: (k,) their positions S.
    Euclidean, in the inverse of the vectors' unit. Infinite where every text is a copy of a chosen one.
    O(U·k·d) time, O(U·d) memory. Raises ValueError if none is chosen.
    """
    centres_kd = np.asarray(vectors_Ud[_positions(chosen)], np.float64)
    total = 0.0
    for start in range(0, len(vectors_Ud), _ROWS):
        part = np.asarray(vectors_Ud[start : start + _ROWS], np.float64)
        # a matrix product finds the nearest; the distance itself is taken from the difference, so that a copy's is 0
        nearest = pairwise_distances_argmin(part, centres_kd)
        total += float(np.linalg.norm(part - centres_kd[nearest], axis=1).sum())
    return len(vectors_Ud) / total if total > 0 else float("inf")


def knn_density(vectors_Ud: NDArray[np.floating], chosen: ArrayLike, k: int = 10) -> float:
    """Density of a batch [B22, eq. 9, after Zhu et al. 2008], in [−1, 1]: mean over x∈S of (1/k) Σ_{z∈Z} cos(x, z).

    Z are the k texts of the pool most similar to x, x itself left out, its copies not. B22's text calls it the average
    distance and the distance Euclidean, its formula prints a mean cosine, which a dense sample has more of: this is
    the formula, with "similar" by cosine too. Eq. 9 is of one sample; over a batch we take the mean. Of a pool of
    fewer than k others, all; the cosine of a vector of zeros is 0.

    vectors_Ud: of every text of the pool; chosen: (n,) the positions S. Raises ValueError if none is chosen, or if the
    pool has no other text.
    """
    positions = _positions(chosen)
    others = len(vectors_Ud) - 1
    if others < 1:
        raise ValueError("density needs a pool of at least two texts")
    k = min(k, others)
    directions_Ud = normalised(np.asarray(vectors_Ud, np.float32))
    rows = max(_PRODUCTS // len(vectors_Ud), 1)
    total = 0.0
    for start in range(0, len(positions), rows):
        part = positions[start : start + rows]
        cosines = directions_Ud[part] @ directions_Ud.T
        cosines[np.arange(len(part)), part] = -np.inf
        total += float(np.partition(cosines, others + 1 - k, axis=1)[:, -k:].sum(dtype=np.float64))
    return total / (k * len(positions))


def accuracy(gold_N: ArrayLike, found_N: ArrayLike) -> float:
    """The share of texts whose label was found, in [0, 1]. Raises ValueError for no texts, or unlike lengths."""
    gold, found = np.asarray(gold_N), np.asarray(found_N)
    _check_lengths(gold, found, "gold labels", "labels found")
    return float(np.mean(gold == found))


def micro_f1(gold_N: ArrayLike, found_N: ArrayLike, negative: str | int | None = None) -> float:
    """F1 over all labels, in [0, 1]: 2·right / (gold + found).

    With one label a text that is the accuracy. `negative` is a label that says "nothing" (no relation): it counts
    neither as a find nor as something to find. 0 where there is nothing to find and nothing found.
    Raises ValueError for no texts, or unlike lengths.
    """
    gold, found = np.asarray(gold_N), np.asarray(found_N)
    _check_lengths(gold, found, "gold labels", "labels found")
    to_find, finds = (np.ones(len(gold), bool),) * 2 if negative is None else (gold != negative, found != negative)
    right = int(np.sum((gold == found) & to_find))
    total = int(to_find.sum() + finds.sum())
    return 2 * right / total if total else 0.0


def precision_at(scores_N: ArrayLike, right_N: ArrayLike, ns: Iterable[int]) -> dict[int, float]:
    """P@n, in [0, 1], for each n: the right ones among the n finds of highest score, over n.

    Divided by n even if there are fewer finds (as trec_eval does), so that finding little is no gain. Of equal scores
    the one that comes first counts first. Raises ValueError for unlike lengths, or an n below 1.
    """
    scores, right = np.asarray(scores_N, np.float64), np.asarray(right_N, bool)
    if scores.shape != right.shape:
        raise ValueError(f"{len(scores)} scores, but {len(right)} truths: give one for each find")
    hits = np.concatenate([[0], np.cumsum(right[np.argsort(-scores, kind="stable")])])
    precisions = {}
    for n in ns:
        if n < 1:
            raise ValueError(f"P@{n} is not defined: n is at least 1")
        precisions[n] = float(hits[min(n, len(right))] / n)
    return precisions


def precision_recall(scores_N: ArrayLike, right_N: ArrayLike, gold: int, points: int = 50) -> list[tuple[float, float]]:
    """(recall, precision) along the finds from the highest score on, both in [0, 1], as [B22, fig. 5] draws them.

    After each find as far as these are no more than `points`, else after as many, evenly; the last one is always among
    them. `gold`: how many there are to find; nothing is told where there is nothing to find or nothing found.
    Raises ValueError for unlike lengths.
    """
    scores, right = np.asarray(scores_N, np.float64), np.asarray(right_N, bool)
    if scores.shape != right.shape:
        raise ValueError(f"{len(scores)} scores, but {len(right)} truths: give one for each find")
    if gold == 0 or len(scores) == 0:
        return []
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    after = np.unique(np.linspace(1, len(hits), min(points, len(hits))).round().astype(np.int64))
    return [(float(hits[n - 1] / gold), float(hits[n - 1] / n)) for n in after]


def _positions(chosen: ArrayLike) -> NDArray[np.int64]:
    positions = np.asarray(chosen, np.int64)
    if positions.size == 0:
        raise ValueError("no text was chosen: a batch has at least one")
    return positions


def _check_lengths(one_N: NDArray[Any], other_N: NDArray[Any], of_one: str, of_other: str) -> None:
    if one_N.shape != other_N.shape or one_N.ndim != 1:
        raise ValueError(f"{one_N.shape} {of_one}, but {other_N.shape} {of_other}: give one of each for every item")
    if len(one_N) == 0:
        raise ValueError(f"no {of_one}: there is nothing to measure")
