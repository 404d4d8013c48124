"""The labels of a project: their colours, and how often each was given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from labelstudio.schema import Schema

COLOUR = re.compile(r"#[0-9a-f]{3,8}|[a-z]{3,30}|(rgb|hsl)a?\([0-9.,%/ ]{1,60}\)", re.IGNORECASE)
"""A colour in CSS: what a label config calls one may be anything."""


def colours(label_config: str, schema: Schema) -> dict[str, str | None]:
    """The `background` of each label of the schema, in its order; None where it has none that is a colour."""
    from defusedxml.ElementTree import fromstring

    found: dict[str, str | None] = dict.fromkeys(schema.labels)
    for control in fromstring(label_config, forbid_dtd=True).iter():
        if control.get("name") != schema.control:
            continue
        for label in control.iter("Label"):
            name, colour = label.get("alias") or label.get("value"), (label.get("background") or "").strip()
            if name in found and COLOUR.fullmatch(colour):
                found[name] = colour
    return found


def label_counts(schema: Schema, results: Iterable[list[dict[str, Any]]]) -> Counter[str]:
    """How many regions of the schema's labelling tag bear each label."""
    counts: Counter[str] = Counter()
    for region in (region for result in results for region in result if isinstance(region, dict)):
        value = region.get("value")
        if region.get("from_name") == schema.control and isinstance(value, dict):
            labels = value.get(schema.control_type)
            if isinstance(labels, list):
                counts.update(label for label in labels if isinstance(label, str))
    return counts
