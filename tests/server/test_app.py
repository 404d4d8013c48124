import re
import time

import pytest
from sqlalchemy import select

from corpus import Sentence
from learning.database import Annotation, Project, Task
from server.child import work
from tests.learning.texts import texts
from tests.server.conftest import CONFIG, Sender

RATING = '<View><Text name="text" value="$text"/><Rating name="r" toName="text"/></View>'


def stored(workspace, kind):
    with workspace.db.read() as session:
        return session.scalars(select(kind)).all()


def the_project(workspace) -> Project:
    (project,) = stored(workspace, Project)
    return project


def train(workspace) -> None:
    """One job, as the trainer's child runs it, in this process."""
    from server import child

    child.prepare.cache_clear()
    child_prepare, child.prepare = child.prepare, lambda: workspace  # type: ignore[assignment]
    try:
        work(the_project(workspace).id)
    finally:
        child.prepare = child_prepare


def test_health_needs_nothing(client):
    for path in ("/", "/health"):
        assert client.get(path, headers={"Accept": "*/*"}).json()["status"] == "UP"


def test_people_get_the_page_at_the_same_address(client):
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html") and page.text.startswith("<!doctype html>")
    assert page.headers["vary"] == "Accept", "or a cache would give the one what is meant for the other"
    moved = client.get("/status", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (301, "./")


def test_static_files(client):
    assert client.get("/project?key=4").text.startswith("<!doctype html>")
    page = client.get("/", headers={"Accept": "text/html"}).text
    files = re.findall(r'(?:src|href)="(pages/[^"]+)"', page)
    assert files and all(client.get(f"/{file}").status_code == 200 for file in files)
    chart = client.get("/pages/uplot/uPlot.iife.js")
    assert "javascript" in chart.headers["content-type"] and "uPlot" in chart.text
    again = client.get("/pages/uplot/uPlot.iife.js", headers={"If-None-Match": chart.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["no.js", "", "../app.py", "%2e%2e/app.py", "uplot/../__init__.py", "uplot/none.js"])
def test_nothing_else_is_served(client, path):
    assert client.get(f"/pages/{path}").status_code == 404


def test_setup_makes_the_project_known_once(sender, workspace):
    for _ in range(3):
        answer = sender.setup()
        assert (answer.status_code, answer.json()) == (200, {"model_version": "untrained"})
    project = the_project(workspace)
    assert (project.external_id, project.key) == (4, sender.key)
    assert (project.due, project.due_reason) == ("rank", "connected")


@pytest.mark.parametrize("extra", [{"round_size": 3}, '{"round_size": 3}'])
def test_setup_takes_the_connection_forms_parameters(sender, workspace, extra):
    assert sender.setup(extra).status_code == 200
    assert workspace.settings.for_project(the_project(workspace).extra_params).round_size == 3


def test_setup_says_what_is_wrong_with_the_parameters(sender, workspace):
    answer = sender.setup({"strategy": "oracle"})
    assert answer.status_code == 422
    assert "oracle" in answer.json()["detail"] and "mnlp" in answer.json()["detail"]
    assert the_project(workspace).extra_params == {}


def test_setup_says_what_is_wrong_with_the_label_config(client, workspace, caplog):
    answer = Sender(client, config=RATING).setup()
    assert answer.status_code == 422
    assert "Rating" in answer.json()["detail"] and "Labels" in answer.json()["detail"]
    assert answer.json()["detail"] in caplog.text
    assert stored(workspace, Project) == []


def test_events_are_written_down(sender, workspace):
    sender.setup()
    assert sender.webhook("TASKS_CREATED", tasks=[sender.task(i) for i in (1, 2, 3)]).status_code == 200
    sender.webhook("ANNOTATION_CREATED", annotation=sender.annotation(9, 1), task=sender.task(1))
    sender.webhook("TASKS_DELETED", tasks=[{"id": 3}])
    assert [task.id for task in stored(workspace, Task)] == [1, 2]
    (annotation,) = stored(workspace, Annotation)
    assert (annotation.task_id, annotation.deleted) == (1, False)
    sender.webhook("ANNOTATIONS_DELETED", annotations=[{"id": 9}])
    assert stored(workspace, Annotation)[0].deleted


def test_enough_annotations_make_a_round_due(sender, workspace):
    sender.setup()
    for id in range(10):
        sender.webhook("ANNOTATION_CREATED", annotation=sender.annotation(id, id), task=sender.task(id))
    assert the_project(workspace).due == "fit"


def test_start_training_makes_a_round_due_at_once(sender, workspace):
    sender.setup()
    sender.webhook("START_TRAINING")
    assert the_project(workspace).due_reason == "training was asked for"


def test_an_event_of_an_unknown_project_is_not_lost(sender, workspace):
    """The backend's data folder was replaced: Label Studio goes on sending without another /setup."""
    answer = sender.webhook("ANNOTATION_CREATED", annotation=sender.annotation(9, 1), task=sender.task(1))
    assert answer.status_code == 200
    assert [a.id for a in stored(workspace, Annotation)] == [9]


def test_annotations_are_kept_while_the_settings_do_not_fit(sender, workspace):
    sender.setup({"strategy": "mnlp"})
    with workspace.db.write() as session:
        session.scalars(select(Project)).one().extra_params = {"strategy": "badge"}  # needs hidden states
    sender.webhook("ANNOTATION_CREATED", annotation=sender.annotation(9, 1), task=sender.task(1))
    assert len(stored(workspace, Annotation)) == 1
    assert "badge" in the_project(workspace).notice


def test_a_payload_that_is_not_label_studios_is_refused(sender):
    sender.setup()
    assert sender.webhook("ANNOTATION_CREATED").status_code == 422
    assert sender.client.post("/webhook", json={"action": "X"}).status_code == 422
    assert sender.client.post("/webhook", content=b"{").status_code == 415
    assert sender.client.post("/webhook", content=b"{", headers={"Content-Type": "application/json"}).status_code == 422


def annotate_and_train(sender, workspace, n=40) -> list[Sentence]:
    sender.setup()
    sentences = texts(n + 20)
    sender.webhook("TASKS_CREATED", tasks=[sender.task(int(s.id), s.text) for s in sentences])
    annotations = [
        sender.annotation(int(s.id), int(s.id), [(span.start, span.end, span.label) for span in s.spans or ()])
        for s in sentences[:n]
    ]
    tasks = [sender.task(int(s.id), s.text) for s in sentences[:n]]
    sender.webhook("ANNOTATIONS_CREATED", annotation=annotations, task=tasks)
    train(workspace)
    return sentences


def test_predictions_before_and_after_the_first_round(sender, workspace):
    sender.setup()
    before = sender.predict(sender.task(1)).json()["results"]
    assert before == [{"result": [], "score": 0.0, "model_version": "untrained"}]
    sentences = annotate_and_train(sender, workspace)
    version = sender.setup().json()["model_version"]
    assert version.startswith("v1-")
    asked = [*sentences[-20:], sentences[0]]
    results = sender.predict(*[sender.task(int(s.id), s.text) for s in asked]).json()["results"]
    assert len(results) == 21
    assert {r["model_version"] for r in results} == {version}
    right = sum(
        {(r["value"]["start"], r["value"]["end"], r["value"]["labels"][0]) for r in result["result"]}
        == {(s.start, s.end, s.label) for s in sentence.spans or ()}
        for sentence, result in zip(asked, results, strict=True)
    )
    assert right >= 18
    assert results[-1]["score"] == 1.0  # labelled already: last


def test_scores_on_request_follow_the_queue(sender, workspace):
    sentences = annotate_and_train(sender, workspace)
    with workspace.db.read() as session:
        from learning.database import Prediction

        places = {p.task_id: p.position for p in session.scalars(select(Prediction)) if p.position is not None}
    results = sender.predict(*[sender.task(int(s.id), s.text) for s in sentences[-20:]]).json()["results"]
    scores = {int(s.id): r["score"] for s, r in zip(sentences[-20:], results, strict=True)}
    assert sorted(scores, key=scores.__getitem__) == sorted(places, key=places.__getitem__)
    assert len(set(scores.values())) == 20


def test_known_tasks_are_answered_while_another_process_writes(sender, workspace):
    sentences = annotate_and_train(sender, workspace)
    asked = [sender.task(int(s.id), s.text) for s in sentences[-5:]]
    with workspace.db.write() as session:  # the trainer stores a round
        assert session.scalar(select(Project.id))
        began = time.monotonic()
        results = sender.predict(*asked).json()["results"]
    assert len({result["score"] for result in results}) == 5
    assert time.monotonic() - began < 10, "it waited for the lock"


def test_unreadable_tasks_get_their_empty_result(sender, workspace, caplog):
    annotate_and_train(sender, workspace)
    odd = [{"id": 900, "data": {}}, {"id": 901, "data": {"text": None}}, {"id": None}, {}]
    good = sender.task(902, "Ada lives in Lima now")
    results = sender.predict(*odd, good).json()["results"]
    assert len(results) == 5
    assert [r["result"] for r in results[:4]] == [[], [], [], []]
    assert {r["value"]["labels"][0] for r in results[4]["result"]} == {"PER", "LOC"}
    assert "900" in caplog.text


def test_projects_do_not_mix(client, workspace):
    first = Sender(client, 4)
    second = Sender(client, 5, CONFIG.replace("PER", "DRUG"))
    sentences = annotate_and_train(first, workspace)
    assert second.setup().json() == {"model_version": "untrained"}
    result = second.predict(second.task(1, sentences[0].text)).json()["results"]
    assert result == [{"result": [], "score": 0.0, "model_version": "untrained"}]


def test_a_changed_label_config_is_learned_anew(sender, workspace):
    annotate_and_train(sender, workspace)
    sender.config = CONFIG.replace('<Label value="LOC"/>', "")
    sender.webhook("PROJECT_UPDATED")
    assert the_project(workspace).due_reason == "the label config has changed"
    train(workspace)
    result = sender.predict(sender.task(70, "Ada lives in Lima now")).json()["results"][0]["result"]
    assert {r["value"]["labels"][0] for r in result} == {"PER"}


def test_versions(sender, workspace):
    sender.setup()
    assert sender.client.get("/versions").json() == {"versions": ["untrained"]}


def test_without_an_api_key_the_project_says_what_is_missing(sender, workspace):
    with workspace.db.write() as session:
        assert session.scalars(select(Project)).all() == []
    sender.setup()
    with workspace.db.write() as session:
        session.scalars(select(Project)).one().connection = {}
    sender.webhook("TASKS_CREATED", tasks=[sender.task(1)])
    train(workspace)
    assert "LABEL_STUDIO_API_KEY" in the_project(workspace).notice
    assert sender.setup().json()["model_version"].startswith("v1-")
