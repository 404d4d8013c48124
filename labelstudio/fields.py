"""The text itself, out of a task's data."""

from __future__ import annotations

import base64
import binascii
import math
import re
from reprlib import repr as shown
from typing import Any

from labelstudio.schema import Schema

LONGEST = 200_000
"""Characters of a task's text: a small book, which the slowest tagger reads in seconds and no editor shows at once."""
MARKUP = 5
"""A field may be so many times as long, where what is shown is less: encoded, or with markup."""


class BadTask(ValueError):
    """A task's data does not hold the text that the label config names."""


def read_text(schema: Schema, data: dict[str, Any]) -> str:
    """The field that `<Text>` or `<HyperText>` shows, decoded."""
    found = _look_up(data, schema.value)
    return _decoded(_string(found, f"data field {shown(schema.value)}", f"<{schema.object_type}>"), schema)


def read_utterances(schema: Schema, data: dict[str, Any]) -> list[str]:
    """The utterances that `<Paragraphs>` shows, in their order."""
    found = _look_up(data, schema.value)
    where = f"data field {shown(schema.value)}"
    if not isinstance(found, list):
        raise BadTask(
            f"The task's {where} is of type {type(found).__name__}; <Paragraphs> needs a list of objects "
            f'such as {{"author": …, {schema.text_key!r}: …}}. Import the task again in that form.'
        )
    utterances = []
    for index, utterance in enumerate(found):
        if not isinstance(utterance, dict) or schema.text_key not in utterance:
            raise BadTask(
                f"Utterance {index} of the task's {where} has no field {schema.text_key!r}. "
                "Import the task again with it, or set textKey in the label config."
            )
        spoken = f"{where}, utterance {index}, field {schema.text_key!r}"
        utterances.append(_string(utterance[schema.text_key], spoken, "<Paragraphs>"))
    return utterances


def check_length(text: str, longest: int = LONGEST) -> None:
    """Refuse what would keep a tagger busy for minutes. Raises BadTask."""
    if len(text) > longest:
        raise BadTask(
            f"The task's text has {len(text):,} characters; at most {longest:,} are read. "
            "Import it again in several tasks (paragraphs or chapters)."
        )


def _look_up(data: dict[str, Any], key: str) -> Any:
    """`data["a"]["b"][0]` for "a.b[0]", as the editor resolves it; a key of that very name comes first."""
    found: Any = data
    for step in [key] if key in data else re.findall(r"[^.\[\]]+", key):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and len(step) < 10 and int(step) < len(found):
            found = found[int(step)]
        else:
            have = ", ".join(map(shown, list(data)[:10])) + (", …" if len(data) > 10 else "")
            raise BadTask(
                f"The task has no data field {shown(key)}, which the label config shows; it has {have or 'nothing'}. "
                "Import the task again with that field, or change the label config."
            )
    return found


def _string(found: Any, where: str, tag: str) -> str:
    if isinstance(found, str):
        check_length(found, MARKUP * LONGEST)
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if isinstance(found, float) and math.isfinite(found):
        return str(int(found)) if abs(found) < 1e16 and found.is_integer() else str(found)
    kind = "null" if found is None or isinstance(found, float) else f"of type {type(found).__name__}"
    raise BadTask(f"The task's {where} is {kind}; {tag} needs a string. Import the task again with its text there.")


def _decoded(text: str, schema: Schema) -> str:
    if schema.encoding == "none":
        return text
    try:
        raw = base64.b64decode(text, validate=True)
        return raw.decode("latin-1" if schema.encoding == "base64" else "utf-8")
    except (binascii.Error, ValueError) as error:
        raise BadTask(
            f"The task's data field {shown(schema.value)} is not {schema.encoding}, as the label config says: "
            f"{error}. Encode it, or take the encoding out of the label config."
        ) from error
