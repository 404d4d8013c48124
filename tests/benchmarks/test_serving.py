"""The benchmark asks for what it says: ranked texts come from the store, others from the model."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmarks import serving
from corpus import Sentence
from learning.settings import Settings
from learning.workspace import Workspace
from taggers import tagger_class
from tests.learning.texts import texts

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from any .env
    tagger = tagger_class("crf")(seed=0)
    tagger.fit(texts(30), [])
    monkeypatch.setattr(serving, "fitted", lambda *_: tagger)
    serving.prepare(tmp_path / "data", "crf", TEXTS, 0)
    return Workspace(Settings(data_dir=tmp_path / "data"))


TEXTS = [Sentence.from_text(str(n), text) for n, text in enumerate(["Ada met Grace", "It rains", "Oslo is far"])]


def test_the_class_reads_only_what_is_unseen(workspace, monkeypatch):
    tagger = workspace.models.load(1, "v1-benchmark")
    read: list[list[str]] = []
    infer = tagger.infer
    monkeypatch.setattr(tagger, "infer", lambda some: read.append([s.text for s in some]) or infer(some))
    monkeypatch.setattr(serving, "PlainBackend", lambda tags: tagger)
    contest = serving.in_process(workspace)
    assert contest.ours(serving.tasks(TEXTS, 1)) > 0 and read == []
    assert contest.ours(serving.tasks(TEXTS[:1], 99)) > 0 and read == [["Ada met Grace"]]


def test_an_answer_comes_with_its_seconds_and_a_refusal_is_told():
    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if self.path == "/echo" else 422)
            self.end_headers()
            self.wfile.write(asked)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        seconds, answer = serving.asked(server.server_port, "POST", "/echo", {"a": ["ü"]})
        assert 0 < seconds < 10 and answer == {"a": ["ü"]}
        with pytest.raises(RuntimeError, match="/other answered 422"):
            serving.asked(server.server_port, "POST", "/other", {})
        server.shutdown()
