"""Simulations on what a project has labelled: asked for, looked up, and run one after another beside the rounds."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from corpus import Kind
from experiments.corpora import FEWEST
from experiments.plan import BASELINE, Plan
from labelstudio.schema import read_schema
from learning.database import Annotation, Database, Project, Simulation, Task, clock, now
from learning.intake import known_project
from learning.metrics import main_kind
from learning.owners import HEARTBEAT_LIMIT, alive, owner
from learning.processes import end_with_parent
from learning.settings import ProjectSettings, Settings, in_words
from learning.workspace import Workspace
from server.logs import set_up_logging
from taggers import TAGGERS

log = logging.getLogger("active_tagger")

SHOWN = 10
"""Newest simulations of a project that are kept and told of."""
BEAT_EVERY = HEARTBEAT_LIMIT.total_seconds() / 6
"""Seconds between two signs of life of a process that is in a long step."""


class Wanted(BaseModel):
    """What may be asked for; the defaults suit a few hundred texts."""

    model_config = ConfigDict(extra="forbid")

    strategies: list[str] | None = Field(None, min_length=1)
    seeds: int = Field(3, ge=1, le=20)
    tagger: str | None = None
    tagger_options: dict[str, Any] | None = None
    start: str = "10%"
    budget: str = "10%"
    rounds: int = Field(8, ge=1, le=100)


def ask(workspace: Workspace, project_key: str, wanted: dict[str, Any]) -> int:
    """Write down that a project wants a simulation; its id. The trainer takes it from there.

    `wanted`, all of it optional: `strategies` (default: the project's own and "mnlp"; "random" is always among them),
    `seeds` (how many: 3), `tagger` with its `tagger_options` (default: the model that ranks, so the quick `acquisition`
    of a project that has one, else the tagger; in a project with several kinds of marks, that of the kind by which it
    is judged), `start`, `budget` ("10%" of the words each) and `rounds` (8).

    Raises LookupError for an unknown project; ValueError, in words for the person who asks, if something asked for is
    unknown or does not fit together, if too little is labelled, or if the last simulation has not come to its end.
    """
    with workspace.db.write() as session:
        project = known_project(session, project_key)
        settings = workspace.settings.for_project(project.extra_params)
        kinds = read_schema(project.label_config, settings.control).kinds
        asked = _settings(settings, kinds, wanted)
        unfinished = select(Simulation.id).where(
            Simulation.project_id == project.id, Simulation.state.in_(["waiting", "running"])
        )
        if (busy := session.scalar(unfinished)) is not None:
            raise ValueError(f"simulation {busy} of this project is not finished yet: ask again when it is")
        labelled = _labelled(session, project)
        if labelled < FEWEST:
            raise ValueError(
                f"{labelled} texts are labelled, and a simulation needs at least {FEWEST}: label more first"
            )
        session.add(simulation := Simulation(project_id=project.id, settings=asked))
        session.flush()
        return simulation.id


def _settings(settings: ProjectSettings, kinds: Sequence[Kind], wanted: dict[str, Any]) -> dict[str, Any]:
    """Strategies, seeds and plan, as they are stored."""
    try:
        told = Wanted.model_validate(wanted)
        ranking = settings.of(_kind(kinds, told.tagger)).ranking
        tagger = told.tagger or ranking.tagger
        options = told.tagger_options
        if options is None:
            options = ranking.tagger_options if tagger == ranking.tagger else {}
        plan = Plan(
            data="labelled so far",
            tagger=tagger,
            tagger_options=options,
            strategy_options={settings.strategy: settings.strategy_options} if settings.strategy_options else {},
            start=told.start,
            budget=told.budget,
            rounds=told.rounds,
            dev_share=settings.dev_share,
            masked_lm=settings.masked_lm,
        )
        strategies = list(dict.fromkeys([BASELINE, *(told.strategies or [settings.strategy, "mnlp"])]))
        for strategy in strategies:
            plan.settings(strategy, 0)
    except ValidationError as error:
        raise ValueError(in_words(error)) from None
    return {"strategies": strategies, "seeds": told.seeds, "plan": plan.model_dump(mode="json")}


def _kind(kinds: Sequence[Kind], tagger: str | None) -> Kind:
    """What is simulated: what the tagger that is asked for learns, else what the project is judged by."""
    if tagger not in TAGGERS:  # an unknown one is told of by the plan
        return main_kind(kinds)
    if TAGGERS[tagger].kind not in kinds:
        raise ValueError(f"tagger {tagger!r} learns {TAGGERS[tagger].kind}; this project has {' and '.join(kinds)}")
    return TAGGERS[tagger].kind


def _labelled(session: Session, project: Project) -> int:
    """Texts with an annotation that counts."""
    usable = (Annotation.project_id == project.id, ~Annotation.deleted, ~Annotation.cancelled)
    tasks = select(Annotation.task_id).where(*usable)
    return session.scalar(select(func.count()).where(Task.project_id == project.id, Task.id.in_(tasks))) or 0


def newest_of(workspace: Workspace, project_key: str) -> list[dict[str, Any]]:
    """A project's newest simulations, the latest first. Raises LookupError for an unknown project."""
    with workspace.db.read() as session:
        return newest(session, known_project(session, project_key), SHOWN)


def newest(session: Session, project: Project, limit: int = 1) -> list[dict[str, Any]]:
    """The same, as many as `limit`."""
    of_project = select(Simulation).where(Simulation.project_id == project.id)
    return [_state(this) for this in session.scalars(of_project.order_by(Simulation.id.desc()).limit(limit))]


def _state(this: Simulation) -> dict[str, Any]:
    plan = this.settings["plan"]
    return {
        "id": this.id,
        "state": this.state,
        "strategies": this.settings["strategies"],
        "seeds": this.settings["seeds"],
        **{name: plan[name] for name in ("tagger", "tagger_options", "start", "budget", "rounds")},
        "progress": this.progress,
        "result": this.result,
        "error": this.error,
        "created_at": this.created_at.isoformat(timespec="seconds") + "Z",
        "finished_at": this.finished_at.isoformat(timespec="seconds") + "Z" if this.finished_at else None,
    }


def report(workspace: Workspace, project_key: str, id: int) -> str:
    """The HTML report of a simulation that is done. Raises LookupError as long as there is none."""
    with workspace.db.read() as session:
        project = known_project(session, project_key)
        this = session.scalar(select(Simulation).where(Simulation.project_id == project.id, Simulation.id == id))
    if this is None or this.state != "done":
        state = "is not known here" if this is None else f"is {this.state}"
        raise LookupError(f"simulation {id} of project {project_key!r} {state}: there is no report")
    page = folder(workspace, this) / "report" / "report.html"
    if not page.is_file():
        raise LookupError(f"the report of simulation {id} was removed from the data folder")
    return page.read_text(encoding="utf-8")


def folder(workspace: Workspace, this: Simulation) -> Path:
    """Where a simulation's texts, runs and report are."""
    return workspace.settings.data_dir / "simulations" / str(this.project_id) / str(this.id)


def claim(db: Database) -> int | None:
    """Take the oldest simulation that waits, or that a trainer left which is gone; its id, None if there is none.

    For a trainer that is running none itself: one under its name is from an earlier process of the same number.
    """
    unfinished = select(Simulation).where(Simulation.state.in_(["waiting", "running"])).order_by(Simulation.id)
    with db.read() as session:  # the usual case, nothing to do, takes no lock
        at = clock(session)
        if not any(_free(this, at) for this in session.scalars(unfinished)):
            return None
    with db.write() as session:
        at = clock(session)
        for this in session.scalars(unfinished).all():
            if not _free(this, at):
                continue
            if this.state == "running":
                _died(this, "its trainer ended")
            if this.state == "waiting":
                this.state, this.owner, this.heartbeat = "running", owner(), at
                return this.id
    return None


def _free(this: Simulation, at: datetime) -> bool:
    return this.state == "waiting" or this.owner == owner() or not alive(this, at)


def _died(this: Simulation, why: str) -> None:
    """Once may be bad luck, twice is not."""
    log.warning("simulation %s: %s", this.id, why)
    this.failures += 1
    this.state = "waiting"
    if this.failures > 1:
        this.state, this.finished_at = "failed", now()
        this.error = f"its process died {this.failures} times (the last time: {why}): out of memory?"


def give_back(db: Database, id: int, died: str | None) -> None:
    """Note that nobody is at a simulation any more; `died`: how its process did, None if it was told to end."""
    with db.write() as session:
        this = session.get(Simulation, id)
        if this is not None and this.state == "running":
            if died:
                _died(this, died)
            else:
                this.state = "waiting"


def beat(db: Database, id: int, **values: Any) -> None:
    """A running simulation's sign of life, with what else there is to write down."""
    with db.write() as session:
        session.execute(update(Simulation).where(Simulation.id == id).values(heartbeat=clock(session), **values))


def prune(workspace: Workspace, project_id: int) -> None:
    """Forget what is older than a project's newest simulations."""
    with workspace.db.write() as session:
        of_project = select(Simulation).where(Simulation.project_id == project_id).order_by(Simulation.id.desc())
        for old in session.scalars(of_project.offset(SHOWN)).all():
            shutil.rmtree(folder(workspace, old), ignore_errors=True)
            session.delete(old)


class Simulations:
    """The trainer's: starts what waits, one at a time, in a process that gets what the rounds and requests leave."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._id = 0
        self._beaten = 0.0
        self._closed = False

    def look(self) -> None:
        """See to the one that is running, or start the next; returns at once."""
        db = self.workspace.db
        with self._lock:
            if self._process is not None:
                if self._process.is_alive():
                    if time.monotonic() - self._beaten > BEAT_EVERY:
                        beat(db, self._id)
                        self._beaten = time.monotonic()
                    return
                give_back(db, self._id, f"exit code {self._process.exitcode}")
                self._process = None
            if not self._closed and (id := claim(db)) is not None:
                self._start(id)

    def _start(self, id: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._id, self._beaten = id, time.monotonic()
        self._process = spawn.Process(target=carry_out, args=(id, self.workspace.settings), daemon=True)
        self._process.start()
        log.info("simulation %s: started", id)

    def close(self) -> None:
        """End the process. A simulation that is under way goes on where it was when a trainer starts again."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.terminate()
                self._process.join()
                give_back(self.workspace.db, self._id, None)
                self._process = None


def carry_out(id: int, settings: Settings) -> None:
    """Bring a simulation to its end, in a process of its own, of the lowest priority and with one thread."""
    end_with_parent()
    with suppress(OSError):
        os.nice(19)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    set_up_logging(settings.log_level, settings.log_format)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    from server.simulating import simulate

    simulate(Workspace(settings), id)
