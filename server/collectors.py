"""What is read when Prometheus asks: rounds and projects from the database, memory from /proc. The same from every web
process."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from learning.database import Annotation, Project, Round
from learning.intake import queue_left
from learning.workspace import Workspace

STEP_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 4 * 3600.0)
"""Upper bounds of the histogram of a round's steps."""
ENDED = ("done", "failed", "interrupted", "superseded")
"""Rounds in these states do not change any more."""


@dataclass
class _Histogram:
    """How often, and how long in all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(STEP_SECONDS) + 1))
    sum: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(STEP_SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> list[tuple[str, float]]:
        total, cumulative = 0, []
        for bound, count in zip([*STEP_SECONDS, float("inf")], self.counts, strict=True):
            total += count
            cumulative.append((floatToGoString(bound), float(total)))
        return cumulative


class Rounds:
    """All rounds there ever were. Each is read once, after it has ended, so that a look costs what is new."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._highest = 0
        self._open: set[int] = set()
        """Up to the highest id that was seen: rounds under way, and ids that another transaction may still fill."""
        self._states: Counter[tuple[str, str]] = Counter()
        self._steps: dict[str, _Histogram] = {}

    def collect(self, session: Session) -> Iterator[Metric]:
        """Rounds by state, and seconds by step. A round's steps are told when it has ended."""
        with self._lock:
            under_way = self._read(session)
            states, steps = dict(self._states), {step: (h.buckets(), h.sum) for step, h in self._steps.items()}
        rounds = CounterMetricFamily(
            "active_tagger_rounds", "Rounds that have ended, by how.", labels=["project", "state"]
        )
        for key in {project for project, _ in states}:
            for state in ENDED:  # all of them, from the first on: an increase from nothing is no increase to Prometheus
                rounds.add_metric([key, state], states.get((key, state), 0))
        running = GaugeMetricFamily("active_tagger_rounds_under_way", "Rounds under way.", labels=["project", "state"])
        for labels, count in under_way.items():
            running.add_metric(labels, count)
        seconds = HistogramMetricFamily(
            "active_tagger_round_seconds", "Seconds that each step of a round took, of ended rounds.", labels=["step"]
        )
        for step, (buckets, total) in sorted(steps.items()):
            seconds.add_metric([step], buckets, total)
        yield from (rounds, running, seconds)

    def failed(self) -> int:
        """Rounds that have failed, of all projects, as far as they were read."""
        with self._lock:
            return sum(count for (_, state), count in self._states.items() if state == "failed")

    def _read(self, session: Session) -> Counter[tuple[str, str]]:
        under_way: Counter[tuple[str, str]] = Counter()
        wanted = select(Round.id, Round.state, Project.key).join(Project, Project.id == Round.project_id)
        new = session.execute(wanted.where((Round.id > self._highest) | Round.id.in_(self._open))).all()
        ended = {id: (key, state) for id, state, key in new if state in ENDED}
        highest = max([self._highest, *(id for id, _, _ in new)])
        self._open = (self._open | set(range(self._highest + 1, highest + 1))) - ended.keys()
        self._highest = highest
        self._states.update(ended.values())
        under_way.update((key, state) for id, state, key in new if id not in ended)
        ids = sorted(ended)
        for first in range(0, len(ids), 5_000):
            some = select(Round.metrics["seconds"]).where(Round.id.in_(ids[first : first + 5_000]))
            for seconds in session.scalars(some):
                for step, taken in (seconds or {}).items():
                    self._steps.setdefault(step, _Histogram()).observe(taken)
        return under_way


class _Figures(NamedTuple):
    """What changes with a project's revision and its current round only."""

    labelled: int
    queue: int | None
    f1: float | None


class Projects:
    """How each project stands. Tasks are counted anew only where something has changed."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[int, int | None], _Figures]] = {}

    def collect(self, session: Session) -> Iterator[Metric]:
        """Gauges by project; a project's name is its key, and its title stands in `active_tagger_project_info`."""
        told = {
            "labelled": GaugeMetricFamily(
                "active_tagger_labelled_tasks", "Tasks with an annotation.", labels=["project"]
            ),
            "queue": GaugeMetricFamily(
                "active_tagger_queue_tasks", "Tasks of the current order that nobody has labelled.", labels=["project"]
            ),
            "f1": GaugeMetricFamily("active_tagger_f1", "F1 of the current model, in [0, 1].", labels=["project"]),
        }
        info = GaugeMetricFamily("active_tagger_project_info", "Always 1.", labels=["project", "title"])
        for project in session.scalars(select(Project).order_by(Project.id)):
            info.add_metric([project.key, project.title or f"Project {project.external_id}"], 1)
            for name, value in self._figures(session, project)._asdict().items():
                if value is not None:
                    told[name].add_metric([project.key], value)
        yield from (info, *told.values())

    def _figures(self, session: Session, project: Project) -> _Figures:
        at = (project.revision, project.current_round_id)
        known = self._known.get(project.id)
        if known is None or known[0] != at:
            known = self._known[project.id] = (at, _figures(session, project))
        return known[1]


def _figures(session: Session, project: Project) -> _Figures:
    labelled = select(func.count(func.distinct(Annotation.task_id))).where(
        Annotation.project_id == project.id, ~Annotation.deleted, ~Annotation.cancelled
    )
    evaluation = select(Round.metrics["evaluation"]).where(Round.id == project.current_round_id)
    scores = session.scalar(evaluation)
    return _Figures(session.scalar(labelled) or 0, queue_left(session, project), scores["f1"] if scores else None)


class Learning:
    """Everything that the database tells, at one moment."""

    def __init__(self) -> None:
        self._rounds, self._projects = Rounds(), Projects()

    def collect(self, workspace: Workspace) -> tuple[list[Metric], int]:
        """The metrics, and how many rounds have failed."""
        with workspace.db.read() as session:
            metrics = [*self._projects.collect(session), *self._rounds.collect(session)]
        return metrics, self._rounds.failed()


def memory(proc: Path = Path("/proc")) -> Metric:
    """Resident memory of the web processes and of the trainer with what it runs; nothing where there is no /proc, and
    none of a trainer that runs elsewhere (another machine or container)."""
    metric = GaugeMetricFamily(
        "process_resident_memory_bytes",
        "Resident memory in bytes, added up over the processes; pages that they share count for each.",
        labels=["process"],
    )
    for name, pids in _processes(proc).items():
        if pages := sum(_resident(proc, pid) for pid in pids):
            metric.add_metric([name], pages * os.sysconf("SC_PAGE_SIZE"))
    return metric


def _processes(proc: Path) -> dict[str, set[int]]:
    """Ours, by what they do: under gunicorn, its whole family; the trainer is its sibling (see `server.__main__`)."""
    parents = dict(_parents(proc))
    own, parent = os.getpid(), os.getppid()
    under_gunicorn = b"gunicorn" in _command(proc, parent)
    web = {own} | (_family(parents, {parent}) if under_gunicorn else set())
    above = parents.get(parent) if under_gunicorn else parent
    siblings = {pid for pid, its in parents.items() if its == above} if above and above > 1 else set()
    trainers = {pid for pid in siblings if b"server.trainer" in _command(proc, pid)}
    return {"web": web, "trainer": _family(parents, trainers)}


def _family(parents: dict[int, int], pids: Iterable[int]) -> set[int]:
    """These processes and all that they have started."""
    family = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _parents(proc: Path) -> Iterator[tuple[int, int]]:
    """Each process and the one that started it."""
    for stat in proc.glob("[1-9]*/stat"):
        try:
            yield int(stat.parent.name), int(stat.read_bytes().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):  # it has ended
            continue


def _command(proc: Path, pid: int) -> bytes:
    try:
        return (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _resident(proc: Path, pid: int) -> int:
    """In pages."""
    try:
        return int((proc / str(pid) / "statm").read_bytes().split()[1])
    except (OSError, IndexError):
        return 0
