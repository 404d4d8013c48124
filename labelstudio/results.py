"""Regions of Label Studio (the `result` of an annotation or a prediction) to spans, and back."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from reprlib import repr as shown
from typing import Any

from corpus import Span
from labelstudio.documents import BadRegion, Document
from labelstudio.records import AnnotationRecord
from labelstudio.schema import CONTROLS, Schema

log = logging.getLogger(__name__)


def chosen(annotations: Sequence[AnnotationRecord]) -> AnnotationRecord | None:
    """The one annotation of a task that is learned from, None if there is none.

    Skipped ones never count; ground truth goes before others; of several the one updated last holds.
    """
    usable = [annotation for annotation in annotations if not annotation.cancelled]
    return max(usable, key=lambda a: (a.ground_truth, a.updated_at, a.id), default=None)


def spans_of(
    schema: Schema, doc: Document, result: Sequence[Any], task_id: int
) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """The spans that a person marked with the schema's tag, sorted, and what was wrong with the rest.

    A region with several labels gives one span a label, all in one place. Regions of the config's other
    tags and relations are no concern of ours. A label that the config no longer has, a region of a tag
    that it no longer has, and a place that cannot be found are left out and reported.
    """
    spans: set[Span] = set()
    problems: list[str] = []
    for region in result:
        name = f"Task {task_id}, region {shown(region.get('id'))}" if isinstance(region, dict) else f"Task {task_id}"
        try:
            found, unknown = _read_region(schema, doc, region)
        except BadRegion as problem:
            problems.append(f"{name}: left out. {problem}")
            continue
        spans.update(found)
        problems += [
            f"{name}: label {shown(label)} is not in the label config any more and was left out. "
            "Add it to the config again, or change the region's label."
            for label in unknown
        ]
    return tuple(sorted(spans)), tuple(problems)


def _read_region(schema: Schema, doc: Document, region: Any) -> tuple[list[Span], list[str]]:
    """A region's spans, and those of its labels that the config does not have."""
    if not isinstance(region, dict):
        raise BadRegion(f"A region should be a JSON object and is {shown(region)}.")
    control = region.get("from_name")
    if control != schema.control:
        # Lists, since what was sent may have no hash.
        if region.get("type") in list(CONTROLS) and schema.controls and control not in schema.controls:
            raise BadRegion(
                f"Its labelling tag {shown(control)} is not in the label config any more. "
                "Give the tag its old name again, or label the task anew."
            )
        return [], []
    if region.get("to_name") != schema.object:
        return [], []
    value = region.get("value")
    if not isinstance(value, dict):
        raise BadRegion(f"Its value should be a JSON object and is {shown(value)}.")
    labels = value.get(schema.control_type)
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise BadRegion(f"Its {schema.control_type!r} should be a list of labels and is {shown(labels)}.")
    start, end = doc.locate(value)
    known = _known(schema.labels)
    spans = [Span(start, end, label) for label in labels if label in known]
    return spans, [label for label in labels if label not in known]


@lru_cache(maxsize=8)
def _known(labels: tuple[str, ...]) -> frozenset[str]:
    """A config may have thousands of labels, and a project many more regions."""
    return frozenset(labels)


def result_of(schema: Schema, doc: Document, spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Spans as regions that Label Studio draws; the same spans always give the same regions.

    Label Studio drops a whole prediction without a word if it holds a label that the config lacks, so
    such spans are left out here. So are spans that have no place in the text (as when it was changed
    since), with a warning in the log. A span twice is one region; neighbours stay apart.
    """
    regions = []
    known = _known(schema.labels)
    for span in sorted({span: span for span in spans if span.label in known}.values()):
        try:
            value = {**doc.place(span), schema.control_type: [span.label]}
            if not schema.quoted:
                value.pop("text", None)
        except BadRegion as problem:
            log.warning("a predicted span was left out: %s", problem)
            continue
        place = f"{schema.control}\0{span.start}\0{span.end}\0{span.label}"
        region: dict[str, Any] = {
            "id": hashlib.sha256(place.encode()).hexdigest()[:12],
            "from_name": schema.control,
            "to_name": schema.object,
            "type": schema.control_type,
            "value": value,
        }
        if span.confidence is not None:
            region["score"] = span.confidence
        regions.append(region)
    return regions


def prediction(task_id: int, result: list[dict[str, Any]], score: float, version: str) -> dict[str, Any]:
    """A prediction as the bulk import and the answer to /predict want it.

    Raises:
        ValueError: if `score`, or a region's, is not in [0, 1]: Label Studio would drop the prediction
            without a word.
    """
    for number in (score, *(region["score"] for region in result if "score" in region)):
        if not (math.isfinite(number) and 0 <= number <= 1):
            raise ValueError(
                f"Task {task_id}: the score {number} of its prediction is not in [0, 1], where Label Studio "
                "wants it. Map priorities to scores before making predictions."
            )
    return {"task": task_id, "result": result, "score": float(score), "model_version": version}
