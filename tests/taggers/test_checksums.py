"""A stored model is read only if it is, to the bit, what was written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import taggers
from corpus import Sentence, Span
from taggers import Damaged, Tagger
from taggers.checksums import SUMS, seal, verify
from taggers.crf import CRFTagger
from tests.learning.damages import DAMAGES, damage

TRAIN = [Sentence.from_text(str(n), text, (Span(0, 3, "PER"),)) for n, text in enumerate(["Ada sang", "Eva ran"])]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tagger = CRFTagger()
    tagger.fit(TRAIN, [])
    tagger.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_whole_model_is_read(model: Path) -> None:
    assert taggers.load(model).predict(TRAIN) == CRFTagger.load(model).predict(TRAIN) == [[Span(0, 3, "PER")]] * 2


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_sums_are_those_of_others(model: Path) -> None:
    checked = subprocess.run(["sha256sum", "--check", SUMS], cwd=model, capture_output=True, text=True, check=True)
    assert set(checked.stdout.splitlines()) == {"model.crfsuite: OK", "tagger.json: OK"}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_before_anything_is_read(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CRFTagger, "_read", None)  # to be called would be another error
    damage(name, model)
    error = FileNotFoundError if name == "no folder" else Damaged
    for read in (taggers.load, CRFTagger.load):
        with pytest.raises(error) as caught:
            read(model)
        assert "'model'" in str(caught.value) and str(model.parent) not in str(caught.value)
        assert name == "no folder" or "start a round" in str(caught.value)


def test_every_byte_counts(model: Path) -> None:
    """Of a small folder each one is flipped in turn, those of the sums as well."""
    for file in [model / "tagger.json", model / SUMS]:
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(Damaged):
                verify(model)
        file.write_bytes(whole)
    verify(model)


def test_a_card_that_is_none_is_told_even_where_the_sums_are_right(model: Path) -> None:
    for text in ["", "{", "[]", '{"tagger": "crf"}', "null"]:
        (model / "tagger.json").write_text(text)
        seal(model)
        with pytest.raises(Damaged, match=r"tagger\.json"):
            taggers.load(model)


def test_what_was_stored_without_sums_is_refused(model: Path) -> None:
    (model / SUMS).unlink()
    with pytest.raises(Damaged, match=SUMS):
        taggers.load(model)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_told(model: Path) -> None:
    (model / "model.crfsuite").chmod(0)
    with pytest.raises(Damaged, match="Permission denied"):
        taggers.load(model)


def test_a_large_model_costs_a_moment(tmp_path: Path) -> None:
    """90 MB take 0.1 s of an idle core."""
    (tmp_path / "large").write_bytes(os.urandom(1 << 20) * 90)
    seal(tmp_path)
    began = time.process_time()
    verify(tmp_path)
    assert time.process_time() - began < 1


class Runs:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.file), "w")


def test_a_pickle_that_is_put_into_the_folder_is_not_read(model: Path, tmp_path: Path) -> None:
    for name in ("model.crfsuite", "pytorch_model.bin"):
        (model / name).write_bytes(pickle.dumps(Runs(tmp_path / "run")))
        with pytest.raises(Damaged):
            taggers.load(model)
    assert not (tmp_path / "run").exists()


def test_the_card_says_which_tagger(model: Path) -> None:
    card = json.loads((model / "tagger.json").read_text())
    (model / "tagger.json").write_text(json.dumps(card | {"tagger": "os.system"}))
    seal(model)
    with pytest.raises(ValueError, match="unknown tagger"):
        taggers.load(model)
    assert isinstance(CRFTagger.load(model), Tagger)
