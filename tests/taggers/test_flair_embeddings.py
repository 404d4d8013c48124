"""Flair's language models as encoders, against Flair's own embeddings."""

from __future__ import annotations

from pathlib import Path

import flair
import numpy as np
import pytest
import torch
from flair.data import Dictionary
from flair.embeddings import FlairEmbeddings
from flair.models import LanguageModel

from taggers import flair_embeddings
from taggers.flair_embeddings import flair_sentence, language_models
from taggers.flair_files import read_language_model
from taggers.frozen_vectors import FrozenVectors
from tests.taggers.test_vector_store import as_if_new


def saved(file: Path, seed: int, forward: bool) -> str:
    """A tiny, random language model in a file as Flair writes it."""
    characters = Dictionary()
    for character in "abcdefghijklmnopqrstuvwxyzALM .\n":
        characters.add_item(character)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LanguageModel(characters, forward, hidden_size=12, nlayers=1, embedding_size=5)
        with torch.no_grad():
            model.encoder.weight.normal_()
    model.save(file)
    return str(file)


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("flair") / "forward.pt", 0, forward=True)


@pytest.fixture(scope="session")
def backward(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("flair") / "backward.pt", 1, forward=False)


@pytest.fixture(autouse=True)
def anew() -> None:
    language_models.cache_clear()
    as_if_new()


TEXTS = [["Ada", "saw", "Lima", "."], [], ["a"], ["", "\ud83d", "\x00", "a b", " "], ["then", "Mary", "sang"] * 20]


def flairs(file: str, text: list[str]) -> np.ndarray:
    """What Flair says of one text by itself."""
    embeddings, sentence = FlairEmbeddings(file), flair_sentence([w.encode("utf-8", "replace").decode() for w in text])
    embeddings.embed(sentence)
    return torch.stack([token.get_embedding() for token in sentence]).numpy()


def test_vectors_are_flairs_own(language_model: str, backward: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flair_embeddings, "CHARACTERS_AT_ONCE", 50)
    vectors = FrozenVectors(f"flair:{language_model}+{backward}")
    assert vectors.width == 24
    found = vectors.of(TEXTS)
    assert [array.shape for array in found] == [(len(text), 24) for text in TEXTS]
    for text, array in zip(TEXTS, found, strict=True):
        if text:
            expected = np.concatenate([flairs(file, text) for file in (language_model, backward)], axis=1)
            np.testing.assert_allclose(array, expected, atol=2e-3)
            assert array.any()


def test_they_are_told_apart_by_their_weights(language_model: str, backward: str, tmp_path: Path) -> None:
    names = (language_model, backward, f"{language_model}+{backward}", f"{backward}+{language_model}")
    prints = [FrozenVectors(f"flair:{name}").fingerprint for name in names]
    assert len(set(prints)) == 4
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(Path(language_model).read_bytes())
    assert FrozenVectors(f"flair:{moved}").fingerprint == prints[0]


def test_one_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a file nor a language model"):
        FrozenVectors(f"flair:{tmp_path / 'nothing.pt'}")
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(ValueError, match="neither a file nor a language model"):
        FrozenVectors(f"flair:{tmp_path / 'text.pt'}")


def test_a_file_is_read_as_flair_would(language_model: str) -> None:
    """Against torch's own reader, which would run what the file holds; this one holds nothing to run."""
    written = torch.load(language_model, weights_only=False)
    read = read_language_model(language_model)
    assert read.dictionary.get_items() == written["dictionary"].get_items()
    assert (read.is_forward_lm, read.hidden_size, read.training) == (True, 12, False)
    assert read.state_dict().keys() == written["state_dict"].keys()
    assert all(torch.equal(weight, written["state_dict"][name]) for name, weight in read.state_dict().items())


class Opens:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.file), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_a_file_would_run_is_not_run(language_model: str, tmp_path: Path, legacy: bool) -> None:
    state = torch.load(language_model, weights_only=False)
    state["document_delimiter"] = Opens(tmp_path / "run")
    torch.save(state, tmp_path / "evil.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"would run (_?io|builtins)\.open"):
        FrozenVectors(f"flair:{tmp_path / 'evil.pt'}")
    assert not (tmp_path / "run").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # so the test can tell
    assert (tmp_path / "run").exists()


def test_files_of_older_versions_are_read(language_model: str, tmp_path: Path) -> None:
    """Those that Flair offers were written in torch's first format, in an older protocol."""
    state = torch.load(language_model, weights_only=False)
    file = tmp_path / "old.pt"
    torch.save(state, file, _use_new_zipfile_serialization=False, pickle_protocol=2)
    read, same = read_language_model(file), read_language_model(language_model)
    assert all(torch.equal(weight, same.state_dict()[name]) for name, weight in read.state_dict().items())
    assert flair.models.LanguageModel.load_language_model is read_language_model
