"""A stored version as a zip: what others can load, and its model card."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from learning.database import Project, Round
from learning.intake import known_project
from learning.workspace import Workspace
from taggers.export import ModelCard, export

TEXT = frozenset({".json", ".md", ".txt"})
"""Files that compress."""
ABANDONED = 24 * 3600.0
"""Seconds after which nobody downloads a zip any more."""


def archive(workspace: Workspace, project_key: str, version: str) -> Path:
    """A zip of the version's model as `taggers.export` writes it, in a file of its own that the caller deletes; on disk
    in `DATA_DIR`, since temporary folders may lie in memory.

    The database says which folder is read: neither argument becomes part of a path. Raises LookupError for a project or
    version that is not known, ValueError for one whose model is not stored (any more).
    """
    with workspace.db.read() as session:
        project = known_project(session, project_key)
        wanted = select(Round).where(Round.project_id == project.id, Round.version == version)
        this = session.scalar(wanted)
    if this is None:
        raise LookupError(f"project {project_key!r} has no version {version!r}")
    stored = workspace.models.versions(project.id)
    if this.version not in stored:
        known = ", ".join(sorted(stored)) or "none"
        why = "trained no model" if this.kind != "fit" else "is not stored any more"
        raise ValueError(f"version {this.version!r} {why}; stored: {known}")
    shelf = workspace.settings.data_dir / "downloads"
    shelf.mkdir(mode=0o700, exist_ok=True)
    _tidy(shelf)
    with tempfile.TemporaryDirectory(dir=shelf) as folder:
        packed = Path(folder) / folder_name(project, this)
        export(workspace.models.load(project.id, this.version), packed, card_of(project, this))
        return _zipped(packed, shelf)


def folder_name(project: Project, this: Round) -> str:
    """The folder inside the zip: letters, digits and hyphens, whatever the project is called."""
    title = re.sub(r"[^A-Za-z0-9]+", "-", project.title or "").strip("-")[:40].strip("-").lower()
    return "-".join(filter(None, ["active-tagger", f"project-{project.external_id}", title, this.version]))


def card_of(project: Project, this: Round) -> ModelCard:
    """The facts of a stored round."""
    return ModelCard(
        title=f"{project.title or f'Project {project.external_id}'}, version {this.version}",
        version=this.version,
        created_at=this.started_at,
        settings=this.settings,
        texts=this.metrics.get("train_sentences"),
        holdout_texts=this.metrics.get("holdout_sentences"),
        words=this.metrics.get("labelled_words"),
        evaluation=this.metrics.get("evaluation"),
    )


def _zipped(folder: Path, shelf: Path) -> Path:
    """`folder` in a zip, file by file, under its own name. Weights hardly shrink: they are stored as they are."""
    with tempfile.NamedTemporaryFile(dir=shelf, suffix=".zip", delete=False) as file:
        path = Path(file.name)
        try:
            with zipfile.ZipFile(file, "w") as archive:
                for part in sorted(folder.rglob("*")):
                    packed = zipfile.ZIP_DEFLATED if part.suffix in TEXT else zipfile.ZIP_STORED
                    archive.write(part, Path(folder.name) / part.relative_to(folder), packed)
        except BaseException:
            path.unlink()
            raise
    return path


def _tidy(shelf: Path) -> None:
    """Delete what processes that ended midway have left."""
    for path in shelf.iterdir():
        with suppress(FileNotFoundError):  # somebody else deletes it
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
