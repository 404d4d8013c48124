"""Texts that are files in Label Studio: what the loop reads is what the editor shows, place for place."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page

from corpus import Sentence
from labelstudio.documents import document
from labelstudio.remote import Library
from labelstudio.results import labels_of, prediction, result_of
from labelstudio.schema import read_schema
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.end_to_end.test_editor import CASES, Case, Editor, spans_in
from tests.end_to_end.test_live_loop import CONFIG, distinct, regions, version_of

pytestmark = pytest.mark.slow

REMOTE = CONFIG.replace('value="$text"', 'value="$text" valueType="url"')
CRLF = "\r\n"


def upload(studio: RunningLabelStudio, project: int, files: dict[str, bytes]) -> dict[str, int]:
    """As people do in the import dialogue, each file a task; the tasks' ids by the files' addresses."""
    address = f"/api/projects/{project}"
    sent = [(name, (name, content, "text/plain")) for name, content in files.items()]
    told = studio.call("POST", f"{address}/import?commit_to_project=false", files=sent)
    wanted = {"file_upload_ids": told["file_upload_ids"], "files_as_tasks_list": False}
    studio.call("POST", f"{address}/reimport", json=wanted)
    listed = studio.call("GET", "/api/tasks", params={"project": project, "page_size": 1000})["tasks"]
    return {task["data"]["text"]: task["id"] for task in listed}


def test_a_round_learns_from_uploaded_files(label_studio: RunningLabelStudio, backend) -> None:
    project = label_studio.create_project("files", REMOTE)
    named = {f"text{number}.txt": sentence for number, sentence in enumerate(distinct(60))}
    marked = {name: f"{s.text}{CRLF}The end." for name, s in named.items()}
    tasks = upload(label_studio, project, {name: b"\xef\xbb\xbf" + text.encode() for name, text in marked.items()})
    by_task: dict[int, Sentence] = {}
    for address, task in tasks.items():
        assert address.startswith("/data/upload/"), address
        name = address.rpartition("-")[2]
        by_task[task] = Sentence.from_text(str(task), marked[name], named[name].spans)
    labelled = sorted(by_task)[:40]
    for task in labelled:
        label_studio.annotate(task, regions(by_task[task]))
    label_studio.connect_backend(project, backend.url, {"strategy": "mnlp", "holdout_share": 0, "round_size": 20})
    done = backend.round_after(project, kind="fit")
    assert done["problems"] == []
    assert version_of(label_studio, project) == done["version"]

    right = expected = 0
    for task, sentence in by_task.items():
        (made,) = [p for p in label_studio.predictions(task) if p["model_version"] == done["version"]]
        found = {(r["value"]["start"], r["value"]["end"], r["value"]["labels"][0]) for r in made["result"]}
        gold = {(s.start, s.end, s.label) for s in sentence.spans or ()}
        right, expected = right + len(found & gold), expected + len(gold)
    assert right > 0.9 * expected, (right, expected)

    queue = httpx.get(f"{backend.url}/api/projects/{project}/queue", timeout=60).json()["tasks"]
    assert {row["text"] for row in queue} == {by_task[task].text for task in by_task if task not in labelled}
    assert label_studio.personal_access_token() not in backend.log.read_text()


def test_a_file_that_is_gone_is_a_problem_of_its_task(label_studio: RunningLabelStudio, backend) -> None:
    project = label_studio.create_project("gone", REMOTE)
    tasks = upload(label_studio, project, {"a.txt": b"Ada lives in Oslo"})
    (lost,) = label_studio.import_tasks(project, [{"text": f"/data/upload/{project}/none.txt"}])
    (token,) = label_studio.import_tasks(project, [{"text": "/api/current-user/token"}])
    (foreign,) = label_studio.import_tasks(project, [{"text": "http://169.254.169.254/latest/meta-data"}])
    label_studio.connect_backend(project, backend.url, {"holdout_share": 0})
    done = backend.round_after(project)
    told = {int(problem.split(":")[0].removeprefix("task ")): problem for problem in done["problems"]}
    assert set(told) == {lost, token, foreign}
    assert "no file of Label Studio" in told[token] and "TEXT_HOSTS" in told[foreign]
    (text,) = tasks.values()
    assert label_studio.predictions(text)


# -- the editor -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Text", "HyperText"])
def test_the_editor_counts_in_the_same_characters(name: str, label_studio: RunningLabelStudio, page: Page) -> None:
    """With a byte-order mark, both kinds of line breaks and emoji; predicted spans are drawn where they were meant."""
    case: Case = CASES[name]
    (field,) = case.data
    config = case.config.replace(f'value="${field}"', f'value="${field}" valueType="url"')
    schema = read_schema(config)
    project = label_studio.create_project("editor of files", config, show_collab_predictions=True)
    content = b"\xef\xbb\xbf" + case.data[field].encode()
    told = label_studio.call(
        "POST",
        f"/api/projects/{project}/import?commit_to_project=false",
        files={"a": ("page 1.txt", content, "text/plain")},
    )
    (uploaded,) = label_studio.call("GET", f"/api/projects/{project}/file-uploads", params={"all": "true"})
    assert told["file_upload_ids"] == [uploaded["id"]]
    address = f"/data/{quote(uploaded['file'])}"
    (task,) = label_studio.import_tasks(project, [{"data": {field: address}}])
    text = Library(label_studio.url, label_studio.legacy_token, None, [], project).load(address)
    doc = document(schema, {field: text})
    predicted, drawn = spans_in(doc, case.predicted, "PER"), spans_in(doc, case.drawn, "LOC")
    ours = [prediction(task, result_of(schema, doc, predicted), 0.5, "ours")]
    assert label_studio.call("POST", f"/api/projects/{project}/import/predictions", json=ours)["created"] == 1
    label_studio.call("PATCH", f"/api/projects/{project}", json={"model_version": "ours"})

    editor = Editor(page, f"{label_studio.url}/projects/{project}/data?task={task}", case)
    shown, highlighted = editor.shown()
    assert shown.replace("\r", "\n") == doc.text.replace("\r", "\n")
    assert [doc.text[start:end] for start, end in highlighted] == case.predicted
    for span in drawn:
        editor.draw(span.start, span.end, hotkey="2")
    editor.submit()
    (annotation,) = label_studio.call("GET", f"/api/tasks/{task}/annotations/")
    labels, problems = labels_of(schema, doc, annotation["result"], task)
    assert problems == () and labels.spans == tuple(sorted(predicted + drawn))
    assert not any("text" in region["value"] for region in annotation["result"]), "the editor repeats no words"
