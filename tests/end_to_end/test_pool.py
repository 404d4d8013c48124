"""A pool outside a real Label Studio: the commands as they are typed, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from learning.database import Project, Task
from learning.settings import Settings
from learning.workspace import Workspace
from pools.backing import backing
from pools.folder import Pool
from pools.ranking import Ranked, latest
from tests.end_to_end.backend import ROOT, RunningBackend, until
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.end_to_end.test_live_loop import CONFIG, distinct, regions, version_of

pytestmark = pytest.mark.slow

SETTINGS = {"round_size": 30, "holdout_share": 0.2, "strategy": "mnlp", "cold_start": "random"}


class Pooled:
    """A pool of texts whose labels are known, for a project that has none of them yet."""

    def __init__(self, studio: RunningLabelStudio, backend: RunningBackend, folder: Path, n: int) -> None:
        self.studio, self.backend, self.folder = studio, backend, folder / "pool"
        self.sentences = {sentence.text: sentence for sentence in distinct(n)}
        assert len(self.sentences) == n
        self.source = folder / "texts.jsonl"
        lines = (json.dumps({"text": text, "number": i}) for i, text in enumerate(self.sentences))
        self.source.write_text("\n".join(lines))
        self.id = studio.create_project(folder.name, CONFIG)

    def connect(self) -> str:
        """Import the texts into the pool and connect the backend to the project; its key."""
        assert f"{len(self.sentences)} new texts" in self.run("import", str(self.folder), str(self.source))
        self.studio.connect_backend(self.id, self.backend.url, SETTINGS)
        return self.backend.wait_for(lambda: self.backend.project(self.id), "the project")["key"]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin `python -m cli pool …`, with the backend's own settings."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "pool", *words],
            cwd=ROOT,
            env={**self.backend.environment, "COLUMNS": "250"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> str:
        """The same, to its end; what it said."""
        process = self.start(*words)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said

    def tasks(self) -> list[dict]:
        """All that Label Studio has, with their predictions."""
        asked = {"project": self.id, "page_size": 1000, "fields": "all"}
        return self.studio.call("GET", "/api/tasks", params=asked)["tasks"]

    def annotate_next(self, n: int) -> list[int]:
        """Label what is served, with what is true; the tasks."""
        served = []
        for _ in range(n):
            task = self.studio.next_task(self.id)
            text = self.studio.call("GET", f"/api/tasks/{task}/")["data"]["text"]
            self.studio.annotate(task, regions(self.sentences[text]))
            served.append(task)
        return served

    def workspace(self) -> Workspace:
        """The backend's."""
        return Workspace(Settings(_env_file=None, data_dir=Path(self.backend.environment["DATA_DIR"]), tagger="crf"))

    def ranked(self) -> Ranked:
        """The order that the pool has by the model in use."""
        workspace = self.workspace()
        with workspace.db.read() as session:
            project = session.scalar(select(Project.id).where(Project.external_id == self.id))
        found = latest(Pool.open(self.folder), backing(workspace, project))
        assert found is not None
        return found

    def sent(self) -> dict[int, int]:
        """The task of each row."""
        return Pool.open(self.folder).sent(self.backend.project(self.id)["key"])

    def held_out(self) -> set[int]:
        """The tasks that the backend keeps for evaluation."""
        with self.workspace().db.read() as session:
            chosen = (Project.external_id == self.id, Task.draw < SETTINGS["holdout_share"])
            return set(session.scalars(select(Task.id).join(Project, Project.id == Task.project_id).where(*chosen)))

    def assert_each_row_is_there_once(self) -> None:
        """Label Studio's tasks are the rows noted as sent, with their texts."""
        texts = {task["id"]: task["data"]["text"] for task in self.tasks()}
        sent = self.sent()
        rows = Pool.open(self.folder).at(np.array([*sent], np.int64))
        assert len({*texts.values()}) == len(texts)
        assert {sent[row]: data["text"] for row, data in zip(sent, rows, strict=True)} == texts


def places(result: list[dict]) -> set[tuple]:
    """What is marked as what."""
    return {(r["value"]["start"], r["value"]["end"], *r["value"]["labels"]) for r in result}


def falls(numbers: list[float]) -> bool:
    """Whether none is higher than the one before it."""
    return numbers == sorted(numbers, reverse=True)


def test_a_pool_feeds_the_queue_and_follows_the_model(label_studio, backend, tmp_path):
    pooled = Pooled(label_studio, backend, tmp_path, 300)
    folder, name = str(pooled.folder), str(pooled.id)
    pooled.connect()

    # before there is a model: some, at random
    assert "40 tasks imported, drawn at random" in pooled.run("top-up", folder, name, "--keep", "40")
    backend.wait_for(lambda: backend.project(pooled.id)["tasks"] == 40, "the tasks")
    backend.round_after(pooled.id)
    pooled.annotate_next(30)
    first = backend.round_after(pooled.id, kind="fit")

    # the pool in the order of the model, and its top in Label Studio, with predictions
    assert f"260 texts are in order, by model {first['version']}" in pooled.run("rank", folder, name)
    ranked, before = pooled.ranked(), pooled.sent()
    assert f"ranked by model {first['version']}" in pooled.run("top-up", folder, name, "--keep", "50")
    sent = pooled.sent()
    new = {row: task for row, task in sent.items() if row not in before}
    held_out = pooled.held_out()
    chosen = [row for row in ranked.rows.tolist() if row in new and new[row] not in held_out]
    priority = dict(zip(ranked.rows.tolist(), ranked.priority.tolist(), strict=True))
    assert 25 <= len(chosen) < len(new) == 40
    better = sum(priority[row] > priority[chosen[-1]] for row in priority if row not in new)
    assert better < 0.5 * len(new)  # rows of the hold-out, which are not imported for their rank
    worth = {new[row]: priority[row] for row in chosen}
    assert len({*worth.values()}) > 20
    backend.round_after(pooled.id, first["number"], "rank")  # the backend's own order of what it was sent
    version = version_of(label_studio, pooled.id)
    score, right = {}, 0
    for task in pooled.tasks():
        (prediction,) = [p for p in task["predictions"] if p["model_version"] == version]
        score[task["id"]] = prediction["score"]
        gold = regions(pooled.sentences[task["data"]["text"]])
        right += task["id"] in new.values() and places(prediction["result"]) == places(gold)
    assert right > 0.6 * len(new)
    assert falls([worth[task] for task in sorted(worth, key=lambda task: score[task])])
    pooled.assert_each_row_is_there_once()

    # labelled in that order, learned from, and topped up by the next model
    served = pooled.annotate_next(30)
    assert sum(task in worth for task in served) > 10
    assert falls([worth[task] for task in served if task in worth])
    second = backend.round_after(pooled.id, first["number"], "fit")
    with pooled.start("top-up", folder, name, "--keep", "60", "--watch", "1") as watch:
        backend.wait_for(lambda: len(pooled.sent()) == 120, "the second top-up")
        watch.send_signal(signal.SIGTERM)
        said, _ = watch.communicate(timeout=60)
    assert watch.returncode == 0, said
    assert f"40 tasks imported, ranked by model {second['version']}" in said
    assert "Stopped." in said
    pooled.assert_each_row_is_there_once()


def test_a_killed_top_up_imports_nothing_twice(label_studio, backend, tmp_path):
    pooled = Pooled(label_studio, backend, tmp_path, 300)
    folder, name = str(pooled.folder), str(pooled.id)
    pending = pooled.folder / "sent" / f"{pooled.connect()}.top-up.pending.json"
    killed = pooled.start("top-up", folder, name, "--keep", "250")
    until(lambda: pending.exists() or killed.poll() is not None, "a batch", backend.log, pause=0.01)
    with label_studio.frozen():  # so that it does not answer before the kill
        time.sleep(0.3)  # so that it is asked
        killed.kill()
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert pooled.sent() == {}
    pooled.run("top-up", folder, name, "--keep", "250")
    assert len(pooled.sent()) == 250
    pooled.assert_each_row_is_there_once()


def test_a_vanished_label_studio_is_told_of_and_nothing_is_lost(label_studio, backend, tmp_path):
    pooled = Pooled(label_studio, backend, tmp_path, 60)
    folder, name = str(pooled.folder), str(pooled.id)
    pooled.connect()
    with pooled.start("top-up", folder, name, "--keep", "20", "--watch", "1") as watch:
        backend.wait_for(lambda: len(pooled.sent()) == 20, "the first tasks")
        label_studio.stop()
        try:
            time.sleep(3)
            assert watch.poll() is None
            alone = pooled.start("top-up", folder, name)
            said, _ = alone.communicate(timeout=60)
            assert alone.returncode == 2
            assert "is Label Studio running" in said
        finally:
            label_studio.start()
        tasks = [task["id"] for task in pooled.tasks()]
        for task in tasks[:12]:
            label_studio.annotate(task, [])
        backend.wait_for(lambda: len(pooled.sent()) == 32, "the tasks that follow")
        watch.send_signal(signal.SIGINT)
        said, _ = watch.communicate(timeout=60)
    assert watch.returncode == 0, said
    assert "The next look is in 1 s" in said
    pooled.assert_each_row_is_there_once()
