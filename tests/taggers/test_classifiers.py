"""Both classifiers through the same cases: what `taggers.base` and `corpus.Inference` promise of choices."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus import Choice, Inference, Sentence
from taggers import TAGGERS, Tagger, load, tagger_class
from taggers.base import Progress
from tests.taggers.tiny import NAMES, TOWNS, encoder, one_thread  # noqa: F401  (fixtures)

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tfidf": ("tfidf-classifier", {}),
    "fine-tuned": (
        "transformer-classifier",
        {"frozen": False, "epochs": 10, "learning_rate": 5e-3, "precision": "fp32"},
    ),
    "frozen": ("transformer-classifier", {"frozen": True, "epochs": 10, "learning_rate": 1e-2}),
}

SHORT: dict[str, dict[str, Any]] = {"tfidf": {}, "fine-tuned": {"epochs": 2}, "frozen": {"epochs": 2}}


def text(id: str, words: str, *labels: str) -> Sentence:
    return replace(Sentence.from_text(id, words), choices=tuple(map(Choice, labels)))


SINGLE = [
    text(f"{i}{kind}", words.format(name=NAMES[i], town=TOWNS[i]), kind)
    for i in range(6)
    for kind, words in {"person": "{name} met {name}", "town": "in {town}", "Sea > calm": "the sea the sea"}.items()
]
"""Exactly one label each; one of them a leaf of a taxonomy."""
SEVERAL = [
    text(f"{i}-{n}", f"{words} .", *labels)
    for i in range(6)
    for n, (words, labels) in enumerate(
        [
            (NAMES[i], ["person"]),
            (f"{NAMES[i]} in {TOWNS[i]}", ["person", "town"]),
            ("the sea", []),
            (TOWNS[i], ["town"]),
        ]
    )
]
TEXTS = [
    *(sentence.unlabelled() for sentence in SINGLE + SEVERAL),
    Sentence.from_text("empty", ""),
    Sentence.from_text("blank", " \n "),
    Sentence.from_text("long", " ".join(["Ada saw the sea in Lima."] * 40)),
    Sentence.from_text("zh", "艾达在东京，👩‍👩‍👧！"),
    Sentence.from_words("odd", ["a", "\u200b", "\ud83d", "\x00", "", "x\ny", "z" * 3000]),
]
EMPTY = [len(SINGLE + SEVERAL), len(SINGLE + SEVERAL) + 1]

Make = Callable[..., Tagger]


@pytest.fixture(scope="session")
def make(encoder: str) -> Make:
    def make(case: str, seed: int = 0, **changes: object) -> Tagger:
        name, options = CASES[case]
        kind = tagger_class(name)
        source = {"encoder": encoder} if TAGGERS[name].encoder else {}
        return kind(kind.Options(**{**source, **options, **changes}), seed=seed)

    return make


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def kept() -> dict[tuple[str, str], Tagger]:
    return {}


@pytest.fixture(params=["single", "several"])
def fitted(request: pytest.FixtureRequest, case: str, make: Make, kept: dict[tuple[str, str], Tagger]) -> Tagger:
    """Each classifier, for one choice a text and for several."""
    if (case, request.param) not in kept:
        kept[case, request.param] = make(case)
        kept[case, request.param].fit(SINGLE if request.param == "single" else SEVERAL, [])
    return kept[case, request.param]


def rows(batches: Sequence[Inference]) -> dict[int, dict[str, np.ndarray]]:
    """Index of a text -> its part of each array, without padding."""
    found: dict[int, dict[str, np.ndarray]] = {}
    for batch in batches:
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            assert int(i) not in found, "a text stands in two batches"
            row = {"log_prob": batch.log_prob_B[b], "marginals": batch.marginals_BTC[b, :n]}
            if batch.state_BH is not None:
                row["state"] = batch.state_BH[b]
            if batch.samples_BMTC is not None:
                row["samples"] = batch.samples_BMTC[b, :, :n]
            found[int(i)] = row
    return found


def assert_same(ours: dict[int, Any], theirs: dict[int, Any], tolerance: float = 1e-4) -> None:
    assert ours.keys() == theirs.keys()
    for i, row in ours.items():
        assert row.keys() == theirs[i].keys()
        for name, array in row.items():
            np.testing.assert_allclose(array, theirs[i][name], atol=tolerance)


def test_every_registered_classifier_is_here() -> None:
    assert {name for name, _ in CASES.values()} == {n for n, entry in TAGGERS.items() if entry.kind == "choices"}


def test_the_registry_tells_what_it_is(fitted: Tagger) -> None:
    entry = TAGGERS[fitted.name]
    assert entry.kind == fitted.kind == "choices" and list(fitted.parts) == ["choices"]
    assert (entry.dropouts, entry.warm_starts) == (fitted.dropouts, fitted.warm_starts)
    assert ("samples" in entry.provides) == bool(entry.dropouts)
    for batch in fitted.infer(TEXTS):
        assert batch.hidden_BTH is None and (batch.state_BH is not None) == ("hidden" in entry.provides)


def test_inference_is_as_documented(fitted: Tagger) -> None:
    several = fitted.tags == ("O", "yes")
    labels = ("person", "town") if several else ("Sea > calm", "person", "town")
    assert fitted.tags == (("O", "yes") if several else labels)
    batches = list(fitted.infer(TEXTS))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(TEXTS)))
    for batch in batches:
        B, T, _ = batch.marginals_BTC.shape
        decisions = np.where(np.isin(batch.indices, EMPTY), 0, len(labels) if several else 1)
        assert batch.lengths.tolist() == decisions.tolist() and batch.marginals_BTC.shape == (
            B,
            decisions.max(),
            len(fitted.tags),
        )
        inside = np.arange(T) < batch.lengths[:, None]
        assert batch.tags == fitted.tags and batch.path_BT.shape == (B, T)
        for array in (batch.path_BT, batch.marginals_BTC):
            assert not array[~inside].any(), "numbers in the padding"
        np.testing.assert_allclose(batch.marginals_BTC.sum(axis=2)[inside], 1, atol=1e-5)
        assert (batch.path_BT == batch.marginals_BTC.argmax(axis=2))[inside].all()
        with np.errstate(divide="ignore"):
            of_words = np.where(inside, np.log(batch.marginals_BTC.max(axis=2)), 0).sum(axis=1)
        np.testing.assert_allclose(batch.log_prob_B, of_words, atol=1e-5)
        assert batch.state_BH is None or not batch.state_BH[batch.lengths == 0].any()
        dtypes = (batch.path_BT.dtype, batch.marginals_BTC.dtype, batch.log_prob_B.dtype)
        assert dtypes == (np.int64, np.float32, np.float64)


def test_it_learns_what_there_is_to_learn(fitted: Tagger) -> None:
    train = SEVERAL if fitted.tags == ("O", "yes") else SINGLE
    found = fitted.predict([sentence.unlabelled() for sentence in train])
    right = [set(marks) == set(sentence.choices or ()) for marks, sentence in zip(found, train, strict=True)]
    assert np.mean(right) >= 0.9


def test_choices_are_those_of_the_path_with_their_probability(fitted: Tagger) -> None:
    several = fitted.tags == ("O", "yes")
    labels = ["person", "town"] if several else list(fitted.tags)
    found = fitted.predict(TEXTS)
    assert all(found[i] == [] for i in EMPTY)
    for i, row in rows(list(fitted.infer(TEXTS))).items():
        p = row["marginals"]
        if several:
            wanted = [(labels[t], p[t, 1]) for t in range(len(p)) if p[t, 1] > 0.5]
        else:
            wanted = [(labels[p[0].argmax()], p[0].max())] if len(p) else []
        assert [(mark.label, mark.confidence) for mark in found[i]] == [(n, pytest.approx(c)) for n, c in wanted]


def test_numbers_do_not_depend_on_company_or_order(fitted: Tagger) -> None:
    passes = {"passes": 3} if fitted.dropouts else {}
    together = rows(list(fitted.infer(TEXTS, **passes)))
    assert_same(together, {i: rows(list(fitted.infer([one], **passes)))[0] for i, one in enumerate(TEXTS)})
    turned = rows(list(fitted.infer(TEXTS[::-1], **passes)))
    assert_same(together, {len(TEXTS) - 1 - i: row for i, row in turned.items()})


@pytest.mark.parametrize("dropout", ["last", "all"])
def test_passes_are_as_documented(fitted: Tagger, dropout: str) -> None:
    if not fitted.dropouts:
        with pytest.raises(ValueError, match="no dropout"):
            list(fitted.infer(TEXTS, passes=2, dropout=dropout))
        return
    usual = rows(list(fitted.infer(TEXTS)))
    found = rows(list(fitted.infer(TEXTS, passes=24, dropout=dropout)))
    assert_same(usual, {i: {k: v for k, v in row.items() if k != "samples"} for i, row in found.items()}, 0)
    for i, row in found.items():
        samples = row["samples"]
        assert samples.shape == (24, *row["marginals"].shape)
        np.testing.assert_allclose(samples.sum(axis=2), 1, atol=1e-5)
        if i not in EMPTY:
            assert len({one.tobytes() for one in samples}) > 3
    off = [np.abs(row["samples"].mean(axis=0) - row["marginals"]).mean() for i, row in found.items() if i not in EMPTY]
    assert np.mean(off) < 0.1, "they do not scatter about the answer"
    alone = rows(list(fitted.infer(TEXTS[:1], passes=2, dropout=dropout)))[0]
    np.testing.assert_allclose(alone["samples"], found[0]["samples"][:2], atol=1e-4)
    for batch in fitted.infer(TEXTS, passes=2, dropout=dropout):
        assert batch.samples_BMTC is not None and batch.sample_paths_BMT is not None
        inside = np.broadcast_to(
            (np.arange(batch.path_BT.shape[1]) < batch.lengths[:, None])[:, None], batch.sample_paths_BMT.shape
        )
        assert (batch.sample_paths_BMT == batch.samples_BMTC.argmax(axis=3))[inside].all()
        assert not batch.samples_BMTC[~inside].any() and not batch.sample_paths_BMT[~inside].any()


def test_a_stored_classifier_says_the_same(fitted: Tagger, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert type(again) is type(fitted) and again.tags == fitted.tags
    passes = {"passes": 2} if fitted.dropouts else {}
    ours, theirs = (rows(list(one.infer(TEXTS, **passes))) for one in (fitted, again))
    assert_same(ours, theirs, tolerance=0)
    assert again.predict(TEXTS) == fitted.predict(TEXTS)


def test_a_seed_gives_one_model_and_leaves_the_world_as_it_was(case: str, make: Make) -> None:
    state = torch.get_rng_state()
    one, other = make(case, 3, **SHORT[case]), make(case, 3, **SHORT[case])
    one.fit(SINGLE, SINGLE[:4])
    other.fit(SINGLE, SINGLE[:4])
    assert_same(rows(list(one.infer(TEXTS))), rows(list(other.infer(TEXTS))), tolerance=0)
    assert torch.equal(state, torch.get_rng_state())


def test_one_class_no_class_and_a_class_of_all_texts(case: str, make: Make) -> None:
    alone = make(case)
    alone.fit([text("1", "Ada met Grace", "yes"), text("2", "", "no")], [text("3", "the sea", "other")])
    assert alone.tags == ("yes",), "a text without words teaches nothing"
    assert alone.predict(TEXTS) == [[] if i in EMPTY else [Choice("yes")] for i in range(len(TEXTS))]
    assert all(row["log_prob"] == 0 for row in rows(list(alone.infer(TEXTS))).values())
    none = make(case)
    none.fit([text("1", "Ada met Grace"), text("2", "the sea")], [])
    assert none.tags == ("O", "yes") and none.predict(TEXTS) == [[] for _ in TEXTS]
    assert all(row["marginals"].shape == (0, 2) for row in rows(list(none.infer(TEXTS))).values())
    everywhere = make(case)
    train = [text("1", "Ada met Grace", "a", "b"), text("2", "the sea", "a")]
    everywhere.fit(train, [])
    assert all(Choice("a") in marks for marks in everywhere.predict(train))


def test_what_cannot_be_learned_from_is_refused(case: str, make: Make) -> None:
    with pytest.raises(ValueError, match="task 4711"):
        make(case).fit([*SINGLE, Sentence.from_text("4711", "Ada", ())], [])
    with pytest.raises(ValueError, match="task 4712"):
        make(case).fit(SINGLE, [Sentence.from_text("4712", "Ada")])
    with pytest.raises(ValueError, match="empty"):
        make(case).fit([], [])
    with pytest.raises(ValueError, match="word"):
        make(case).fit([text("1", " ", "a")], [])
    with pytest.raises(RuntimeError, match="fit"):
        list(make(case).infer(TEXTS))
    with pytest.raises(ValueError, match="no_such"):
        make(case, no_such=1)


def test_progress_is_told_and_its_exception_ends_the_fit(case: str, make: Make) -> None:
    told: list[Progress] = []
    tagger = make(case, **SHORT[case])
    tagger.fit(SINGLE, SINGLE[:6], on_progress=told.append)
    assert [p.epoch for p in told] == list(range(1, len(told) + 1)) and told[-1].epoch <= told[-1].epochs
    assert all((p.dev_f1 is not None) == tagger.uses_dev for p in told)

    class Stop(BaseException):
        pass

    def stop(progress: Progress) -> None:
        raise Stop

    with pytest.raises(Stop):
        make(case, **SHORT[case]).fit(SINGLE, [], on_progress=stop)
