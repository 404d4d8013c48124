"""What a project's label config asks for: which tags label which text, with which labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import Element

from corpus import KINDS, Kind
from labelstudio.choices import CHOOSERS, Choices, read_choices

CONTROLS = {"labels": "Labels", "hypertextlabels": "HyperTextLabels", "paragraphlabels": "ParagraphLabels"}
"""Tags that label spans: the lower-case name (a region's `type`, and the key of its labels) to the tag."""
OBJECTS = {"text": "Text", "hypertext": "HyperText", "paragraphs": "Paragraphs"}
"""Tags that show a text."""
ENCODINGS = ("none", "base64", "base64unicode")
MAX_CONFIG = 1_000_000
"""Longest label config that is read, in characters."""

SUPPORTED = (
    "Supported are <Labels>, <HyperTextLabels> and <ParagraphLabels> with <Label value=…/> children (and with them "
    "<Relations> with <Relation value=…/> children), and <Choices> and <Taxonomy> with <Choice value=…/> children "
    "that apply to the whole text and under no condition, "
    "over <Text>, <HyperText> or <Paragraphs> whose value is a task field such as $text."
)


class UnsupportedConfig(ValueError):
    """The label config cannot be used; the message says what was found, what is supported, and what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The text that a project is learned from, and the tags that label it: of spans, of whole texts, or both."""

    control: str
    """Name of the tag that labels spans: a region's `from_name`. Empty if there is none."""
    control_type: str
    """A region's `type`, and the key of its labels in `value`: a key of `CONTROLS`. Empty if there is none."""
    object: str
    """Name of the tag that shows the text: a region's `to_name`."""
    object_type: str
    """"Text", "HyperText" or "Paragraphs": decides how places are written."""
    value: str
    """Where the text is in a task's data: "text" for `value="$text"`."""
    labels: tuple[str, ...]
    """Of spans, as results name them (a label's alias, where it has one), in the config's order."""
    choices: Choices | None = None
    """What is chosen for whole texts."""
    relations: tuple[str, ...] | None = None
    """Labels of relations between spans, in the config's order."""
    controls: tuple[str, ...] = ()
    """Names of all tags that may appear as `from_name`, the learned ones included."""
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

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is marked in a text."""
        there = {"spans": self.control, "choices": self.choices, "relations": self.relations}
        return tuple(kind for kind in KINDS if there[kind])


def read_schema(label_config: str, control: str | None = None) -> Schema:
    """Find the tags to learn from in a label config (Label Studio's XML).

    They are the first in the document that labels spans of a text, with the config's relations, and the first that
    chooses for the same text; or the one named `control` alone (one for spans brings its relations).

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


def kinds_of(label_config: str, control: str | None = None) -> tuple[Kind, ...]:
    """What a label config lets people mark; nothing where it cannot be used."""
    try:
        return read_schema(label_config, control).kinds
    except UnsupportedConfig:
        return ()


@lru_cache(maxsize=32)
def _read(label_config: str, control: str | None) -> Schema:
    config, root = _parse(label_config)
    objects = {tag.name: tag for tag in config.objects}
    names = tuple(str(tag.name) for tag in config.controls)
    above = {child: parent for parent in root.iter() for child in parent}
    elements = {element.get("name"): element for element in root.iter() if element.get("toName")}
    schemas: dict[str, Schema] = {}
    refused: dict[str, str] = {}
    for tag in config.controls:
        read = _read_control(tag, objects, elements[tag.name], above) if tag.name in elements else _unknown(tag)
        if isinstance(read, Schema):
            schemas[str(tag.name)] = replace(read, controls=names)
        else:
            refused[str(tag.name)] = read
    relations = _relations(root)
    if control is None:
        return _together([*schemas.values()], relations, refused)
    if control in schemas:
        return _together([schemas[control]], relations, refused)
    candidates = ", ".join([*map(repr, schemas)][:20]) or "none"
    what = f"cannot be used: {refused[control]}" if control in refused else "does not exist in the label config"
    raise UnsupportedConfig(
        f"The labelling tag {control!r} {what}. Tags that can be used: {candidates}. {SUPPORTED} "
        "Set `control` to one of them, or leave it out to use the first."
    )


def _together(schemas: list[Schema], relations: tuple[str, ...], refused: dict[str, str]) -> Schema:
    """One schema of those around single tags."""
    first = next((schema for schema in schemas if schema.control), schemas[0] if schemas else None)
    if first is None:
        found = "; ".join([*refused.values()][:5]) or "no labelling tag at all"
        raise UnsupportedConfig(
            f"The label config has no tag that labels a text or spans of it. Found: {found}. {SUPPORTED} "
            "Add such a pair of tags in the project's Settings > Labeling Interface."
        )
    choices = next((schema.choices for schema in schemas if schema.choices and schema.object == first.object), None)
    return replace(first, choices=choices, relations=relations if relations and first.control else None)


def _relations(root: Element) -> tuple[str, ...]:
    """The labels of the first <Relations>, which is the one that the editor knows."""
    found = next((element for element in root.iter() if element.tag.lower() == "relations"), None)
    values = [] if found is None else [child.get("value", "") for child in found if child.tag.lower() == "relation"]
    return tuple(dict.fromkeys(filter(None, values)))


def _parse(label_config: str) -> tuple[Any, Element]:
    """The SDK's view of the config, after making sure that it is harmless XML, and its root."""
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(label_config, forbid_dtd=True)
        # Takes half a second to import, too long for a module that every process loads.
        from label_studio_sdk.label_interface.interface import LabelInterface

        return LabelInterface(label_config), root
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


def _read_control(tag: Any, objects: dict[str, Any], element: Element, above: dict[Element, Element]) -> Schema | str:
    """The schema around one labelling tag, or why there is none."""
    type, shown = tag.tag.lower(), _shown(tag)
    if type not in (*CONTROLS, *CHOOSERS):
        return _unknown(tag)
    target = next((objects[name] for name in tag.to_name if name in objects and _is_text(objects[name])), None)
    if target is None:
        others = ", ".join(f"<{objects[name].tag}>" for name in tag.to_name if name in objects)
        return f"{shown} over {others or 'a tag that does not exist'}"
    shown = f"{shown} over <{target.tag} name={target.name!r} value={target.value!r:.200}>"
    if type in CONTROLS and not tag.labels:
        return f"{shown} without <Label> tags (labels that come with each task are not supported)"
    if not target.value.startswith("$") or len(target.value) == 1:
        return f"{shown}, which is a fixed text and no task field"
    encoding = str(target.get_attr("encoding", "none")).lower()
    if encoding not in ENCODINGS:
        return f"{shown} with encoding={encoding!r} (known: {', '.join(ENCODINGS)})"
    if type in CONTROLS:
        return _over(target, encoding, tag.name, type, tuple(tag.labels))
    choices = read_choices(tag.name, element, _around(element, above))
    if isinstance(choices, str):
        return _shown(tag) + choices
    return replace(_over(target, encoding), choices=choices)


def _over(
    target: Any, encoding: str, control: str = "", control_type: str = "", labels: tuple[str, ...] = ()
) -> Schema:
    """The schema of a text and the tag, if any, that labels spans of it."""
    remote = (target.value_type or "").lower() == "url"
    return Schema(
        control=control,
        control_type=control_type,
        object=target.name,
        object_type=OBJECTS[target.tag.lower()],
        value=target.value[1:],
        labels=labels,
        text_key=str(target.get_attr("textKey", "text")),
        inline=str(target.get_attr("inline", "false")).lower() == "true",
        encoding=encoding,
        remote=remote,
        quoted=_quoted(target, remote),
    )


def _shown(tag: Any) -> str:
    return f"<{tag.tag} name={tag.name!r} toName={','.join(tag.to_name)!r:.200}>"


def _unknown(tag: Any) -> str:
    return f"{_shown(tag)}, which does not label a text or spans of it"


def _around(element: Element, above: dict[Element, Element]) -> Iterator[Element]:
    """The tags that a tag lies in, from the inside out."""
    while (parent := above.get(element)) is not None:
        yield parent
        element = parent


def _quoted(target: Any, remote: bool) -> bool:
    """As the editor does by default: texts that Label Studio does not store itself stay out of its results."""
    told = str(target.get_attr("saveTextResult", "none")).lower()
    return told != "no" if target.tag.lower() == "paragraphs" or not remote else told == "yes"


def _is_text(tag: Any) -> bool:
    return tag.tag.lower() in OBJECTS
