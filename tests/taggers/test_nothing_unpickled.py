"""No file that this project reads can run code: by its source, and by files that try."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import logging as transformers_logging

from taggers import encoders
from taggers.encoders import load_encoder
from taggers.frozen_vectors import FrozenVectors
from taggers.masked_lm import MaskedLanguageModel
from tests.taggers.test_checksums import Runs
from tests.taggers.tiny import encoder, one_thread  # noqa: F401  (fixtures)

ROOT = Path(__file__).parents[2]
OURS = ["corpus", "demo", "experiments", "labelstudio", "learning", "server", "strategies", "taggers"]
UNPICKLE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
STRICT = "taggers/flair_files.py"
"""The one that reads pickles, as data: see its tests in `test_flair_embeddings`."""


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, name and node of all that our own code calls."""
    for file in [*ROOT.glob("*.py"), *(file for folder in OURS for file in (ROOT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield file.relative_to(ROOT).as_posix(), ast.unparse(node.func), node


def given(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_no_module_imports_what_unpickles() -> None:
    importing = set()
    for folder in OURS:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if UNPICKLE & {name.partition(".")[0] for name in names}:
                    importing.add(file.relative_to(ROOT).as_posix())
    assert importing == {STRICT}


def test_no_call_unpickles() -> None:
    found = list(calls())
    assert len(found) > 2_000, "the source was not read"
    torch_loads = {file for file, name, _ in found if name == "torch.load"}
    assert torch_loads == {STRICT}
    loads = [given(call) for _, name, call in found if name in ("np.load", "numpy.load")]
    assert len(loads) >= 3
    for options in loads:
        assert options.get("allow_pickle", "False") == "False"


def test_pretrained_models_are_read_as_data() -> None:
    wanted = {"weights_only": "True", "trust_remote_code": "False"}
    assert {name: str(value) for name, value in encoders.DATA_ONLY.items()} == wanted
    found = [(file, name, given(call)) for file, name, call in calls() if name.endswith(".from_pretrained")]
    assert len(found) >= 5
    for file, name, options in found:
        if name.startswith("AutoModel"):
            assert options.get(None, "").endswith("DATA_ONLY"), file
        else:
            assert options["trust_remote_code"] == "False", file


@pytest.fixture
def pickled(encoder: str, tmp_path: Path) -> Path:
    """An encoder whose weights are a pickle, as older ones are."""
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_an_encoder_in_the_older_format_is_read(encoder: str, pickled: Path) -> None:
    theirs, ours = (load_encoder(str(folder))[0].state_dict() for folder in (encoder, pickled))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


@pytest.mark.parametrize("read", [load_encoder, MaskedLanguageModel.load, lambda name: FrozenVectors(name).of([["a"]])])
def test_an_encoder_that_is_a_programme_is_refused(read, pickled: Path, tmp_path: Path) -> None:
    torch.save({"weights": Runs(tmp_path / "run")}, pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin"):
        read(str(pickled))
    assert not (tmp_path / "run").exists()
    torch.load(pickled / "pytorch_model.bin", weights_only=False)  # so the test can tell
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("known", [True, False])
def test_an_encoder_that_brings_code_of_its_own_runs_none(encoder: str, tmp_path: Path, known: bool) -> None:
    transformers_logging.set_verbosity_error()
    folder = tmp_path / "encoder"
    shutil.copytree(encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.C", "AutoModel": "code.M", "AutoModelForMaskedLM": "code.M"}
    if not known:
        config["model_type"] = "of-its-own"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    if known:  # transformers' own class is taken
        assert type(load_encoder(str(folder))[0]).__module__.startswith("transformers.models.bert")
    else:
        for read in (load_encoder, MaskedLanguageModel.load, FrozenVectors):
            with pytest.raises(ValueError):
                read(str(folder))
    assert not (tmp_path / "run").exists()
