"""Flair's BiLSTM-CRF: our probabilities, losses and passes against brute force and Flair's own, and windows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from corpus import Sentence, Span
from taggers.base import Progress
from taggers.crf_maths import Transitions, solve
from taggers.flair_bilstm_crf import FlairBiLSTMCRFTagger, FlairOptions
from taggers.flair_contextual import FlairContextualTagger
from taggers.flair_embeddings import flair_sentence
from taggers.flair_network import LABEL, FlairNetwork
from taggers.labels import exact_f1

NAMES = ["Ada", "Emmy", "Mary", "Grace", "Lise", "Rosa"]


def made(n: int) -> Sentence:
    """A person stands before "sang"; "Ada" alone is a boat."""
    name = NAMES[n % 6]
    text = [f"then {name} sang", f"the old {name} sank", f"{name} sang in the rain"][n % 3]
    spans = (Span(text.index(name), text.index(name) + len(name), "PER"),) if "sang" in text else ()
    return Sentence.from_text(str(n), text, spans)


TRAIN = [made(n) for n in range(18)]
OPTIONS = FlairOptions(units=6, epochs=6, batch_size=3, window=8)


@pytest.fixture(scope="module")
def tagger() -> FlairBiLSTMCRFTagger:
    tagger = FlairBiLSTMCRFTagger(OPTIONS)
    tagger.fit(TRAIN, [])
    return tagger


def test_defaults_are_the_papers() -> None:
    defaults = FlairOptions()
    assert (defaults.layers, defaults.units, defaults.epochs, defaults.batch_size) == (1, 128, 30, 32)
    assert (defaults.learning_rate, defaults.patience) == (0.1, 3)


def test_probabilities_equal_brute_force_with_start_and_stop(tagger: FlairBiLSTMCRFTagger) -> None:
    """All paths over Flair's whole tag set, START and STOP among them, with its own scores."""
    network = tagger._fitted()
    sentence = TRAIN[0].unlabelled()
    words, lengths = network._prepare_tensors([flair_sentence([w.text for w in sentence.words])])
    with torch.no_grad():
        scores, _, transitions = (x.detach() for x in network(words, lengths))  # scores[0, t, to, from]
    start, stop = network.viterbi_decoder.start_tag, network.viterbi_decoder.stop_tag
    everything = range(len(network.label_dictionary))
    weight = {}
    for path in itertools.product(everything, repeat=3):
        score = sum(scores[0, t, to, frm] for t, (frm, to) in enumerate(zip((start, *path), path, strict=False)))
        weight[path] = float(score + transitions[stop, path[-1]])
    log_z = np.logaddexp.reduce(list(weight.values()))
    best = max(weight, key=lambda path: weight[path])

    (batch,) = tagger.infer([sentence])
    assert batch.tags == ("O", "B-PER", "I-PER") and len(everything) == 5
    assert tuple(batch.path_BT[0]) == best
    assert batch.log_prob_B[0] == pytest.approx(weight[best] - log_z, abs=1e-4)
    for t, tag in itertools.product(range(3), range(3)):
        mass = sum(np.exp(w - log_z) for path, w in weight.items() if path[t] == tag)
        assert batch.marginals_BTC[0, t, tag] == pytest.approx(mass, abs=1e-4)


def test_log_prob_is_flairs_loss_of_the_path(tagger: FlairBiLSTMCRFTagger) -> None:
    texts = [s.unlabelled() for s in TRAIN[:6]]
    for batch in tagger.infer(texts):
        for b, i in enumerate(batch.indices):
            example = flair_sentence([w.text for w in texts[i].words])
            for token, tag in zip(example, batch.path_BT[b], strict=False):
                token.add_label(LABEL, batch.tags[tag])
            with torch.no_grad():
                loss, _ = tagger._fitted().forward_loss([example])
            assert batch.log_prob_B[b] == pytest.approx(-loss.item(), abs=1e-4)


def test_path_is_flairs_own(tagger: FlairBiLSTMCRFTagger) -> None:
    examples = [flair_sentence([w.text for w in s.words]) for s in TRAIN]
    tagger._fitted().predict(examples, force_token_predictions=True)
    for batch in tagger.infer(TRAIN):
        for b, i in enumerate(batch.indices):
            theirs = [token.get_label(LABEL, "O").value for token in examples[i]]
            assert [batch.tags[tag] for tag in batch.path_BT[b, : batch.lengths[b]]] == theirs


def test_hidden_enters_the_last_layer(tagger: FlairBiLSTMCRFTagger) -> None:
    (batch,) = tagger.infer(TRAIN[:1])
    entered = []
    hook = tagger._fitted().linear.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    tagger._fitted().predict([flair_sentence([w.text for w in TRAIN[0].words])])
    hook.remove()
    assert batch.hidden_BTH is not None and batch.hidden_BTH.shape == (1, 3, 12)
    np.testing.assert_allclose(batch.hidden_BTH, entered[0].numpy(), atol=1e-5)


def test_windows_of_a_long_text(tagger: FlairBiLSTMCRFTagger) -> None:
    """Windows of 8 words that share 2: each word's numbers are those of the window whose core it is in."""
    words = [NAMES[n % 6] if n % 3 == 1 else "sang" for n in range(20)]
    (batch,) = tagger.infer([Sentence.from_words("long", words)])
    log_prob = 0.0
    for start, stop, core_start, core_stop in [(0, 8, 0, 7), (6, 14, 7, 13), (12, 20, 13, 20)]:
        (part,) = tagger.infer([Sentence.from_words("part", words[start:stop])])
        core = slice(core_start - start, core_stop - start)
        np.testing.assert_allclose(batch.marginals_BTC[0, core_start:core_stop], part.marginals_BTC[0, core], atol=1e-5)
        assert (batch.path_BT[0, core_start:core_stop] == part.path_BT[0, core]).all()
        log_prob += part.log_prob_B[0] * (core_stop - core_start) / (stop - start)
    assert batch.log_prob_B[0] == pytest.approx(log_prob, abs=1e-5)


def test_a_long_training_text_is_learned_to_its_end() -> None:
    tagger = FlairBiLSTMCRFTagger(OPTIONS)
    tagger.tags = ("O", "B-PER", "I-PER")
    text = "the rain " * 30 + "Ada"
    examples = tagger._examples([Sentence.from_text("t", text, (Span(270, 273, "PER"),))])
    assert [len(e.words) for e in examples] == [8] * 7 + [5]
    assert examples[-1].words[-1] == "Ada" and [tag for e in examples for tag in e.tags] == [0] * 60 + [1]


def test_no_word_is_lost_on_the_way_to_flair(tagger: FlairBiLSTMCRFTagger) -> None:
    odd = ["", "\u200b", "\ufeff", " ", "\x00", "\n", "\ud83d", "👩‍👩‍👧", "🇵🇪", "a b", "x" * 5000]
    assert len(flair_sentence(odd)) == len(odd)
    words, lengths = tagger._fitted().padded([odd, ["a"]])
    assert words.shape == (2, len(odd), 138) and lengths.tolist() == [len(odd), 1]
    assert not words[1, 1:].any()


def test_the_loss_and_its_gradients_are_flairs(deep: FlairBiLSTMCRFTagger) -> None:
    """Flair adds paths up along the words, over tags that have START and STOP among them."""
    network = deep._fitted()
    examples = deep._examples([*TRAIN[:7], Sentence.from_text("1", "sang", (Span(0, 4, "PER"),))])
    tokens = [flair_sentence(example.words) for example in examples]
    for sentence, example in zip(tokens, examples, strict=True):
        for token, tag in zip(sentence, example.tags, strict=True):
            token.add_label(LABEL, deep.tags[tag])
    theirs, count = network.forward_loss(tokens)
    ours = network.loss([e.words for e in examples], torch.tensor([tag for e in examples for tag in e.tags]))
    assert count == sum(len(e.tags) for e in examples)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-4) and ours.item() > 1
    gradients = []
    for loss in (ours, theirs):
        network.zero_grad()
        loss.backward()
        gradients.append({name: weights.grad.clone() for name, weights in network.named_parameters()})
    network.zero_grad()
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name], atol=1e-4, err_msg=name)
        assert gradient.any(), f"{name} does not learn"


def test_best_dev_epoch_is_kept_and_rate_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    descent = torch.optim.SGD

    def watched(weights: list[torch.nn.Parameter], lr: float) -> torch.optim.SGD:
        rates.append(lr)
        return descent(weights, lr)

    monkeypatch.setattr(torch.optim, "SGD", watched)
    tagger = FlairBiLSTMCRFTagger(OPTIONS.model_copy(update={"learning_rate": 2.0, "epochs": 12, "patience": 2}))
    told: list[Progress] = []
    tagger.fit(TRAIN[:9], TRAIN[9:], on_progress=told.append)
    scores = [p.dev_f1 for p in told if p.dev_f1 is not None]
    assert len(scores) == 12 and exact_f1(TRAIN[9:], tagger.predict(TRAIN[9:])) == max(scores)
    assert min(scores) < max(scores), "all epochs are alike: nothing to choose"
    bad, best, expected = 0, (-1.0, 0.0), 1
    for p in told:
        score = (p.dev_f1 or 0.0, -(p.loss or 0.0))
        bad, best = (0, score) if score > best else (bad + 1, best)
        if bad == 2:
            bad, expected = 0, expected + 1
    assert rates == [2.0 / 2**n for n in range(expected)] and expected > 1


def test_training_stops_early_when_lower_rates_do_not_help() -> None:
    told: list[Progress] = []
    hopeless = OPTIONS.model_copy(update={"learning_rate": 1e-9, "epochs": 300, "patience": 1})
    FlairBiLSTMCRFTagger(hopeless).fit(TRAIN[:9], TRAIN[9:], on_progress=told.append)
    assert 6 <= len(told) < 300


@pytest.fixture(scope="module")
def deep() -> FlairBiLSTMCRFTagger:
    """Two layers, with torch's own dropout of 0.5 between them."""
    tagger = FlairBiLSTMCRFTagger(OPTIONS.model_copy(update={"layers": 2, "epochs": 3}))
    tagger.fit(TRAIN, [])
    return tagger


def flairs(tagger: FlairBiLSTMCRFTagger, words: list[str], count: int, dropout: str) -> tuple[np.ndarray, np.ndarray]:
    """(count, n, C) log-marginals and (count, n) best paths of Flair's own forward pass, its own modules dropping."""
    network = tagger._fitted()
    embedded, lengths = network._prepare_tensors([flair_sentence(words)])
    modules = {"locked": network.locked_dropout, "word": network.word_dropout, "all": network}
    modules[dropout].train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # A few rows at a time: see `log_chances` in the transformer's tests.
            rows = (embedded.repeat(50, 1, 1), lengths.repeat(50))
            scores = torch.cat([network(*rows)[0] - network.crf.transitions for _ in range(count // 50)])
    finally:
        network.eval()
    emissions = scores[:, :, : len(tagger.tags), 0].detach().double().numpy()
    weights = (part.detach().double().numpy() for part in network._transitions())
    chains = solve(emissions, np.full(count, len(words)), Transitions(*weights))
    return np.log(chains.marginals_BTC), chains.path_BT


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["one", "two"])
@pytest.mark.parametrize("dropout", FlairBiLSTMCRFTagger.dropouts)
def test_passes_are_distributed_as_those_of_flair_in_training_mode(
    tagger: FlairBiLSTMCRFTagger, deep: FlairBiLSTMCRFTagger, layers: str, dropout: str
) -> None:
    """By word and tag; sums over words, which would differ if a text's words did not share their mask; and paths."""
    of, passes = tagger if layers == "one" else deep, 300
    words = ["then", "Ada", "sang", "and", "the", "old", "Emmy", "sank"]
    theirs, their_paths = flairs(of, words, 2000, dropout)
    (batch,) = of.infer([Sentence.from_words("1", words)], passes=passes, dropout=dropout)
    assert batch.samples_BMTC is not None and batch.sample_paths_BMT is not None
    ours = np.log(batch.samples_BMTC[0].astype(float))
    centre = theirs.mean(axis=0)
    for power in (1, 2):  # mean and variance
        moments = (ours - centre) ** power, (theirs - centre) ** power
        error = moments[0].mean(axis=0) - moments[1].mean(axis=0)
        assert np.abs(error / np.sqrt(moments[1].var(axis=0) * (1 / passes + 1 / 2000))).max() < 4.5  # of 24
    ours, theirs = ours.round(4), theirs.round(4)  # most words are not dropped: the same number but for float32
    for n, c in np.ndindex(theirs.shape[1:]):
        assert ks_2samp(ours[:, n, c], theirs[:, n, c]).pvalue > 1e-4
    for c in range(theirs.shape[2]):
        assert ks_2samp(ours[..., c].sum(axis=1), theirs[..., c].sum(axis=1)).pvalue > 1e-4
    for path in np.unique(their_paths, axis=0):
        share = (their_paths == path).all(axis=1).mean()
        our_share = (batch.sample_paths_BMT[0] == path).all(axis=1).mean()
        assert our_share == pytest.approx(share, abs=4.5 * np.sqrt(max(share * (1 - share), 0.005) / passes))


def test_hidden_and_path_of_several_layers_are_flairs_own(deep: FlairBiLSTMCRFTagger) -> None:
    """We run them one by one."""
    test_path_is_flairs_own(deep)
    test_hidden_enters_the_last_layer(deep)


def test_passes_over_windows(tagger: FlairBiLSTMCRFTagger) -> None:
    """Each window has its own masks, and each word's numbers are those of the window whose core it is in."""
    words = ["then", "Ada", "sang"] * 7
    (batch,) = tagger.infer([Sentence.from_words("long", words)], passes=4)
    (first,) = tagger.infer([Sentence.from_words("part", words[:8])], passes=4)
    assert batch.samples_BMTC is not None and first.samples_BMTC is not None
    np.testing.assert_allclose(batch.samples_BMTC[0, :, :7], first.samples_BMTC[0, :, :7], atol=1e-5)
    assert (batch.sample_paths_BMT[0, :, :7] == first.sample_paths_BMT[0, :, :7]).all()
    # The windows are of the same words at words 0, 6 and 12, but 0-6 and 7-12 do not say the same.
    assert np.abs(batch.samples_BMTC[0, :, 9:12] - batch.samples_BMTC[0, :, 3:6]).max() > 1e-3


def test_a_warm_start_is_between_the_earlier_model_and_a_fresh_one(tagger: FlairBiLSTMCRFTagger) -> None:
    """Rows of tags and words go by their names; START and STOP are tags of the CRF."""
    boat = Sentence.from_text("b", "the Ada sang", (Span(4, 7, "BOAT"),))
    frozen = OPTIONS.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    earlier = FlairBiLSTMCRFTagger(frozen)
    earlier.fit(TRAIN, [])
    cold, warm = (FlairBiLSTMCRFTagger(frozen, seed=1) for _ in range(2))
    cold.fit([*TRAIN, boat], [])
    warm.fit([*TRAIN, boat], [], start=earlier)
    before, fresh, now = (of._fitted().state_dict() for of in (earlier, cold, warm))
    assert warm.tags == ("O", "B-BOAT", "I-BOAT", "B-PER", "I-PER")
    mixed = 0.6 * before["rnn.weight_hh_l0"] + 0.4 * fresh["rnn.weight_hh_l0"]
    torch.testing.assert_close(now["rnn.weight_hh_l0"], mixed)
    rows = [0, 3, 4, 5, 6]
    torch.testing.assert_close(now["linear.bias"][rows], 0.6 * before["linear.bias"] + 0.4 * fresh["linear.bias"][rows])
    torch.testing.assert_close(now["linear.weight"][[1, 2]], fresh["linear.weight"][[1, 2]])
    steps = 0.6 * before["crf.transitions"] + 0.4 * fresh["crf.transitions"][rows][:, rows]
    torch.testing.assert_close(now["crf.transitions"][rows][:, rows], steps)
    torch.testing.assert_close(now["crf.transitions"][:, 1], fresh["crf.transitions"][:, 1])


def test_a_warm_start_needs_no_learning_to_know_much(tagger: FlairBiLSTMCRFTagger) -> None:
    told: dict[str, list[Progress]] = {"cold": [], "warm": []}
    options = OPTIONS.model_copy(update={"epochs": 1})
    FlairBiLSTMCRFTagger(options, seed=3).fit(TRAIN, [], on_progress=told["cold"].append)
    taught = FlairBiLSTMCRFTagger(options)
    taught._network, taught.tags = tagger._network, tagger.tags
    FlairBiLSTMCRFTagger(options, seed=3).fit(TRAIN, [], start=taught, on_progress=told["warm"].append)
    assert (told["warm"][0].loss or 0) < 0.8 * (told["cold"][0].loss or 0)


def test_other_models_are_no_start(tagger: FlairBiLSTMCRFTagger) -> None:
    with pytest.raises(ValueError, match="cannot start warm"):
        FlairBiLSTMCRFTagger().fit(TRAIN, [], start=tagger)
    with pytest.raises(ValueError, match="cannot start warm"):
        FlairContextualTagger().fit(TRAIN, [], start=tagger)


def test_static_vectors_are_read_and_do_not_learn(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    (tmp_path / "words.txt").write_text("ada\nsang\nrain\n")
    np.save(tmp_path / "vectors.npy", vectors)
    tagger = FlairBiLSTMCRFTagger(OPTIONS.model_copy(update={"word_vectors": str(tmp_path), "epochs": 2}))
    tagger.fit(TRAIN, [])
    tagger.save(tmp_path / "model")
    for of in (tagger, FlairBiLSTMCRFTagger.load(tmp_path / "model")):
        [[ada, sang, other]], _ = of._fitted().padded([["Ada", "sang", "unheard"]])
        scale = of._fitted().features.static_scale
        for row, expected in ((ada, vectors[0]), (sang, vectors[1]), (other, np.zeros(5, np.float32))):
            np.testing.assert_array_equal(row[100:105].detach(), scale(torch.from_numpy(expected)))
    (a,), (b,) = tagger.infer(TRAIN), of.infer(TRAIN)
    np.testing.assert_allclose(a.marginals_BTC, b.marginals_BTC, atol=1e-6)


def test_flairs_layers_are_flairs() -> None:
    """The network is Flair's class with Flair's weights: nothing of our own learns but the words' features."""
    tagger = FlairBiLSTMCRFTagger(OPTIONS)
    tagger.fit(TRAIN[:2], [])
    assert isinstance(tagger._network, FlairNetwork)
    names = {name.split(".")[0] for name, _ in tagger._network.named_parameters()}
    assert names == {"embeddings", "embedding2nn", "rnn", "linear", "crf"}
