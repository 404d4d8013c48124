"""What the loop needs of Label Studio's HTTP API: tasks and annotations out, predictions and a queue in.

It speaks HTTP itself: label-studio-sdk builds a pydantic object for each task (2,000 take twice as long as
their JSON), cannot delete one version's predictions, and lets httpx's errors through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any

import httpx

from labelstudio.authentication import Token
from labelstudio.errors import HOW_TO_GET_A_TOKEN, LabelStudioError, Refused, Unauthorized, Unreachable, own_words
from labelstudio.events import record_of_task
from labelstudio.projects import ProjectRecord, Webhook
from labelstudio.records import TaskRecord

__all__ = ["LabelStudio", "LabelStudioError", "ProjectRecord", "Refused", "Unauthorized", "Unreachable", "Webhook"]
QUEUE_TAB = "Label next"
"""The tab of the Data Manager that shows the queue."""
TAB_COLUMNS = {"id", "data", "predictions_score", "predictions_model_versions"}
"""What the tab of the queue shows."""
LONG = 900.0
"""Seconds allowed to a request whose work grows with the project (10,000 predictions took 19 to 87 s)."""
PAGE = 1000
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
"""The only form of a time that the Data Manager's filters can read."""
UNTOUCHED = [
    {"filter": f"filter:tasks:{counter}", "operator": "equal", "type": "Number", "value": 0}
    for counter in ("total_annotations", "cancelled_annotations")
]
"""The Data Manager's filters for tasks that nobody has annotated or skipped."""
TASK_FIELDS = "id,data,created_at,total_annotations,cancelled_annotations"
"""What is read of a task: Label Studio works out the other fields for half of the time."""
ANNOTATED_FIELDS = "id,data,created_at,annotations,result,updated_at,task,was_cancelled,ground_truth,completed_by"
"""The same, and of its annotations: the names count for both."""
IDS_IN_A_URL = 300
BASIC_AUTH = "BASIC_AUTH"


class LabelStudio:
    """A connection to one Label Studio, good for several threads."""

    def __init__(
        self, url: str, api_key: str, timeout: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`api_key` is a personal access token or a legacy token; `timeout` is in seconds, for an
        ordinary request.

        Raises Unauthorized when there is no usable token. Nothing is sent yet: see `check`.
        """
        try:
            address = httpx.URL(url.strip())
        except httpx.InvalidURL:
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise Unreachable("LABEL_STUDIO_URL is no address: write it as in http://localhost:8080")
        self.url = str(address.copy_with(username=None, password=None)).rstrip("/")
        self._token = Token(api_key, self.url)
        self._client = httpx.Client(
            base_url=self.url,
            auth=self._token,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            transport=transport,
        )

    def check(self) -> None:
        """Raise Unreachable or Unauthorized unless this is a Label Studio that takes the token."""
        self._ask("GET", "api/current-user/whoami")

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    # -- reading ------------------------------------------------------------------------------------------

    def project(self, id: int) -> ProjectRecord:
        """One project; Refused (status 404) when there is none with this id."""
        return ProjectRecord.read(self._ask("GET", f"api/projects/{id}"))

    def projects(self) -> list[ProjectRecord]:
        """All projects that the token's user can see."""
        wanted = ",".join(field.name for field in fields(ProjectRecord))
        found: list[ProjectRecord] = []
        for number in count(1):
            params = {"include": wanted, "page": number, "page_size": 100}
            page = self._ask("GET", "api/projects/", params=params)
            found += map(ProjectRecord.read, page["results"])
            if not page["next"]:
                break
        return found

    def tasks(self, project_id: int, changed_since: datetime | None = None) -> Iterator[TaskRecord]:
        """All tasks by ascending id, with their submitted annotations (no drafts), read as they are consumed; or
        only those that have changed since a time of Label Studio's clock, they or their annotations.

        Label Studio takes long over annotations, so they are asked for only where there are any.
        """
        for page in self._pages(project_id, changed_since):
            annotated = [t["id"] for t in page if t["total_annotations"] or t["cancelled_annotations"]]
            whole = {
                task["id"]: task
                for start in range(0, len(annotated), IDS_IN_A_URL)
                for task in self._list(
                    project_id,
                    {"selectedItems": {"all": False, "included": annotated[start : start + IDS_IN_A_URL]}},
                    fields="all",
                    include=ANNOTATED_FIELDS,
                )
            }
            for task in page:
                yield record_of_task(whole.get(task["id"], {**task, "annotations": []}))

    def last_change(self, project_id: int) -> datetime | None:
        """When, by Label Studio's clock, a task or one of its annotations was last changed; None without tasks."""
        newest = self._list(project_id, {"ordering": ["-tasks:updated_at"]}, page_size="1", include="id,updated_at")
        return datetime.fromisoformat(newest[0]["updated_at"]) if newest else None

    def task_ids(self, project_id: int) -> set[int]:
        """The ids of all tasks. It takes as long as reading the texts does (2,000: 2 to 4 s)."""
        return {task["id"] for page in self._pages(project_id) for task in page}

    def unlabelled(self, project_id: int) -> int:
        """How many tasks nobody has annotated or skipped."""
        query = {"filters": {"conjunction": "and", "items": UNTOUCHED}}
        return int(self._query(project_id, query, page_size="1", include="id")["total"])

    def marked_tasks(self, project_id: int, mark: str) -> list[dict[str, Any]]:
        """Id and `meta` of the tasks whose `meta`, as JSON, contains this text; 500 of 7,500 in a second."""
        marked = {"filter": "filter:tasks:meta", "operator": "contains", "type": "String", "value": mark}
        query = {"filters": {"conjunction": "and", "items": [marked]}, "ordering": ["tasks:id"]}
        return self._list(project_id, query, include="id,meta")

    def model_versions(self, project_id: int) -> dict[str, int]:
        """How many predictions of each version the project holds."""
        counts = self._ask("GET", f"api/projects/{project_id}/model-versions/")
        return {version: count for version, count in counts.items() if count}

    def may_change(self, project_id: int) -> bool:
        """Whether the token's user may change the project: asked without changing anything."""
        return "PUT" in self._ask("OPTIONS", f"api/projects/{project_id}").get("actions", {})

    def webhooks(self, project_id: int) -> list[Webhook]:
        """Who is told of the project's events. Deleting an ML backend leaves its webhook behind."""
        return [
            Webhook(
                w["id"],
                w["url"],
                w["is_active"],
                w["send_payload"] and w["send_for_all_actions"],
                w["headers"],
                tuple(w["actions"]),
            )
            for w in self._ask("GET", "api/webhooks/", params={"project": project_id})
        ]

    def tab(self, project_id: int, title: str = QUEUE_TAB) -> int | None:
        """The id of a tab of the Data Manager; None when there is none of this title."""
        return _titled(self._tabs(project_id), title)

    def ml_backends(self, project_id: int) -> list[dict[str, Any]]:
        """The models that are connected to the project: id, url, title, extra_params, model_version and more."""
        backends: list[dict[str, Any]] = self._ask("GET", "api/ml", params={"project": project_id})
        return backends

    def predicted_tasks(self, project_id: int, version: str) -> set[int]:
        """The tasks with a prediction of this version. Slow: Label Studio sends all predictions whole."""
        predictions = self._ask("GET", "api/predictions/", params={"project": project_id}, timeout=LONG)
        return {p["task"] for p in predictions if p["model_version"] == version}

    # -- writing ------------------------------------------------------------------------------------------

    def import_tasks(self, project_id: int, tasks: list[dict[str, Any]]) -> list[int]:
        """Add tasks (`data`, and if wanted `predictions` and `meta`) in one transaction; their ids, in order.

        A hundred a second, however many at once and however large the project. Refused (status 400), with nothing
        imported, when one lacks a field that the label config names. Predictions are not checked at all here, unlike
        those of `import_predictions`: one that the label config does not allow is kept.
        """
        path, params = f"api/projects/{project_id}/import", {"return_task_ids": "true"}
        ids = (self._ask("POST", path, params=params, json=tasks, timeout=LONG) or {}).get("task_ids")
        if not isinstance(ids, list) or len(ids) != len(tasks):
            raise LabelStudioError(
                f"{self._at('POST', path)}: no ids of the {len(tasks)} imported tasks came back; "
                "only Label Studio's Community edition, which imports at once, is known to tell them"
            )
        return [int(id) for id in ids]

    def import_predictions(self, project_id: int, predictions: list[dict[str, Any]]) -> int:
        """Add predictions in one request (chunks take several times longer) and return how many were kept.

        Label Studio silently drops those with a score outside [0, 1] or with a label or tag name that is not
        in the label config, and refuses all (Refused, status 400) when one names a task that is not there.
        """
        path = f"api/projects/{project_id}/import/predictions"
        return int(self._ask("POST", path, json=predictions, timeout=LONG)["created"])

    def add_prediction(self, prediction: dict[str, Any]) -> None:
        """Add one prediction, in 0.1 s however large the project is, where `import_predictions` counts all anew.

        Refused (status 400) when its task is not there. Nothing else is checked.
        """
        self._ask("POST", "api/predictions/", json=prediction)

    def set_model_version(self, project_id: int, version: str) -> None:
        """Let the scores of this version's predictions order the queue; it must have predictions already."""
        self._ask("PATCH", f"api/projects/{project_id}", json={"model_version": version})

    def set_sampling(self, project_id: int, sampling: str) -> None:
        """Set how the queue is drawn: "Sequential", "Uniform" or "Uncertainty sampling"."""
        self._ask("PATCH", f"api/projects/{project_id}", json={"sampling": sampling})

    def delete_version(self, project_id: int, version: str) -> int:
        """Delete a version's predictions and return how many there were (2,000 take 15 s).

        Deleting the project's current version resets `model_version`, and with it the queue's order.
        """
        path = f"api/projects/{project_id}/model-versions/"
        return int(self._ask("DELETE", path, json={"model_version": version}, timeout=LONG)["deleted_predictions"])

    def ensure_webhook(self, project_id: int, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Let Label Studio tell `url` of everything that happens in the project, as connecting a backend does, and send
        `headers` along."""
        wanted = {"url": url, "send_payload": True, "send_for_all_actions": True, "is_active": True}
        there = next((webhook for webhook in self.webhooks(project_id) if webhook.url == url), None)
        if there is None:
            self._ask("POST", "api/webhooks/", json={"project": project_id, "headers": dict(headers or {}), **wanted})
        else:
            self._ask("PATCH", f"api/webhooks/{there.id}/", json=wanted)
            if headers:
                self.add_webhook_headers(there, headers)

    def add_webhook_headers(self, webhook: Webhook, headers: Mapping[str, str]) -> None:
        """Let a webhook send these too. All members of the Label Studio can read them.

        Label Studio replaces the headers as a whole, and forgets the chosen events unless it is told them again.
        """
        new = {name.lower() for name in headers}
        kept = {name: value for name, value in webhook.headers.items() if name.lower() not in new}
        told = {"headers": {**kept, **headers}, "actions": list(webhook.actions)}
        self._ask("PATCH", f"api/webhooks/{webhook.id}/", json=told)

    def ensure_tab(self, project_id: int, title: str = QUEUE_TAB) -> int:
        """Return the id of the tab of unlabelled tasks by ascending score, which is made unless it exists."""
        tabs = self._tabs(project_id)
        if (there := _titled(tabs, title)) is not None:
            return there
        if not tabs:  # the editor makes its own tab of all tasks only while there is no other
            self._make_tab(project_id, {"title": "Default"})
        return self._make_tab(
            project_id,
            {
                "title": title,
                "filters": {"conjunction": "and", "items": UNTOUCHED},
                "ordering": ["tasks:predictions_score"],
                "hiddenColumns": self._hidden_columns(project_id),
            },
        )

    def _tabs(self, project_id: int) -> list[dict[str, Any]]:
        tabs: list[dict[str, Any]] = self._ask("GET", "api/dm/views/", params={"project": project_id})
        return tabs

    def _hidden_columns(self, project_id: int) -> dict[str, list[str]]:
        """All columns of the Data Manager but the task's text and what orders it, in both of its layouts."""
        columns = self._ask("GET", "api/dm/columns/", params={"project": project_id})["columns"]
        hidden = [f"tasks:{c['id']}" for c in columns if not c.get("parent") and c["id"] not in TAB_COLUMNS]
        return {"explore": hidden, "labeling": hidden}

    def _make_tab(self, project_id: int, data: dict[str, Any]) -> int:
        data = {"type": "list", "target": "tasks", **data}
        return int(self._ask("POST", "api/dm/views/", json={"project": project_id, "data": data})["id"])

    def set_extra_params(self, backend: Mapping[str, Any], extra_params: dict[str, Any]) -> None:
        """Write the extra parameters into the connection form of a backend as `ml_backends` gives it.

        Label Studio asks the backend (/health, /setup) whether it takes them, and for that wants to be told again what
        it knows; an empty password stands for the one it has.
        """
        told = {name: backend[name] for name in ("url", "project")} | {"extra_params": extra_params}
        if backend["auth_method"] == BASIC_AUTH:
            told |= {"auth_method": BASIC_AUTH, "basic_auth_user": backend["basic_auth_user"]}
            told["basic_auth_pass"] = ""  # nosec B105 # stands for the one it has
        self._ask("PATCH", f"api/ml/{backend['id']}", json=told)

    def clock(self) -> datetime | None:
        """What time it is there; None if its web server does not say."""
        try:
            told = self._client.get("version", headers={"Accept": "application/json"}).headers.get("date")
            return parsedate_to_datetime(told) if told else None
        except (httpx.HTTPError, ValueError):
            return None

    # -- requests -----------------------------------------------------------------------------------------

    def _pages(self, project_id: int, changed_since: datetime | None = None) -> Iterator[list[dict[str, Any]]]:
        """Pages of tasks, each asked for by "id greater than the last": a page number would miss tasks
        whenever somebody deletes some meanwhile."""
        changed = {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime"}
        wanted = [{**changed, "value": f"{changed_since.astimezone(UTC):{TIME}}"}] if changed_since else []
        last = 0
        while True:
            after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            query = {"filters": {"conjunction": "and", "items": [after, *wanted]}, "ordering": ["tasks:id"]}
            answer = self._query(project_id, query, include=TASK_FIELDS)
            if page := answer["tasks"]:
                yield page
                last = page[-1]["id"]
            if not page or len(page) == answer.get("total"):
                return

    def _list(self, project_id: int, query: dict[str, Any], **params: str) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self._query(project_id, query, **params)["tasks"]
        return tasks

    def _query(self, project_id: int, query: dict[str, Any], **params: str) -> dict[str, Any]:
        # resolve_uri=false: no rewriting of links inside the data
        params = {"project": str(project_id), "page_size": str(PAGE), "resolve_uri": "false", **params}
        answer: dict[str, Any] = self._ask(
            "GET", "api/tasks", params={**params, "query": json.dumps(query)}, timeout=LONG
        )
        return answer

    def _ask(self, method: str, path: str, timeout: float | None = None, **kwargs: Any) -> Any:
        """Send one request and return the decoded JSON, or raise one of the errors above.

        Causes are cut off (`from None`): httpx quotes a header that it cannot send, token and all.
        """
        limits = httpx.USE_CLIENT_DEFAULT if timeout is None else httpx.Timeout(timeout, connect=10.0)
        try:
            response = self._client.request(method, path, timeout=limits, **kwargs)
        except httpx.TimeoutException:
            raise Unreachable(f"{self._at(method, path)}: no answer in time; is Label Studio busy?") from None
        except httpx.HTTPError as error:
            raise Unreachable(
                f"{self._at(method, path)}: {type(error).__name__}; is Label Studio running, "
                "and can this machine reach LABEL_STUDIO_URL?"
            ) from None
        if response.is_success:
            try:
                return response.json() if response.content else None
            except ValueError:
                raise Unreachable(f"{self._at(method, path)}: no JSON; is this a Label Studio?") from None
        raise self._error(method, path, response)

    def _error(self, method: str, path: str, response: httpx.Response) -> LabelStudioError:
        at, status, detail = self._at(method, path), response.status_code, self._token.hide(own_words(response))
        if status == 401:
            return Unauthorized(f"{at}: the token is not accepted ({detail}); {HOW_TO_GET_A_TOKEN}")
        if status == 403:
            return Unauthorized(
                f"{at}: the user of LABEL_STUDIO_API_KEY may not do this ({detail}); "
                "use the token of a user who may change the project"
            )
        if response.is_redirect:
            target = response.headers.get("location", "")
            return Unreachable(f"{at}: redirected to {target!r}; set LABEL_STUDIO_URL to the final address")
        if response.is_server_error:
            return Unreachable(f"{at}: Label Studio failed with {status} ({detail}); see its log")
        return Refused(f"{at}: refused with {status} ({detail})", status)

    def _at(self, method: str, path: str) -> str:
        return f"Label Studio, {method} {self.url}/{path}"


def _titled(tabs: list[dict[str, Any]], title: str) -> int | None:
    return next((int(tab["id"]) for tab in tabs if tab["data"].get("title") == title), None)
