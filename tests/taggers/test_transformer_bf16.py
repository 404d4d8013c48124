"""Tagging in bfloat16: close to float32, and bit for bit the same in every company."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from corpus import Sentence
from demo.grammar import generate
from taggers import load, spans_of
from taggers.encoders import computes_bf16
from taggers.transformer import TransformerTagger
from tests.taggers.tiny import (  # noqa: F401  (fixtures)
    by_sentence,
    encoder,
    one_thread,
    tagger_of,
    texts,
    train,
)

pytestmark = pytest.mark.slow

in_hardware = pytest.mark.skipif(
    not computes_bf16(torch.device("cpu")), reason="this processor has no bfloat16 instructions"
)


def in_precision(tagger: TransformerTagger, precision: str) -> TransformerTagger:
    tagger.options = tagger.options.model_copy(update={"precision": precision})
    return tagger


def measured(tagger: TransformerTagger, texts: Sequence[Sentence]) -> tuple[list[list[object]], np.ndarray]:
    """The spans of each text, and its MNLP: −log P(path) / n."""
    spans: list[list[object]] = [[] for _ in texts]
    mnlp = np.zeros(len(texts))
    for batch in tagger.infer(texts):
        for i, found in zip(batch.indices, spans_of(batch, texts), strict=True):
            spans[i] = [*found]
        mnlp[batch.indices] = -batch.log_prob_B / np.maximum(1, batch.lengths)
    return spans, mnlp


def assert_gate(tagger: TransformerTagger, texts: Sequence[Sentence]) -> None:
    """The same spans as float32 on 99.5% of the texts, and the same 100 most uncertain ones up to ties.

    Two texts tie if their float32 scores are as far apart as rounding moves scores thereabouts: two of its root mean
    squares. That has to be small itself.
    """
    (sharp, exact), (rough, rounded) = (measured(in_precision(tagger, p), texts) for p in ("fp32", "bf16"))
    assert np.mean([one == other for one, other in zip(sharp, rough, strict=True)]) >= 0.995
    ours, theirs = ({*np.argsort(-scores, kind="stable")[:100].tolist()} for scores in (rounded, exact))
    chosen = [*(ours | theirs)]
    noise = float(np.sqrt(np.mean(np.square(rounded - exact)[chosen])))
    assert 0 < noise < 0.02 and len(ours & theirs) >= 90
    least = np.sort(exact)[-100]
    assert all(abs(exact[i] - least) <= 2 * noise for i in ours ^ theirs)


@pytest.mark.slow
@in_hardware
@pytest.mark.parametrize("crf", [False, True])
def test_bf16_passes_the_gate(crf: bool) -> None:
    """Of the packaged encoder, on messages of which it was shown a few, so that it is unsure of some."""
    shown, pool = generate(200, seed=1), generate(1_500, seed=2)
    tagger = TransformerTagger(TransformerTagger.Options(epochs=5, crf=crf), seed=0)
    tagger.fit(shown, [])
    assert_gate(tagger, [message.unlabelled() for message in pool])


def test_bf16_is_close_to_float32(encoder: str, train: list[Sentence]) -> None:
    tagger = tagger_of(encoder, precision="bf16", epochs=4)
    tagger.fit(train, [])
    rough = by_sentence(list(tagger.infer(train)))
    different = 0.0
    for i, (path, _, marginals, _) in by_sentence(list(in_precision(tagger, "fp32").infer(train))).items():
        np.testing.assert_allclose(rough[i][2], marginals, atol=0.1)
        np.testing.assert_array_equal(rough[i][0], path)
        different = max(different, float(np.abs(rough[i][2] - marginals).max()))
    assert different > 1e-5, "the encoder has not computed in bfloat16"


@in_hardware
def test_company_changes_not_one_bit(encoder: str, texts: list[Sentence]) -> None:
    """Nor does it in any pass."""
    tagger = tagger_of(encoder, precision="bf16", epochs=2)
    tagger.fit([text.labelled(()) for text in texts[:4]] + [texts[0].labelled(())], [])
    for dropout in tagger.dropouts:
        for batch in tagger.infer(texts, passes=2, dropout=dropout):
            for b, i in enumerate(batch.indices):
                (alone,) = tagger.infer([texts[i]], passes=2, dropout=dropout)
                n = len(texts[i])
                assert batch.hidden_BTH is not None and alone.hidden_BTH is not None
                assert batch.samples_BMTC is not None and alone.samples_BMTC is not None
                np.testing.assert_array_equal(batch.hidden_BTH[b, :n], alone.hidden_BTH[0])
                np.testing.assert_allclose(batch.samples_BMTC[b, :, :n], alone.samples_BMTC[0], atol=1e-6)


def test_what_is_learned_next_shows_at_once(encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    """No copy of the weights outlives them."""
    tagger = tagger_of(encoder, precision="bf16", epochs=2)
    for n, lesson in enumerate((train[:8], train)):
        tagger.fit(lesson, lesson[:4])
        tagger.save(tmp_path / str(n))
        again = load(tmp_path / str(n))
        for one, other in zip(tagger.infer(train), again.infer(train), strict=True):
            np.testing.assert_array_equal(one.marginals_BTC, other.marginals_BTC)


def test_weights_learn_and_are_stored_in_float32(encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    tagger = tagger_of(encoder, precision="bf16", epochs=1)
    tagger.fit(train, [])
    tagger.predict(train)
    tagger.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, TransformerTagger)
    of_both = zip(tagger._fitted().state_dict().items(), again._fitted().state_dict().values(), strict=True)
    for (name, weight), stored in of_both:
        assert torch.equal(weight, stored)
        if name in ("head.weight", "encoder.encoder.layer.0.output.dense.weight"):
            assert (weight != weight.to(torch.bfloat16).float()).float().mean() > 0.9
