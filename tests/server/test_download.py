"""A version as a zip: whole, named safely, and only of what is stored."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import pytest

import taggers
from corpus import Sentence, Span
from learning.database import Project, Round
from learning.settings import Settings
from learning.workspace import Workspace
from server.download import archive
from taggers.crf import CRFTagger

KEY = "4.1767225600"
TRAIN = [
    Sentence.from_text(str(n), text, (Span(0, 3, "PER"),)) for n, text in enumerate(["Ada sang", "Eva ran", "Ida sang"])
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(Settings(data_dir=tmp_path / "data", tagger="crf"))


@pytest.fixture
def tagger() -> CRFTagger:
    made = CRFTagger()
    made.fit(TRAIN, [])
    return made


def project(workspace: Workspace, key: str = KEY, title: str | None = None) -> int:
    with workspace.db.write() as session:
        made = Project(key=key, external_id=int(key.split(".")[0]), label_config="<View/>", title=title)
        session.add(made)
        session.flush()
        return made.id


def a_round(workspace: Workspace, project_id: int, number: int, **more) -> str:
    version = f"v{number}-20260102-030405"
    with workspace.db.write() as session:
        common = {"version": version, "kind": "fit", "state": "done", "reason": "", "owner": "nobody:1", "revision": 0}
        session.add(Round(project_id=project_id, number=number, **common | more))
    return version


def test_the_zip_holds_the_model_and_its_card(workspace: Workspace, tagger: CRFTagger, tmp_path: Path) -> None:
    id = project(workspace, title="Ships / <at> sea…")
    scores = {"method": "cross-validation", "f1": 0.5, "precision": 0.5, "recall": 0.5, "low": 0.25, "high": 0.75,
              "sentences": 9, "spans": 8, "per_label": {}}  # fmt: skip
    metrics = {"train_sentences": 9, "holdout_sentences": 2, "labelled_words": 77, "evaluation": scores}
    version = a_round(workspace, id, 1, metrics=metrics, settings={"strategy": "mnlp", "round_size": 7})
    workspace.models.save(tagger, id, version)
    file = archive(workspace, KEY, version)
    with zipfile.ZipFile(file) as packed:
        assert packed.testzip() is None
        roots = {PurePosixPath(name).parts[0] for name in packed.namelist()}
        packed.extractall(tmp_path / "there")
    assert roots == {f"active-tagger-project-4-ships-at-sea-{version}"}
    [there] = (tmp_path / "there").iterdir()
    read = taggers.load(there / "model")
    assert read.predict(TRAIN) == tagger.predict(TRAIN) == [[Span(0, 3, "PER")]] * 3
    card = (there / "README.md").read_text()
    assert "9 labelled texts; 2 more" in card and "F1 0.500" in card and "| round&#95;size | 7 |" in card
    assert "Ada" not in card and str(tmp_path) not in card


def test_nothing_else_is_left_on_disk(workspace: Workspace, tagger: CRFTagger, tmp_path: Path) -> None:
    id = project(workspace)
    version = a_round(workspace, id, 1)
    workspace.models.save(tagger, id, version)
    before = {*tmp_path.rglob("*")}
    file = archive(workspace, KEY, version)
    assert {path for path in {*tmp_path.rglob("*")} - before if path.is_file()} == {file}


def test_what_a_dead_process_left_goes(workspace: Workspace, tagger: CRFTagger) -> None:
    import os
    import time

    id = project(workspace)
    version = a_round(workspace, id, 1)
    workspace.models.save(tagger, id, version)
    first, second = archive(workspace, KEY, version), archive(workspace, KEY, version)
    yesterday = time.time() - 25 * 3600
    os.utime(first, (yesterday, yesterday))
    third = archive(workspace, KEY, version)
    assert not first.exists() and second.exists() and third.exists()


@pytest.mark.parametrize("title", [None, "", "船", "../../etc", ".. ", "a" * 300, "-", "C:\\x", "a\0b\nc"])
def test_names_are_safe_and_tell_apart(workspace: Workspace, tagger: CRFTagger, title: str | None) -> None:
    id = project(workspace, title=title)
    version = a_round(workspace, id, 1)
    workspace.models.save(tagger, id, version)
    with zipfile.ZipFile(archive(workspace, KEY, version)) as packed:
        for name in packed.namelist():
            root = PurePosixPath(name).parts[0]
            assert root.isascii() and root.replace("-", "").isalnum() and len(root) < 120
            assert root.startswith("active-tagger-project-4-") and root.endswith(version)
            assert ".." not in name and not name.startswith("/")


def test_what_is_not_known_is_told_in_words(workspace: Workspace, tagger: CRFTagger) -> None:
    mine, theirs = project(workspace), project(workspace, "5.1767225600")
    version = a_round(workspace, theirs, 2)
    workspace.models.save(tagger, theirs, version)
    with pytest.raises(LookupError, match=r"'6\.1' is not known"):
        archive(workspace, "6.1", version)
    with pytest.raises(LookupError, match="has no version"):
        archive(workspace, KEY, version)
    gone, ranked = a_round(workspace, mine, 1), a_round(workspace, mine, 3, kind="rank")
    workspace.models.save(tagger, mine, a_round(workspace, mine, 4))
    with pytest.raises(ValueError, match=r"not stored any more; stored: v4-"):
        archive(workspace, KEY, gone)
    with pytest.raises(ValueError, match="trained no model"):
        archive(workspace, KEY, ranked)


@pytest.mark.parametrize("outside", ["../2/v2-20260102-030405", "/etc", "..", ".", "", "acquisition/v1", "%2e%2e"])
def test_a_version_never_is_a_path(workspace: Workspace, tagger: CRFTagger, outside: str) -> None:
    """Even where such a folder is there."""
    id = project(workspace)
    workspace.models.save(tagger, id, a_round(workspace, id, 1))
    workspace.models.save(tagger, 2, "v2-20260102-030405")
    with pytest.raises(LookupError):
        archive(workspace, KEY, outside)
    with pytest.raises(LookupError):
        archive(workspace, outside or "../..", "v1-20260102-030405")
