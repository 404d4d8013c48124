"""Rates of an encoder without weights of its own, through the tagger's own code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig

from benchmarks import encoder_rates, throughput
from benchmarks.encoder_rates import CompilingTagger, Rate
from corpus import Sentence
from taggers import Progress
from taggers.transformer import TransformerOptions, TransformerTagger
from tests.taggers.tiny import one_thread  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow

SMALL = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 128}
TEXTS = encoder_rates.labelled(12, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("encoder")
    encoder_rates.random_encoder(made, BertConfig(**SMALL), 0)
    return made


@pytest.fixture(scope="module")
def options(folder: Path) -> TransformerOptions:
    return TransformerOptions.model_validate({"encoder": str(folder), "precision": "fp32", "epochs": 2})


@pytest.fixture(scope="module")
def tagger(options: TransformerOptions) -> Iterator[TransformerTagger]:
    made = TransformerTagger(options, seed=0)
    made.fit(TEXTS, [])
    yield made


def test_same_weights_each_time(folder: Path, tmp_path: Path) -> None:
    encoder_rates.random_encoder(tmp_path, BertConfig(**SMALL), 0)
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_work_by_the_formula(tagger: TransformerTagger) -> None:
    """Per piece two operations for each weight of 4 projections of 64 × 64 and 2 layers of 64 × 128."""
    pieces = [len(p) for of in tagger._reader.read([s.words for s in TEXTS]) for p in of]
    weights = 4 * 64 * 64 + 2 * 64 * 128
    expected = sum(2 * weights * n + 4 * 64 * n**2 for n in pieces)
    assert encoder_rates.tagging(tagger, TEXTS).flop == pytest.approx(expected)


def test_learning_is_timed_from_epoch_to_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        _device = torch.device("cpu")

        def fit(self, train: list[Sentence], dev: list[Sentence], *, on_progress: Any) -> None:
            for epoch, seconds in enumerate((0.5, 0.05), start=1):
                time.sleep(seconds)
                on_progress(Progress(epoch, 2))

    monkeypatch.setattr(encoder_rates, "flops", lambda tagger, texts: 7.0)
    rate = encoder_rates.learning(Slow(), TEXTS)  # type: ignore[arg-type]
    assert 0.05 <= rate.seconds < 0.4 and rate.flop == 21.0


def test_cells_tell_rates_and_the_share_of_the_limit() -> None:
    words = sum(map(len, TEXTS))
    assert Rate(0.5, TEXTS, 3e9).cells(60e9) == ["24", f"{2 * words:,}", "0.006", "10%"]


def test_matrix_products_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four times the work, the rate is about the same."""
    monkeypatch.setitem(encoder_rates.SIDE, "cpu", 256)
    few = encoder_rates.matrix_rate("fp32", torch.device("cpu"))
    monkeypatch.setitem(encoder_rates.PRODUCTS, "cpu", 4 * encoder_rates.PRODUCTS["cpu"])
    many = encoder_rates.matrix_rate("fp32", torch.device("cpu"))
    assert 1e9 < few < 10 * many < 100 * few


def test_compiled_it_says_the_same(tagger: TransformerTagger, options: TransformerOptions) -> None:
    compiled = CompilingTagger(options, seed=0)
    compiled.fit(TEXTS, [])
    assert encoder_rates.difference(compiled, tagger, TEXTS) < 1e-4


def test_other_weights_are_told_apart(tagger: TransformerTagger, options: TransformerOptions) -> None:
    """The check of compiled encoders copies the weights: without that, what another has learned says other things."""
    other = TransformerTagger(options, seed=1)
    other.fit(encoder_rates.labelled(12, 5), [])
    pairs = zip(other.infer(TEXTS), tagger.infer(TEXTS), strict=True)
    assert max(float(abs(a.marginals_BTC - b.marginals_BTC).max()) for a, b in pairs) > 1e-3
    assert encoder_rates.difference(other, tagger, TEXTS) < 1e-6
    assert throughput.network_of(other) is not throughput.network_of(tagger)
