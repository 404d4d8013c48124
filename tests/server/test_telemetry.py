"""`/metrics`: what it tells against what happened and what the database holds, from one process and from several."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import StreamingResponse
from starlette.staticfiles import StaticFiles

import model
from learning.database import Annotation, Prediction, Project, Round, Task, now
from learning.settings import Settings
from learning.workspace import Workspace
from server.telemetry import RequestTimes, mount

ROOT = Path(__file__).parent.parent.parent
KEY = "4.1767225600"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    made = Workspace(Settings(data_dir=tmp_path / "data", tagger="crf"))
    monkeypatch.setattr(model, "open_workspace", lambda: made)
    return made


@pytest.fixture
def client(workspace: Workspace, tmp_path: Path) -> TestClient:
    app = FastAPI()
    mount(app)
    (tmp_path / "page.html").write_text("<p>")
    app.mount("/files", StaticFiles(directory=tmp_path))

    @app.get("/things/{id}")
    def thing(id: int) -> int:
        return 100 // id

    @app.get("/stream")
    def stream() -> StreamingResponse:
        def parts():
            time.sleep(0.3)
            yield "late"

        return StreamingResponse(parts())

    return TestClient(app, raise_server_exceptions=False)


def samples(text: str) -> dict[tuple, float]:
    """(name, labels in order …) → value."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(client: TestClient) -> dict[tuple, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


def counts(client: TestClient) -> dict[tuple[str, str], float]:
    """Requests by route and status."""
    return {
        (dict(key[1:])["route"], dict(key[1:])["status"]): value
        for key, value in told(client).items()
        if key[0] == "active_tagger_request_seconds_count"
    }


def project(workspace: Workspace, key: str = KEY, **more) -> int:
    with workspace.db.write() as session:
        made = Project(key=key, external_id=int(key.split(".")[0]), label_config="<View/>", **more)
        session.add(made)
        session.flush()
        return made.id


def a_round(workspace: Workspace, project_id: int, number: int, state: str = "done", **more) -> int:
    with workspace.db.write() as session:
        finished = None if state in ("running", "publishing") else now()
        version = f"v{number}-x"
        made = Round(project_id=project_id, number=number, version=version, kind="fit", state=state, reason="",
                     owner="nobody:1", revision=0, finished_at=finished, **more)  # fmt: skip
        session.add(made)
        session.flush()
        return made.id


def grown(before: dict, after: dict) -> dict:
    return {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}


def test_routes_are_templates_and_nothing_else(client: TestClient) -> None:
    before = counts(client)
    for path in ("/things/1", "/things/2", "/things/x", "/files/page.html", "/files/none", "/a", "/b", "/wp-admin.php"):
        client.get(path)
    client.post("/things/1")
    client.request("BREW", "/things/1")
    assert grown(before, counts(client)) == {
        ("/things/{id}", "2xx"): 2,
        ("/things/{id}", "4xx"): 3,
        ("/files", "2xx"): 1,
        ("/files", "4xx"): 1,
        ("other", "4xx"): 3,
        ("/metrics", "2xx"): 1,
    }


def test_what_breaks_is_an_error(client: TestClient) -> None:
    error = ("active_tagger_errors_total", ("kind", "request"))
    before, was = counts(client), told(client)[error]
    assert client.get("/things/0").status_code == 500
    assert grown(before, counts(client))["/things/{id}", "5xx"] == 1
    assert told(client)[error] == was + 1


def test_a_stream_counts_until_it_begins(client: TestClient) -> None:
    key = ("active_tagger_request_seconds_sum", ("route", "/stream"), ("status", "2xx"))
    began = time.monotonic()
    assert client.get("/stream").text == "late"
    assert time.monotonic() - began >= 0.3 and told(client)[key] < 0.25


def test_timing_costs_next_to_nothing(workspace: Workspace) -> None:
    """Measured: 2 to 4 µs a request."""
    import asyncio

    class Route:
        path = "/route"

    async def app(scope, receive, send):
        scope["route"] = Route
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        pass

    async def seconds(app, requests: int) -> float:
        began = time.process_time()
        for _ in range(requests):
            await app({"type": "http", "path": "/x"}, None, send)
        return (time.process_time() - began) / requests

    plain, timed = (min(asyncio.run(seconds(this, 2_000)) for _ in range(5)) for this in (app, RequestTimes(app)))
    assert timed - plain < 20e-6


def test_projects(client: TestClient, workspace: Workspace) -> None:
    id = project(workspace, title='Ships "at" sea')
    project(workspace, "5.1767225600")
    scores = {"f1": 0.75, "low": 0.5, "high": 1.0, "method": "hold-out"}
    current = a_round(workspace, id, 1, metrics={"evaluation": scores, "seconds": {"fit": 2.5}})
    with workspace.db.write() as session:
        session.get_one(Project, id).current_round_id = current
        for task in range(1, 7):
            session.add(Task(project_id=id, id=task, data={}, created_at="", draw=0.5, revision=0))
            position = None if task == 6 else task
            session.add(
                Prediction(
                    round_id=current, task_id=task, text_hash="", words=3, spans=[], position=position, priority=0
                )
            )
    assert (figure := told(client))["active_tagger_f1", ("project", KEY)] == 0.75
    assert figure["active_tagger_queue_tasks", ("project", KEY)] == 5
    assert figure["active_tagger_labelled_tasks", ("project", KEY)] == 0
    assert figure["active_tagger_project_info", ("project", KEY), ("title", 'Ships "at" sea')] == 1
    assert figure["active_tagger_project_info", ("project", "5.1767225600"), ("title", "Project 5")] == 1
    assert ("active_tagger_f1", ("project", "5.1767225600")) not in figure, "unknown is not 0"

    annotate = [(1, 1, {}), (2, 1, {}), (3, 2, {"cancelled": True}), (4, 3, {"deleted": True}), (5, 4, {})]
    with workspace.db.write() as session:
        for annotation, task, more in annotate:
            session.add(
                Annotation(project_id=id, id=annotation, task_id=task, result=[], updated_at="", revision=1, **more)
            )
        session.get_one(Project, id).revision = 1
    figure = told(client)
    assert figure["active_tagger_labelled_tasks", ("project", KEY)] == 2  # 1 and 4
    assert figure["active_tagger_queue_tasks", ("project", KEY)] == 2  # 3 and 5: a skipped task comes no more


def test_rounds_are_counted_once_when_they_have_ended(client: TestClient, workspace: Workspace) -> None:
    id = project(workspace)
    first = a_round(workspace, id, 1, "running", metrics={})
    a_round(workspace, id, 2, "failed")
    state = lambda name: ("active_tagger_rounds_total", ("project", KEY), ("state", name))  # noqa: E731
    figure = told(client)
    assert [figure[state(name)] for name in ("done", "failed", "interrupted", "superseded")] == [0, 1, 0, 0]
    assert figure["active_tagger_rounds_under_way", ("project", KEY), ("state", "running")] == 1
    assert figure["active_tagger_errors_total", ("kind", "round")] == 1

    a_round(workspace, id, 3, metrics={"seconds": {"fit": 0.05, "measure": 7.0}, "holdout_counts": {}})
    told(client)
    with workspace.db.write() as session:
        session.get_one(Round, first).state = "done"
        session.get_one(Round, first).metrics = {"seconds": {"fit": 5 * 3600.0, "rank": 10.0}}
    for _ in range(2):
        figure = told(client)
        assert [figure[state(name)] for name in ("done", "failed")] == [2, 1]
        assert not any(key[0] == "active_tagger_rounds_under_way" for key in figure)
        seconds = lambda what, step: figure[f"active_tagger_round_seconds_{what}", ("step", step)]  # noqa: B023, E731
        assert (seconds("count", "fit"), seconds("sum", "fit")) == (2, 18_000.05)
        assert (seconds("count", "measure"), seconds("sum", "rank")) == (1, 10)
        bucket = {
            float(dict(key[1:])["le"]): value
            for key, value in figure.items()
            if key[0] == "active_tagger_round_seconds_bucket" and dict(key[1:])["step"] == "fit"
        }
        assert bucket[0.1] == 1 == bucket[14_400] and bucket[float("inf")] == 2
        rank = {key: value for key, value in figure.items() if key[0].endswith("bucket") and ("step", "rank") in key}
        assert rank["active_tagger_round_seconds_bucket", ("le", "10.0"), ("step", "rank")] == 1, "a bound is inside"


def test_a_second_look_reads_no_ended_round(client: TestClient, workspace: Workspace) -> None:
    """However many there are: nothing but what is under way, and what is new."""
    from sqlalchemy import event

    id = project(workspace)
    for number in range(1, 40):
        a_round(workspace, id, number, metrics={"seconds": {"fit": 1.0}})
    told(client)
    rows, looking = 0, False

    def before(connection, cursor, statement, parameters, context, many) -> None:
        nonlocal rows, looking
        if "FROM rounds" in statement and not looking:
            looking = True
            rows += len(connection.exec_driver_sql(statement, parameters).fetchall())
            looking = False

    event.listen(workspace.db.engine, "before_cursor_execute", before)
    try:
        assert told(client)["active_tagger_round_seconds_count", ("step", "fit")] == 39
        assert rows == 0
        a_round(workspace, id, 40, metrics={"seconds": {"fit": 1.0}})
        assert told(client)["active_tagger_round_seconds_count", ("step", "fit")] == 40
        assert 1 <= rows <= 2
    finally:
        event.remove(workspace.db.engine, "before_cursor_execute", before)


def test_an_id_that_another_transaction_fills_later_is_not_missed(client: TestClient, workspace: Workspace) -> None:
    id = project(workspace)
    a_round(workspace, id, 3, id=7, metrics={"seconds": {"fit": 1.0}})
    assert told(client)["active_tagger_round_seconds_count", ("step", "fit")] == 1
    a_round(workspace, id, 2, id=6, metrics={"seconds": {"fit": 1.0}})
    assert told(client)["active_tagger_round_seconds_count", ("step", "fit")] == 2


def test_openmetrics_too(client: TestClient, workspace: Workspace) -> None:
    a_round(workspace, project(workspace), 1, metrics={"seconds": {"fit": 1.0}})
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    families = {family.name: family for family in openmetrics(answer.text)}
    assert (
        families["active_tagger_rounds"].type == "counter"
        and families["active_tagger_round_seconds"].type == "histogram"
    )
    assert all(family.documentation for family in families.values())


def test_the_dashboard_asks_for_what_there_is(client: TestClient, workspace: Workspace) -> None:
    dashboard = json.loads((ROOT / "monitoring/grafana-dashboard.json").read_text())
    id = project(workspace)
    scores = {"f1": 0.75, "low": 0.5, "high": 1.0, "method": "hold-out"}
    with workspace.db.write() as session:
        session.get_one(Project, id).current_round_id = 1
    a_round(workspace, id, 1, metrics={"evaluation": scores, "seconds": {"fit": 2.5}})
    a_round(workspace, id, 2, "running")
    client.get("/things/1")
    figure = told(client)
    exposed = {key[0] for key in figure}
    labels = {name: {label for key in figure if key[0] == name for label, _ in key[1:]} for name in exposed}
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    asked = {name for text in expressions for name in re.findall(r"\b(?:active_tagger|process)_\w+", text)}
    assert asked <= exposed
    families = {
        "request_seconds",
        "round_seconds",
        "rounds_total",
        "queue_tasks",
        "labelled_tasks",
        "f1",
        "errors_total",
    }
    assert not [one for one in families if not any(f"active_tagger_{one}" in name for name in asked)]
    for text in expressions:
        for name, matchers in re.findall(r"\b((?:active_tagger|process)_\w+)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)=", matchers)) <= labels[name], text
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert "/predict" in "".join(expressions)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


APPLICATION = """
import os
from fastapi import FastAPI
from server.telemetry import mount
app = FastAPI()
mount(app)

@app.get("/who")
async def who() -> int:
    return os.getpid()
"""


@pytest.mark.slow
def test_any_worker_answers_for_all(tmp_path: Path) -> None:
    """Two workers under gunicorn; one of them dies, and what it had counted stays."""
    (tmp_path / "telemetry_app.py").write_text(APPLICATION)
    (tmp_path / "data" / "telemetry").mkdir(parents=True)
    (tmp_path / "data" / "telemetry" / "histogram_1.db").write_bytes(b"of an earlier start, and broken")
    port = free_port()
    settings = {"PORT": str(port), "WORKERS": "2", "DATA_DIR": "data", "HOST": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | settings | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "server/gunicorn.conf.py"), "telemetry_app:app"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment)

    def ask(path: str) -> str:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.read().decode()

    def seen() -> float:
        figure = samples(ask("/metrics"))
        return figure["active_tagger_request_seconds_count", ("route", "/who"), ("status", "2xx")]

    def who() -> int:
        for _ in range(150):
            try:
                return int(ask("/who"))
            except OSError:
                time.sleep(0.3)
        raise AssertionError("it does not answer")

    try:
        asked, workers, give_up = 0, set(), time.monotonic() + 60
        while len(workers) < 2 or asked < 20:  # the second may begin seconds after the first
            workers.add(who())
            asked += 1
            assert time.monotonic() < give_up
        assert {seen() for _ in range(10)} == {asked}
        page = samples(ask("/metrics"))
        assert page["process_resident_memory_bytes", ("process", "web")] > 50e6
        dead = workers.pop()
        os.kill(dead, 9)
        deadline = time.monotonic() + timedelta(seconds=20).total_seconds()
        folder = tmp_path / "data" / "telemetry" / socket.gethostname()
        while (folder / f"histogram_{dead}.db").exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert {seen() for _ in range(6)} == {asked}
        asked += 1
        who()
        assert seen() == asked
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(tmp_path / "data")
