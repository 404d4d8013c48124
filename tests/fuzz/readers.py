"""The readers of what others write, for atheris: `python -m tests.fuzz.readers result -max_total_time=3600`.

Any input must give a value or the reader's own error, in time and in a bounded memory; what is written by us is read
back the same. Arguments after the reader's name go to libFuzzer: `-max_len=…`, a folder of inputs to start from, ….
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from corpus import KINDS, Mark, Span
from corpus.conll import read_conll, write_conll
from labelstudio.documents import BadTask, document
from labelstudio.events import BadRecord, read_event
from labelstudio.export import BadExport, read_export
from labelstudio.labels import colours, label_counts, labels_of_kind
from labelstudio.results import Labels, labels_of, result_of
from labelstudio.schema import Schema, UnsupportedConfig, read_schema

TEXT = (
    '<View><Labels name="l" toName="t"><Label value="A"/><Label value="B"/></Labels><Text name="t" value="$t"/></View>'
)
CHOICES = '<Choices name="c" toName="t" choice="multiple"><Choice value="A"/><Choice value="B"/></Choices>'
TREE = '<Taxonomy name="c" toName="t"><Choice value="A"><Choice value="B"/></Choice></Taxonomy>'
ARROWS = '<Relations><Relation value="A"/><Relation value="B"/></Relations>'
SCHEMAS = [
    read_schema(config)
    for config in (
        TEXT.replace("<View>", f"<View>{ARROWS}{CHOICES}"),
        TEXT.replace("Labels", "HyperTextLabels").replace("<Text", "<HyperText").replace("<View>", f"<View>{TREE}"),
        TEXT.replace("Labels", "ParagraphLabels").replace("<Text", "<Paragraphs").replace("<View>", f"<View>{ARROWS}"),
    )
]


def label_config(text: str) -> None:
    """A config is read, or refused in words; its labels can be shown."""
    try:
        schema = read_schema(text)
    except UnsupportedConfig as refusal:
        assert len(str(refusal)) < 100_000
        return
    assert schema.kinds
    for kind in KINDS:
        labels = labels_of_kind(schema, kind)
        assert bool(labels) == (kind in schema.kinds) and all(isinstance(label, str) for label in labels)
        assert list(colours(text, schema, kind)) == list(dict.fromkeys(labels))


def result(schema: Schema, data: Any, regions: Any) -> None:
    """Regions are read, or each that is not is named; what was read can be written, and read again the same."""
    try:
        doc = document(schema, data)
    except BadTask:
        return
    regions = regions if isinstance(regions, list) else [regions]
    labels, problems = labels_of(schema, doc, regions, 7)
    spans = labels.spans or ()
    assert all(0 <= span.start < span.end <= len(doc.text) and span.label in schema.labels for span in spans)
    assert all(choice.label in labels_of_kind(schema, "choices") for choice in labels.choices or ())
    assert all({relation.head, relation.tail} <= {*spans} for relation in labels.relations or ())
    assert all(problem.startswith("Task 7") for problem in problems)
    for kind in KINDS:
        label_counts(schema, [regions], kind)
    written = result_of(schema, doc, all_of(labels))
    again, none = labels_of(schema, doc, json.loads(json.dumps(written)), 7)
    assert none == ()
    assert {trimmed(doc.text, span) for span in again.spans or ()} <= {trimmed(doc.text, span) for span in spans}
    assert again.choices == labels.choices
    if schema.object_type == "Text":
        assert again == labels


def all_of(labels: Labels) -> list[Mark]:
    """What was read of every kind."""
    return [mark for marks in labels for mark in marks or ()]


def trimmed(text: str, span: Span) -> tuple[int, int, str]:
    """Without white space at its edges: what lies between two pieces of a page belongs to neither."""
    inside = text[span.start : span.end]
    start = span.start + len(inside) - len(inside.lstrip())
    return start, max(start, span.start + len(inside.rstrip())), span.label


def event(payload: Any) -> None:
    """A webhook's payload is read or refused, and what is kept of it is small numbers and sound JSON."""
    try:
        happened = read_event(payload)
    except BadRecord as refusal:
        assert len(str(refusal)) < 2_000
        return
    for annotation in happened.annotations:
        json.dumps(annotation.result, allow_nan=False)
        assert 0 <= annotation.id < 2**63 and 0 <= annotation.task_id < 2**63
    for task in happened.tasks:
        json.dumps(task.data, allow_nan=False)
        for schema in SCHEMAS:
            result(schema, task.data, [region for a in happened.annotations for region in a.result])


def export(tasks: Any, config: str | None = TEXT) -> None:
    """An export is read, with or without its config, or refused in words."""
    try:
        sentences = read_export(tasks if isinstance(tasks, list) else [tasks], config)
    except (BadExport, BadTask, UnsupportedConfig) as refusal:
        assert len(str(refusal)) < 100_000
        return
    assert all(0 <= s.start < s.end <= len(one.text) for one in sentences for s in one.spans or ())


def conll(content: bytes) -> None:
    """Columns are read or refused with a line; what was read and can be written is read again the same."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        file.write_bytes(content)
        for scheme in ("IOB1", "BIO", "BIOES"):
            try:
                sentences = read_conll(file, scheme=scheme)
            except ValueError as refusal:
                assert str(refusal).startswith(f"{file}:")
                continue
            copy = Path(folder) / "copy.txt"
            try:
                write_conll(sentences, copy, scheme=scheme)
            except ValueError as refusal:
                assert "columns cannot hold" in str(refusal)
                continue
            again = read_conll(copy, scheme=scheme)
            assert [(one.text, one.spans) for one in again] == [(one.text, one.spans) for one in sentences]


def _label_config(content: bytes) -> None:
    label_config(content.decode("utf-8", "surrogateescape"))


def _result(content: bytes) -> None:
    """The first byte chooses the kind of text, a line the text, and the rest are the regions."""
    kind, text, regions = content[:1], *content[1:].partition(b"\n")[::2]
    schema = SCHEMAS[kind[0] % len(SCHEMAS) if kind else 0]
    spoken = text.decode("utf-8", "replace")
    try:
        found = json.loads(regions)
    except (ValueError, RecursionError):
        return
    result(schema, {"t": [{"text": spoken}] if schema.object_type == "Paragraphs" else spoken}, found)
    event(found)
    export(found, None)


READERS: dict[str, Callable[[bytes], None]] = {"label_config": _label_config, "result": _result, "conll": conll}


def _ours() -> list[Any]:
    """The functions whose branches guide the search: ours, not those of the libraries they call."""
    folders = ("corpus.", "labelstudio.")
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith(folders)]
    inside = [thing for module in modules for thing in vars(module).values()]
    methods = [thing for kind in inside if isinstance(kind, type) for thing in vars(kind).values()]
    named = [thing for thing in [*inside, *methods] if isinstance(thing, FunctionType)]
    return [one for one in dict.fromkeys(named) if one.__module__.startswith(folders)]


def main() -> None:
    """Fuzz the reader that is named first until a time is up or a fault is found."""
    import atheris

    logging.disable(logging.CRITICAL)
    reader = READERS[sys.argv.pop(1)]
    for function in _ours():
        atheris.instrument_func(function)
    atheris.Setup(sys.argv, reader)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
