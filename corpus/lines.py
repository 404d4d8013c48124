"""The lines of corpus files, cut only where a line ends and where a blank or a tab stands."""

from __future__ import annotations

import re
from pathlib import Path

_LINE_END = re.compile("\r\n|\r|\n")
_BLANKS = re.compile("[ \t]+")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file without their ends (LF, CRLF or CR; no other character ends a line).

    Raises ValueError if the file is not UTF-8, FileNotFoundError if there is none.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def split_blanks(line: str) -> list[str]:
    """What stands between blanks and tabs. Any other space (a no-break space, say) is part of a word."""
    stripped = line.strip(" \t")
    return _BLANKS.split(stripped) if stripped else []
