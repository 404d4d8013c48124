"""Annotators, as Label Studio passes on what they do. Locust runs this in a virtual environment of its own.

`benchmarks.load` starts it, gives it projects in the file that LOAD_PROJECTS names, and reads what it leaves in
LOAD_RESULTS: of every kind of request the seconds by status (0: no answer), and the annotations that were taken.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import defaultdict
from itertools import count
from pathlib import Path
from typing import Any

import requests
from locust import User, constant, events, task

from benchmarks.calls import Calls

PROJECTS = json.loads(Path(os.environ["LOAD_PROJECTS"]).read_text())
THINKS = os.environ["LOAD_THINKS"] == "yes"
SECONDS = 120.0
"""Until an answer counts as none: more than Label Studio itself waits."""

seconds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
without_retry_after = 0
taken: list[tuple[int, int]] = []
"""Project and annotation of every submission that was answered 2xx."""
_ids = count(int(time.time()) * 100_000)
_numbers = count()


class Annotator(User):
    """Opens a task, thinks, submits; now and then predictions are retrieved for many tasks, or tasks are added."""

    wait_time = constant(0)

    def on_start(self) -> None:
        number = next(_numbers)
        self.random = random.Random(number)
        project = PROJECTS[number % len(PROJECTS)]
        self.calls = Calls(project["id"], tuple(project["labels"]))
        self.texts, self.spans = project["texts"], project["spans"]

    def ask(self, name: str, path: str, body: Any = None) -> bool:
        """One request over a connection of its own, as Label Studio's are; whether it was answered 2xx."""
        global without_retry_after
        began, status = time.perf_counter(), 0
        try:
            method = "GET" if body is None else "POST"
            answer = requests.request(method, f"{self.host}{path}", json=body, timeout=(5, SECONDS))
            status = answer.status_code
            if status in (429, 503) and "retry-after" not in answer.headers:
                without_retry_after += 1
        except requests.RequestException:
            pass
        seconds[name][status].append(time.perf_counter() - began)
        return 200 <= status < 300

    def submit(self, id: int, text: int, action: str = "ANNOTATION_CREATED") -> None:
        """An annotation of this text, the task of the same number plus one."""
        body = self.calls.submitted(id, self.calls.task(text + 1, self.texts[text]), self.spans[text], action)
        if self.ask("/webhook", "/webhook", body):
            taken.append((self.calls.id, id))

    @task  # type: ignore[untyped-decorator]
    def annotate(self) -> None:
        """One task from opening to submission, about 10 s later."""
        text = self.random.randrange(len(self.texts))
        id, chance = next(_ids), self.random.random()
        known = self.random.random() < 0.5
        opened = self.calls.task(text + 1 if known else id % 10**9, self.texts[text])
        self.ask("/health", "/health")
        self.ask("/setup", "/setup", self.calls.setup())
        self.ask("/predict, 1 task", "/predict", self.calls.predict([opened]))
        if THINKS:
            time.sleep(self.random.uniform(7, 13))
        self.submit(id, text)
        if chance < 0.1:
            self.submit(id, text, "ANNOTATION_UPDATED")
        elif chance < 0.13:
            first = self.random.randrange(len(self.texts) - 100)
            tasks = [self.calls.task(n + 1, self.texts[n]) for n in range(first, first + 100)]
            self.ask("/predict, 100 tasks", "/predict", self.calls.predict(tasks))
        elif chance < 0.15:
            added = [self.calls.task(10**9 + id % 10**9 * 10 + n, self.texts[text]) for n in range(10)]
            self.ask("/webhook", "/webhook", self.calls.event("TASKS_CREATED", tasks=added))


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def leave(**_: Any) -> None:
    """Write down what was seen."""
    told = {"seconds": seconds, "without_retry_after": without_retry_after, "taken": taken}
    Path(os.environ["LOAD_RESULTS"]).write_text(json.dumps(told))
