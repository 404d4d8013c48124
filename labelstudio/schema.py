"""What a project's label config asks for: which tag labels which text, with which labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

CONTROLS = {"labels": "Labels", "hypertextlabels": "HyperTextLabels", "paragraphlabels": "ParagraphLabels"}
"""Tags that label spans: the lower-case name (a region's `type`, and the key of its labels) to the tag."""
OBJECTS = {"text": "Text", "hypertext": "HyperText", "paragraphs": "Paragraphs"}
"""Tags that show a text."""
ENCODINGS = ("none", "base64", "base64unicode")
MAX_CONFIG = 1_000_000
"""Longest label config that is read, in characters."""

SUPPORTED = (
    "Supported are <Labels>, <HyperTextLabels> and <ParagraphLabels> with <Label value=…/> children, "
    "over <Text>, <HyperText> or <Paragraphs> whose value is a task field such as $text."
)


class UnsupportedConfig(ValueError):
    """The label config cannot be used; the message says what was found, what is supported, and what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The one pair of tags that a project is learned from."""

    control: str
    """Name of the labelling tag: a region's `from_name`."""
    control_type: str
    """A region's `type`, and the key of its labels in `value`: a key of `CONTROLS`."""
    object: str
    """Name of the tag that shows the text: a region's `to_name`."""
    object_type: str
    """"Text", "HyperText" or "Paragraphs": decides how places are written."""
    value: str
    """Where the text is in a task's data: "text" for `value="$text"`."""
    labels: tuple[str, ...]
    """As results name them (a label's alias, where it has one), in the config's order."""
    controls: tuple[str, ...] = ()
    """Names of all tags that may appear as `from_name`, this one included."""
    text_key: str = "text"
    """Paragraphs only: the field of an utterance that holds its text."""
    inline: bool = False
    """HyperText only: shown inside the page, not as a page of its own."""
    encoding: str = "none"
    """How the field is encoded: one of `ENCODINGS`."""
    remote: bool = False
    """Whether the field holds the address of the text (`valueType="url"`): see `labelstudio.remote`."""
    quoted: bool = True
    """Whether regions repeat the words that they cover (`saveTextResult`)."""


def read_schema(label_config: str, control: str | None = None) -> Schema:
    """Find the tags to learn from in a label config (Label Studio's XML).

    The labelling tag is the one named `control` if given, else the first in the document that labels
    spans of a text.

    Raises:
        UnsupportedConfig: for anything that is not such a config, broken XML included.
    """
    if not isinstance(label_config, str) or not label_config.strip():
        raise UnsupportedConfig(
            f"The label config is empty. {SUPPORTED} Write one in the project's Settings > Labeling Interface."
        )
    if len(label_config) > MAX_CONFIG:
        raise UnsupportedConfig(
            f"The label config has {len(label_config):,} characters; at most {MAX_CONFIG:,} are read. "
            "Remove labels or styles from it."
        )
    return _read(label_config, control)


@lru_cache(maxsize=32)
def _read(label_config: str, control: str | None) -> Schema:
    config = _parse(label_config)
    objects = {tag.name: tag for tag in config.objects}
    names = tuple(str(tag.name) for tag in config.controls)
    schemas: dict[str, Schema] = {}
    refused: dict[str, str] = {}
    for tag in config.controls:
        read = _read_control(tag, objects, names)
        if isinstance(read, Schema):
            schemas[read.control] = read
        else:
            refused[str(tag.name)] = read
    if control is None:
        if schemas:
            return next(iter(schemas.values()))
        found = "; ".join([*refused.values()][:5]) or "no labelling tag at all"
        raise UnsupportedConfig(
            f"The label config has no tag that labels spans of a text. Found: {found}. {SUPPORTED} "
            "Add such a pair of tags in the project's Settings > Labeling Interface."
        )
    if control in schemas:
        return schemas[control]
    candidates = ", ".join([*map(repr, schemas)][:20]) or "none"
    what = f"cannot be used: {refused[control]}" if control in refused else "does not exist in the label config"
    raise UnsupportedConfig(
        f"The labelling tag {control!r} {what}. Tags that can be used: {candidates}. {SUPPORTED} "
        "Set `control` to one of them, or leave it out to use the first."
    )


def _parse(label_config: str) -> Any:
    """The SDK's view of the config, after making sure that it is harmless XML."""
    from defusedxml.ElementTree import fromstring

    try:
        fromstring(label_config, forbid_dtd=True)
        # Takes half a second to import, too long for a module that every process loads.
        from label_studio_sdk.label_interface.interface import LabelInterface

        return LabelInterface(label_config)
    except Exception as error:  # expat, lxml, defusedxml and the SDK share no base class
        raise UnsupportedConfig(
            f"The label config cannot be read as XML ({_in_short(error)}). {SUPPORTED} "
            "Correct it in the project's Settings > Labeling Interface; entities and DTDs are not allowed."
        ) from error


def _in_short(error: Exception) -> str:
    """What XML readers say, without their own names."""
    from defusedxml import DefusedXmlException

    if isinstance(error, DefusedXmlException):
        return "it declares entities or a DTD"
    return (str(error).splitlines() or ["it is nested too deeply or damaged"])[0][:200]


def _read_control(tag: Any, objects: dict[str, Any], names: tuple[str, ...]) -> Schema | str:
    """The schema around one labelling tag, or why there is none."""
    shown = f"<{tag.tag} name={tag.name!r} toName={','.join(tag.to_name)!r:.200}>"
    if tag.tag.lower() not in CONTROLS:
        return f"{shown}, which does not label spans of a text"
    target = next((objects[name] for name in tag.to_name if name in objects and _is_text(objects[name])), None)
    if target is None:
        others = ", ".join(f"<{objects[name].tag}>" for name in tag.to_name if name in objects)
        return f"{shown} over {others or 'a tag that does not exist'}"
    shown = f"{shown} over <{target.tag} name={target.name!r} value={target.value!r:.200}>"
    if not tag.labels:
        return f"{shown} without <Label> tags (labels that come with each task are not supported)"
    if not target.value.startswith("$") or len(target.value) == 1:
        return f"{shown}, which is a fixed text and no task field"
    encoding = str(target.get_attr("encoding", "none")).lower()
    if encoding not in ENCODINGS:
        return f"{shown} with encoding={encoding!r} (known: {', '.join(ENCODINGS)})"
    remote = (target.value_type or "").lower() == "url"
    return Schema(
        control=tag.name,
        control_type=tag.tag.lower(),
        object=target.name,
        object_type=OBJECTS[target.tag.lower()],
        value=target.value[1:],
        labels=tuple(tag.labels),
        controls=names,
        text_key=str(target.get_attr("textKey", "text")),
        inline=str(target.get_attr("inline", "false")).lower() == "true",
        encoding=encoding,
        remote=remote,
        quoted=_quoted(target, remote),
    )


def _quoted(target: Any, remote: bool) -> bool:
    """As the editor does by default: texts that Label Studio does not store itself stay out of its results."""
    told = str(target.get_attr("saveTextResult", "none")).lower()
    return told != "no" if target.tag.lower() == "paragraphs" or not remote else told == "yes"


def _is_text(tag: Any) -> bool:
    return tag.tag.lower() in OBJECTS
