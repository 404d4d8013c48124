"""Labels of a text as a whole: what <Choices> and <Taxonomy> offer, and how a result holds what was chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from reprlib import repr as shown
from typing import Any
from xml.etree.ElementTree import Element

CHOOSERS = {"choices": "Choices", "taxonomy": "Taxonomy"}
"""Tags that label whole texts: the lower-case name (a region's `type`, and the key of what was chosen) to the tag."""
JOINT = " > "
"""Stands between the parts of a label of a nested taxonomy."""


class BadChoice(ValueError):
    """A region holds no choices as its tag writes them."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The one tag whose choices a project is learned from."""

    control: str
    """Name of the tag: a region's `from_name`."""
    type: str
    """A region's `type`, and the key of the choices in `value`: a key of `CHOOSERS`."""
    labels: tuple[str, ...]
    """In the config's order; of a taxonomy the whole path, its parts joined by `JOINT`."""
    paths: tuple[tuple[str, ...], ...]
    """What each label is in Label Studio, from the taxonomy's root down; one part each for <Choices>."""
    multiple: bool
    """Whether a text may have several of them, or none."""

    def read(self, value: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """The labels that a region's `value` holds, and what else it holds (gone from the config).

        Raises:
            BadChoice: if it holds no list as the tag writes it.
        """
        chosen = value.get(self.type)
        paths = [[path] if self.type == "choices" and isinstance(path, str) else path for path in _listed(chosen)]
        if not paths or not all(isinstance(path, list) and all(isinstance(p, str) for p in path) for path in paths):
            raise BadChoice(f"Its {self.type!r} should be a list of choices and is {shown(chosen)}.")
        known = _labels_by_path(self)
        found = [(known.get(tuple(path)), JOINT.join(path)) for path in paths]
        return [label for label, _ in found if label is not None], [name for label, name in found if label is None]

    def value(self, labels: Iterable[str]) -> dict[str, Any]:
        """Labels of this tag as a region's `value`."""
        paths = [list(self.paths[self.labels.index(label)]) for label in labels]
        return {self.type: paths if self.type == "taxonomy" else [path for (path,) in paths]}


def _listed(chosen: Any) -> list[Any]:
    return chosen if isinstance(chosen, list) else []


@lru_cache(maxsize=8)
def _labels_by_path(choices: Choices) -> dict[tuple[str, ...], str]:
    """A taxonomy may have thousands of them, and a project many more regions."""
    return dict(zip(choices.paths, choices.labels, strict=True))


def read_choices(name: str, element: Element, above: Iterable[Element]) -> Choices | str:
    """What a <Choices> or <Taxonomy> tag offers, or why it cannot be learned (to be read after the tag's name).

    `above` are the tags around it: one of them may show it at times only.
    """
    type = element.tag.lower()
    if said := _condition([element, *above]):
        return f", which applies only under a condition ({said})"
    if _attribute(element, "value").startswith("$") or _attribute(element, "apiUrl"):
        return ", whose choices come with each task or from an address (not supported)"
    if _attribute(element, "labeling") == "true":
        return " with labeling='true', which labels regions"
    if _attribute(element, "allowNested") == "true":
        return " with allowNested='true', whose predictions Label Studio drops (use <Taxonomy> instead)"
    leaves = _attribute(element, "leafsOnly") == "true"
    paths: dict[str, tuple[str, ...]] = {}
    for path, tag in choice_tags(element, nested=type == "taxonomy"):
        if not (leaves and any(choice_tags(tag, nested=True))):
            paths.setdefault(JOINT.join(path), path)
    if not paths:
        return " without <Choice> tags"
    if type == "taxonomy":
        several = _attribute(element, "maxUsages") != "1"
    else:
        several = _attribute(element, "choice") == "multiple"
    # A tick box alone is ticked or not.
    return Choices(name, type, tuple(paths), tuple(paths.values()), several or len(paths) == 1)


def choice_tags(
    element: Element, *, nested: bool, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Element]]:
    """All <Choice> tags inside a tag, each after the one that it lies in, with the path to it.

    Of <Choices> (not `nested`) those on top, which alone the editor shows.
    """
    for child in element:
        path = above
        if child.tag.lower() == "choice":
            if not (value := child.get("alias") or child.get("value")):
                continue
            path = (*above, value)
            yield path, child
            if not nested:
                continue
        yield from choice_tags(child, nested=nested, above=path)  # also inside <View>, <Header>, …


def _condition(elements: Iterable[Element]) -> str:
    """What makes a tag appear at times only, as the config says it; "" if nothing does."""
    for element in elements:
        if value := _attribute(element, "visibleWhen"):
            return f"visibleWhen={value!r:.50}"
        for name in ("perRegion", "perItem"):
            if _attribute(element, name) == "true":
                return f"{name}='true'"
    return ""


def _attribute(element: Element, name: str) -> str:
    """An attribute in whatever case it was written, as the editor reads it."""
    return next((value for key, value in element.items() if key.lower() == name.lower()), "")
