"""The BiLSTM tagger through its whole path: softmax and CRF against brute force, and the features it can read."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from corpus import Sentence, Span
from taggers import load
from taggers.bilstm import BiLSTMOptions, BiLSTMTagger
from taggers.labels import exact_f1

SIZES = {"word_units": 6, "units": 6, "epochs": 3}
TRAIN = [
    Sentence.from_text("1", "Ada saw Lima", (Span(0, 3, "PER"),)),
    Sentence.from_text("2", "old Mary Ann slept", (Span(4, 12, "PER"),)),
    Sentence.from_text("3", "the sea slept", ()),
]


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taggers.network.STEPS_PER_EPOCH", 5)


def fitted(**options: object) -> BiLSTMTagger:
    tagger = BiLSTMTagger(BiLSTMOptions(**{**SIZES, **options}))
    tagger.fit(TRAIN, [])
    return tagger


@pytest.mark.parametrize("crf", [False, True], ids=["softmax", "crf"])
def test_probabilities_are_those_of_the_loss_over_all_paths(crf: bool) -> None:
    tagger = fitted(crf=crf)
    network, words, C = tagger._fitted(), ["old", "Ada", "slept", "well"], len(tagger.tags)
    log_probs = {}
    with torch.no_grad():
        for path in itertools.product(range(C), repeat=4):
            log_probs[path] = -4 * network.loss([words], torch.tensor([path])).item()
    assert np.logaddexp.reduce(list(log_probs.values())) == pytest.approx(0, abs=1e-4)
    (batch,) = tagger.infer([Sentence.from_words("x", words)])
    best = max(log_probs, key=lambda path: log_probs[path])
    assert tuple(batch.path_BT[0]) == best
    assert batch.log_prob_B[0] == pytest.approx(log_probs[best], abs=1e-4)
    for t, tag in itertools.product(range(4), range(C)):
        mass = sum(np.exp(log_prob) for path, log_prob in log_probs.items() if path[t] == tag)
        assert batch.marginals_BTC[0, t, tag] == pytest.approx(mass, abs=1e-4)


def test_with_a_crf_no_span_begins_in_its_middle() -> None:
    """Even of a network that has learned nothing at all."""
    tagger = fitted(crf=True, epochs=1, learning_rate=1e-9)
    texts = [Sentence.from_words(str(n), [*"abcdefghij"[n:], "Ada"]) for n in range(10)]
    inside = tagger.tags.index("I-PER")
    for batch in tagger.infer(texts):
        before_BT = np.pad(batch.path_BT, ((0, 0), (1, 0)))[:, :-1]
        assert not ((batch.path_BT == inside) & (before_BT == 0)).any()
        assert not batch.marginals_BTC[:, 0, inside].any()


def test_hidden_states_are_the_last_layers_both_ways() -> None:
    tagger = fitted(layers=2)
    network = tagger._fitted()
    (batch,) = tagger.infer([TRAIN[0].unlabelled()])
    assert batch.hidden_BTH is not None and batch.hidden_BTH.shape == (1, 3, 12)
    with torch.no_grad():
        words_BTE, lengths_B = network.read([["Ada", "saw", "Lima"]])
        states = words_BTE
        for layer in network.encoder.layers:
            states = layer(states, lengths_B)
    np.testing.assert_allclose(batch.hidden_BTH, states, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("characters", ["none", "cnn", "lstm"])
def test_words_are_told_apart_by_each_feature_alone(characters: str, tmp_path: Path) -> None:
    """What is said of a name never met must follow from its spelling, its capital, or its static vector."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("ada 1 0 0\nmary 1 0 0\nann 1 0 0\nzoe 1 0 0\nold 0 1 0\nslept 0 1 0\nsaw 0 1 0\n")
    own = {"characters": characters} if characters != "none" else {"word_vectors": str(vectors)}
    tagger = BiLSTMTagger(BiLSTMOptions(word_units=0, capitalisation=False, units=8, epochs=15, dropout=0.1, **own))
    train = [Sentence.from_text(str(n), f"{a} saw", (Span(0, len(a), "PER"),)) for n, a in enumerate(["Ada", "Mary"])]
    train += [Sentence.from_text("no", "old slept", ())]
    tagger.fit(train * 2, [])
    assert exact_f1(train, tagger.predict([sentence.unlabelled() for sentence in train])) == 1
    if characters == "none":
        assert [span.label for span in tagger.predict([Sentence.from_text("z", "Zoe saw")])[0]] == ["PER"]
    tagger.save(tmp_path / "model")
    assert load(tmp_path / "model").predict(train) == tagger.predict(train)


def test_the_schedule_follows_the_words_where_it_is_not_given() -> None:
    epochs: list[int] = []
    tagger = BiLSTMTagger(BiLSTMOptions(**{**SIZES, "units": 1, "word_units": 1, "epochs": None, "batch_size": None}))
    tagger.fit(TRAIN, [], on_progress=lambda progress: epochs.append(progress.epochs))
    assert len(epochs) == epochs[0] == 30
