import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.spatial.distance
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from corpus import Inference, Sentence, Span, Word
from corpus.tags import decode
from experiments import measures
from experiments.measures import (
    accuracy,
    calibration,
    calibration_error,
    coverage,
    gold_tags,
    knn_density,
    mean_entropy,
    micro_f1,
    precision_at,
    precision_recall,
    vocabulary_overlap,
)
from learning.metrics import span_scores
from strategies.uncertainty import Entropy
from taggers.crf import CRFTagger

# calibration


def test_calibration_error_worked_by_hand():
    # bins (0, 0.5] and (0.5, 1]: |1/2 − 0.3| · 2/5 + |2/3 − 0.8| · 3/5
    confidences, right = [0.2, 0.4, 0.7, 0.8, 0.9], [True, False, True, True, False]
    assert calibration_error(confidences, right, bins=2) == pytest.approx(0.08 + 0.08)


@given(
    st.lists(st.tuples(st.integers(0, 120), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 5, 10, 15, 120]),
)
def test_calibration_error_equals_its_definition(answers, bins):
    """In exact fractions, so that the edges of the bins are tried: (m − 1)/bins < confidence <= m/bins."""
    answers = [(Fraction(confidence, 120), right) for confidence, right in answers]
    expected = Fraction(0)
    for m in range(1, bins + 1):
        low, high = Fraction(m - 1, bins), Fraction(m, bins)
        inside = [(c, right) for c, right in answers if low < c <= high or (m == 1 and c == 0)]
        if inside:
            mean_confidence = sum(c for c, _ in inside) / len(inside)
            share_right = Fraction(sum(right for _, right in inside), len(inside))
            expected += Fraction(len(inside), len(answers)) * abs(share_right - mean_confidence)
    found = calibration_error([float(c) for c, _ in answers], [right for _, right in answers], bins)
    assert found == pytest.approx(float(expected), abs=1e-12)


def test_calibration_error_is_small_exactly_where_confidences_are_honest():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0, 1, 50_000)
    assert calibration_error(confidences, rng.random(50_000) < confidences) < 0.02
    assert calibration_error(confidences, rng.random(50_000) < confidences**2) == pytest.approx(1 / 2 - 1 / 3, abs=0.01)


def test_calibration_error_refuses_what_it_cannot_measure():
    with pytest.raises(ValueError, match="nothing to measure"):
        calibration_error([], [])
    with pytest.raises(ValueError, match="confidences"):
        calibration_error([0.5, 0.5], [True])


@pytest.mark.parametrize(
    ("words", "spans", "tags"),
    [
        (["Ada", "met", "Bo"], [(0, 3, "PER"), (8, 10, "PER")], "B-PER O B-PER"),
        (["New", "York", "won"], [(0, 8, "LOC")], "B-LOC I-LOC O"),
        (["anti-EU", "vote"], [(5, 7, "ORG")], "O O"),  # begins within: its first piece is outside
        (["EU-wide", "vote"], [(0, 2, "ORG")], "B-ORG O"),  # ends within
        (["anti-EU", "army", "now"], [(5, 12, "ORG")], "O B-ORG O"),  # what is left of the span begins anew
        (["AB", "c"], [(0, 1, "X"), (1, 4, "Y")], "B-X B-Y"),  # two spans in a word
        (["AB", "c"], [(0, 1, "X"), (1, 2, "X")], "B-X O"),
        (["a"], [], "O"),
        ([], [], ""),
    ],
)
def test_gold_tags_are_those_of_whole_words(words, spans, tags):
    sentence = Sentence.from_words("1", words, tuple(Span(*span) for span in spans))
    assert gold_tags(sentence) == tags.split()


TAGS = ("O", "B-X", "I-X")


def inference(indices, paths, marginals, tags=TAGS):
    """A batch whose best paths have these tags at these probabilities; the rest is shared by the other tags."""
    longest = max(map(len, paths))
    path_BT = np.zeros((len(paths), longest), np.int64)
    marginals_BTC = np.zeros((len(paths), longest, len(tags)), np.float32)
    for b, (path, row) in enumerate(zip(paths, marginals, strict=True)):
        for t, (tag, p) in enumerate(zip(path, row, strict=True)):
            path_BT[b, t] = tags.index(tag)
            marginals_BTC[b, t] = (1 - p) / (len(tags) - 1)
            marginals_BTC[b, t, tags.index(tag)] = p
    lengths = np.array([len(path) for path in paths])
    return Inference(np.array(indices), lengths, tags, path_BT, np.zeros(len(paths)), marginals_BTC)


def test_calibration_reads_words_alone_and_puts_batches_in_order():
    sentences = [
        Sentence.from_words("0", ["a", "b", "c"], (Span(0, 3, "X"),)),  # B-X I-X O
        Sentence.from_words("1", ["xy", "z"], (Span(1, 4, "X"),)),  # O B-X: it cuts a word
        Sentence.from_words("2", [], ()),
        Sentence.from_words("3", ["d"], (Span(0, 1, "X"),)),  # B-X
    ]
    batches = [
        inference([3, 0], [["O"], ["B-X", "I-X", "I-X"]], [[0.4], [0.9, 0.8, 0.7]]),
        inference([2, 1], [[], ["O", "B-X"]], [[], [0.6, 0.5]]),
    ]
    confidences = np.float32([0.4, 0.9, 0.8, 0.7, 0.6, 0.5])
    right = [False, True, True, False, True, True]
    assert calibration(iter(batches), sentences) == pytest.approx(calibration_error(confidences, right))


def test_calibration_knows_labels_the_tagger_has_never_seen():
    sentence = Sentence.from_words("0", ["a"], (Span(0, 1, "a label that is longer than all of the tags"),))
    assert calibration([inference([0], [["B-X"]], [[0.75]])], [sentence]) == pytest.approx(0.75)


def test_calibration_says_which_task_is_wrong():
    batch = inference([0], [["O", "O"]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match="task 7 has 1 words, choices or pairs to decide on, but its inference 2"):
        calibration([batch], [Sentence.from_words("7", ["a"], ())])
    with pytest.raises(ValueError, match="task 7 has not been labelled"):
        calibration([batch], [Sentence.from_words("7", ["a", "b"])])
    with pytest.raises(ValueError, match="no sentences"):
        calibration([], [])


def test_calibration_of_a_real_tagger_agrees_with_its_spans():
    """One-word spans: a word's confidence is its span's, and its tag is right where the span is."""
    rng = np.random.default_rng(0)
    names, others = ["Ada", "Bo", "Cy", "Di"], ["met", "saw", "and", "then", "left"]
    sentences = []
    for i in range(80):
        words = [str(rng.choice(names if rng.random() < 0.3 else others)) for _ in range(6)]
        bare = Sentence.from_words(str(i), words)
        named = [w for w in bare.words if w.text in names and rng.random() < 0.8]
        sentences.append(bare.labelled(tuple(Span(w.start, w.end, "PER") for w in named)))
    tagger = CRFTagger(seed=0)
    tagger.fit(sentences[:60], [])
    test = sentences[60:]
    confidences, right = [], []
    for sentence, inferred in zip(test, in_order(tagger, test), strict=True):
        gold = {span.start for span in sentence.spans}
        for word, p_C, best in zip(sentence.words, *inferred, strict=True):
            confidences.append(p_C[best])
            right.append((tagger.tags[best] != "O") == (word.start in gold))
    found = calibration(tagger.infer(test), test)
    assert found == pytest.approx(calibration_error(confidences, right), abs=1e-9)
    assert 0 < found < 0.5


def in_order(tagger, sentences):
    rows = {}
    for batch in tagger.infer(sentences):
        for b, index in enumerate(batch.indices):
            rows[index] = batch.marginals_BTC[b, : batch.lengths[b]], batch.path_BT[b, : batch.lengths[b]]
    return [rows[i] for i in range(len(sentences))]


# batches


def test_vocabulary_overlap_worked_by_hand():
    batch = [Sentence.from_words("1", ["a", "b", "b"]), Sentence.from_words("2", ["C"])]
    rest = [Sentence.from_words("3", ["b", "c"]), Sentence.from_words("4", ["d", "a"])]
    assert vocabulary_overlap(batch, rest) == 2 / 5  # a, b of a, b, C, c, d
    assert vocabulary_overlap(iter(rest), iter(batch)) == 2 / 5
    assert vocabulary_overlap(batch, batch) == 1
    assert vocabulary_overlap(batch, []) == vocabulary_overlap([], []) == 0


def test_mean_entropy_is_in_nats_and_a_sentences_is_its_words_mean():
    batch = inference([0, 1], [["O", "O"], ["O"]], [[1 / 3, 1.0], [1 / 3]])
    entropies = Entropy().measure(batch)
    assert mean_entropy(entropies) == pytest.approx((math.log(3) / 2 + math.log(3)) / 2, rel=1e-6)
    with pytest.raises(ValueError, match="empty batch"):
        mean_entropy([])


def pool(rng, size=60, width=7, offset=0.0):
    vectors = rng.normal(size=(size, width)) + offset
    vectors[5] = vectors[6] = vectors[7]  # texts that occur twice
    vectors[9] = 0
    return vectors.astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_coverage_equals_brute_force(monkeypatch, rows, offset):
    monkeypatch.setattr(measures, "_ROWS", rows)
    rng = np.random.default_rng(0)
    for size in (1, 3, 30):
        vectors = pool(rng, offset=offset)
        chosen = rng.choice(len(vectors), size, replace=False)
        exact = scipy.spatial.distance.cdist(vectors.astype(np.float64), vectors[chosen].astype(np.float64))
        assert coverage(vectors, chosen) == pytest.approx(1 / exact.min(axis=1).mean(), rel=1e-6)


def test_coverage_worked_by_hand():
    vectors = np.array([[0.0, 0], [3, 4], [0, 1], [10, 0]])
    assert coverage(vectors, [0]) == pytest.approx(4 / (0 + 5 + 1 + 10))
    assert coverage(vectors, [0, 3]) == pytest.approx(4 / (0 + 5 + 1 + 0))


def test_coverage_is_infinite_where_all_is_chosen_or_copied():
    vectors = np.random.default_rng(0).normal(size=(50, 300)).astype(np.float32) + 100
    assert coverage(vectors, np.arange(50)) == math.inf
    assert coverage(np.tile(vectors, (3, 1)), np.arange(50)) == math.inf
    assert coverage(vectors, np.arange(49)) < math.inf
    with pytest.raises(ValueError, match="no text was chosen"):
        coverage(vectors, [])


def test_a_batch_spread_out_covers_more_than_one_in_a_heap():
    rng = np.random.default_rng(0)
    heaps = np.concatenate([rng.normal(centre, 0.1, (20, 2)) for centre in (0, 5, 10)])
    assert coverage(heaps, [0, 20, 40]) > 5 * coverage(heaps, [0, 1, 2])
    lonely = np.concatenate([heaps, [[-10, 3]]])
    assert knn_density(lonely, [25]) > knn_density(lonely, [60])


@pytest.mark.parametrize("k", [1, 3, 10, 59, 200])
@pytest.mark.parametrize(("products", "size"), [(1, 60), (150, 60), (2**24, 60), (1_500, 500)])
def test_density_equals_brute_force(monkeypatch, products, size, k):
    monkeypatch.setattr(measures, "_PRODUCTS", products)
    rng = np.random.default_rng(0)
    vectors = pool(rng, size)
    chosen = rng.choice(len(vectors), 12, replace=False)
    densities = []
    for x in chosen:
        cosines = []
        for z in range(len(vectors)):
            norms = np.linalg.norm(vectors[x]) * np.linalg.norm(vectors[z])
            if z != x:
                cosines.append(float(vectors[x] @ vectors[z] / norms) if norms else 0.0)
        nearest = sorted(cosines, reverse=True)[:k]
        densities.append(sum(nearest) / len(nearest))
    assert knn_density(vectors, chosen, k) == pytest.approx(np.mean(densities), abs=1e-6)


def test_density_leaves_out_the_text_itself_but_not_its_copies():
    vectors = np.array([[1.0, 0], [2, 0], [0, 1]])
    assert knn_density(vectors, [0], k=1) == pytest.approx(1)
    assert knn_density(vectors, [2], k=1) == pytest.approx(0)
    with pytest.raises(ValueError, match="at least two texts"):
        knn_density(vectors[:1], [0])
    with pytest.raises(ValueError, match="no text was chosen"):
        knn_density(vectors, [])


# classes and relations

LABELS = st.sampled_from(["none", "born in", "works for"])


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30))
def test_accuracy_and_f1_equal_scikit_learns(pairs):
    gold, found = zip(*pairs, strict=True)
    assert accuracy(gold, found) == pytest.approx(sklearn.metrics.accuracy_score(gold, found))
    assert micro_f1(gold, found) == pytest.approx(accuracy(gold, found))
    theirs = sklearn.metrics.f1_score(
        gold, found, labels=["born in", "works for"], average="micro", zero_division=0
    )  # as TACRED's own script: the negative label is left out of the average
    assert micro_f1(gold, found, negative="none") == pytest.approx(theirs)


def test_f1_worked_by_hand():
    gold, found = [0, 0, 1, 1, 2], [0, 1, 1, 2, 0]
    assert accuracy(gold, found) == 2 / 5
    assert micro_f1(gold, found, negative=0) == pytest.approx(2 * 1 / (3 + 3))  # 0 is a label, not "no negative"
    assert micro_f1([0, 0], [0, 0], negative=0) == 0
    with pytest.raises(ValueError, match="labels found"):
        micro_f1([0, 1], [0])
    with pytest.raises(ValueError, match="nothing to measure"):
        accuracy([], [])


def test_precision_at_worked_by_hand():
    scores, right = [0.2, 0.9, 0.5, 0.5], [True, True, False, True]
    assert precision_at(scores, right, [1, 2, 3, 4, 10]) == {1: 1, 2: 1 / 2, 3: 2 / 3, 4: 3 / 4, 10: 3 / 10}
    assert precision_at([], [], [5]) == {5: 0}
    ties = np.arange(1_000) % 2  # of equal scores the first come first
    assert precision_at(ties, np.arange(1_000) < 500, [250, 500, 750]) == {250: 1, 500: 1 / 2, 750: 2 / 3}
    with pytest.raises(ValueError, match="P@0"):
        precision_at(scores, right, [0])
    with pytest.raises(ValueError, match="4 scores, but 1 truths"):
        precision_at(scores, [True], [1])


# strict span F1 is conlleval's


def begins(before, tag):
    """conlleval's start of a chunk: B- always; else what follows O or another type."""
    prefix, type_ = tag[0], tag[2:]
    return prefix == "B" or (prefix == "I" and (before == "O" or before[2:] != type_))


def ends(tag, after):
    """conlleval's end of a chunk: at O, at any B-, and where the type changes."""
    return tag != "O" and (after[0] in "OB" or after[2:] != tag[2:])


def conlleval(gold_rows, found_rows):
    """Gold, found and right chunks as conlleval counts them: in one pass, tag by tag, O between sentences."""
    gold = ["O", *(tag for row in gold_rows for tag in [*row, "O"])]
    found = ["O", *(tag for row in found_rows for tag in [*row, "O"])]
    golds = finds = right = 0
    both_open = False
    for i in range(1, len(gold)):
        if both_open:
            gold_over, found_over = ends(gold[i - 1], gold[i]), ends(found[i - 1], found[i])
            right += gold_over and found_over
            both_open = not (gold_over or found_over)
        gold_new, found_new = begins(gold[i - 1], gold[i]), begins(found[i - 1], found[i])
        golds += gold_new
        finds += found_new
        if gold_new and found_new and gold[i][2:] == found[i][2:]:
            both_open = True
    return golds, finds, right


def conlleval_f1(gold_rows, found_rows):
    golds, finds, right = conlleval(gold_rows, found_rows)
    precision, recall = (right / n if n else 0.0 for n in (finds, golds))
    return 2 * precision * recall / (precision + recall) if right else 0.0


def ours(gold_rows, found_rows):
    """The same rows through the project: decoded to spans, and scored by `span_scores`."""
    words = [tuple(Word("w", i, i + 1) for i in range(len(row))) for row in gold_rows]
    sentences = [
        Sentence(str(i), "w" * len(row), placed, tuple(decode(placed, row)))
        for i, (row, placed) in enumerate(zip(gold_rows, words, strict=True))
    ]
    found = [decode(placed, row) for row, placed in zip(found_rows, words, strict=True)]
    return span_scores(sentences, found, np.random.default_rng(0))


ALPHABET = np.array(["O", "B-A", "I-A", "B-B", "I-B"])


def random_rows(rng, like=None):
    """Rows of any tags, valid or not; or those of `like` with some tags changed, so that many chunks agree."""
    if like is None:
        return [list(rng.choice(ALPHABET, length)) for length in rng.integers(0, 9, rng.integers(1, 5))]
    return [[str(rng.choice(ALPHABET)) if rng.random() < 0.15 else tag for tag in row] for row in like]


@pytest.mark.slow
def test_span_scores_are_conllevals_on_any_tag_sequence(monkeypatch):
    """Invalid sequences too: `corpus.tags.decode` reads them as conlleval does, before anything is scored."""
    monkeypatch.setattr("learning.metrics.bootstrap_f1", lambda *_: (0.0, 1.0))  # the interval is not looked at
    rng = np.random.default_rng(0)
    rights = 0
    for _ in range(3_000):
        gold = random_rows(rng)
        found = random_rows(rng, gold)
        golds, finds, right = conlleval(gold, found)
        scores = ours(gold, found)
        assert scores.spans == golds
        assert scores.precision == pytest.approx(right / finds if finds else 0)
        assert scores.recall == pytest.approx(right / golds if golds else 0)
        assert scores.f1 == pytest.approx(conlleval_f1(gold, found))
        rights += right
    assert rights > 3_000  # not all of it trivial


def test_span_scores_are_conllevals_per_label(monkeypatch):
    monkeypatch.setattr("learning.metrics.bootstrap_f1", lambda *_: (0.0, 1.0))
    rng = np.random.default_rng(1)
    for _ in range(100):
        gold = random_rows(rng)
        found = random_rows(rng, gold)
        for label, scores in ours(gold, found).per_label.items():
            one_gold, one_found = (
                [[tag if tag[2:] == label else "O" for tag in row] for row in rows] for rows in (gold, found)
            )
            assert scores.f1 == pytest.approx(conlleval_f1(one_gold, one_found))
            assert scores.support == conlleval(one_gold, one_found)[0]


def test_where_conlleval_and_strict_seqeval_differ():
    """On tags that are not valid BIO, which the project never hands to seqeval: its taggers' paths become spans first.

    conlleval lets an I- after O, or after another type, begin a chunk; seqeval's strict IOB2 has no chunk there.
    """
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    gold, found = [["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]]
    assert conlleval_f1(gold, found) == ours(gold, found).f1 == 1
    assert f1_score(gold, found, mode="strict", scheme=IOB2, zero_division=0) == 0

    gold, found = [["B-A", "B-B", "I-B"]], [["B-A", "I-B", "I-B"]]
    assert conlleval(gold, found) == (2, 2, 2)
    assert ours(gold, found).f1 == 1
    assert f1_score(gold, found, mode="strict", scheme=IOB2, zero_division=0) == pytest.approx(2 / 3)


def test_precision_recall_worked_by_hand():
    curve = precision_recall([0.2, 0.9, 0.5, 0.7], [True, True, False, True], gold=6)
    assert np.array(curve) == pytest.approx(np.array([(1 / 6, 1), (2 / 6, 1), (2 / 6, 2 / 3), (3 / 6, 3 / 4)]))
    assert precision_recall([], [], gold=3) == precision_recall([0.5], [False], gold=0) == []
    with pytest.raises(ValueError, match="2 scores, but 1 truths"):
        precision_recall([0.1, 0.2], [True], gold=1)


def test_precision_recall_ends_with_all_finds():
    rng = np.random.default_rng(0)
    scores, right = rng.random(1000), rng.random(1000) < 0.4
    curve = precision_recall(scores, right, gold=500, points=20)
    assert len(curve) == 20
    assert curve[-1] == pytest.approx((right.sum() / 500, right.mean()))
    assert [recall for recall, _ in curve] == sorted(recall for recall, _ in curve)
    first = precision_at(scores, right, [100])[100]
    assert precision_recall(scores, right, gold=500, points=1000)[99] == pytest.approx((100 * first / 500, first))
