"""The work of one simulation, in a process of its own: the texts labelled so far, the runs, the report, the verdict."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import update

from corpus import Kind
from experiments.comparison import Comparison
from experiments.corpora import Corpus, load_corpus
from experiments.execution import Experiment
from experiments.formats import CORPUS_SUFFIX, write_corpus
from experiments.plan import FULL, Plan
from experiments.report import compare
from experiments.results import Run
from experiments.simulation import simulate as iterations
from learning.database import Project, Simulation, now
from learning.workspace import Workspace
from server.live import LiveVenue
from server.simulations import beat, folder, prune
from server.verdict import verdict

log = logging.getLogger("active_tagger")


def simulate(workspace: Workspace, id: int) -> None:
    """Go on with a simulation that is marked running, to its end. A failure is recorded, none is raised."""
    with workspace.db.read() as session:
        place = folder(workspace, session.get_one(Simulation, id))
    place.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds texts
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a killed trainer's process ends a second later
        with workspace.db.read() as session:
            this = session.get_one(Simulation, id)
        if this.state != "running":
            return
        try:
            result = _result(workspace, this)
        except Exception as error:
            log.exception("simulation %s failed", id)
            _finish(workspace, id, state="failed", error=f"{type(error).__name__}: {error}"[:2_000])
            return
        _finish(workspace, id, state="done", result=result)
        log.info("simulation %s: %s", id, result["advice"])
    prune(workspace, this.project_id)


def _finish(workspace: Workspace, id: int, **values: Any) -> None:
    with workspace.db.write() as session:
        running = (Simulation.id == id, Simulation.state == "running")
        session.execute(update(Simulation).where(*running).values(finished_at=now(), **values))


def _result(workspace: Workspace, this: Simulation) -> dict[str, Any]:
    plan = Plan(**this.settings["plan"])
    corpus = _corpus(workspace, this, plan.kind)
    place, seeds = folder(workspace, this), range(this.settings["seeds"])
    experiment = Experiment(place / "labelled-so-far", plan, [FULL, *this.settings["strategies"]], seeds)
    runs = experiment.runs()
    tell = _Recorder(workspace, this.id)
    for i, run in enumerate(runs):
        tell.of(runs)
        for further in iterations(corpus, run, tell):
            runs[i] = further
            tell.of(runs)
    tell("report")
    compare(runs, place / "report", {plan.data: corpus})
    return verdict(Comparison(experiment.name, plan, runs, corpus), len(corpus.train) + len(corpus.test))


def _corpus(workspace: Workspace, this: Simulation, kind: Kind) -> Corpus:
    """What was labelled when the simulation began, those held out among it."""
    file = folder(workspace, this) / f"texts{CORPUS_SUFFIX}"
    if not file.is_file():
        with workspace.db.read() as session:
            project = session.get_one(Project, this.project_id)
        settings, _ = workspace.settings.in_force(project.extra_params)
        collected = LiveVenue(workspace, this.project_id, settings).snapshot()
        labelled = [*collected.labelled, *collected.holdout]
        write_corpus(sorted(labelled, key=lambda sentence: int(sentence.id)), file)
    return load_corpus(str(file), kind=kind)


class _Recorder:
    """Writes down how many rounds are done, at most once a second, with a sign of life."""

    def __init__(self, workspace: Workspace, id: int) -> None:
        self._db, self._id = workspace.db, id
        self._progress: dict[str, Any] = {}
        self._written = 0.0

    def of(self, runs: Sequence[Run]) -> None:
        """So far are these runs."""
        rounds = sum(len(run.iterations) if run.finished else run.rounds for run in runs)
        self._progress = {"done": sum(len(run.iterations) for run in runs), "of": rounds}
        self("round", last=self._progress["done"] == rounds)

    def __call__(self, step: str, *, last: bool = False, **_: Any) -> None:
        if last or time.monotonic() - self._written >= 1:
            self._written = time.monotonic()
            beat(self._db, self._id, progress=self._progress)
