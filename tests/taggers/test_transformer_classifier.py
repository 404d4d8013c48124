"""The transformer classifier against transformers' own model and the definitions."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertModel

from corpus import Choice, Sentence
from taggers import load
from taggers.frozen_vectors import FrozenTextVectors, FrozenVectors
from taggers.transformer_classifier import TransformerClassifier, TransformerClassifierOptions
from tests.taggers.test_classifiers import SEVERAL, SINGLE, TEXTS, rows, text
from tests.taggers.tiny import NAMES, POSITIONS, encoder, one_thread  # noqa: F401  (fixtures)


def classifier(encoder: str, seed: int = 0, **options: object) -> TransformerClassifier:
    settings = {"encoder": encoder, "frozen": False, "epochs": 1, "learning_rate": 5e-3, "precision": "fp32", **options}
    return TransformerClassifier(TransformerClassifierOptions(**settings), seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_it_says_what_transformers_own_model_and_a_matrix_say(encoder: str, pooling: str, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    tagger = classifier(encoder, pooling=pooling)
    tagger.fit(SINGLE, [])
    tagger.save(tmp_path / "model")
    model = AutoModel.from_pretrained(tmp_path / "model" / "encoder").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model" / "encoder")
    head = load_file(tmp_path / "model" / "head.safetensors")
    found = rows(list(tagger.infer(SINGLE)))
    for i, sentence in enumerate(SINGLE):
        words = [word.text for word in sentence.words]
        read = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**read).last_hidden_state[0].numpy()
        firsts = [read.word_ids().index(w) for w in range(len(words))]
        state = states[0] if pooling == "cls" else states[firsts].mean(axis=0)
        scores = state @ head["head.weight"].T + head["head.bias"]
        p = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(found[i]["state"], state, atol=1e-4)
        np.testing.assert_allclose(found[i]["marginals"][0], p, atol=1e-4)
        assert found[i]["log_prob"] == pytest.approx(np.log(p.max()), abs=1e-4)


def test_each_of_several_labels_is_a_decision_of_its_own(encoder: str) -> None:
    tagger = classifier(encoder)
    tagger.fit(SEVERAL, [])
    network = tagger._fitted()
    for row in rows(list(tagger.infer(SEVERAL))).values():
        with torch.no_grad():
            p = network.head(torch.from_numpy(row["state"])).sigmoid().numpy()
        np.testing.assert_allclose(row["marginals"], np.stack([1 - p, p], axis=1), atol=1e-5)
        assert row["log_prob"] == pytest.approx(np.log(np.maximum(p, 1 - p)).sum(), abs=1e-4)


def test_a_long_text_is_read_to_its_end_in_passages_weighted_by_words(encoder: str) -> None:
    tagger = classifier(encoder)
    tagger.fit(SINGLE, [])
    filler = "the sea " * 100
    start, end = (Sentence.from_text(i, words) for i, words in {"s": f"Ada {filler}", "e": f"{filler} Ada"}.items())
    found = rows(list(tagger.infer([start, end, Sentence.from_text("n", filler)])))
    parts = tagger._reader.read([end.words])[0]
    assert len(parts) > 3 and all(len(part) <= POSITIONS for part in parts)
    with torch.no_grad():
        states = [tagger._fitted()(tagger._reader.batch([part])).numpy()[0] for part in parts]
    merged = np.average(states, axis=0, weights=[part.words for part in parts])
    np.testing.assert_allclose(found[1]["state"], merged, atol=1e-5)
    assert np.abs(found[1]["marginals"] - found[2]["marginals"]).max() > 1e-6


def test_frozen_vectors_are_the_means_of_the_words_and_read_once(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{name} is read once" for name in NAMES]
    words = [one.split() for one in texts]
    expected = [v.astype(float).mean(axis=0) for v in FrozenVectors(encoder).of(words)]
    read: list[int] = []
    forward = BertModel.forward

    def count(self: BertModel, *args: object, **kwargs: torch.Tensor) -> object:
        read.append(len(kwargs["attention_mask"]))
        return forward(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(BertModel, "forward", count)
    train = [text(str(i), one, "ab"[i % 2]) for i, one in enumerate(texts)]
    tagger = classifier(encoder, frozen=True, epochs=3)
    tagger.fit(train[:6], train[6:])
    list(tagger.infer(train, passes=3, dropout="all"))
    assert sum(read) == len(texts), "each text is read once, whatever the epochs and passes"
    classifier(encoder, 1, frozen=True).fit(train, [])
    assert sum(read) == len(texts)
    for vector, mean in zip(FrozenTextVectors(encoder).of(words), expected, strict=True):
        assert vector.shape == (1, len(mean))
        np.testing.assert_allclose(vector[0], mean, atol=2e-3)


def test_of_a_frozen_encoder_only_the_head_is_stored(encoder: str, tmp_path: Path) -> None:
    tagger = classifier(encoder, frozen=True)
    tagger.fit(SINGLE, [])
    tagger.save(tmp_path / "model")
    assert sum(file.stat().st_size for file in (tmp_path / "model").iterdir()) < 10_000
    assert load(tmp_path / "model").predict(TEXTS) == tagger.predict(TEXTS)


def test_means_alone_are_offered_of_a_frozen_encoder() -> None:
    with pytest.raises(ValueError, match="frozen=False"):
        TransformerClassifierOptions(pooling="cls")


@pytest.mark.parametrize("frozen", [True, False])
def test_a_warm_start_keeps_what_labels_are_shared(encoder: str, frozen: bool) -> None:
    earlier = classifier(encoder, frozen=frozen, epochs=6)
    earlier.fit(SINGLE, [])
    weights = earlier._fitted().head.weight.clone()
    later = classifier(encoder, 1, frozen=frozen, epochs=6, learning_rate=5e-3)
    fresh = classifier(encoder, 1, frozen=frozen, epochs=6, learning_rate=5e-3)
    train = [*SINGLE, text("new", "Ada near Lima", "a new one")]
    assert later.goes_on_from(earlier)
    begun: list[torch.Tensor] = []
    for tagger, start in ((later, earlier), (fresh, None)):
        tagger._learn = lambda *_, tagger=tagger: begun.append(tagger._fitted().head.weight.clone())  # type: ignore[method-assign]
        tagger.fit(train, [], start=start)
    warm, cold = begun
    assert later.alternatives.labels == ("Sea > calm", "a new one", "person", "town")
    torch.testing.assert_close(warm[[0, 2, 3]], 0.6 * weights + 0.4 * cold[[0, 2, 3]])
    torch.testing.assert_close(warm[1], cold[1])


def test_dropout_is_what_the_option_says(encoder: str) -> None:
    tagger = classifier(encoder, frozen=True, dropout=0.0)
    tagger.fit(SINGLE, [])
    for row in rows(list(tagger.infer(SINGLE, passes=2))).values():
        np.testing.assert_allclose(row["samples"], np.stack([row["marginals"]] * 2), atol=1e-6)


def test_an_export_is_a_model_that_loads(encoder: str, tmp_path: Path) -> None:
    tagger = classifier(encoder)
    tagger.fit(SINGLE, [])
    tagger.export(tmp_path)
    assert load(tmp_path / "model").predict([Sentence.from_text("1", "in Lima")])[0][0] in map(Choice, tagger.tags)
