"""The labels of a project: their colours, and how often each was given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element

from corpus import Kind
from labelstudio.choices import JOINT, BadChoice, choice_tags
from labelstudio.schema import Schema

COLOUR = re.compile(r"#[0-9a-f]{3,8}|[a-z]{3,30}|(rgb|hsl)a?\([0-9.,%/ ]{1,60}\)", re.IGNORECASE)
"""A colour in CSS: what a label config calls one may be anything."""


def labels_of_kind(schema: Schema, kind: Kind) -> tuple[str, ...]:
    """The labels that marks of one kind may bear, in the config's order."""
    if kind == "choices":
        return schema.choices.labels if schema.choices else ()
    return schema.labels if kind == "spans" else schema.relations or ()


def colours(label_config: str, schema: Schema, kind: Kind = "spans") -> dict[str, str | None]:
    """The `background` of each label of one kind, in the schema's order; None where it has none that is a colour."""
    from defusedxml.ElementTree import fromstring

    found: dict[str, str | None] = dict.fromkeys(labels_of_kind(schema, kind))
    for control in fromstring(label_config, forbid_dtd=True).iter():
        for name, label in _labels_in(control, schema, kind):
            colour = (label.get("background") or "").strip()
            if name in found and COLOUR.fullmatch(colour):
                found[name] = colour
    return found


def _labels_in(control: Element, schema: Schema, kind: Kind) -> list[tuple[str | None, Element]]:
    """The labels that a tag brings, if it is the one that is learned, and what results call them."""
    if kind == "relations":
        of_this = control.tag.lower() == "relations"
        return [(label.get("value"), label) for label in control] if of_this else []
    name = schema.control if kind == "spans" else schema.choices and schema.choices.control
    if not name or control.get("name") != name:
        return []
    if kind == "spans":
        return [(label.get("alias") or label.get("value"), label) for label in control.iter("Label")]
    nested = schema.choices is not None and schema.choices.type == "taxonomy"
    return [(JOINT.join(path), label) for path, label in choice_tags(control, nested=nested)]


def label_counts(schema: Schema, results: Iterable[list[dict[str, Any]]], kind: Kind = "spans") -> Counter[str]:
    """How often each label of one kind was given by the schema's tags."""
    counts: Counter[str] = Counter()
    for region in (region for result in results for region in result if isinstance(region, dict)):
        counts.update(_labels_given(schema, region, kind))
    return counts


def _labels_given(schema: Schema, region: dict[str, Any], kind: Kind) -> list[str]:
    value, control, labels = region.get("value"), region.get("from_name"), None
    if kind == "relations":
        labels = region.get("labels") if region.get("type") == "relation" and schema.relations else None
    elif kind == "spans" and control == schema.control and isinstance(value, dict):
        labels = value.get(schema.control_type)
    elif kind == "choices" and schema.choices and control == schema.choices.control and isinstance(value, dict):
        with suppress(BadChoice):
            labels = [label for labels in schema.choices.read(value) for label in labels]
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []
