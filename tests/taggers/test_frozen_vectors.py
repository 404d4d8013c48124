"""Frozen vectors against the library's own model, and that no text is read twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from corpus import Word
from corpus.words import split_words
from taggers import encoders, frozen_vectors, vector_store
from taggers.encoders import load_encoder, longest_input, save_encoder
from taggers.frozen_vectors import FrozenVectors
from taggers.word_pieces import PieceReader
from tests.taggers.test_transformer import encoder, one_thread  # noqa: F401  (fixtures)
from tests.taggers.test_vector_store import as_if_new

TEXTS = [["Ada", "saw", "Lima"], [], ["Ada"], ["Ada", "saw", "Lima"], ["Grace", "\x00", "met", "xyz"] * 30]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    frozen_vectors._pretrained.cache_clear()
    as_if_new()
    yield
    vector_store.keep_in(None)
    as_if_new()


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "computes_bf16", lambda device: False)


def in_one_go(encoder: str, words: list[str], layers: str) -> np.ndarray:  # noqa: F811
    """What the library's own model says of a text, by itself, in float32."""
    model, tokenizer = load_encoder(encoder)
    passage = PieceReader(tokenizer, longest_input(model, tokenizer)).read([[Word(w, 0, len(w)) for w in words]])[0][0]
    with torch.no_grad():
        states = model.eval()(torch.tensor([passage.pieces]), output_hidden_states=True).hidden_states
    if layers == "last":
        return states[-1][0, passage.firsts].numpy()
    mean = torch.stack(states[1:]).mean(dim=0)[0]
    ends = [*passage.firsts[1:], len(passage.pieces) - 1]  # the last piece is a special token
    return torch.stack([mean[a:b].mean(dim=0) for a, b in zip(passage.firsts, ends, strict=True)]).numpy()


@pytest.mark.parametrize("layers", ["mean", "last"])
def test_vectors_are_the_models_own(layers, encoder: str, fp32: None) -> None:  # noqa: F811
    words = ["Ada", "xyz", "saw", "Lima", "\x00"]
    [found, _] = FrozenVectors(encoder, layers).of([words, ["Ada"] * 20])
    assert found.shape == (5, 32) and found.dtype == np.float16
    np.testing.assert_allclose(found, in_one_go(encoder, words, layers), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layers", ["mean", "last"])
def test_bfloat16_says_the_same(layers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the packaged encoder; where a processor has no instructions for it, torch computes it all the same."""
    monkeypatch.setattr(encoders, "computes_bf16", lambda device: True)
    text = "A boat left Lima for the islands at dawn, with Ada Byron and 30 sheep on board."
    words = [word.text for word in split_words(text)]
    [found] = FrozenVectors("minilm", layers).of([words])
    rough, exact = found.astype(float), in_one_go("minilm", words, layers)
    cosines = (rough * exact).sum(axis=1) / np.linalg.norm(rough, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999
    assert np.linalg.norm(rough - exact) / np.linalg.norm(exact) < 0.02


@pytest.mark.parametrize("bf16", [False, True])
def test_a_texts_vectors_do_not_depend_on_its_company(
    bf16: bool,
    encoder: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoders, "computes_bf16", lambda device: bf16)
    rng = np.random.default_rng(0)
    texts = [[str(w) for w in rng.choice(["Ada", "saw", "the", "xyz"], n)] for n in rng.integers(0, 40, 60)]
    together = FrozenVectors(encoder).of(texts)
    as_if_new()
    for text, vectors in zip(texts, together, strict=True):
        np.testing.assert_allclose(FrozenVectors(encoder).of([text])[0], vectors, rtol=1e-3, atol=1e-3)


def test_long_texts_are_read_in_windows(encoder: str, fp32: None) -> None:  # noqa: F811
    words = ["Grace", "met", "xyz"] * 60
    [long, start] = FrozenVectors(encoder).of([words, words[:30]])
    assert long.shape == (180, 32) and np.abs(long).sum(axis=1).all()
    assert not np.array_equal(long[:3], long[60:63])
    np.testing.assert_allclose(start[:3], in_one_go(encoder, words[:30], "mean")[:3], atol=2e-3)


@pytest.mark.parametrize("on_disk", [False, True])
def test_only_new_texts_are_read(
    on_disk: bool,
    encoder: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vector_store.keep_in(tmp_path if on_disk else None)
    asked: list[list[str]] = []
    read = frozen_vectors._Pretrained.read

    def watched(self, texts, layers):
        asked.extend(texts)
        return read(self, texts, layers)

    monkeypatch.setattr(frozen_vectors._Pretrained, "read", watched)
    first = FrozenVectors(encoder).of(TEXTS)
    assert [v.shape for v in first] == [(len(text), 32) for text in TEXTS]
    assert sorted(asked) == sorted([[], ["Ada"], TEXTS[0], TEXTS[4]])
    asked.clear()
    again = FrozenVectors(encoder).of([["Lise"], *TEXTS[::-1]])
    assert asked == [["Lise"]]
    for ours, theirs in zip(again[1:], first[::-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    FrozenVectors(encoder, "last").of([["Lise"]])
    assert asked == [["Lise"]] * 2, "other layers are other vectors"


def test_what_is_stored_needs_no_encoder(
    encoder: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vector_store.keep_in(tmp_path)
    FrozenVectors(encoder).of([["Ada", "saw", "Lima"], [], ["Rosalind"]])
    frozen_vectors._pretrained.cache_clear()  # as in a new process
    as_if_new()
    monkeypatch.setattr(encoders, "load_encoder", lambda _: pytest.fail("loaded again"))
    vectors = FrozenVectors(encoder)
    assert vectors.width == 32
    assert [len(v) for v in vectors.of([["Rosalind"], [], ["Ada", "saw", "Lima"]])] == [1, 0, 3]
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(files) == 2
    assert not any(word in file for word in (b"Rosalind", b"Lima", b"saw") for file in files), "a text has leaked"
    with pytest.raises(BaseException, match="loaded again"):
        vectors.of([["Lise"]])


def test_a_pool_is_had_at_once(encoder: str, tmp_path: Path) -> None:  # noqa: F811
    """What is stored of 14,000 texts, as a fresh process finds it."""
    vector_store.keep_in(tmp_path)
    texts = [[f"{n}", "saw", *"xyz" * 4] for n in range(14_000)]
    vectors = FrozenVectors(encoder)
    keys = [frozen_vectors._key(text) for text in texts]
    rows = np.zeros((14 * 14_000, 32), np.float16)
    store = vector_store.store(f"{vectors.fingerprint}-mean", 32)
    store.put({key: rows[14 * n : 14 * n + 14] for n, key in enumerate(keys)})
    as_if_new()
    disk, asked = vector_store.store(store._name, 32)._disk, []
    disk._opened().set_trace_callback(asked.append)
    found = vectors.of(texts)
    assert {rows.shape for rows in found} == {(14, 32)}
    assert len(asked) == -(-14_000 // vector_store.AT_ONCE), "questions to the index"
    assert len({id(rows.base) for rows in found}) == 1, "views of one map of the file"


def test_texts_that_differ_have_different_keys() -> None:
    alike = [[], [""], ["", ""], ["a b"], ["a", "b"], ["a\0b"], ["a", "\0", "b"], ["a", "", "", "b"], ["ÿ"], ["\ud83d"]]
    assert len({frozen_vectors._key(text) for text in alike}) == len(alike)


def test_the_fingerprint_is_of_weights_and_vocabulary(encoder: str, tmp_path: Path) -> None:  # noqa: F811
    model, tokenizer = load_encoder(encoder)
    folders = [str(tmp_path / name) for name in ("one", "two")]
    for folder in folders:
        save_encoder(Path(folder), model, tokenizer)
    first, second = (FrozenVectors(folder).fingerprint for folder in folders)
    assert first == second == FrozenVectors(folders[0], "last").fingerprint
    with torch.no_grad():
        row = model.get_input_embeddings().weight[0]
        row += torch.arange(len(row))  # the same for all of them would be normalised away
    model.save_pretrained(folders[1])
    changed = FrozenVectors(folders[1])
    assert changed.fingerprint != first, "noticed in the same process"
    assert not np.array_equal(changed.of([["[PAD]"]])[0], FrozenVectors(folders[0]).of([["[PAD]"]])[0])
    vocabulary = Path(folders[0]) / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"ada"', '"adda"'))
    assert FrozenVectors(folders[0]).fingerprint not in (first, changed.fingerprint)


def test_an_encoder_that_cannot_be_had_is_refused(encoder: str, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(ValueError, match="neither 'minilm', nor a folder"):
        FrozenVectors(str(tmp_path / "nothing"))
    model, tokenizer = load_encoder(encoder)
    save_encoder(tmp_path, model, tokenizer)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="encoder"):
        FrozenVectors(str(tmp_path))
