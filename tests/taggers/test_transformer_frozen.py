"""The transformer tagger in frozen mode: a head over vectors that are computed once."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel

from corpus import Sentence, Span
from taggers import load
from taggers.checksums import seal
from taggers.frozen_vectors import FrozenVectors
from taggers.transformer import TransformerOptions, TransformerTagger
from tests.taggers.tiny import (  # noqa: F401  (fixtures)
    NAMES,
    by_sentence,
    encoder,
    labelled,
    one_thread,
    texts,
    train,
)


def frozen(encoder: str, seed: int = 0, **options: object) -> TransformerTagger:
    settings = {"encoder": encoder, "freeze": True, "epochs": 20, "learning_rate": 1e-2, **options}
    return TransformerTagger(TransformerOptions(**settings), seed=seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(encoder: str, train: list[Sentence]) -> TransformerTagger:
    tagger = frozen(encoder)
    tagger.fit(train, [])
    return tagger


def test_it_learns_what_there_is_to_learn(fitted: TransformerTagger, train: list[Sentence]) -> None:
    assert fitted.predict([s.unlabelled() for s in train]) == [sorted(s.spans or ()) for s in train]


def test_hidden_are_the_vectors_on_one_scale_and_what_capitals_say(
    fitted: TransformerTagger, encoder: str, train: list[Sentence]
) -> None:
    vectors = FrozenVectors(encoder)
    raw = vectors.of([[word.text for word in s.words] for s in train])
    found = by_sentence(list(fitted.infer(train)))
    hidden = np.concatenate([found[i][3] for i in range(len(train))])
    np.testing.assert_allclose(hidden[:, : vectors.width].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(hidden[:, : vectors.width].std(axis=0), 1, atol=1e-3)
    joined = np.concatenate(raw).astype(float)
    for unit in range(vectors.width):
        assert np.corrcoef(joined[:, unit], hidden[:, unit])[0, 1] > 0.9999
    kinds = {tuple(row) for row in hidden[:, vectors.width :].round(4)}
    assert len(kinds) == 3  # Ada, sea, "."


def test_only_new_texts_are_read_and_those_once(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in training, however many epochs it takes, nor in a later round."""
    read: list[int] = []
    forward = BertModel.forward

    def count(self: BertModel, *args: object, **kwargs: torch.Tensor) -> object:
        read.append(len(kwargs["attention_mask"]))
        return forward(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(BertModel, "forward", count)
    data = [labelled(f"{n}", f"{name} read once {n}", PER=name) for n, name in enumerate(NAMES)]
    tagger = frozen(encoder)
    tagger.fit(data[:4], data[4:6])
    assert sum(read) == 6
    tagger.predict(data)
    assert sum(read) == 8
    again = frozen(encoder, seed=1)
    again.fit(data[2:], data[:2])
    list(again.infer(data, passes=3, dropout="all"))
    assert sum(read) == 8


def test_only_the_head_is_stored(fitted: TransformerTagger, train: list[Sentence], tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names == {"SHA256SUMS", "tagger.json", "encoder.json", "head.safetensors"}
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 10_000
    again = load(tmp_path / "model")
    for one, other in zip(fitted.infer(train), again.infer(train), strict=True):
        np.testing.assert_array_equal(one.marginals_BTC, other.marginals_BTC)


def test_another_encoder_under_the_same_name_is_refused(encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    tagger = frozen(str(folder), epochs=1)
    tagger.fit(train, [])
    tagger.save(tmp_path / "model")
    card = tmp_path / "model" / "encoder.json"
    card.write_text(json.dumps({"fingerprint": "of another"}))
    seal(tmp_path / "model")
    with pytest.raises(ValueError, match="other weights"):
        load(tmp_path / "model")


def test_all_dropout_is_that_of_the_head(fitted: TransformerTagger, texts: list[Sentence]) -> None:
    """There is no other."""
    for last, every in zip(*(fitted.infer(texts, passes=3, dropout=d) for d in fitted.dropouts), strict=True):
        assert last.samples_BMTC is not None and every.samples_BMTC is not None
        np.testing.assert_array_equal(last.samples_BMTC, every.samples_BMTC)
        assert last.samples_BMTC[:, 0].tobytes() != last.samples_BMTC[:, 1].tobytes()


def test_capitals_tell_what_an_uncased_encoder_cannot(encoder: str) -> None:
    pairs = [(f"{w.lower()} saw the sea", f"{w} saw the sea", w) for w in NAMES]
    data = [s for low, high, w in pairs for s in (labelled(low, low), labelled(high, high, PER=w))]
    for switch, solved in ((True, True), (False, False)):
        tagger = frozen(encoder, capitalisation=switch)
        tagger.fit(data, [])
        assert (tagger.predict(data) == [list(s.spans or ()) for s in data]) is solved


def test_a_long_document_is_learned_from_and_tagged_to_its_end(encoder: str) -> None:
    filler = "the sea " * 200
    text = f"{filler}Ada {filler}"
    tagger = frozen(encoder)
    tagger.fit([labelled("1", text, PER="Ada"), labelled("2", f"{filler}sea.")], [])
    assert tagger.predict([Sentence.from_text("3", text)]) == [[Span(len(filler), len(filler) + 3, "PER")]]


def test_the_encoder_learns_nothing(encoder: str, train: list[Sentence]) -> None:
    before = FrozenVectors(encoder).fingerprint
    tagger = frozen(encoder, epochs=2)
    tagger.fit(train, train[:4])
    assert tagger._vectors.fingerprint == FrozenVectors(encoder).fingerprint == before
    assert sum(weight.numel() for weight in tagger._fitted().parameters()) < 1_000
