"""The pre-trained encoder as a reader, against the library's own model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertModel

from corpus import Sentence
from strategies import join
from strategies.vectors import sentence_vectors
from taggers import encoders, frozen_vectors
from taggers.encoders import load_encoder
from taggers.pretrained import PretrainedEncoder
from tests.taggers.test_masked_lm import encoder, one_thread, sentences, stored, tiny  # noqa: F401  (fixtures)
from tests.taggers.test_vector_store import as_if_new

CLOSE = {"rtol": 1e-3, "atol": 1e-3}
"""As float16 tells numbers apart."""


@pytest.fixture(autouse=True)
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen_vectors._pretrained.cache_clear()
    monkeypatch.setattr(encoders, "computes_bf16", lambda device: False)


@pytest.fixture
def reader(encoder: str) -> Iterator[PretrainedEncoder]:  # noqa: F811
    as_if_new()
    yield PretrainedEncoder(encoder)
    as_if_new()


def states(reader: PretrainedEncoder, texts: list[Sentence]) -> list[np.ndarray]:
    """(T, H) of each text, in order; every text in exactly one batch, nothing in the padding."""
    found: dict[int, np.ndarray] = {}
    for batch in reader.infer(texts):
        assert batch.tags == ("O",) and batch.hidden_BTH is not None
        assert not batch.path_BT.any() and not batch.log_prob_B.any()
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            assert int(i) not in found and n == len(texts[i])
            assert batch.marginals_BTC[b, :n].all() and not batch.marginals_BTC[b, n:].any()
            assert not batch.hidden_BTH[b, n:].any()
            found[int(i)] = batch.hidden_BTH[b, :n]
    return [found[i] for i in range(len(texts))]


def test_states_are_the_last_layers_at_each_words_first_piece(reader: PretrainedEncoder, encoder: str) -> None:  # noqa: F811
    text = Sentence.from_text("0", "Ada saw unseens, in Lima and unseen Turin.")
    read = AutoTokenizer.from_pretrained(encoder)(
        [word.text for word in text.words], is_split_into_words=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(encoder).eval()(**read).last_hidden_state[0].numpy()
    firsts = [read.word_ids().index(word) for word in range(len(text))]
    assert len(read.word_ids()) > len(text) + 2, "some words have several pieces"
    [found] = states(reader, [text])
    np.testing.assert_allclose(found, expected[firsts], **CLOSE)


def test_states_depend_on_the_text_alone(reader: PretrainedEncoder) -> None:
    texts = [*sentences(40), Sentence.from_text("empty", ""), Sentence.from_text("blank", " ")]
    together = states(reader, texts)
    order = np.random.default_rng(0).permutation(len(texts))
    as_if_new()  # so that all are read again
    shuffled = states(reader, [texts[i] for i in order])
    for place, i in enumerate(order):
        as_if_new()
        np.testing.assert_allclose(shuffled[place], together[i], **CLOSE)
        np.testing.assert_allclose(states(reader, [texts[i]])[0], together[i], **CLOSE)
    assert together[-1].shape == together[-2].shape == (0, reader.width)
    assert list(reader.infer([])) == []


def test_texts_longer_than_the_encoder_are_read_whole(tmp_path: Path) -> None:
    short = PretrainedEncoder(stored(tmp_path, BertModel, tiny(positions=72), positions=72))
    words = sentences(1, longest=60)[0].text.split() * 40
    long = Sentence.from_words("0", words)
    [found] = states(short, [long])
    assert len(found) == len(words) and (np.abs(found).sum(axis=1) > 0).all()
    [start] = states(short, [Sentence.from_words("1", words[:70])])
    np.testing.assert_allclose(found[:30], start[:30], **CLOSE)


def test_strategies_join_its_batches(reader: PretrainedEncoder) -> None:
    texts = sentences(30)
    measured = join(((batch, sentence_vectors(batch)) for batch in reader.infer(texts)), len(texts))
    assert measured.lengths.tolist() == [len(text) for text in texts]
    expected = [state.mean(axis=0) for state in states(reader, texts)]
    np.testing.assert_allclose(measured.values, expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither 'minilm', nor a folder"):
        PretrainedEncoder(str(tmp_path / "nothing"))


def test_when_tasks_were_added_only_those_are_read(
    encoder: str,  # noqa: F811
    reader: PretrainedEncoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts, asked = sentences(30), []
    states(reader, texts[:20])
    read = frozen_vectors._Pretrained.read

    def watched(self, new, layers):
        asked.extend(new)
        return read(self, new, layers)

    monkeypatch.setattr(frozen_vectors._Pretrained, "read", watched)
    states(PretrainedEncoder(encoder), texts[::-1])
    earlier, added = ({tuple(w.text for w in text.words) for text in some} for some in (texts[:20], texts[20:]))
    assert set(map(tuple, asked)) == added - earlier and len(asked) == len(added - earlier) > 0


def test_the_packaged_encoder_is_the_default() -> None:
    reader = PretrainedEncoder()
    assert reader.width == 384
    [found] = states(reader, [Sentence.from_text("0", "Lima is in Peru.")])
    model, _ = load_encoder("minilm")
    assert found.shape == (5, model.config.hidden_size) and np.isfinite(found).all()
