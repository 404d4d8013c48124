"""What the taggers of our own networks have in common: learning, warm starts, stochastic passes, storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import taggers.network as network_module
from corpus import Inference, Sentence, Span
from taggers.base import Progress
from taggers.bilstm import BiLSTMTagger
from taggers.bilstm_encoder_decoder import BiLSTMEncoderDecoderTagger
from taggers.chunk_crf import state_axis
from taggers.cnn_cnn_lstm import CNNCNNLSTMTagger
from taggers.dropout import derive, kept, text_keys
from taggers.labels import exact_f1
from taggers.network import NetworkTagger
from taggers.warm_start import SHARE, Axis

KINDS: dict[str, tuple[type[NetworkTagger], dict[str, Any]]] = {
    "softmax": (BiLSTMTagger, {}),
    "crf": (BiLSTMTagger, {"crf": True, "layers": 2, "characters": "cnn", "capitalisation": True}),
    "encoder-decoder": (BiLSTMEncoderDecoderTagger, {"decoder_units": 8}),
    "cnn-cnn-lstm": (CNNCNNLSTMTagger, {"decoder_units": 8}),
}
QUICK: dict[str, Any] = {"units": 8, "word_units": 8, "epochs": 2, "dropout": 0.2}
NAMES = ["Ada", "Emmy", "Mary", "Grace", "Lise", "Rosa"]


def made(n: int) -> Sentence:
    """A person stands before "sang"; who "sank" is a boat, unless "captain" stands before."""
    name = NAMES[n % 6]
    template = ["then {} sang", "the old {} sank", "{} Ann Lee sang in the rain", "captain {} sank"][n % 4]
    words = {0: 1, 2: 3, 3: 1}.get(n % 4, 0)
    text = template.format(name)
    start = text.index(name)
    end = {0: start, 1: start + len(name), 3: start + len(name) + len(" Ann Lee")}[words]
    return Sentence.from_text(str(n), text, (Span(start, end, "PER"),) if words else ())


TRAIN = [made(n) for n in range(24)]
TEXTS = [*(s.unlabelled() for s in TRAIN), Sentence.from_text("no words", ""), Sentence.from_text("new", "Zoë sang !")]


@pytest.fixture(autouse=True, scope="module")
def short_epochs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_module, "STEPS_PER_EPOCH", 10)
        yield


def tagger_of(kind: str, **options: Any) -> NetworkTagger:
    type_, own = KINDS[kind]
    return type_(type_.Options(**{**QUICK, **own, **options}))


RARER = {"crf", "cnn-cnn-lstm"}
"""Those that take their turn among the slow tests."""


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in RARER)) for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted() -> dict[str, NetworkTagger]:
    found = {kind: tagger_of(kind) for kind in KINDS}
    for tagger in found.values():
        tagger.fit(TRAIN, [])
    return found


@pytest.fixture
def tagger(kind: str, fitted: dict[str, NetworkTagger]) -> NetworkTagger:
    return fitted[kind]


def by_text(batches: Iterator[Inference]) -> dict[int, dict[str, np.ndarray]]:
    """All arrays of each text, without padding."""
    found = {}
    for batch in batches:
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            found[int(i)] = {
                "path": batch.path_BT[b, :n],
                "log_prob": batch.log_prob_B[b],
                "marginals": batch.marginals_BTC[b, :n],
                "hidden": batch.hidden_BTH[b, :n],
                "samples": batch.samples_BMTC[b, :, :n] if batch.samples_BMTC is not None else np.zeros(0),
                "paths": batch.sample_paths_BMT[b, :, :n] if batch.sample_paths_BMT is not None else np.zeros(0),
            }
    return found


def assert_alike(ours: dict[int, dict[str, np.ndarray]], theirs: dict[int, dict[str, np.ndarray]]) -> None:
    assert ours.keys() == theirs.keys()
    for i, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, theirs[i][name], atol=1e-5, err_msg=f"{name} of text {i}")


@pytest.mark.slow
def test_learns_a_small_data_set_without_a_mistake(kind: str) -> None:
    tagger = tagger_of(kind, units=16, epochs=12, learning_rate=2e-2, word_dropout=0.1)
    losses: list[float] = []
    tagger.fit(TRAIN, [], on_progress=lambda progress: losses.append(progress.loss or 0.0))
    assert exact_f1(TRAIN, tagger.predict(TEXTS)[: len(TRAIN)]) == 1
    assert losses[-1] < losses[0] / 5


def test_numbers_do_not_depend_on_how_texts_are_batched(tagger: NetworkTagger, monkeypatch: Any) -> None:
    together = by_text(tagger.infer(TEXTS, passes=5, dropout="all"))
    monkeypatch.setitem(network_module.WORDS_AT_ONCE, "cpu", 1)
    monkeypatch.setitem(network_module.WORDS_AT_ONCE, "cuda", 1)
    assert len(list(tagger.infer(TEXTS))) == len(TEXTS)
    assert_alike(together, by_text(tagger.infer(TEXTS, passes=5, dropout="all")))


def test_passes_under_last_encode_once(tagger: NetworkTagger) -> None:
    calls: list[int] = []
    hook = tagger._fitted().encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        list(tagger.infer(TEXTS[:3], passes=7, dropout="last"))
        assert len(calls) == 1
        list(tagger.infer(TEXTS[:3], passes=7, dropout="locked"))
        assert len(calls) > 2
    finally:
        hook.remove()


def test_a_pass_is_the_last_layer_under_its_own_mask(fitted: dict[str, NetworkTagger]) -> None:
    """By the definition: what enters the last layer, times the text's mask, through the layer and a softmax."""
    tagger = fitted["softmax"]
    decoder = tagger._fitted().decoder
    (batch,) = tagger.infer([TEXTS[0]], passes=3, dropout="last")
    key = text_keys(tagger.seed, [[word.text for word in TEXTS[0].words]])
    for m in range(3):
        mask_1H = kept(derive(derive(key, m), 1), (1, decoder.head.in_features), 0.2)[0] / 0.8
        logits_TC = decoder.head(torch.from_numpy(batch.hidden_BTH[0]) * mask_1H)
        np.testing.assert_allclose(batch.samples_BMTC[0, m], logits_TC.softmax(dim=1).detach(), atol=1e-6)


@pytest.mark.parametrize("dropout", ["last", "locked", "word", "all"])
def test_each_dropout_drops_what_it_names(tagger: NetworkTagger, dropout: str) -> None:
    network = tagger._fitted()
    parts = {
        "last": network.decoder.last_dropout,
        "locked": network.encoder.locked_dropout,
        "word": network.encoder.word_dropout,
    }
    expected = {"locked": {"locked", "last"}, "all": set(parts)}.get(dropout, {dropout})
    with network.dropping(dropout):
        assert {name for name, part in parts.items() if part.training} == expected
        assert sum(module.training for module in network.modules()) == len(expected)
    assert not any(module.training for module in network.modules())


def test_a_dropped_word_of_the_cnn_is_one_that_nobody_knows(fitted: dict[str, NetworkTagger]) -> None:
    """A text of one word has two possible answers under "word": its own, and that of an unknown word so written."""
    tagger = fitted["cnn-cnn-lstm"]
    known = Sentence.from_text("known", "rain")
    (batch,) = tagger.infer([known], passes=40, dropout="word")
    network = tagger._fitted()
    with torch.inference_mode():
        words_BTE, lengths_B = network.read([["rain"]])
        words_BTE[..., : tagger.options.word_units] = network.features([["xyzzy"]])[0, : tagger.options.word_units]
        unknown = network.decoder.decode(network.encoder(words_BTE, lengths_B), lengths_B).marginals_BTC[0, 0]
    is_unknown = np.isclose(batch.samples_BMTC[0, :, 0], unknown, atol=1e-6).all(axis=1)
    is_known = np.isclose(batch.samples_BMTC[0, :, 0], batch.marginals_BTC[0, 0], atol=1e-6).all(axis=1)
    assert (is_known ^ is_unknown).all() and 8 < is_unknown.sum() < 32


def test_the_best_epoch_is_kept_and_patience_ends(kind: str) -> None:
    tagger, dev, told = tagger_of(kind, epochs=7, patience=2, learning_rate=3e-2), TRAIN[:6], list[Progress]()
    tagger.fit(TRAIN[6:], dev, on_progress=told.append)
    f1s = [progress.dev_f1 or 0.0 for progress in told]
    assert exact_f1(dev, tagger.predict(TEXTS[:6])) == max(f1s)
    best = max(i for i, f1 in enumerate(f1s) if f1 == max(f1s))
    assert len(f1s) == min(7, best + 3)


def test_without_a_dev_set_all_epochs_run() -> None:
    told: list[Progress] = []
    tagger_of("softmax", epochs=4, patience=1).fit(TRAIN, [], on_progress=told.append)
    assert [(p.epoch, p.epochs, p.dev_f1) for p in told] == [(n, 4, None) for n in (1, 2, 3, 4)]


def test_an_interrupted_fit_leaves_no_model(kind: str) -> None:
    tagger = tagger_of(kind)
    tagger.fit(TRAIN[:4], [])

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tagger.fit(TRAIN[:4], [], on_progress=stop)
    with pytest.raises(RuntimeError, match="no model yet"):
        tagger.predict(TEXTS)


@pytest.mark.slow
def test_texts_of_any_length_are_read_whole_and_long_ones_learned_from_in_parts(kind: str, monkeypatch: Any) -> None:
    words = ["then", "Ada", "sang", "and"] * 300
    spans = tuple(Span(w.start, w.end, "PER") for w in Sentence.from_words("x", words).words if w.text == "Ada")
    tagger, long = tagger_of(kind), Sentence.from_words("long", words, spans)
    tagger.fit([long], [])
    lengths = [len(words) for words, _ in tagger._examples([long])]
    assert sum(lengths) == 1200 and max(lengths) <= network_module.LONGEST_EXAMPLE
    (batch,) = tagger.infer([long.unlabelled()], passes=2)
    assert batch.path_BT.shape == (1, 1200) and np.isfinite(batch.log_prob_B).all()


def test_a_span_that_is_cut_begins_anew(monkeypatch: Any) -> None:
    monkeypatch.setattr(network_module, "LONGEST_EXAMPLE", 3)
    tagger = tagger_of("crf")
    long = Sentence.from_text("cut", "then Mary Ann Lee Ray sang", (Span(5, 21, "PER"),))
    tagger.fit([long], [])
    tags = [[tagger.tags[tag] for tag in example] for _, example in tagger._examples([long])]
    assert tags == [["O", "B-PER", "I-PER"], ["B-PER", "I-PER", "O"]]


def weights(tagger: NetworkTagger) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in tagger._fitted().named_parameters()}


def just_started(kind: str, train: list[Sentence], start: NetworkTagger | None) -> dict[str, torch.Tensor]:
    """The weights before the first step, by a learning rate that moves nothing."""
    tagger = tagger_of(kind)
    original = tagger._learn
    found: dict[str, torch.Tensor] = {}
    tagger._learn = lambda *_: found.update(weights(tagger))  # type: ignore[method-assign]
    tagger.fit(train, [], start=start)
    tagger._learn = original  # type: ignore[method-assign]
    return found


def test_a_warm_start_draws_each_named_row_towards_the_earlier_model(kind: str) -> None:
    earlier = tagger_of(kind)
    earlier.fit(TRAIN, [])
    old, old_words = weights(earlier), ["UNKNOWN", *earlier._fitted().features.card()["words"]]
    more = [*TRAIN, Sentence.from_text("more", "a ship in Aden", (Span(10, 14, "AA"),))]  # its tags come first
    fresh, warm = just_started(kind, more, None), just_started(kind, more, earlier)

    def mixed(name: str, now: Any, before: Any) -> None:
        expected = SHARE * old[name][before] + (1 - SHARE) * fresh[name][now]
        torch.testing.assert_close(warm[name][now], expected, msg=name)

    tags = Axis(["O", "B-AA", "I-AA", "B-PER", "I-PER"], ["O", "B-PER", "I-PER"])
    rows = state_axis(tags) if kind == "crf" else tags
    now, before = list(rows.now), list(rows.before)
    for tag in before:
        mixed("decoder.head.weight", now.index(tag), before.index(tag))
        mixed("decoder.head.bias", now.index(tag), before.index(tag))
    assert torch.equal(warm["decoder.head.weight"][1], fresh["decoder.head.weight"][1])
    if kind == "crf":
        steps = [tuple(of.index(state) for state in ("S-PER", "O")) for of in (now, before)]
        mixed("decoder.crf.chain.between_CC", *steps)
    if "decoder.tags.weight" in old:
        mixed("decoder.tags.weight", len(now), len(before))  # GO
        mixed("decoder.tags.weight", now.index("B-PER"), before.index("B-PER"))
    tagger = tagger_of(kind)
    tagger.fit(more, [])
    words = ["UNKNOWN", *tagger._fitted().features.card()["words"]]
    for word in ("UNKNOWN", "then", "ada"):
        mixed("features.words.weight", words.index(word), old_words.index(word))
    assert torch.equal(
        warm["features.words.weight"][words.index("ship")], fresh["features.words.weight"][words.index("ship")]
    )
    for name in old:
        if name.startswith("encoder."):
            mixed(name, ..., ...)


def test_a_tagger_can_go_on_from_itself_and_from_no_other(kind: str) -> None:
    tagger = tagger_of(kind)
    tagger.fit(TRAIN, [])
    again = tagger_of(kind)
    again.fit(TRAIN, [], start=tagger)
    tagger.fit(TRAIN, [], start=tagger)
    assert_alike(by_text(tagger.infer(TEXTS)), by_text(again.infer(TEXTS)))
    with pytest.raises(ValueError, match="warm"):
        tagger_of(kind, units=9).fit(TRAIN, [], start=tagger)
    other = tagger_of("softmax" if kind != "softmax" else "cnn-cnn-lstm")
    with pytest.raises(ValueError, match="warm"):
        other.fit(TRAIN, [], start=tagger)


def test_a_stored_network_is_the_same_and_no_pickle(tagger: NetworkTagger, tmp_path: Path) -> None:
    tagger.save(tmp_path / "model")
    again = type(tagger).load(tmp_path / "model")
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert files == {"SHA256SUMS", "tagger.json", "network.safetensors", "features.json"}
    assert_alike(by_text(tagger.infer(TEXTS, passes=2)), by_text(again.infer(TEXTS, passes=2)))
    again.fit(TRAIN, [], start=tagger)  # the card says all that a warm start asks


def test_no_labelled_word_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="has a word"):
        tagger_of(kind).fit([Sentence.from_text("e", "", ())], [])
