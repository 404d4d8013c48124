"""The training process: light for a CRF, replaced after many jobs and when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server import jobs
from server.jobs import Rounds

pytestmark = pytest.mark.slow  # each starts processes

ROOT = Path(__file__).parents[2]


def note_process(project_id: int) -> None:
    """Stands for a job: writes down which process it ran in; job 13 kills it."""
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{os.getpid()}\n")
    if project_id == 13:
        os._exit(9)


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setattr(jobs, "work", note_process)
    monkeypatch.setattr(jobs, "warm_up", os.getpid)
    monkeypatch.setattr(jobs, "ROUNDS_PER_PROCESS", 2)
    return tmp_path / "notes"


def test_the_process_is_replaced_between_jobs(workspace, notes):
    runner = Rounds(workspace)
    runner.open()
    for job in range(5):
        runner.run(job)
    runner.close()
    ran_in = notes.read_text().split()
    assert ran_in[0] == ran_in[1] != ran_in[2] == ran_in[3] != ran_in[4]
    assert str(os.getpid()) not in ran_in


def test_a_process_that_dies_is_replaced_at_once(workspace, notes, monkeypatch):
    monkeypatch.setattr(jobs, "ROUNDS_PER_PROCESS", 20)
    runner = Rounds(workspace)
    for job in (1, 13, 2, 3):
        runner.run(job)
    runner.close()
    ran_in = notes.read_text().split()
    assert ran_in[0] == ran_in[1] != ran_in[2] == ran_in[3]


ONE_ROUND = """
import sys
from learning.database import Project
from learning.intake import mark_due, put_annotations, put_tasks
from labelstudio.records import AnnotationRecord, TaskRecord
from server import child

child.warm_up()
db = child.prepare().db
region = {"from_name": "label", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 3, "labels": ["PER"]}}
with db.write() as session:
    session.add(project := Project(key="2.17", external_id=2, label_config=CONFIG))
    session.flush()
    put_tasks(session, project, [TaskRecord(i, {"text": f"Ada number {i} is here"}, "2026") for i in range(1, 60)], 0)
    put_annotations(session, project, [AnnotationRecord(i, i, [region], "2026") for i in range(1, 30)])
    mark_due(project, "fit", "test")
child.work(1)
with db.read() as session:
    from learning.database import Round
    done = session.get_one(Round, 1)
    print(done.state, done.kind, done.error)
print(sorted({"torch", "flair", "transformers"} & set(sys.modules)))
"""


def test_a_round_of_the_crf_imports_no_neural_network(tmp_path):
    from tests.server.conftest import CONFIG

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path / "data"), "TAGGER": "crf"}
    environment |= {"STRATEGY": "mnlp", "TRAINER_THREADS": "1", "ROUND_SIZE": "10"}
    script = ONE_ROUND.replace("CONFIG", repr(CONFIG))
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout.splitlines() == ["done fit None", "[]"], ran.stderr
