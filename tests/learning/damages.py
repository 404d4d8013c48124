"""What can happen to a stored model's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def _largest(folder: Path) -> Path:
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".json")
    return max(files, key=lambda file: file.stat().st_size)


def _cut_off(folder: Path) -> None:
    file = _largest(folder)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flipped(folder: Path) -> None:
    file = _largest(folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a file cut off": _cut_off,
    "a byte flipped": _flipped,
    "an empty file": lambda folder: _largest(folder).write_bytes(b""),
    "a file missing": lambda folder: _largest(folder).unlink(),
    "a file too many": lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N."),
    "an empty folder": _emptied,
    "no folder": shutil.rmtree,
    "a card that is no JSON": lambda folder: (folder / "tagger.json").write_text('{"tagger": "cr'),
}


def damage(name: str, folder: Path) -> None:
    """Do it."""
    DAMAGES[name](folder)
