"""The trainer as a real process: told to stop it stops soon, what it was at has not failed, and is done later."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from labelstudio.records import AnnotationRecord, TaskRecord
from learning.database import Database, Project, Round
from learning.intake import mark_due, put_annotations, put_tasks
from tests.end_to_end.backend import until
from tests.learning.texts import texts
from tests.server.conftest import CONFIG, KEY
from tests.server.test_child import region

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOON = 5.0
"""Seconds of its own time that it may take; the machine may be busy with others."""


class Trainer:
    """`python -m server.trainer` on a folder of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LABEL_STUDIO")}
        self.log = folder / "trainer.log"
        self.environment = {**inherited, "PYTHONPATH": str(ROOT), "DATA_DIR": str(folder / "data"), **settings}
        self.db = Database.in_folder(folder / "data")
        self.folder = folder

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = psutil.Popen(
                [sys.executable, "-m", "server.trainer"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, condition, what: str, seconds: float = 120):
        return until(condition, what, self.log, seconds, pause=0.02)

    def round(self, state: str, step: str | None = None) -> Round | None:
        """The newest one, if it is in this state and at this step."""
        with self.db.read() as session:
            this = session.scalar(select(Round).order_by(Round.id.desc()).limit(1))
        at_step = this is not None and step in (None, this.progress.get("step"))
        return this if this and this.state == state and at_step else None

    def project(self) -> Project:
        with self.db.read() as session:
            return session.scalars(select(Project)).one()


@pytest.fixture
def trainer(tmp_path):
    """With a fit due that takes seconds, unless the process is told to stop."""
    made = Trainer(tmp_path, TAGGER="crf", TAGGER_OPTIONS='{"l1": 0, "l2": 1e-6, "iterations": 5000}', STRATEGY="mnlp")
    with made.db.write() as session:
        session.add(project := Project(key=KEY, external_id=4, label_config=CONFIG))
        session.flush()
        sentences = texts(3_000)
        put_tasks(session, project, [TaskRecord(int(s.id), {"text": s.text}, "2026") for s in sentences], 0)
        annotations = [
            AnnotationRecord(
                int(s.id), int(s.id), [region(p.start, p.end, p.label, i) for i, p in enumerate(s.spans)], "2026"
            )
            for s in sentences[:2_900]
        ]
        put_annotations(session, project, annotations)
        mark_due(project, "fit", "test")
    made.start()
    yield made
    if made.process.is_running():
        os.killpg(made.process.pid, signal.SIGKILL)
    made.process.wait()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_seconds_and_goes_on_when_it_is_started_again(trainer, how):
    broken_off = trainer.wait_for(lambda: trainer.round("running", "fit"), "the fit")
    family = [trainer.process, *trainer.process.children(recursive=True)]
    began = time.monotonic()
    if how == signal.SIGINT:  # Ctrl-C: all processes of the terminal get it
        os.killpg(trainer.process.pid, signal.SIGINT)
    else:
        trainer.process.send_signal(how)
    _, alive = psutil.wait_procs(family, timeout=60)
    took = time.monotonic() - began
    assert alive == []
    project, this = trainer.project(), trainer.round("interrupted")
    assert this is not None
    assert (this.id, this.error, this.finished_at is not None) == (broken_off.id, None, True)
    assert (project.due, project.failures, project.retry_at) == ("fit", 0, None)
    assert took < SOON * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert "Traceback" not in trainer.log.read_text()
    trainer.start()
    again = trainer.wait_for(lambda: trainer.round("running"), "the next round")
    assert again.number == broken_off.number + 1
    assert again.kind == "fit"
