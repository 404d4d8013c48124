"""A backend that nobody gave a token: what Label Studio sends by itself has to do."""

from __future__ import annotations

import pytest

from tests.end_to_end.backend import RunningBackend
from tests.end_to_end.test_live_loop import CONFIG, Annotated, version_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    """It cannot reach Label Studio at all."""
    running = RunningBackend(tmp_path_factory.mktemp("keyless"), LABEL_STUDIO_URL="http://127.0.0.1:9")
    yield running
    running.stop()


def test_it_learns_and_answers_on_request_and_says_what_is_missing(label_studio, backend):
    project = Annotated(label_studio, "keyless", 1, 0)
    label_studio.connect_backend(project.id, backend.url, {"round_size": 20, "holdout_share": 0})
    assert "LABEL_STUDIO_API_KEY" in backend.wait_for(lambda: backend.project(project.id)["notice"], "the notice")

    whole = Annotated(label_studio, "only to make texts", 40, 0)
    tasks = label_studio.import_tasks(project.id, [{"text": s.text} for s in whole.sentences])
    project.by_task |= dict(zip(tasks, whole.sentences, strict=True))
    for task in tasks[:20]:
        project.annotate(task)
    done = backend.round_after(project.id, kind="fit")
    assert done["metrics"]["train_sentences"] == 20
    assert version_of(label_studio, project.id) != done["version"]  # nobody could tell Label Studio

    everything = {"selectedItems": {"all": True, "excluded": []}, "ordering": []}
    action = {"id": "retrieve_tasks_predictions", "project": project.id}
    label_studio.call("POST", "/api/dm/actions", params=action, json=everything)
    scores, right = [], 0
    for task in tasks[20:]:
        (prediction,) = [p for p in label_studio.predictions(task) if p["model_version"] == done["version"]]
        found = {(r["value"]["start"], r["value"]["end"], r["value"]["labels"][0]) for r in prediction["result"]}
        right += found == {(s.start, s.end, s.label) for s in project.by_task[task].spans or ()}
        scores.append(prediction["score"])
    assert right >= 15
    assert len(set(scores)) == 20 and all(0 <= score < 1 for score in scores)


def test_the_token_that_label_studio_lends_is_used_where_it_serves(label_studio, tmp_path):
    """Legacy tokens are switched on here, so the creator's own, sent with /setup, is enough."""
    running = RunningBackend(tmp_path)
    try:
        project = label_studio.create_project("lent", CONFIG)
        label_studio.import_tasks(project, [{"text": "Ada lives in Oslo"}])
        label_studio.connect_backend(project, running.url)
        done = running.round_after(project)
        assert version_of(label_studio, project) == done["version"]
        assert label_studio.legacy_token not in running.log.read_text()
    finally:
        running.stop()
