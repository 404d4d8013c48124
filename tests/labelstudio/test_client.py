"""The client: its errors, its tokens, and what it reads from a real Label Studio."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import httpx
import pytest

from labelstudio.client import LabelStudio, LabelStudioError, Refused, Unauthorized, Unreachable
from tests.end_to_end.label_studio import RunningLabelStudio

URL = "http://label-studio.test:8080"
LEGACY = "c0ffee" * 6 + "beef"
CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)


def part(**claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


PERSONAL = f"{part(alg='HS256')}.{part(token_type='refresh', user_id=1)}.c2lnbmF0dXJl"


def client(handler: Callable[[httpx.Request], httpx.Response], api_key: str = LEGACY) -> LabelStudio:
    return LabelStudio(URL, api_key, transport=httpx.MockTransport(handler))


def answer(status: int, body: object = None) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, json=body)


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


def time_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("timed out", request=request)


def echo_token(request: httpx.Request) -> httpx.Response:
    return httpx.Response(400, json={"detail": f"what is {request.headers['Authorization']}?"})


def quote_header(request: httpx.Request) -> httpx.Response:
    raise httpx.LocalProtocolError(f"Illegal header value {request.headers['Authorization']!r}")


@pytest.mark.parametrize(
    ("handler", "error", "says"),
    [
        (refuse_connection, Unreachable, ["is Label Studio running", "LABEL_STUDIO_URL", URL]),
        (time_out, Unreachable, ["no answer in time"]),
        (answer(502), Unreachable, ["502"]),
        (
            answer(401, {"detail": "Invalid token."}),
            Unauthorized,
            ["LABEL_STUDIO_API_KEY", "Invalid token.", "Personal Access Token"],
        ),
        (answer(403, {"detail": "No permission."}), Unauthorized, ["may not", "No permission."]),
        (answer(404, {"detail": "No Project matches."}), Refused, ["404", "No Project matches."]),
        (lambda request: httpx.Response(200, text="<html>"), Unreachable, ["is this a Label Studio"]),
        (
            lambda request: httpx.Response(301, headers={"location": "https://label-studio.test/api"}),
            Unreachable,
            ["https://label-studio.test/api", "LABEL_STUDIO_URL"],
        ),
        (echo_token, Refused, ["what is"]),
        (quote_header, Unreachable, ["LocalProtocolError"]),
    ],
)
@pytest.mark.parametrize("api_key", [LEGACY, PERSONAL])
def test_errors_say_what_to_do_and_never_show_the_token(
    handler: Callable[[httpx.Request], httpx.Response],
    error: type[LabelStudioError],
    says: list[str],
    api_key: str,
) -> None:
    def with_refresh(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/token/refresh/":
            return httpx.Response(200, json={"access": "access-token"})
        return handler(request)

    studio = client(with_refresh, api_key)
    with pytest.raises(error) as caught:
        studio.project(7)
    for words in says:
        assert words in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value)) + repr(studio)
    assert api_key not in shown
    assert "access-token" not in shown


@pytest.mark.parametrize("api_key", ["", "  \n", "two words", "tøken", "line\nbreak"])
def test_a_missing_or_broken_token_is_an_error_before_any_request(api_key: str) -> None:
    with pytest.raises(Unauthorized, match="Personal Access Token") as caught:
        client(refuse_connection, api_key)
    assert not api_key.strip() or api_key not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://label-studio.test", "http://", "http://[::"])
def test_an_address_without_scheme_is_an_error(url: str) -> None:
    with pytest.raises(Unreachable, match="http://localhost:8080"):
        LabelStudio(url, LEGACY)


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(Unreachable) as caught:
        LabelStudio("http://bo:secret@label-studio.test", LEGACY, transport=httpx.MockTransport(time_out)).check()
    assert "secret" not in str(caught.value)


def test_a_path_in_the_address_is_kept() -> None:
    paths = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"access": "a"})

    LabelStudio("http://host.test/studio/", PERSONAL, transport=httpx.MockTransport(handler)).check()
    assert paths == ["/studio/api/token/refresh/", "/studio/api/current-user/whoami"]


def test_a_legacy_token_is_sent_as_it_is() -> None:
    sent = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["Authorization"])
        return httpx.Response(200, json={})

    client(handler, f" {LEGACY}\n").check()
    assert sent == [f"Token {LEGACY}"]


def test_a_personal_token_buys_access_tokens_and_a_new_one_when_they_expire() -> None:
    bought: list[str] = []
    body_of_retry = b""

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal body_of_retry
        if request.url.path == "/api/token/refresh/":
            assert json.loads(request.content) == {"refresh": PERSONAL}
            assert "Authorization" not in request.headers
            bought.append(f"access-{len(bought)}")
            return httpx.Response(200, json={"access": bought[-1]})
        body_of_retry = request.content
        if request.headers["Authorization"] != f"Bearer {bought[-1]}" or expired:
            expired.clear()
            return httpx.Response(401, json={"detail": "Given token not valid"})
        return httpx.Response(200, json={"created": 1})

    expired: list[bool] = []
    studio = client(handler, PERSONAL)
    studio.check()
    studio.check()
    assert bought == ["access-0"]
    expired.append(True)
    assert studio.import_predictions(1, [{"task": 1}]) == 1
    assert bought == ["access-0", "access-1"]
    assert json.loads(body_of_retry) == [{"task": 1}]


def test_a_revoked_personal_token_is_unauthorized() -> None:
    studio = client(answer(401, {"detail": "Token is blacklisted"}), PERSONAL)
    with pytest.raises(Unauthorized, match=r"expired or revoked.*blacklisted"):
        studio.check()


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(301, headers={"location": "https://host.test"}),
        httpx.Response(500),
    ],
)
def test_a_personal_token_that_meets_no_label_studio(response: httpx.Response) -> None:
    with pytest.raises(Unreachable, match=rf"token/refresh.*{response.status_code}") as caught:
        client(lambda request: response, PERSONAL).check()
    assert PERSONAL not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("actions", [{"PUT": {}}, {}, None])
def test_whether_the_user_may_change_a_project_is_asked_without_changing_it(actions: dict | None) -> None:
    asked = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json={"name": "Project"} if actions is None else {"actions": actions})

    assert client(handler).may_change(7) is bool(actions)
    assert asked == [("OPTIONS", "/api/projects/7")]


# -- against a real Label Studio ---------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"import": 5}, {"task_count": 2, "task_ids": [7]}, None])
def test_an_import_that_tells_no_ids_is_an_error(body: dict | None) -> None:
    with pytest.raises(LabelStudioError, match="no ids of the 2 imported tasks"):
        client(answer(201, body)).import_tasks(7, [{"data": {"text": "a"}}, {"data": {"text": "b"}}])


@pytest.fixture(scope="module")
def studio(label_studio: RunningLabelStudio) -> LabelStudio:
    return LabelStudio(label_studio.url, label_studio.personal_access_token())


def region(start: int, end: int, text: str) -> dict[str, object]:
    value = {"start": start, "end": end, "text": text[start:end], "labels": ["PER"]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


@pytest.mark.slow
def test_real_tokens(label_studio: RunningLabelStudio) -> None:
    personal = label_studio.personal_access_token()
    for good in (label_studio.legacy_token, personal):
        LabelStudio(label_studio.url, good).check()
    for bad in ("0" * 40, personal[:-6] + "AAAAAA"):
        with pytest.raises(Unauthorized, match="Account & Settings") as caught:
            LabelStudio(label_studio.url, bad).check()
        assert bad not in str(caught.value)


@pytest.mark.slow
def test_real_project_settings(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    ids = [label_studio.create_project(title, CONFIG) for title in ("first", "second")]
    first = studio.project(ids[0])
    assert (first.title, first.label_config, first.model_version) == ("first", CONFIG, "")
    assert first.sampling == "Sequential sampling"
    studio.set_sampling(ids[0], "Uncertainty sampling")
    assert studio.project(ids[0]).sampling == "Uncertainty sampling"
    listed = {project.id: project for project in studio.projects()}
    assert listed[ids[0]] == studio.project(ids[0])
    assert listed[ids[1]] == studio.project(ids[1])
    with pytest.raises(Refused) as caught:
        studio.project(10**6)
    assert caught.value.status == 404


@pytest.mark.slow
def test_real_tasks_come_with_their_submitted_annotations(
    label_studio: RunningLabelStudio, studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelstudio.client.PAGE", 7)
    monkeypatch.setattr("labelstudio.client.IDS_IN_A_URL", 2)
    project = label_studio.create_project("tasks", CONFIG)
    texts = [f"Zoë 👩‍🚀 flew 🇳🇴 s3://bucket/{n}.txt" for n in range(20)]
    ids = label_studio.import_tasks(project, [{"text": text} for text in texts])
    found = region(0, 3, texts[0])
    kept = [label_studio.annotate(ids[n], [found]) for n in (0, 1, 2, 12)]
    second_opinion = label_studio.annotate(ids[0], [])
    skip = label_studio.annotate(ids[5], [], was_cancelled=True)
    label_studio.call("POST", f"/api/tasks/{ids[6]}/drafts", json={"result": [found]})
    label_studio.call("POST", f"/api/projects/{project}/import/predictions", json=[
        {"task": ids[7], "model_version": "v", "score": 0.5, "result": [found]}
    ])  # fmt: skip

    tasks = list(studio.tasks(project))
    assert [task.id for task in tasks] == ids
    assert [task.data for task in tasks] == [{"text": text} for text in texts]
    annotations = {task.id: task.annotations for task in tasks if task.annotations}
    assert {task: sorted(a.id for a in found) for task, found in annotations.items()} == {
        ids[0]: [kept[0], second_opinion],
        ids[1]: [kept[1]],
        ids[2]: [kept[2]],
        ids[12]: [kept[3]],
        ids[5]: [skip],
    }
    assert [a.id for found in annotations.values() for a in found if a.cancelled] == [skip]
    value = annotations[ids[12]][0].result[0]["value"]
    assert (value["start"], value["end"], value["labels"]) == (0, 3, ["PER"])
    assert studio.task_ids(project) == set(ids)


@pytest.mark.slow
def test_real_tasks_misses_none_when_some_are_deleted_while_it_reads(
    label_studio: RunningLabelStudio, studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelstudio.client.PAGE", 4)
    project = label_studio.create_project("deleted while reading", CONFIG)
    ids = label_studio.import_tasks(project, [{"text": f"text {n}"} for n in range(12)])
    reading = studio.tasks(project)
    seen = [next(reading).id]
    for id in ids[:3]:
        label_studio.delete_task(id)
    seen += [task.id for task in reading]
    assert set(ids[3:]) <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.slow
def test_real_changes_since(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    """Whatever changes of a task or its annotations shows, with or without a webhook."""
    project = label_studio.create_project("changes", CONFIG)
    assert studio.last_change(project) is None
    ids = label_studio.import_tasks(project, [{"text": f"text {n}"} for n in range(9)])
    annotation = label_studio.annotate(ids[0], [])
    second = label_studio.annotate(ids[1], [])
    changes = {
        ids[2]: lambda: label_studio.annotate(ids[2], []),
        ids[3]: lambda: label_studio.annotate(ids[3], [], was_cancelled=True),
        ids[0]: lambda: label_studio.call("PATCH", f"/api/annotations/{annotation}/", json={"ground_truth": True}),
        ids[1]: lambda: label_studio.call("DELETE", f"/api/annotations/{second}/"),
        ids[4]: lambda: label_studio.call("PATCH", f"/api/tasks/{ids[4]}/", json={"data": {"text": "another"}}),
    }
    for id, change in changes.items():
        before = studio.last_change(project)
        change()
        after = studio.last_change(project)
        assert after > before
        assert [task.id for task in studio.tasks(project, after)] == [id]
        assert id in {task.id for task in studio.tasks(project, before)}
    everything = {task.id: task for task in studio.tasks(project)}
    for task in studio.tasks(project, datetime(2000, 1, 1, tzinfo=timezone(timedelta(hours=2)))):
        assert task == everything.pop(task.id)
    assert everything == {}
    now = studio.project(project)
    assert (now.task_number, now.total_annotations_number, now.skipped_annotations_number) == (9, 2, 1)
    label_studio.call(
        "POST", f"/api/projects/{project}/import", json=[{"data": {"text": "late"}, "annotations": [{"result": []}]}]
    )
    assert [len(task.annotations) for task in studio.tasks(project, studio.last_change(project))] == [1]


@pytest.mark.slow
def test_real_import_is_all_or_nothing_and_found_by_its_mark(
    label_studio: RunningLabelStudio, studio: LabelStudio
) -> None:
    project = label_studio.create_project("import", CONFIG)
    region = {"from_name": "label", "to_name": "text", "type": "labels", "score": 0.5}
    region["value"] = {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}
    tasks = [
        {
            "data": {"text": f"Ada 😀 {i}", "n": [i, None]},
            "meta": {"active_tagger": {"batch": f"batch-{i % 2}", "row": i}},
            "predictions": [{"result": [region], "score": i / 6, "model_version": "v1"}],
        }
        for i in range(6)
    ]
    refused = [*tasks, {"data": {"other": "no text"}}]
    with pytest.raises(Refused, match="item 6") as caught:
        studio.import_tasks(project, refused)
    assert caught.value.status == 400
    assert studio.unlabelled(project) == 0
    ids = studio.import_tasks(project, tasks)
    assert ids == sorted(ids)
    found = [label_studio.call("GET", f"/api/tasks/{id}/") for id in ids]
    assert [task["data"] for task in found] == [task["data"] for task in tasks]
    for task, prediction in zip(found, (task["predictions"][0] for task in tasks), strict=True):
        (kept,) = task["predictions"]
        assert {name: kept[name] for name in prediction} == prediction
    marked = studio.marked_tasks(project, "batch-1")
    assert {task["id"]: task["meta"] for task in marked} == {ids[i]: tasks[i]["meta"] for i in (1, 3, 5)}
    assert studio.marked_tasks(project, "batch-2") == []
    label_studio.annotate(ids[0], [])
    label_studio.annotate(ids[1], [], was_cancelled=True)
    assert studio.unlabelled(project) == 4


@pytest.mark.slow
def test_real_predictions_and_versions(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project = label_studio.create_project("versions", CONFIG)
    ids = label_studio.import_tasks(project, [{"text": f"text {n}"} for n in range(3)])
    assert studio.model_versions(project) == {}

    def made(task: int, version: str, score: float) -> dict[str, object]:
        return {"task": task, "model_version": version, "score": score, "result": []}

    assert studio.import_predictions(project, [made(id, "v1", 0.5) for id in ids]) == 3
    assert studio.import_predictions(project, [made(ids[0], "v10", 0.5), made(ids[1], "v10", 1.5)]) == 1
    with pytest.raises(Refused, match="99999") as caught:
        studio.import_predictions(project, [made(ids[0], "v2", 0.5), made(99999, "v2", 0.5)])
    assert caught.value.status == 400
    assert studio.model_versions(project) == {"v1": 3, "v10": 1}
    assert studio.predicted_tasks(project, "v1") == set(ids)
    assert studio.predicted_tasks(project, "v10") == {ids[0]}
    assert studio.delete_version(project, "v1") == 3
    assert studio.model_versions(project) == {"v10": 1}


@pytest.mark.slow
def test_real_tab_shows_what_is_unlabelled_by_ascending_score(
    label_studio: RunningLabelStudio, studio: LabelStudio
) -> None:
    project = label_studio.create_project("tab", CONFIG)
    ids = label_studio.import_tasks(project, [{"text": f"text {n}"} for n in range(7)])
    scored = list(zip(ids[:6], (0.4, 0.2, 0.6, 0.0, 0.8, 1.0), strict=True))
    studio.import_predictions(
        project,
        [{"task": t, "model_version": v, "score": s, "result": []} for t, score in scored
         for v, s in (("old", 1 - score), ("new", score))],
    )  # fmt: skip
    studio.set_model_version(project, "new")
    label_studio.annotate(ids[2], [])
    label_studio.annotate(ids[0], [], was_cancelled=True)

    tab = studio.ensure_tab(project)
    assert studio.ensure_tab(project) == tab
    titles = [t["data"]["title"] for t in label_studio.call("GET", "/api/dm/views/", params={"project": project})]
    assert titles == ["Default", "Label next"]
    shown = label_studio.call("GET", "/api/tasks", params={"view": tab, "page_size": 100})["tasks"]
    assert [task["id"] for task in shown] == [ids[3], ids[1], ids[4], ids[5], ids[6]]


@pytest.mark.slow
def test_real_webhooks_are_made_once_and_mended(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project = label_studio.create_project("webhooks", CONFIG)
    assert studio.webhooks(project) == []
    studio.ensure_webhook(project, "http://backend.test/webhook")
    (made,) = studio.webhooks(project)
    assert (made.url, made.active, made.whole) == ("http://backend.test/webhook", True, True)
    for spoilt in ({"is_active": False}, {"send_payload": False}, {"send_for_all_actions": False}):
        label_studio.call("PATCH", f"/api/webhooks/{made.id}/", json=spoilt)
        assert studio.webhooks(project) != [made]
        studio.ensure_webhook(project, made.url)
        assert studio.webhooks(project) == [made]


@pytest.mark.slow
def test_real_permissions_and_tabs(label_studio: RunningLabelStudio, studio: LabelStudio) -> None:
    project = label_studio.create_project("permissions", CONFIG)
    assert studio.may_change(project)
    assert studio.tab(project) is None
    assert studio.ensure_tab(project) == studio.tab(project)
    assert studio.project(project).maximum_annotations == 1
