"""Regions of Label Studio (the `result` of an annotation or a prediction) to what they mark, and back."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from reprlib import repr as shown
from typing import Any, NamedTuple

from corpus import Choice, Mark, Relation, Sentence, Span
from labelstudio.arrows import arrows, read_arrow
from labelstudio.choices import CHOOSERS, BadChoice, Choices
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


class Labels(NamedTuple):
    """What an annotation says of its text, by kind; None for what the project does not ask, or nobody answered."""

    spans: tuple[Span, ...] | None = None
    choices: tuple[Choice, ...] | None = None
    relations: tuple[Relation, ...] | None = None

    def on(self, sentence: Sentence) -> Sentence:
        """The same text with these labels."""
        return replace(sentence, **self._asdict())


def labels_of(schema: Schema, doc: Document, result: Sequence[Any], task_id: int) -> tuple[Labels, tuple[str, ...]]:
    """What a person marked with the schema's tags, each kind sorted, and what was wrong with the rest.

    A region with several labels gives one span a label, all in one place; its relations are those of the first.
    Regions of the config's other tags are no concern of ours. A label that the config no longer has, a region of a tag
    that it no longer has, and a place that cannot be found are left out and reported. Where one choice is to be made,
    and none or several are, there is no answer.
    """
    reading = _Reading(schema, doc, task_id)
    for region in result:
        reading.read(region)
    for arrow in reading.arrows:
        reading.read_arrow(arrow)
    return reading.labels(), tuple(reading.problems)


@dataclass(slots=True)
class _Reading:
    """A result half read: relations name regions that may come after them."""

    schema: Schema
    doc: Document
    task_id: int
    spans: set[Span] = field(default_factory=set)
    choices: set[Choice] = field(default_factory=set)
    relations: set[Relation] = field(default_factory=set)
    ends: dict[str, Span | None] = field(default_factory=dict)
    """What relations can lead to, by the ids of the regions."""
    arrows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def read(self, region: Any) -> None:
        """Take in a region, or put a relation by."""
        if isinstance(region, dict) and region.get("type") == "relation":
            self.arrows.append(region)
            return
        found: list[Span] = []
        try:
            found, chosen, unknown = _read_region(self.schema, self.doc, region)
            self.spans.update(found)
            self.choices.update(map(Choice, chosen))
            self._tell_unknown(self._name(region), unknown)
        except (BadRegion, BadChoice) as problem:
            self.problems.append(f"{self._name(region)}: left out. {problem}")
        if isinstance(region, dict) and isinstance(id := region.get("id"), str):
            self.ends[id] = next(iter(found), None)

    def read_arrow(self, arrow: dict[str, Any]) -> None:
        """Take in a relation, after all regions."""
        if self.schema.relations is None:
            return
        name = f"Task {self.task_id}, relation from {shown(arrow.get('from_id'))} to {shown(arrow.get('to_id'))}"
        try:
            found, unknown = read_arrow(arrow, self.ends, _known(self.schema.relations))
        except BadRegion as problem:
            self.problems.append(f"{name}: left out. {problem}")
            return
        self.relations.update(found)
        self._tell_unknown(name, unknown)

    def labels(self) -> Labels:
        """All that was read."""
        kinds, choices = self.schema.kinds, tuple(sorted(self.choices))
        answered = self.schema.choices is not None and (self.schema.choices.multiple or len(choices) == 1)
        if len(choices) > 1 and not answered:
            self.problems.append(
                f"Task {self.task_id}: {len(choices)} choices where the label config asks for one; they were left out. "
                "Choose one, or allow several in the config."
            )
        return Labels(
            tuple(sorted(self.spans)) if "spans" in kinds else None,
            choices if answered else None,
            tuple(sorted(self.relations)) if "relations" in kinds else None,
        )

    def _name(self, region: Any) -> str:
        about = f", region {shown(region.get('id'))}" if isinstance(region, dict) else ""
        return f"Task {self.task_id}{about}"

    def _tell_unknown(self, name: str, labels: list[str]) -> None:
        self.problems += [
            f"{name}: label {shown(label)} is not in the label config any more and was left out. "
            "Add it to the config again, or change the annotation's label."
            for label in labels
        ]


def _read_region(schema: Schema, doc: Document, region: Any) -> tuple[list[Span], list[str], list[str]]:
    """A region's spans, its choices, and those of its labels that the config does not have."""
    if not isinstance(region, dict):
        raise BadRegion(f"A region should be a JSON object and is {shown(region)}.")
    control = region.get("from_name")
    chooses = schema.choices is not None and control == schema.choices.control
    if not chooses and (not schema.control or control != schema.control):
        # Lists, since what was sent may have no hash.
        if region.get("type") in [*CONTROLS, *CHOOSERS] and schema.controls and control not in schema.controls:
            raise BadRegion(
                f"Its labelling tag {shown(control)} is not in the label config any more. "
                "Give the tag its old name again, or label the task anew."
            )
        return [], [], []
    if region.get("to_name") != schema.object:
        return [], [], []
    value = region.get("value")
    if not isinstance(value, dict):
        raise BadRegion(f"Its value should be a JSON object and is {shown(value)}.")
    if chooses:
        assert schema.choices is not None
        return [], *schema.choices.read(value)
    return _read_spans(schema, doc, value)


def _read_spans(schema: Schema, doc: Document, value: dict[str, Any]) -> tuple[list[Span], list[str], list[str]]:
    labels = value.get(schema.control_type)
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise BadRegion(f"Its {schema.control_type!r} should be a list of labels and is {shown(labels)}.")
    start, end = doc.locate(value)
    known = _known(schema.labels)
    spans = [Span(start, end, label) for label in labels if label in known]
    return spans, [], [label for label in labels if label not in known]


@lru_cache(maxsize=8)
def _known(labels: tuple[str, ...]) -> frozenset[str]:
    """A config may have thousands of labels, and a project many more regions."""
    return frozenset(labels)


def result_of(schema: Schema, doc: Document, marks: Iterable[Mark]) -> list[dict[str, Any]]:
    """Marks as regions that Label Studio draws; the same marks always give the same regions.

    Label Studio drops a whole prediction without a word if it holds a label that the config lacks, so
    such marks are left out here. So are spans that have no place in the text (as when it was changed
    since), with a warning in the log. A span twice is one region; neighbours stay apart.
    """
    marks = [*marks]
    placed = _place_spans(schema, doc, [mark for mark in marks if isinstance(mark, Span)])
    regions = [*placed.values()]
    if schema.choices:
        regions += _chosen(schema.object, schema.choices, [mark for mark in marks if isinstance(mark, Choice)])
    if schema.relations:
        ids = {span: region["id"] for span, region in placed.items()}
        relations = [mark for mark in marks if isinstance(mark, Relation)]
        regions += arrows(relations, ids, _known(schema.relations))
    return regions


def _place_spans(schema: Schema, doc: Document, spans: Iterable[Span]) -> dict[Span, dict[str, Any]]:
    placed = {}
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
        placed[span] = _region(place, schema.control, schema.object, schema.control_type, value, span.confidence)
    return placed


def _chosen(object: str, tag: Choices, choices: list[Choice]) -> list[dict[str, Any]]:
    """The one region of all choices; its score is the least of theirs."""
    known = _known(tag.labels)
    found = sorted({choice: choice for choice in choices if choice.label in known}.values())
    if not tag.multiple:  # the surest, where several were predicted under an earlier config
        found = sorted(found, key=lambda choice: -(choice.confidence or 0.0))[:1]
    if not found:
        return []
    value = tag.value(choice.label for choice in found)
    score = min((choice.confidence for choice in found if choice.confidence is not None), default=None)
    return [_region(tag.control, tag.control, object, tag.type, value, score)]


def _region(
    place: str, control: str, object: str, type: str, value: dict[str, Any], score: float | None
) -> dict[str, Any]:
    region: dict[str, Any] = {
        "id": hashlib.sha256(place.encode()).hexdigest()[:12],
        "from_name": control,
        "to_name": object,
        "type": type,
        "value": value,
    }
    return region if score is None else region | {"score": score}


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
