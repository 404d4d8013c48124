"""Relations between regions: the entries of a `result` that name two regions by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from reprlib import repr as shown
from typing import Any

from corpus import Relation, Span
from labelstudio.documents import BadRegion


def read_arrow(
    arrow: dict[str, Any], ends: Mapping[str, Span | None], known: frozenset[str]
) -> tuple[list[Relation], list[str]]:
    """The relations that an entry of type "relation" holds, and those of its labels that the config does not have.

    `ends` are the regions of the same result by their ids, None for those that are no spans of ours: their relations
    are no concern of ours either.

    Raises:
        BadRegion: if it names no two regions of the result, or has no label.
    """
    ids: list[str] = []
    for id in (arrow.get("from_id"), arrow.get("to_id")):
        if not isinstance(id, str) or id not in ends:
            raise BadRegion(f"Its end {shown(id)} is no region of the annotation. Draw the relation again.")
        ids.append(id)
    head, tail = (ends[id] for id in ids)
    if head is None or tail is None:
        return [], []
    if head == tail:
        raise BadRegion("It leads from a region to itself or to its double. Delete it, or draw it to another region.")
    ways = {"right": [(head, tail)], "left": [(tail, head)], "bi": [(head, tail), (tail, head)]}
    direction, labels = arrow.get("direction", "right"), arrow.get("labels")
    if not isinstance(direction, str) or direction not in ways:
        raise BadRegion(f"Its direction should be one of {', '.join(ways)} and is {shown(direction)}.")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise BadRegion(f"Its labels should be a list and are {shown(labels)}. Give it a label, or delete it.")
    found = [Relation(*way, label) for way in ways[direction] for label in labels if label in known]
    return found, [label for label in labels if label not in known]


def arrows(relations: Iterable[Relation], ids: Mapping[Span, str], known: frozenset[str]) -> list[dict[str, Any]]:
    """Relations as entries of a result whose regions have these ids; those without both regions are left out.

    The editor keeps one entry from a region to another, which bears all labels; an entry's score is its least.
    """
    drawn = sorted({r for r in relations if r.label in known and r.head in ids and r.tail in ids})
    made = []
    for (head, tail), group in groupby(drawn, key=lambda relation: (relation.head, relation.tail)):
        held = [*group]
        arrow: dict[str, Any] = {
            "type": "relation",
            "from_id": ids[head],
            "to_id": ids[tail],
            "direction": "right",
            "labels": [relation.label for relation in held],
        }
        scores = [relation.confidence for relation in held if relation.confidence is not None]
        made.append(arrow | ({"score": min(scores)} if scores else {}))
    return made
