"""A folder as one zip with the checksum of every file, and back. What is unpacked is what was packed, or nothing is."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from datetime import datetime
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from taggers.checksums import sha256

MANIFEST = "manifest.json"
LONGEST_MANIFEST = 64 * 2**20
COMPRESSED = frozenset({".db", ".json", ".md", ".txt"})
"""Files that shrink; weights hardly do."""
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError)
"""What `zipfile` raises for files that are damaged, made otherwise, or hostile."""


class DamagedArchive(ValueError):
    """The file is not one that `pack` wrote, or no longer is."""


class Manifest(BaseModel):
    """What is in an archive."""

    model_config = ConfigDict(extra="forbid")

    format: int = 1
    made_at: datetime
    files: dict[str, str] = {}
    """The SHA-256 of each file, by its name: a relative path with slashes."""


def pack(folder: Path, target: Path) -> None:
    """Write all files of `folder` to the zip `target`, readable by its owner only; it takes that name when it is
    whole and was read again."""
    manifest = Manifest(made_at=datetime.now().astimezone())
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=".zip", delete=False) as handle:
        unfinished = Path(handle.name)
        try:
            with zipfile.ZipFile(handle, "w", strict_timestamps=False) as packed:
                for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                    name = file.relative_to(folder).as_posix()
                    manifest.files[name] = sha256(file)
                    how = zipfile.ZIP_DEFLATED if file.suffix in COMPRESSED else zipfile.ZIP_STORED
                    packed.write(file, name, how)
                packed.writestr(MANIFEST, manifest.model_dump_json(indent=1), zipfile.ZIP_DEFLATED)
            handle.flush()
            os.fsync(handle.fileno())
            with Archive(unfinished) as written:
                written.check()
            unfinished.rename(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


class Archive:
    """A zip that `pack` wrote, opened for reading. Raises DamagedArchive if it is none, FileNotFoundError if there is
    no such file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._packed = zipfile.ZipFile(file)
        except BROKEN as error:
            raise self._damaged(str(error)) from None
        try:
            self.manifest = self._read_manifest()
        except BaseException:
            self._packed.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._packed.close()

    def check(self) -> None:
        """Read every file and compare it with its checksum."""
        with Path(os.devnull).open("wb") as nowhere:
            for name in self.manifest.files:
                self._copy(name, nowhere)

    def unpack(self, folder: Path) -> None:
        """Write all files into an empty `folder`, for their owner only, comparing each with its checksum.

        Raises OSError, before anything is written, if they need more room than there is.
        """
        needed = sum(part.file_size for part in self._packed.infolist())
        if needed > shutil.disk_usage(folder).free:
            raise OSError(f"{self.file} takes {needed / 1e9:.1f} GB unpacked, more than is free in {folder.parent}")
        for name in self.manifest.files:
            target = folder / name
            for parent in reversed(target.relative_to(folder).parents):  # each for the owner, which `parents` is not
                (folder / parent).mkdir(mode=0o700, exist_ok=True)
            with open(target, "xb", opener=_for_the_owner) as out:
                self._copy(name, out)
                out.flush()
                os.fsync(out.fileno())

    def _copy(self, name: str, out: IO[bytes]) -> None:
        found = hashlib.sha256()
        try:
            with self._packed.open(name) as part:
                while chunk := part.read(2**20):
                    found.update(chunk)
                    out.write(chunk)
        except BROKEN as error:
            raise self._damaged(f"{name!r}: {error}") from None
        if found.hexdigest() != self.manifest.files[name]:
            raise self._damaged(f"{name!r} is not what was written (its SHA-256 is another)")

    def _read_manifest(self) -> Manifest:
        """Every file must be one of the manifest's, once, and lie within the folder that it will be unpacked to."""
        parts = self._packed.infolist()
        names = [part.filename for part in parts]
        for part in parts:
            if part.header_offset < 0:  # which zipfile would go to
                raise self._damaged(f"{part.filename!r} begins nowhere")
            if not _is_plain(part):
                raise self._damaged(f"{part.filename!r} is no plain file in the folder")
        if len(names) != len(set(names)) or MANIFEST not in names:
            raise self._damaged("a file occurs twice" if MANIFEST in names else f"it has no {MANIFEST}")
        if self._packed.getinfo(MANIFEST).file_size > LONGEST_MANIFEST:
            raise self._damaged(f"its {MANIFEST} is too long")
        try:
            manifest = Manifest.model_validate_json(self._packed.read(MANIFEST))
        except (*BROKEN, ValidationError):
            raise self._damaged(f"its {MANIFEST} cannot be read") from None
        if manifest.format != 1:
            raise self._damaged(f"it has format {manifest.format}, of a later release")
        if odd := set(names) ^ {MANIFEST, *manifest.files}:
            raise self._damaged(f"{min(odd)!r} is not in both the archive and its {MANIFEST}")
        return manifest

    def _damaged(self, what: str) -> DamagedArchive:
        return DamagedArchive(f"{self.file} cannot be used: {what}; nothing was changed")


def _is_plain(part: zipfile.ZipInfo) -> bool:
    """A regular file whose name stays in its folder, on every system."""
    name, kind = part.filename, stat.S_IFMT(part.external_attr >> 16)
    steps = name.split("/")
    within = not {"", ".", ".."} & set(steps) and not set("\\:\0") & set(name)
    return within and kind in (0, stat.S_IFREG) and not part.flag_bits & 1  # the last: encrypted


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
