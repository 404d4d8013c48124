"""Stored models: one folder a version, whole or not there at all."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

import taggers
from taggers import Tagger


class ModelStore:
    """Models under `root/<project id>/<version>/`. Both parts come from our database, never from a request."""

    def __init__(self, root: Path, cached: int = 4) -> None:
        self.root = root
        self._cached = cached
        self._loaded: OrderedDict[Path, Tagger] = OrderedDict()
        self._lock = threading.Lock()

    def folder(self, project_id: int, version: str) -> Path:
        """Where a version is or would be."""
        return self.shelf(project_id) / version

    def shelf(self, project_id: int) -> Path:
        """The folder of a project's models; others than versions, such as an adapted encoder, stay on it."""
        return self.root / str(project_id)

    def save(self, tagger: Tagger, project_id: int, version: str, *, acquisition: Tagger | None = None) -> None:
        """Store a model, and the one that ranks if it is another, under a new version; afterwards it is there whole."""
        if acquisition is not None and acquisition is not tagger:
            acquisition.save(self._acquisition(project_id, version))
        tagger.save(self.folder(project_id, version))

    def load(self, project_id: int, version: str) -> Tagger:
        """Read a stored model, or take it from memory (the last few are kept).

        Raises FileNotFoundError if the version is not there.
        """
        return self._load(self.folder(project_id, version))

    def load_acquisition(self, project_id: int, version: str) -> Tagger:
        """Read the model that ranks under this version. Raises FileNotFoundError if the version is not there."""
        folder = self._acquisition(project_id, version)
        return self._load(folder) if folder.is_dir() else self.load(project_id, version)

    def _acquisition(self, project_id: int, version: str) -> Path:
        return self.shelf(project_id) / "acquisition" / version

    def _load(self, folder: Path) -> Tagger:
        with self._lock:
            if folder in self._loaded:
                self._loaded.move_to_end(folder)
                return self._loaded[folder]
            tagger = taggers.load(folder)
            self._loaded[folder] = tagger
            while len(self._loaded) > self._cached:
                self._loaded.popitem(last=False)
            return tagger

    def versions(self, project_id: int) -> set[str]:
        """The versions that are stored whole."""
        return {card.parent.name for card in self.shelf(project_id).glob("[!.]*/tagger.json")}

    def prune(self, project_id: int, keep: Collection[str]) -> None:
        """Delete all versions but `keep`, and what interrupted saves left behind."""
        shelf = self.shelf(project_id)
        left_behind = [*shelf.glob(".*"), *shelf.glob("acquisition/.*")]
        old = [self.folder(project_id, version) for version in self.versions(project_id) - set(keep)]
        ranked = [folder for folder in shelf.glob("acquisition/[!.]*") if folder.name not in keep]
        for path in [*left_behind, *old, *ranked]:
            shutil.rmtree(path, ignore_errors=True)
