"""Two web processes, one of them restarted now and then, answer as a single one does; without a Label Studio."""

import itertools
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import psutil
import pytest

from benchmarks.alone import MadeUp
from tests.end_to_end.backend import RunningBackend

pytestmark = pytest.mark.slow

RANKED, LABELLED = 60, 30
NONE = {"LABEL_STUDIO_URL": "", "LABEL_STUDIO_API_KEY": ""}


class Server(RunningBackend):
    """A backend with one project, of which a round has trained a model."""

    def __init__(self, folder, **settings):
        super().__init__(folder, COLD_START="random", ROUND_SIZE="1000", **NONE, **settings)
        self.project_7 = MadeUp.of(7, RANKED, seed=0)
        self.calls = self.project_7.calls

    def wait_for(self, condition, what, seconds=180):
        return super().wait_for(condition, what, max(seconds, 180))  # other tests may want the processors, too

    def send(self, path, body, seconds=60):
        return httpx.post(f"{self.url}{path}", json=body, timeout=seconds)

    def send_until_taken(self, path, body):
        """As often as needed: Label Studio's user would press the button again, or the comparison find it."""
        for _ in range(100):
            try:
                answer = self.send(path, body)
            except httpx.TransportError:  # the process that had taken the connection has been killed
                time.sleep(0.1)
            else:
                assert answer.status_code == 200, answer.text
                return answer.json()
        raise AssertionError(f"{path} was never taken")

    def train(self):
        self.send_until_taken("/setup", self.calls.setup())
        self.send_until_taken("/webhook", self.calls.event("TASKS_CREATED", tasks=self.project_7.tasks()))
        self.round_after(7)
        for task in self.project_7.tasks()[:LABELLED]:
            self.submit(task["id"], task)
        self.send_until_taken("/webhook", self.calls.event("START_TRAINING"))
        self.round_after(7, 1, kind="fit")
        self.answers()  # those that were unseen are known to it from now on

    def submit(self, id, task):
        self.send_until_taken("/webhook", self.calls.submitted(id, task, self.project_7.spans(task["id"])))

    def answers(self):
        """What every process should answer alike: ranked and unseen tasks, the version, the state."""
        ranked = self.project_7.tasks()
        unseen = [self.calls.task(1000 + n, text.text) for n, text in enumerate(MadeUp.of(7, 20, seed=5).texts)]
        state = self.project(7)
        return {
            "ranked": self.send_until_taken("/predict", self.calls.predict(ranked)),
            "unseen": self.send_until_taken("/predict", self.calls.predict(unseen)),
            "version": self.send_until_taken("/setup", self.calls.setup()),
            "state": {name: told for name, told in state.items() if not name.endswith(("_at", "seconds"))},
        }

    def workers(self):
        """The web processes, by their ids."""
        [master] = [c for c in psutil.Process(self.process.pid).children() if "gunicorn" in c.cmdline()]
        return {child.pid for child in master.children() if child.status() != psutil.STATUS_ZOMBIE}

    def restart_one(self, number):
        """Tell a web process to end, by this signal, and wait for the one that takes its place."""
        before = self.workers()
        psutil.Process(min(before)).send_signal(number)
        self.wait_for(lambda: len(self.workers() - before) == 1 and min(before) not in self.workers(), "a new process")

    def annotations(self):
        with closing(sqlite3.connect(self.folder / "data/active-tagger.db")) as connection:
            return sorted(id for (id,) in connection.execute("select id from annotations"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("workers"), WORKERS="2")
    try:
        running.train()
        yield running
    finally:
        running.stop()


def alike(server, expected):
    """Ask over many connections, so that either process has answered."""
    for _ in range(6):
        assert server.answers() == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_in_between_changes_no_answer(server, number):
    server.wait_for(lambda: len(server.workers()) == 2, "two processes")
    expected = server.answers()
    assert any(one["result"] for one in expected["unseen"]["results"]), "a model answers"
    alike(server, expected)
    server.restart_one(number)
    alike(server, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_webhooks_land_once_while_processes_come_and_go(server, number):
    before = server.annotations()
    ids = range(max(before) + 1, max(before) + 41)
    tasks = itertools.cycle(server.project_7.tasks())
    with ThreadPoolExecutor(4) as annotators:
        sent = [annotators.submit(server.submit, id, task) for id, task in zip(ids, tasks, strict=False)]
        server.restart_one(number)
        for one in sent:
            one.result(timeout=120)
    assert server.annotations() == sorted([*before, *ids])


def test_one_process_answers_the_same(server):
    expected = server.answers()
    server.stop()
    server.environment["WORKERS"] = "1"
    server.start()
    server.wait_for(lambda: len(server.workers()) == 1, "one process")
    assert server.answers() == expected
    server.stop()
    server.environment["WORKERS"] = "2"
    server.start()
    alike(server, expected)


def test_a_prediction_under_way_is_answered_when_the_server_stops(server):
    texts = MadeUp.of(7, 3000, seed=6).texts
    batch = server.calls.predict([server.calls.task(10_000 + n, text.text) for n, text in enumerate(texts)])
    with ThreadPoolExecutor(1) as asking, closing(httpx.Client(base_url=server.url, timeout=60)) as client:
        under_way = threading.Event()

        def ask():
            with client.stream("POST", "/predict", json=batch, extensions={"trace": traced}) as answer:
                answer.read()
                return answer, time.monotonic()

        def traced(event, _):
            if event == "http11.send_request_body.complete":
                under_way.set()

        asked = asking.submit(ask)
        assert under_way.wait(30)
        time.sleep(0.2)
        told = time.monotonic()
        server.stop()
        answer, at = asked.result(timeout=60)
    try:
        assert at > told, "it was under way: make the batch larger"
        assert answer.status_code == 200
        assert len(answer.json()["results"]) == len(texts)
    finally:
        server.start()
