"""Every registered tagger through the same cases: what `taggers.base` and `corpus.Inference` promise."""

from __future__ import annotations

import itertools
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus import Inference, Sentence, Span
from taggers import TAGGERS, Tagger, load, tagger_class
from taggers.base import Progress
from tests.taggers.test_transformer import encoder as tiny_encoder  # noqa: F401  (a fixture)

ENCODER = "a tiny random encoder"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "crf": ("crf", {"iterations": 40}),
    "auto": ("auto", {"encoder": ENCODER, "word_vectors": None, "units": 12, "epochs": 4, "learning_rate": 1e-2}),
    "bilstm": ("bilstm", {"word_units": 20, "units": 12, "epochs": 4, "learning_rate": 1e-2}),
    "bilstm-encoder-decoder": (
        "bilstm-encoder-decoder",
        {"word_units": 20, "units": 12, "decoder_units": 12, "epochs": 6, "learning_rate": 1e-2},
    ),
    "cnn-cnn-lstm": (
        "cnn-cnn-lstm",
        {"word_units": 20, "characters": "none", "units": 12, "decoder_units": 12, "epochs": 4, "learning_rate": 1e-2},
    ),
    "flair-bilstm-crf": ("flair-bilstm-crf", {"units": 12, "epochs": 8, "batch_size": 2, "window": 100}),
    "flair-contextual": ("flair-contextual", {"encoder": ENCODER, "units": 12, "epochs": 8, "batch_size": 2}),
    "transformer": (
        "transformer",
        {"encoder": ENCODER, "epochs": 2, "learning_rate": 5e-3, "freeze": "none"},
    ),
    "transformer crf": (
        "transformer",
        {"encoder": ENCODER, "epochs": 2, "learning_rate": 5e-3, "freeze": "none", "crf": True},
    ),
    "transformer frozen": ("transformer", {"encoder": ENCODER, "freeze": True, "crf": True, "epochs": 20}),
    "window": ("window", {"encoder": ENCODER, "units": 24, "epochs": 2, "learning_rate": 1e-2, "word_dropout": 0.2}),
}
"""Each tagger with settings that make it quick, by the name of the case."""
QUICK = {"crf", "transformer", "window"}
"""One of each kind; the others take their turn among the slow tests."""
MARKED = [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow, id=case) for case in CASES]
DROPOUTS = [
    pytest.param((case, dropout), marks=[pytest.mark.slow] * (case not in QUICK or i > 0), id=f"{case}, {dropout}")
    for case, (name, _) in CASES.items()
    for i, dropout in enumerate(TAGGERS[name].dropouts)
]

Make = Callable[..., Tagger]


def sentence(id: str, text: str, **phrases: str) -> Sentence:
    """`phrases` are label=phrase; each phrase is found in the text."""
    starts = {label: text.index(phrase) for label, phrase in phrases.items()}
    spans = [Span(starts[label], starts[label] + len(phrase), label) for label, phrase in phrases.items()]
    return Sentence.from_text(id, text, tuple(sorted(spans)))


POSITIVES = [
    sentence(f"{name}-{n}", text.format(name=name, town=town), PER=name, LOC=town)
    for n, text in enumerate(["{name} lives in {town} .", "In {town} , {name} sings", "Old {town} and {name}"])
    for name, town in zip(["Ada", "Emmy", "Mary Ann"], ["Lima", "Turin", "New Hue"], strict=True)
]
NEGATIVES = [sentence(f"no-{n}", text) for n, text in enumerate(["the sea is calm", "Old boats lie in rows .", "rain"])]
TRAIN = POSITIVES + NEGATIVES
TEXTS = [
    *(s.unlabelled() for s in TRAIN),
    Sentence.from_text("empty", ""),
    Sentence.from_text("blank", " \n "),
    Sentence.from_text("one", "Lima"),
    Sentence.from_text("600", " ".join(["Ada lives in New Hue , rain ."] * 75)),
    Sentence.from_text("zh", "艾米在利马，👩‍👩‍👧 很高兴！"),
    Sentence.from_text("emoji", "🙂🙂 Ada 🇵🇪 Lima🙂"),
    Sentence.from_words("odd", ["a", "\u200b", "\ud83d", "\x00", "", "\u2028", "x\ny", "z" * 3000]),
]


@pytest.fixture(scope="session")
def make(tiny_encoder: str) -> Make:  # noqa: F811
    def make(case: str, seed: int = 0, **changes: object) -> Tagger:
        name, options = CASES[case]
        options = {key: tiny_encoder if value == ENCODER else value for key, value in options.items()}
        kind = tagger_class(name)
        return kind(kind.Options(**{**options, **changes}), seed=seed)

    return make


class Fitted(dict[str, Tagger]):
    """Taggers by case, trained when they are first asked for."""

    def __init__(self, make: Make) -> None:
        self._make = make

    def __missing__(self, case: str) -> Tagger:
        tagger = self._make(case)
        tagger.fit(TRAIN, POSITIVES[:2])
        return self.setdefault(case, tagger)


@pytest.fixture(scope="session")
def fitted(make: Make) -> Fitted:
    return Fitted(make)


@pytest.fixture(params=MARKED)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def tagger(case: str, fitted: Fitted) -> Tagger:
    return fitted[case]


Row = tuple[np.ndarray, float, np.ndarray, np.ndarray | None]


def rows(batches: list[Inference]) -> dict[int, Row]:
    """Index of a sentence -> path, log_prob, marginals and hidden, without padding."""
    found: dict[int, Row] = {}
    for batch in batches:
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            assert int(i) not in found, "a sentence stands in two batches"
            hidden = None if batch.hidden_BTH is None else batch.hidden_BTH[b, :n]
            path, marginals = batch.path_BT[b, :n], batch.marginals_BTC[b, :n]
            found[int(i)] = (path, float(batch.log_prob_B[b]), marginals, hidden)
    return found


def assert_same(ours: dict[int, Row], theirs: dict[int, Row], tolerance: float = 1e-4) -> None:
    assert ours.keys() == theirs.keys()
    for i, (path, log_prob, marginals, hidden) in ours.items():
        other = theirs[i]
        assert log_prob == pytest.approx(other[1], abs=tolerance * max(1, len(path)))
        np.testing.assert_allclose(marginals, other[2], atol=tolerance)
        if hidden is not None:
            np.testing.assert_allclose(hidden, other[3], atol=tolerance)
        sure = marginals.max(axis=1, initial=0) > 0.51
        assert (path == other[0])[sure].all(), "a clear choice fell otherwise"


def test_every_registered_tagger_of_spans_is_here() -> None:
    assert {name for name, _ in CASES.values()} == {name for name, entry in TAGGERS.items() if entry.kind == "spans"}


def test_is_registered_under_its_name(case: str, tagger: Tagger) -> None:
    assert TAGGERS[tagger.name].class_name == type(tagger).__name__
    assert tagger.name == CASES[case][0]


def test_fills_what_it_provides(tagger: Tagger) -> None:
    provides = TAGGERS[tagger.name].provides
    for batch in tagger.infer(TEXTS):
        assert (batch.hidden_BTH is not None) == ("hidden" in provides)
        assert {"log_prob", "marginals"} <= provides


def test_provides_passes_by_its_dropouts(tagger: Tagger) -> None:
    entry = TAGGERS[tagger.name]
    assert entry.dropouts == tagger.dropouts
    assert ("samples" in entry.provides) == bool(entry.dropouts)
    for batch in tagger.infer(TEXTS):
        assert batch.samples_BMTC is None and batch.sample_paths_BMT is None
    with pytest.raises(ValueError, match="-1"):
        list(tagger.infer(TEXTS, passes=-1))
    known = ", ".join(tagger.dropouts) or "has no dropout"
    with pytest.raises(ValueError, match=known):
        list(tagger.infer(TEXTS, passes=2, dropout="none such"))
    if not tagger.dropouts:
        with pytest.raises(ValueError, match=known):
            list(tagger.infer(TEXTS, passes=2))


def test_inference_is_as_documented(tagger: Tagger) -> None:
    batches = list(tagger.infer(TEXTS))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(TEXTS)))
    for batch in batches:
        B, T, C = batch.marginals_BTC.shape
        assert batch.lengths.tolist() == [len(TEXTS[i]) for i in batch.indices]
        assert batch.lengths.max() == T and batch.path_BT.shape == (B, T)
        assert batch.tags == tagger.tags == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER") and len(batch.tags) == C
        inside = np.arange(T) < batch.lengths[:, None]
        for array in (batch.path_BT, batch.marginals_BTC, batch.hidden_BTH):
            assert array is None or not array[~inside].any(), "numbers in the padding"
        assert (batch.marginals_BTC >= 0).all()
        np.testing.assert_allclose(batch.marginals_BTC.sum(axis=2)[inside], 1, atol=1e-5)
        assert (batch.log_prob_B <= 0).all() and (batch.log_prob_B[batch.lengths == 0] == 0).all()
        assert batch.path_BT.dtype == np.int64 and batch.marginals_BTC.dtype == np.float32
        assert batch.hidden_BTH is None or batch.hidden_BTH.dtype == np.float32


def test_log_prob_agrees_with_the_marginals(tagger: Tagger) -> None:
    """P(path) ≤ min_t P(tag_t), and of C^n paths the best has at least its share of the probability."""
    for path, log_prob, marginals, _ in rows(list(tagger.infer(TEXTS[:-4]))).values():
        if 0 < len(path) < 50:
            chosen = marginals[range(len(path)), path]
            assert np.exp(log_prob) <= chosen.min() + 1e-5
            assert log_prob >= -len(path) * np.log(len(tagger.tags)) - 1e-6


def test_numbers_do_not_depend_on_company_or_order(tagger: Tagger) -> None:
    together = rows(list(tagger.infer(TEXTS)))
    alone = {i: rows(list(tagger.infer([text])))[0] for i, text in enumerate(TEXTS)}
    turned = rows(list(tagger.infer(TEXTS[::-1])))
    assert_same(together, alone)
    assert_same(together, {len(TEXTS) - 1 - i: row for i, row in turned.items()})


def test_batches_of_1_and_of_64_say_the_same(tagger: Tagger) -> None:
    words = ["Ada", "lives", "in", "New", "Hue", ",", "old", "Lima", "sleeps"]
    texts = [Sentence.from_words(str(n), [*words[n % 8 :], *words[: n % 8]][: 3 + n % 6]) for n in range(64)]
    assert max(len(batch.indices) for batch in tagger.infer(texts)) >= 16, "they were not read together"
    assert_same(
        rows(list(tagger.infer(texts))), {i: rows(list(tagger.infer([text])))[0] for i, text in enumerate(texts)}
    )


def test_nothing_gives_nothing(tagger: Tagger) -> None:
    assert list(tagger.infer([])) == [] and tagger.predict([]) == []
    assert tagger.predict([Sentence.from_text("e", "")]) == [[]]


@pytest.fixture(params=DROPOUTS)
def stochastic(request: pytest.FixtureRequest, fitted: Fitted) -> tuple[Tagger, str]:
    """Each tagger with each of its dropouts."""
    case, dropout = request.param
    return fitted[case], dropout


Samples = dict[int, tuple[np.ndarray, np.ndarray]]


def samples(tagger: Tagger, texts: Sequence[Sentence], dropout: str | None, passes: int = 3) -> Samples:
    """Index of a sentence -> (M, n, C) probabilities and (M, n) paths, without padding."""
    found = {}
    for batch in tagger.infer(texts, passes=passes, dropout=dropout):
        assert batch.samples_BMTC is not None and batch.sample_paths_BMT is not None
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            found[int(i)] = (batch.samples_BMTC[b, :, :n], batch.sample_paths_BMT[b, :, :n])
    return found


def assert_same_samples(ours: Samples, theirs: Samples, tolerance: float = 1e-4) -> None:
    assert ours.keys() == theirs.keys()
    for i, (probabilities, paths) in ours.items():
        np.testing.assert_allclose(probabilities, theirs[i][0], atol=tolerance)
        sure = probabilities.max(axis=2, initial=0) > 0.51
        assert (paths == theirs[i][1])[sure].all()


def test_passes_are_as_documented_and_change_nothing_else(stochastic: tuple[Tagger, str]) -> None:
    tagger, dropout = stochastic
    usual = list(tagger.infer(TEXTS))
    for plain, batch in zip(usual, tagger.infer(TEXTS, passes=3, dropout=dropout), strict=True):
        for field in ("indices", "lengths", "path_BT", "log_prob_B", "marginals_BTC", "hidden_BTH"):
            np.testing.assert_array_equal(getattr(plain, field), getattr(batch, field))
        assert batch.samples_BMTC is not None and batch.sample_paths_BMT is not None
        B, T, C = batch.marginals_BTC.shape
        assert batch.samples_BMTC.shape == (B, 3, T, C) and batch.sample_paths_BMT.shape == (B, 3, T)
        assert batch.samples_BMTC.dtype == np.float32 and batch.sample_paths_BMT.dtype == np.int64
        inside = np.broadcast_to((np.arange(T) < batch.lengths[:, None])[:, None], (B, 3, T))
        np.testing.assert_allclose(batch.samples_BMTC.sum(axis=3)[inside], 1, atol=1e-5)
        assert not batch.samples_BMTC[~inside].any() and not batch.sample_paths_BMT[~inside].any()
        assert (batch.samples_BMTC >= 0).all()
    assert_same(rows(usual), rows(list(tagger.infer(TEXTS))), tolerance=0)  # all dropout is off again


def test_passes_do_not_depend_on_company_or_order(stochastic: tuple[Tagger, str]) -> None:
    tagger, dropout = stochastic
    together = samples(tagger, TEXTS, dropout)
    assert_same_samples(together, {i: samples(tagger, [text], dropout)[0] for i, text in enumerate(TEXTS)})
    turned = samples(tagger, TEXTS[::-1], dropout)
    assert_same_samples(together, {len(TEXTS) - 1 - i: found for i, found in turned.items()})
    # Nor on how many there are.
    fewer = {i: (p[:2], paths[:2]) for i, (p, paths) in together.items()}
    assert_same_samples(fewer, samples(tagger, TEXTS, dropout, passes=2))


def test_passes_differ_by_seed_pass_and_text_but_not_between_duplicates(stochastic: tuple[Tagger, str]) -> None:
    tagger, dropout = stochastic
    texts = [Sentence.from_text("1", "Ada lives in New Hue ." * 2), Sentence.from_text("2", "In Turin , Ada sings")]
    found = samples(tagger, [*texts, texts[0]], dropout, passes=12)
    assert_same_samples({0: found[0]}, {0: found[2]}, tolerance=1e-5)
    assert len({pass_.tobytes() for pass_ in found[0][0]}) > 3  # few words are dropped, the rest of the time all agree
    state = torch.get_rng_state()
    tagger.seed += 1
    try:
        other = samples(tagger, texts, dropout, passes=12)
    finally:
        tagger.seed -= 1
    assert np.abs(other[0][0] - found[0][0]).max() > 1e-3
    assert_same_samples({0: found[0], 1: found[1]}, samples(tagger, texts, dropout, passes=12), tolerance=1e-5)
    assert torch.equal(state, torch.get_rng_state())


def test_passes_without_a_name_are_of_the_usual_dropout(case: str, tagger: Tagger) -> None:
    if tagger.dropouts:
        assert_same_samples(samples(tagger, TEXTS, None), samples(tagger, TEXTS, tagger.dropouts[0]), tolerance=0)


def test_passes_scatter_about_the_deterministic_answer(stochastic: tuple[Tagger, str]) -> None:
    tagger, dropout = stochastic
    usual = rows(list(tagger.infer(POSITIVES)))
    for i, (probabilities, _) in samples(tagger, POSITIVES, dropout, passes=64).items():
        error = probabilities.mean(axis=0) - usual[i][2]
        assert np.abs(error).max() > 1e-4
        assert np.abs(error).mean() < 0.15


def test_a_stored_tagger_gives_the_same_passes(stochastic: tuple[Tagger, str], tmp_path: Path) -> None:
    tagger, dropout = stochastic
    tagger.save(tmp_path / "model")
    assert_same_samples(
        samples(tagger, TEXTS, dropout), samples(load(tmp_path / "model"), TEXTS, dropout), tolerance=1e-6
    )


def test_predicted_spans_lie_on_words_and_carry_their_confidence(tagger: Tagger) -> None:
    found = rows(list(tagger.infer(TEXTS)))
    for i, (text, spans) in enumerate(zip(TEXTS, tagger.predict(TEXTS), strict=True)):
        path, _, marginals, _ = found[i]
        starts, ends = [w.start for w in text.words], [w.end for w in text.words]
        for span in spans:
            first, last = starts.index(span.start), ends.index(span.end)
            chosen = [float(marginals[t, path[t]]) for t in range(first, last + 1)]
            assert span.confidence == pytest.approx(min(chosen))
            assert span.label in ("PER", "LOC")
        covered = sum(tagger.tags[tag] != "O" for tag in path)
        assert covered == sum(s.start >= p.start and s.end <= p.end for p in spans for s in text.words)


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_numbers(fitted: Fitted, tmp_path: Path) -> None:
    for case in CASES:
        fitted[case].save(tmp_path / case)
    program = (
        "import pickle, sys; from pathlib import Path; from taggers import load\n"
        "texts = pickle.loads((Path(sys.argv[1]) / 'texts').read_bytes())\n"
        "out = {case: list(load(Path(sys.argv[1]) / case).infer(texts)) for case in sys.argv[2:]}\n"
        "(Path(sys.argv[1]) / 'out').write_bytes(pickle.dumps(out))"
    )
    (tmp_path / "texts").write_bytes(pickle.dumps(TEXTS))
    subprocess.run([sys.executable, "-c", program, str(tmp_path), *CASES], check=True)
    there = pickle.loads((tmp_path / "out").read_bytes())
    for case in CASES:
        assert there[case][0].tags == fitted[case].tags
        assert_same(rows(list(fitted[case].infer(TEXTS))), rows(there[case]))
        assert not [*(tmp_path / case).rglob("*.pkl"), *(tmp_path / case).rglob("*.pt")]


def test_load_gives_everything_back(case: str, make: Make, tmp_path: Path) -> None:
    tagger = make(case, seed=7)
    tagger.fit(TRAIN[:3], [])
    tagger.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (type(again), again.options, again.seed) == (type(tagger), tagger.options, 7)
    assert_same(rows(list(tagger.infer(TEXTS))), rows(list(again.infer(TEXTS))), tolerance=1e-6)
    again.save(tmp_path / "copy")
    for file in (tmp_path / "model").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "copy" / file.relative_to(tmp_path / "model")).read_bytes()


def test_learns(tagger: Tagger) -> None:
    hits = sum(len({*p} & {*s.spans}) for p, s in zip(tagger.predict(TRAIN), TRAIN, strict=True))
    assert hits > len(POSITIVES), "it has not learned even half of its 18 training spans"
    assert tagger.predict([NEGATIVES[0]]) == [[]]


def test_same_seed_same_numbers_and_no_global_randomness(case: str, make: Make, tagger: Tagger) -> None:
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    again = make(case)
    again.fit(TRAIN, POSITIVES[:2])
    assert_same(rows(list(tagger.infer(TEXTS))), rows(list(again.infer(TEXTS))), tolerance=1e-6)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_negatives_are_learned_from(case: str, make: Make, tagger: Tagger) -> None:
    """A text labelled with nothing in it must make "nothing" likelier than if it had been left out."""
    ignorant = make(case)
    ignorant.fit(POSITIVES, POSITIVES[:2])

    def outside(of: Tagger) -> float:
        return float(np.mean([m[:, 0].mean() for _, _, m, _ in rows(list(of.infer(NEGATIVES))).values()]))

    assert outside(tagger) > outside(ignorant)


def test_no_labels_at_all(case: str, make: Make) -> None:
    tagger = make(case)
    tagger.fit([s.labelled(()) for s in TRAIN], [])
    assert tagger.tags == ("O",)
    assert tagger.predict(TEXTS) == [[] for _ in TEXTS]
    for _, log_prob, marginals, _ in rows(list(tagger.infer(TEXTS))).values():
        assert log_prob == 0 and (marginals == 1).all()


def test_one_sentence_an_empty_dev_and_a_dev_label_that_train_lacks(case: str, make: Make) -> None:
    tagger = make(case)
    tagger.fit(TRAIN[:1], [])
    assert tagger.tags == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    only_people = sentence("p", "Ada lives in Lima .", PER="Ada")
    tagger.fit([only_people], TRAIN[:2])
    assert tagger.tags == ("O", "B-PER", "I-PER")
    assert {span.label for spans in tagger.predict(TRAIN) for span in spans} <= {"PER"}


def test_everything_labelled_and_sentences_without_words(case: str, make: Make) -> None:
    tagger = make(case)
    tagger.fit([sentence("a", "Ada", PER="Ada"), sentence("e", ""), sentence("b", "Emmy", PER="Emmy")], [])
    assert tagger.tags[0] == "O"
    assert sum(len(spans) for spans in tagger.predict(TEXTS)) > 0


def test_unlabelled_or_no_sentences_are_refused(case: str, make: Make) -> None:
    with pytest.raises(ValueError, match="task 4711"):
        make(case).fit([*TRAIN, Sentence.from_text("4711", "Ada")], [])
    with pytest.raises(ValueError, match="empty"):
        make(case).fit([], [])
    with pytest.raises(RuntimeError, match="fit"):
        list(make(case).infer(TEXTS))


def test_labels_in_other_scripts_and_inside_words(case: str, make: Make) -> None:
    train = [
        sentence("zh", "艾米在利马。", PER="艾米", LOC="利马"),
        sentence("emoji", "👩‍👩‍👧 fly to Lima🙂", FAMILY="👩‍👩‍👧", LOC="Lima"),
        sentence("cut", "Limabound Adas boats", LOC="Lima", PER="Ada"),
        sentence("odd label", "Ada --> Lima", **{"in: a --> b (1)": "Lima", "空 格": "Ada"}),
    ]
    tagger = make(case)
    tagger.fit(train * 4, train)
    assert {tag[2:] for tag in tagger.tags} == {"", "PER", "LOC", "FAMILY", "in: a --> b (1)", "空 格"}
    for text, spans in zip(train, tagger.predict(train), strict=True):
        edges = {w.start for w in text.words} | {w.end for w in text.words}
        assert all({s.start, s.end} <= edges for s in spans)
        assert all(a.end <= b.start for a, b in itertools.pairwise(spans))


def test_progress_is_told_and_its_exception_ends_the_fit(case: str, make: Make) -> None:
    told: list[Progress] = []
    make(case).fit(TRAIN, POSITIVES[:2], on_progress=told.append)
    assert [p.epoch for p in told] == list(range(1, len(told) + 1)) and told[-1].epoch <= told[-1].epochs
    if tagger_class(CASES[case][0]).uses_dev:
        assert all(p.dev_f1 is not None for p in told)
    assert all(0 <= p.dev_f1 <= 1 for p in told if p.dev_f1 is not None)

    class Stop(BaseException):
        pass

    def stop(progress: Progress) -> None:
        raise Stop

    with pytest.raises(Stop):
        make(case).fit(TRAIN, [], on_progress=stop)


def test_save_is_whole_or_not_at_all(tagger: Tagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger.save(tmp_path / "model")
    before = {file: file.read_bytes() for file in (tmp_path / "model").rglob("*") if file.is_file()}
    with pytest.raises(FileExistsError):
        tagger.save(tmp_path / "model")
    write = type(tagger)._write

    def fail(self: Tagger, folder: Path) -> None:
        write(self, folder)
        raise OSError("disk full")

    monkeypatch.setattr(type(tagger), "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        tagger.save(tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert before == {file: file.read_bytes() for file in before}


def test_unknown_options_are_refused(case: str) -> None:
    kind = tagger_class(CASES[case][0])
    with pytest.raises(ValueError, match="no_such_option"):
        kind.Options(no_such_option=1)
