"""What the demo tells Label Studio fits its own label config."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from corpus import Span
from demo import label_studio
from demo.process import DemoError
from demo.vocabulary import LABELS


def test_label_config_has_the_labels_of_the_grammar() -> None:
    labels = ElementTree.fromstring(label_studio.LABEL_CONFIG).findall("Labels/Label")
    assert tuple(label.attrib["value"] for label in labels) == LABELS
    assert len({label.attrib["hotkey"] for label in labels}) == len(LABELS)
    assert len({label.attrib["background"] for label in labels}) == len(LABELS)


def test_region_names_the_controls_of_the_label_config() -> None:
    config = ElementTree.fromstring(label_studio.LABEL_CONFIG)
    control, text = config.find("Labels"), config.find("Text")
    assert control is not None and text is not None
    region = label_studio.region(Span(3, 9, "ORG"))
    assert region["from_name"] == control.attrib["name"]
    assert region["to_name"] == control.attrib["toName"] == text.attrib["name"]
    assert region["value"] == {"start": 3, "end": 9, "labels": ["ORG"]}


def test_a_missing_label_studio_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="LABEL_STUDIO_BIN"):
        label_studio.start(tmp_path / "label-studio", tmp_path, 8080)
