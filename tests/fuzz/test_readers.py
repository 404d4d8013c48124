"""Any input gives a value or the reader's own error."""

import importlib.util
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import Span
from labelstudio.documents import BadRegion, document
from labelstudio.results import labels_of, result_of
from tests.fuzz import readers
from tests.fuzz.hostile import VALUES, paths, replaced
from tests.fuzz.test_requests import ANNOTATION, REQUESTS, TASK, settled
from tests.server.conftest import CONFIG

pytestmark = pytest.mark.slow

EVENTS = [body for path, body in REQUESTS.values() if path == "/webhook"]
REGION = {
    "id": "r",
    "from_name": "l",
    "to_name": "t",
    "type": "labels",
    "value": {"start": 0, "end": 1, "labels": ["A"]},
}
PLACES = {
    "hypertextlabels": {"start": "/text()[1]", "end": "/text()[1]"},
    "paragraphlabels": {"start": "0", "end": "0"},
}
CHOSEN = {"id": "c", "from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": ["A"]}}
ARROW = {"type": "relation", "from_id": "r", "to_id": "s", "direction": "right", "labels": ["A"]}
NAMES = st.sampled_from(
    [
        *("View", "Labels", "HyperTextLabels", "ParagraphLabels", "Label", "Text", "HyperText", "Style"),
        *("Choices", "Taxonomy", "Choice", "Relations", "Relation"),
    ]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        [
            *("name", "toName", "value", "alias", "valueType", "encoding", "textKey", "background", "inline"),
            *("choice", "leafsOnly", "maxUsages", "visibleWhen"),
        ]
    ),
    st.sampled_from(["", "t", "l", "$t", "$a.b[0]", "$", "url", "base64", "true", "red", "t,l", "\u0301", "x" * 500]),
)


def tag(name, attributes, inner):
    written = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(inner)}</{name}>"


CONFIGS = st.recursive(
    st.builds(tag, NAMES, ATTRIBUTES, st.just([])),
    lambda inner: st.builds(tag, NAMES, ATTRIBUTES, st.lists(inner, max_size=4)),
    max_leaves=12,
)


def mutated(sound):
    return st.tuples(st.sampled_from(paths(sound)), VALUES).map(lambda found: replaced(sound, *found))


def cut(config):
    """A sound config with a piece of it replaced."""
    place = st.integers(0, len(config))
    return st.tuples(place, place, st.text(max_size=5)).map(
        lambda c: config[: min(c[:2])] + c[2] + config[max(c[:2]) :]
    )


@settled(200)
@given(CONFIGS | st.text() | cut(CONFIG))
def test_label_configs(config):
    readers.label_config(config)


@settled(300)
@given(st.sampled_from(range(3)), st.data())
def test_results(kind, data):
    schema = readers.SCHEMAS[kind]
    text = data.draw(st.text(max_size=30) | st.sampled_from(["<p>a b</p><b>😀</b>", "a \ud83d", "  😀 b"]))
    fields = {"t": [{"text": text}, {"text": "b"}] if kind == 2 else text}
    place = {"startOffset": 0, "endOffset": 1, **PLACES.get(schema.control_type, {"start": 0, "end": 1})}
    region = {**REGION, "type": schema.control_type, "value": {**place, schema.control_type: ["A"]}}
    chosen = CHOSEN if kind == 0 else {**CHOSEN, "type": "taxonomy", "value": {"taxonomy": [["A", "B"]]}}
    other = {**region, "id": "s", "value": {**region["value"], schema.control_type: ["B"]}}
    sound = [region, other, chosen, ARROW]
    readers.result(schema, fields, data.draw(mutated(sound)))
    readers.result(schema, data.draw(mutated(fields)), sound)


@settled(200)
@given(st.sampled_from(range(3)), st.text(max_size=40), st.data())
def test_a_result_we_wrote_is_read_back(kind, text, data):
    schema = readers.SCHEMAS[kind]
    doc = document(schema, {"t": [{"text": text}, {"text": "b 😀 c"}] if kind == 2 else text})
    edges = st.integers(0, len(doc.text))
    spans = {Span(min(pair), max(pair), "A") for pair in data.draw(st.lists(st.tuples(edges, edges), max_size=4))}
    for span in spans:
        try:
            doc.place(span)
        except BadRegion:
            continue  # nothing there that the editor could mark
        labels, problems = labels_of(schema, doc, result_of(schema, doc, [span]), 7)
        assert labels.spans is not None and problems == ()
        (again,) = labels.spans
        assert again == span or doc.text[span.start : span.end].strip("\n") == doc.text[again.start : again.end]


def test_thousands_of_relations_in_circles_take_no_time():
    schema, places = readers.SCHEMAS[0], 100
    names = [str(number) for number in range(places)]
    ends = [{"start": number, "end": number + 1, "labels": ["A"]} for number in range(places)]
    regions = [{**REGION, "id": name, "value": value} for name, value in zip(names, ends, strict=True)]
    arrows = [{**ARROW, "from_id": a, "to_id": b} for a in names for b in names[:50]]
    labels, problems = labels_of(schema, document(schema, {"t": "a" * places}), [*arrows, *regions], 7)
    assert labels.relations is not None and len(labels.relations) == 4_950
    assert len(problems) == 50  # those that lead to themselves
    readers.result(schema, {"t": "a" * places}, [*arrows, *regions])


@settled(300)
@given(st.sampled_from(EVENTS).flatmap(mutated) | VALUES)
def test_events(payload):
    readers.event(payload)


@settled(200)
@given(mutated([{**TASK, "annotations": [ANNOTATION]}]), st.sampled_from([CONFIG, None]))
def test_exports(tasks, config):
    readers.export(tasks, config)


CELLS = st.sampled_from(["Ada", "O", "B-A", "I-A", "S-A", "E-B", "B-", "-", "-DOCSTART-", "\ufeff", "a\u00a0b", "\x85"])
LINES = st.lists(CELLS, max_size=3).flatmap(lambda cells: st.sampled_from([" ", "\t"]).map(lambda by: by.join(cells)))


@settled(200)
@given(st.binary(max_size=80) | st.lists(LINES, max_size=12).map(lambda lines: "\n".join(lines).encode()))
def test_columns(content):
    readers.conll(content)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("reader", sorted(readers.READERS))
def test_guided_by_coverage(reader, tmp_path):
    """Eight seconds of what can be run for hours."""
    sound = {"label_config": CONFIG, "result": f"0a b\n{[REGION]}".replace("'", '"'), "conll": "Ada\tB-A\nsings\tO\n\n"}
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "sound").write_text(sound[reader])
    command = [sys.executable, "-m", "tests.fuzz.readers", reader, str(corpus), "-max_total_time=8", "-timeout=20"]
    done = subprocess.run(
        [*command, "-rss_limit_mb=4000", f"-artifact_prefix={tmp_path}/"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, (done.stderr + done.stdout)[-3_000:]
