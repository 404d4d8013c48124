"""Stored models: one folder a version, whole or not there at all."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import taggers
from taggers import Damaged, Tagger
from taggers.checksums import verify

State = tuple[tuple[str, int, int], ...]
"""A folder's files, the size of each, and when it last changed in any way."""


class ModelStore:
    """Models under `root/<project id>/<version>/`. Both parts come from our database, never from a request.

    What is damaged stays where it is, and is looked at again only when it has changed.
    """

    def __init__(self, root: Path, cached: int = 4) -> None:
        self.root = root
        self._cached = cached
        self._loaded: OrderedDict[Path, Tagger] = OrderedDict()
        self._damaged: dict[Path, tuple[State, str]] = {}
        self._lock = threading.Lock()

    def folder(self, project_id: int, version: str) -> Path:
        """Where a version is or would be."""
        return self.shelf(project_id) / version

    def shelf(self, project_id: int) -> Path:
        """The folder of a project's models; others than versions, such as an adapted encoder, stay on it."""
        return self.root / str(project_id)

    def save(self, tagger: Tagger, project_id: int, version: str, *, acquisition: Tagger | None = None) -> None:
        """Store a model, and the one that ranks if it is another, under a new version; afterwards it is there whole."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # models tell of the texts they were trained on
        if acquisition is not None and acquisition is not tagger:
            acquisition.save(self._acquisition(project_id, version))
        tagger.save(self.folder(project_id, version))

    def load(self, project_id: int, version: str) -> Tagger:
        """Read a stored model, or take it from memory (the last few are kept).

        Raises `taggers.Damaged` if the version is not there, or not as it was saved.
        """
        return self._load(self.folder(project_id, version))

    def load_acquisition(self, project_id: int, version: str) -> Tagger:
        """Read the model that ranks under this version. Raises `taggers.Damaged` as `load` does."""
        return self._load(self.ranking_folder(project_id, version))

    def ranking_folder(self, project_id: int, version: str) -> Path:
        """Where the model that ranks under this version is: the version's own folder, if there is no other model."""
        ranks = self._acquisition(project_id, version)
        return ranks if ranks.is_dir() else self.folder(project_id, version)

    def verify(self, project_id: int, version: str) -> None:
        """See that a version is as it was saved, the model that ranks with it; raises `taggers.Damaged` if not."""
        try:
            verify(self.folder(project_id, version))
            if (ranks := self._acquisition(project_id, version)).is_dir():
                verify(ranks)
        except FileNotFoundError as error:
            raise Damaged(str(error)) from None

    def _acquisition(self, project_id: int, version: str) -> Path:
        return self.shelf(project_id) / "acquisition" / version

    def _load(self, folder: Path) -> Tagger:
        with self._lock:
            if folder in self._loaded:
                self._loaded.move_to_end(folder)
                return self._loaded[folder]
            tagger = self._loaded[folder] = self._read(folder)
            while len(self._loaded) > self._cached:
                self._loaded.popitem(last=False)
            return tagger

    def _read(self, folder: Path) -> Tagger:
        state, known = _state(folder), self._damaged.get(folder)
        if known is not None and known[0] == state:
            raise Damaged(known[1])
        try:
            tagger = taggers.load(folder)
        except FileNotFoundError as error:
            raise Damaged(str(error)) from None
        except Damaged as error:
            self._damaged[folder] = state, str(error)
            raise
        self._damaged.pop(folder, None)
        return tagger

    def versions(self, project_id: int) -> set[str]:
        """The versions that are stored whole."""
        return {card.parent.name for card in self.shelf(project_id).glob("[!.]*/tagger.json")}

    def stored(self, project_id: int) -> list[Path]:
        """Everything of a project's versions, models that rank too, and what interrupted saves left behind."""
        shelf = self.shelf(project_id)
        versions = {card.parent for card in shelf.glob("[!.]*/tagger.json")} | set(shelf.glob("v[0-9]*"))
        return [*shelf.glob(".*"), *shelf.glob("acquisition/.*"), *sorted(versions), *shelf.glob("acquisition/[!.]*")]

    def prune(self, project_id: int, keep: Collection[str], stored: Sequence[Path] | None = None) -> None:
        """Delete all versions but `keep`, of those that were `stored`: what has come since may be another process's."""
        there = self.stored(project_id) if stored is None else stored
        for path in (path for path in there if path.name not in keep):
            hidden = path.with_name(f".{path.name.lstrip('.')}")  # half a folder is never seen as a version
            with suppress(OSError):
                path.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def _state(folder: Path) -> State:
    stats = ((str(file), file.stat()) for file in sorted(folder.rglob("*")))
    return tuple((name, stat.st_size, stat.st_ctime_ns) for name, stat in stats)
