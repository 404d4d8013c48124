"""The text itself, out of a task's data."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from labelstudio.schema import Schema


class BadTask(ValueError):
    """A task's data does not hold the text that the label config names."""


def read_text(schema: Schema, data: dict[str, Any]) -> str:
    """The field that `<Text>` or `<HyperText>` shows, decoded."""
    found = _look_up(data, schema.value)
    return _decoded(_string(found, f"data field {schema.value!r}", f"<{schema.object_type}>"), schema)


def read_utterances(schema: Schema, data: dict[str, Any]) -> list[str]:
    """The utterances that `<Paragraphs>` shows, in their order."""
    found = _look_up(data, schema.value)
    where = f"data field {schema.value!r}"
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


def _look_up(data: dict[str, Any], key: str) -> Any:
    """`data["a"]["b"][0]` for "a.b[0]", as the editor resolves it; a key of that very name comes first."""
    found: Any = data
    for step in [key] if key in data else re.findall(r"[^.\[\]]+", key):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            have = ", ".join(map(repr, data)) or "nothing"
            raise BadTask(
                f"The task has no data field {key!r}, which the label config shows; it has {have}. "
                "Import the task again with that field, or change the label config."
            )
    return found


def _string(found: Any, where: str, tag: str) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(int(found)) if found == found and abs(found) < 1e16 and found == int(found) else str(found)
    kind = "null" if found is None else f"of type {type(found).__name__}"
    raise BadTask(f"The task's {where} is {kind}; {tag} needs a string. Import the task again with its text there.")


def _decoded(text: str, schema: Schema) -> str:
    if schema.encoding == "none":
        return text
    try:
        raw = base64.b64decode(text, validate=True)
        return raw.decode("latin-1" if schema.encoding == "base64" else "utf-8")
    except (binascii.Error, ValueError) as error:
        raise BadTask(
            f"The task's data field {schema.value!r} is not {schema.encoding}, as the label config says: "
            f"{error}. Encode it, or take the encoding out of the label config."
        ) from error
