"""Encoders and decoders of our networks: against brute force over all paths, torch's own layers, finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from taggers.bilstm import BiLSTMEncoder, BiLSTMOptions
from taggers.chunk_crf import FORBIDDEN
from taggers.cnn_cnn_lstm import CNNCNNLSTMOptions, CNNEncoder
from taggers.layers import BiLSTM, LockedDropout, UnknownWords, WordDropout, WordEncoder, inside
from taggers.tag_decoders import CRFDecoder, LSTMDecoder, SoftmaxDecoder, TagDecoder
from taggers.warm_start import Axis
from taggers.word_features import FeatureOptions, WordFeatures

M = TypeVar("M", bound=nn.Module)
E, C = 6, 3
DECODERS: dict[str, Callable[[], TagDecoder]] = {
    "softmax": lambda: SoftmaxDecoder(E, C, 0.5),
    "crf": lambda: CRFDecoder(E, C, 0.5),
    "lstm": lambda: LSTMDecoder(E, 5, C, 0.5),
}
FEATURES = FeatureOptions(word_units=4, characters="none", capitalisation=True)
WORDS = [["Ada", "sings"], ["the", "sea", "is", "calm", "."]]


def features() -> WordFeatures:
    return WordFeatures.of(WORDS, FEATURES)


ENCODERS: dict[str, Callable[[], WordEncoder]] = {
    "bilstm": lambda: BiLSTMEncoder(features().width, BiLSTMOptions(units=3, layers=2)),
    "cnn": lambda: CNNEncoder(features(), CNNCNNLSTMOptions(word_units=4, units=3)),
}


@pytest.fixture(autouse=True)
def seeded() -> object:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> TagDecoder:
    return sharp(DECODERS[request.param]())


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> WordEncoder:
    return sharp(ENCODERS[request.param]())


def sharp(module: M) -> M:
    """In float64, with weights large enough that what is chosen matters."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn_like(weight).where(weight > FORBIDDEN, weight))
    return module.double().eval()


def batch(lengths: list[int], width: int = E) -> tuple[Tensor, Tensor, Tensor]:
    """Random words, lengths and tags, among these no I-X that begins a span."""
    shape = (len(lengths), max(lengths))
    tags_BT = torch.randint(C, shape)
    for t in range(shape[1]):
        tags_BT[:, t] = tags_BT[:, t].where((tags_BT[:, t] < 2) | (t > 0) & (tags_BT[:, t - 1] > 0), torch.tensor(0))
    return torch.randn(*shape, width, dtype=torch.float64), torch.tensor(lengths), tags_BT


def path_log_probs(decoder: TagDecoder, encoded_TE: Tensor) -> dict[tuple[int, ...], float]:
    """The log-probability of every path by the loss of it alone, which `test_…_sum_to_one` holds to be one."""
    T = len(encoded_TE)
    paths = list(itertools.product(range(C), repeat=T))
    with torch.no_grad():
        return {p: -T * decoder.loss(encoded_TE[None], torch.tensor([T]), torch.tensor([p])).item() for p in paths}


def test_the_probabilities_of_all_paths_sum_to_one(decoder: TagDecoder) -> None:
    encoded_BTE, _, _ = batch([4])
    assert np.logaddexp.reduce(list(path_log_probs(decoder, encoded_BTE[0]).values())) == pytest.approx(0, abs=1e-9)


@torch.no_grad()
def test_the_path_has_the_probability_that_the_loss_gives_it(decoder: TagDecoder) -> None:
    encoded_BTE, lengths_B, _ = batch([4, 2, 1, 3])
    said = decoder.decode(encoded_BTE, lengths_B)
    for b, n in enumerate(lengths_B.tolist()):
        of_paths = path_log_probs(decoder, encoded_BTE[b, :n])
        assert said.log_prob_B[b].item() == pytest.approx(of_paths[tuple(said.path_BT[b, :n].tolist())], abs=1e-9)
        assert said.log_prob_B[b].item() <= max(of_paths.values()) + 1e-9


@torch.no_grad()
def test_the_path_is_the_best_one_where_it_must_be() -> None:
    """Softmax and CRF always; the greedy one for texts of one word, and when no tag is told of the one before."""
    told_nothing = sharp(LSTMDecoder(E, 5, C, 0.5))
    nn.init.zeros_(told_nothing.tags.weight)
    for lengths, decoders in {
        (1,): [sharp(make()) for make in DECODERS.values()],
        (4, 3, 5): [sharp(SoftmaxDecoder(E, C, 0.5)), sharp(CRFDecoder(E, C, 0.5)), told_nothing],
    }.items():
        for decoder in decoders:
            encoded_BTE, lengths_B, _ = batch(list(lengths))
            said = decoder.decode(encoded_BTE, lengths_B)
            for b, n in enumerate(lengths):
                of_paths = path_log_probs(decoder, encoded_BTE[b, :n])
                assert tuple(said.path_BT[b, :n].tolist()) == max(of_paths, key=lambda path: of_paths[path])


@torch.no_grad()
def test_greedy_decoding_is_not_always_the_best() -> None:
    """Else the test above would hold of a decoder that is told nothing."""
    worse = 0
    for _ in range(5):
        decoder = sharp(LSTMDecoder(E, 5, C, 0.5))
        encoded_BTE, lengths_B, _ = batch([3] * 8)
        said = decoder.decode(encoded_BTE, lengths_B)
        for encoded_TE, log_prob in zip(encoded_BTE, said.log_prob_B.tolist(), strict=True):
            worse += log_prob < max(path_log_probs(decoder, encoded_TE).values()) - 1e-6
    assert 0 < worse < 40


@torch.no_grad()
def test_each_step_takes_the_likeliest_tag_given_those_before() -> None:
    decoder = sharp(LSTMDecoder(E, 5, C, 0.5))
    encoded_BTE, lengths_B, _ = batch([5, 5, 3])
    said = decoder.decode(encoded_BTE, lengths_B)
    along_BTC = decoder.forced(encoded_BTE, said.path_BT).softmax(dim=2)
    torch.testing.assert_close(said.marginals_BTC, along_BTC.float())
    assert torch.equal(said.path_BT, along_BTC.argmax(dim=2))


@torch.no_grad()
def test_marginals_follow_from_the_hidden_states_by_the_last_layer(decoder: TagDecoder) -> None:
    encoded_BTE, lengths_B, _ = batch([4, 4])
    said = decoder.decode(encoded_BTE, lengths_B)
    answers = decoder.head(said.hidden_BTH)
    if isinstance(decoder, CRFDecoder):
        np.testing.assert_allclose(
            said.marginals_BTC, decoder.crf.solve(answers.numpy(), lengths_B.numpy()).marginals_BTC, atol=1e-6
        )
    else:
        torch.testing.assert_close(said.marginals_BTC, answers.softmax(dim=2).float())


def in_company(rows_TX: Tensor, length: int) -> Tensor:
    """One text in a wider batch with another one, and with rubbish in its padding."""
    wide = torch.randn(2, length + 4, *rows_TX.shape[1:], dtype=torch.float64)
    wide[0] *= 1e3
    wide[0, :length] = rows_TX[:length]
    return wide


@torch.no_grad()
def test_padding_and_company_change_nothing_in_a_decoder(decoder: TagDecoder) -> None:
    encoded_BTE, _, tags_BT = batch([3])
    alone = decoder.decode(encoded_BTE, torch.tensor([3]))
    together = decoder.decode(in_company(encoded_BTE[0], 3), torch.tensor([3, 7]))
    assert torch.equal(alone.path_BT[0], together.path_BT[0, :3])
    torch.testing.assert_close(alone.log_prob_B[0], together.log_prob_B[0])
    torch.testing.assert_close(alone.marginals_BTC[0], together.marginals_BTC[0, :3])
    torch.testing.assert_close(alone.hidden_BTH[0], together.hidden_BTH[0, :3])
    # The other one has no words: it must not count.
    wide_tags_BT = torch.ones(2, 7, dtype=torch.int64)
    wide_tags_BT[0, :3] = tags_BT[0]
    losses = [
        decoder.loss(encoded_BTE, torch.tensor([3]), tags_BT),
        decoder.loss(in_company(encoded_BTE[0], 3), torch.tensor([3, 0]), wide_tags_BT),
    ]
    torch.testing.assert_close(*losses)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 5])
def test_padding_and_company_change_nothing_in_an_encoder(encoder: WordEncoder, length: int) -> None:
    words_BTE, lengths_B, _ = batch([length], features().width)
    alone = encoder(words_BTE, lengths_B)
    together = encoder(in_company(words_BTE[0], length), torch.tensor([length, length + 4]))
    assert alone.shape == (1, length, encoder.width)
    torch.testing.assert_close(alone[0], together[0, :length])


def test_no_gradient_comes_from_the_padding(encoder: WordEncoder, decoder: TagDecoder) -> None:
    words_BTE, lengths_B, tags_BT = batch([5, 3, 1], features().width)
    words_BTE.requires_grad_()
    to_decoder = nn.Linear(encoder.width, E).double()
    decoder.loss(to_decoder(encoder(words_BTE, lengths_B)), lengths_B, tags_BT).backward()
    assert words_BTE.grad is not None
    touched_BT = (words_BTE.grad != 0).any(dim=2)
    assert torch.equal(touched_BT, inside(lengths_B, 5))


def test_gradients_are_finite_differences(encoder: WordEncoder, decoder: TagDecoder) -> None:
    words_BTE, lengths_B, tags_BT = batch([3, 2], features().width)
    words_BTE.requires_grad_()
    to_decoder = nn.Linear(encoder.width, E).double()
    weights = [*encoder.parameters(), *decoder.parameters()]

    def loss(*_: Tensor) -> Tensor:
        return decoder.loss(to_decoder(encoder(words_BTE, lengths_B)), lengths_B, tags_BT)

    assert torch.autograd.gradcheck(loss, (words_BTE, *weights), fast_mode=True)


@torch.no_grad()
def test_the_bilstm_is_torchs_over_packed_texts() -> None:
    ours, theirs = BiLSTM(4, 3), nn.LSTM(4, 3, bidirectional=True, batch_first=True)
    for direction, suffix in ((ours.forwards, ""), (ours.backwards, "_reverse")):
        for name, weight in direction.named_parameters():
            getattr(theirs, name + suffix).copy_(weight)
    words_BTE, lengths_B = torch.randn(4, 6, 4), torch.tensor([6, 1, 3, 5])
    packed = pack_padded_sequence(words_BTE, lengths_B, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found = ours(words_BTE, lengths_B) * inside(lengths_B, 6)[:, :, None]
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_the_cnn_sees_two_neighbours_a_layer_and_the_word_itself() -> None:
    encoder = sharp(CNNEncoder(features(), CNNCNNLSTMOptions(word_units=4, units=3)))
    words_TE = batch([5], features().width)[0][0]
    states = [words_TE]
    for layer in encoder.layers:
        padded = nn.functional.pad(states[-1], (0, 0, 1, 1))
        windows = [padded[t : t + 3] for t in range(5)]
        answers = [torch.einsum("wi,oiw->o", window, layer.weight) + layer.bias for window in windows]
        states.append(torch.stack(answers).relu())
    torch.testing.assert_close(encoder(words_TE[None], torch.tensor([5]))[0], torch.cat([states[-1], words_TE], dim=1))


@torch.no_grad()
def test_dropout_is_of_words_or_the_same_for_all_words_of_a_text() -> None:
    words_BTE = torch.ones(200, 7, 50)
    assert LockedDropout(0.3).eval()(words_BTE) is words_BTE and WordDropout(0.3).eval()(words_BTE) is words_BTE
    locked = LockedDropout(0.3)(words_BTE)
    assert (locked == locked[:, :1]).all() and set(locked.unique().tolist()) == {0, np.float32(1 / 0.7)}
    assert (locked == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    dropped = WordDropout(0.3)(words_BTE)
    assert (dropped == dropped[:, :, :1]).all() and set(dropped.unique().tolist()) == {0, 1}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_unknown_words_are_read_as_any_that_nobody_knows() -> None:
    known, dropout = features().eval(), 0.4
    layer = UnknownWords(known, dropout)
    assert not list(layer.parameters()), "the table of words is the features'"
    words_BTE = known([["calm"] * 50] * 20).view(20, 50, -1)
    unknown_E = known([["xyz"]])[0]  # capitalised alike
    assert layer.eval()(words_BTE) is words_BTE
    read_BTE = layer.train()(words_BTE)
    is_unknown_BT = (read_BTE == unknown_E).all(dim=2)
    assert ((read_BTE == words_BTE).all(dim=2) ^ is_unknown_BT).all()
    assert is_unknown_BT.float().mean().item() == pytest.approx(dropout, abs=0.06)
    read_BTE.sum().backward()
    assert known.words is not None and known.words.weight.grad is not None
    assert known.words.weight.grad[0, 0].item() == is_unknown_BT.sum().item(), "the unknown word does not learn"
    with pytest.raises(ValueError, match="word_units"):
        UnknownWords(WordFeatures.of(WORDS, FeatureOptions(word_units=0)), dropout)


def test_the_axes_along_tags_are_named(decoder: TagDecoder) -> None:
    axes, parameters = decoder.tag_axes(Axis(["O", "B-X", "I-X"], ["O"])), dict(decoder.named_parameters())
    assert axes.keys() <= parameters.keys()
    for name, of in axes.items():
        assert tuple(len(axis.now) for axis in of) == parameters[name].shape[: len(of)]
    other = type(decoder)(*((E, 5, C + 2, 0.5) if isinstance(decoder, LSTMDecoder) else (E, C + 2, 0.5)))
    differ = {name for name, weight in other.named_parameters() if weight.shape != parameters[name].shape}
    assert differ == axes.keys()
