"""Flair's BiLSTM-CRF over frozen vectors: read once for all epochs and rounds, by any encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from corpus import Sentence
from taggers import frozen_vectors, vector_store
from taggers.base import Tagger
from taggers.encoders import load_encoder, save_encoder
from taggers.flair_bilstm_crf import FlairOptions
from taggers.flair_contextual import FlairContextualOptions, FlairContextualTagger
from tests.taggers.test_flair import TRAIN, made
from tests.taggers.test_flair_embeddings import language_model  # noqa: F401  (a fixture)
from tests.taggers.test_transformer import encoder, one_thread  # noqa: F401  (fixtures)
from tests.taggers.test_vector_store import as_if_new


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    as_if_new()
    yield
    vector_store.keep_in(None)
    as_if_new()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts that an encoder has read."""
    texts: list[list[str]] = []
    reading = frozen_vectors._Pretrained.read

    def watched(self, new, layers):
        texts.extend(new)
        return reading(self, new, layers)

    monkeypatch.setattr(frozen_vectors._Pretrained, "read", watched)
    return texts


def tagger_of(encoder: str, **options: object) -> FlairContextualTagger:  # noqa: F811
    return FlairContextualTagger(FlairContextualOptions(encoder=encoder, units=6, epochs=4, batch_size=3, **options))


def test_only_what_words_are_read_by_differs_from_the_other_tagger() -> None:
    ours, theirs = FlairContextualOptions().model_dump(), FlairOptions().model_dump()
    assert {name: ours[name] for name in ours if ours[name] != theirs[name]} == {
        "encoder": "minilm",
        "word_units": 0,
        "characters": "none",
    }


def test_words_are_read_by_the_encoder_and_their_capitalisation(encoder: str) -> None:  # noqa: F811
    tagger = tagger_of(encoder)
    tagger.fit(TRAIN, [])
    network = tagger._fitted()
    assert network.features.width == 32 + 8
    words = ["then", "Ada", "ada"]
    rows, _ = network.padded([words])
    then, upper, lower = rows[0].detach().numpy()
    [raw] = frozen_vectors.FrozenVectors(encoder).of([words])
    vectors = network.features.contextual_scale(torch.from_numpy(raw)).numpy()
    for row, vector in zip((then, upper, lower), vectors, strict=True):
        assert {*vector.tolist()} <= {*row.tolist()}
    same = then == lower  # both in lower case
    assert same.sum() == 8 and (upper[same] != lower[same]).all()


def test_each_text_is_read_once_for_all_epochs_and_rounds(
    encoder: str,  # noqa: F811
    tmp_path: Path,
    read: list[list[str]],
) -> None:
    vector_store.keep_in(tmp_path / "vectors")
    pool = [made(n) for n in range(18, 36)]
    tagger_of(encoder).fit(TRAIN, TRAIN[:3])
    list(tagger_of_saved(tagger_of(encoder), tmp_path, pool).infer(pool, passes=3))
    texts = {tuple(word.text for word in text.words) for text in [*TRAIN, *pool]}
    assert len(read) == len(texts) and {*map(tuple, read)} == texts
    read.clear()
    as_if_new()
    frozen_vectors._pretrained.cache_clear()
    again = tagger_of(encoder)
    again.fit([*TRAIN, Sentence.from_text("new", "Ada Lovelace sang", ())], [])
    list(again.infer(pool))
    assert read == [["Ada", "Lovelace", "sang"]]


def tagger_of_saved(tagger: Tagger, folder: Path, train: list[Sentence]) -> Tagger:
    tagger.fit(train, [])
    tagger.save(folder / "model")
    return FlairContextualTagger.load(folder / "model")


def test_an_encoder_that_has_changed_is_refused(encoder: str, tmp_path: Path) -> None:  # noqa: F811
    model, tokenizer = load_encoder(encoder)
    save_encoder(tmp_path / "encoder", model, tokenizer)
    tagger_of_saved(tagger_of(str(tmp_path / "encoder")), tmp_path, TRAIN[:3])
    with torch.no_grad():
        model.get_input_embeddings().weight[0] += 1
    model.save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match="encoder"):
        FlairContextualTagger.load(tmp_path / "model")


def test_over_a_language_model_of_flairs(language_model: str, tmp_path: Path) -> None:  # noqa: F811
    """Saved, loaded, and the same numbers."""
    tagger = tagger_of(f"flair:{language_model}")
    again = tagger_of_saved(tagger, tmp_path, TRAIN)
    assert tagger._fitted().features.width == 12 + 8
    (ours,), (theirs,) = tagger.infer(TRAIN), again.infer(TRAIN)
    np.testing.assert_allclose(ours.marginals_BTC, theirs.marginals_BTC, atol=1e-6)
    assert np.ptp(ours.marginals_BTC[:, 0, 0]) > 0
