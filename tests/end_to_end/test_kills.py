"""SIGKILL at random moments to every process, while people annotate: nothing is lost, and nothing is half there."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from labelstudio.events import record_of_annotation
from learning.models import ModelStore
from tests.end_to_end.kills import Annotator, KilledBackend, Witness, database_of
from tests.end_to_end.label_studio import RunningLabelStudio
from tests.end_to_end.test_live_loop import CONFIG, distinct
from tests.learning.texts import PEOPLE, PLACES

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("KILLS_SEED", "7"))
PLAN = {
    ("training", "collecting"): 4,
    ("training", "training"): 4,
    ("training", "half a model"): 3,
    ("training", "storing"): 4,
    ("training", "publishing"): 4,
    ("trainer", "collecting"): 1,
    ("trainer", "training"): 2,
    ("trainer", "storing"): 1,
    ("trainer", "publishing"): 2,
    ("web worker", "an event under way"): 9,
    ("web worker", "at random"): 4,
    ("web master", "an event under way"): 3,
    ("web master", "at random"): 2,
    ("everything", "publishing"): 1,
    ("everything", "at random"): 1,
    ("Label Studio", "collecting"): 2,
    ("Label Studio", "publishing"): 3,
    ("Label Studio", "at random"): 1,
}
"""Who is killed, at what he aims, how often. "Everything" is the whole backend at once, as in a power cut."""
FEWEST = 50
HIT = ("collecting", "training", "storing", "publishing")
"""Steps of a round in which a kill must have hit."""
AIM = 20.0
"""Seconds to wait for the moment that is aimed at; then it is done at any."""
BACK_AGAIN = 180.0
"""Seconds for any recovery on a loaded machine; on an idle one it is 3 to 10."""
SETTLE_AFTER = 17


@dataclass
class Kill:
    who: str
    aimed_at: str
    hit: str
    """What the newest round was at when the process was dead, or when Label Studio was killed."""
    recovered: float
    """Seconds until it answered again, or for the trainer and its child until the next round was delivered."""


@pytest.fixture
def backend(label_studio: RunningLabelStudio, tmp_path: Path) -> Iterator[KilledBackend]:
    """With a comparison every ten seconds, so that what no webhook told of is there soon."""
    running = KilledBackend(
        tmp_path,
        LABEL_STUDIO_URL=label_studio.url,
        LABEL_STUDIO_API_KEY=label_studio.personal_access_token(),
        RECONCILE_EVERY="10",
        STRATEGY="mnlp",
        COLD_START="random",
        OMP_NUM_THREADS="1",
    )
    yield running
    running.stop()


def regions_of(text: str) -> list[dict[str, Any]]:
    """The right annotation of one of these texts."""
    return [
        {
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": text.index(name), "end": text.index(name) + len(name), "labels": [label]},
        }
        for names, label in ((PEOPLE, "PER"), (PLACES, "LOC"))
        for name in names
        if name in text
    ]


class Scene:
    """One project of 150 texts, somebody who annotates it, and whoever kills."""

    def __init__(self, studio: RunningLabelStudio, backend: KilledBackend) -> None:
        self.studio, self.backend = studio, backend
        self.dice = random.Random(SEED)
        self.witness = Witness(backend)
        self.project = studio.create_project("kills", CONFIG)
        studio.import_tasks(self.project, [{"text": sentence.text} for sentence in distinct(150)])
        studio.connect_backend(self.project, self.witness.url, {"round_size": 5, "holdout_share": 0.1})
        backend.round_after(self.project)
        self.annotator = Annotator(studio, self.project, regions_of, SEED)
        self.annotator.start()
        self.annotator.at_work.set()
        self.checked = 0

    # -- killing -------------------------------------------------------------------------------------------

    def kill(self, who: str, aim: str) -> Kill:
        """Wait for the moment, kill, and wait until all is well again."""
        self._await(aim)
        before, at = self.backend.delivered(), time.monotonic()
        if who == "Label Studio":
            hit = self.backend.moment()  # before: a round that loses it fails while this waits for its end
            self.studio.kill()
            self.studio.start()
            back: Callable[[], Any] = lambda: True  # noqa: E731
        elif who == "everything":
            os.killpg(self.backend.process.pid, signal.SIGKILL)
            self.backend.process.wait()
            hit = self.backend.moment()
            self.annotated_meanwhile()
            self.backend.start()
            back = lambda: self.backend.delivered() > before  # noqa: E731
        else:
            victim = self.dice.choice(self._victims(who))
            victim.send_signal(signal.SIGKILL)
            psutil.wait_procs([victim], timeout=10)
            hit = self.backend.moment()
            if who.startswith("web"):
                back = lambda: victim not in self._victims(who) and self.backend.healthy()  # noqa: E731
            else:
                back = lambda: self.backend.delivered() > before  # noqa: E731
        if aim == "half a model" and self._half_models():
            hit = "storing"
        self.backend.wait_for(back, f"recovery from the death of {who} while {hit}", BACK_AGAIN)
        return Kill(who, aim, hit, round(time.monotonic() - at, 1))

    def _victims(self, who: str) -> list[psutil.Process]:
        return self.backend.wait_for(lambda: self.backend.processes()[who], who, BACK_AGAIN)

    def _await(self, aim: str) -> None:
        at_once = time.monotonic() + self.dice.uniform(0, 1)
        there = {
            "at random": lambda: time.monotonic() > at_once,
            "an event under way": lambda: self.witness.in_flight > 0,
            "half a model": self._half_models,
        }.get(aim, lambda: self.backend.moment() == aim)
        give_up = time.monotonic() + AIM
        while not there() and time.monotonic() < give_up:
            time.sleep(0.0005)

    def _half_models(self) -> list[str]:
        """Temporary folders, of which nobody else may know."""
        with suppress(FileNotFoundError):
            return [entry.name for entry in os.scandir(self._shelf()) if entry.name.startswith(".")]
        return []

    def _shelf(self) -> Path:
        return self.backend.folder / "data/models/1"

    def annotated_meanwhile(self) -> None:
        """People have done something while nobody listened."""
        did = self.annotator.did.total()
        self.backend.wait_for(lambda: self.annotator.did.total() > did + 2, "annotations while all was down", 60)

    # -- what must be so at any time -------------------------------------------------------------------------

    def check(self) -> None:
        """Whatever was promised is kept, and nothing is half there."""
        self._promised_is_stored()
        self._models_are_whole()
        self._rounds_are_legal()
        self._queue_is_whole()

    def _promised_is_stored(self) -> None:
        taken, self.checked = self.witness.taken[self.checked :], len(self.witness.taken)
        with self.backend.database() as db:
            tasks = {id for (id,) in db.execute("SELECT id FROM tasks")}
            stored = dict(db.execute("SELECT id, updated_at FROM annotations"))
        for event in taken:
            told = event.get("annotation", [])
            for annotation in map(record_of_annotation, told if isinstance(told, list) else [told]):
                if annotation.task_id in tasks:  # deleted with its task
                    assert stored.get(annotation.id, "") >= annotation.updated_at, f"lost: {event}"

    def _models_are_whole(self) -> None:
        for version in ModelStore(self._shelf().parent).versions(1):
            assert not version.startswith(".")
            try:
                assert ModelStore(self._shelf().parent).load(1, version).tags
            except Exception:
                time.sleep(1)  # it may have been deleted meanwhile: a newer one is in use
                assert version not in ModelStore(self._shelf().parent).versions(1), f"{version} is not whole"

    def _rounds_are_legal(self) -> None:
        with self.backend.database() as db:
            states = Counter(state for (state,) in db.execute("SELECT state FROM rounds"))
            current = db.execute(
                "SELECT rounds.state FROM projects JOIN rounds ON rounds.id = projects.current_round_id"
            ).fetchall()
        assert set(states) <= {"running", "publishing", "done", "interrupted", "superseded"}, states
        assert states["running"] + states["publishing"] <= 1, states
        assert current == [("done",)]

    def _queue_is_whole(self) -> None:
        """Label Studio serves one version that we made, of which every queued task has exactly one prediction."""
        for _ in range(20):
            version = self._served()
            with self.backend.database() as db:
                asked = (
                    "SELECT task_id FROM predictions JOIN rounds ON rounds.id = round_id "
                    "WHERE version = ? AND position IS NOT NULL"
                )
                queued = {id for (id,) in db.execute(asked, [version])}
            with database_of(self.studio) as db:
                there = {id for (id,) in db.execute("SELECT id FROM task WHERE project_id = ?", [self.project])}
                asked = "SELECT task_id, score FROM prediction WHERE project_id = ? AND model_version = ?"
                scores = db.execute(asked, [self.project, version]).fetchall()
            if version == self._served():
                break
        times = Counter(task for task, _ in scores)
        assert times.keys() >= queued & there, f"{version} lacks {sorted(queued & there - times.keys())}"
        assert set(times.values()) == {1}
        placed = [score for task, score in scores if task in queued]
        assert len(placed) == len(set(placed)), "equal scores have no order"

    def _served(self) -> str:
        with database_of(self.studio) as db:
            asked = "SELECT model_version FROM project WHERE id = ?"
            return str(db.execute(asked, [self.project]).fetchone()[0])

    # -- what must be so once all is quiet ---------------------------------------------------------------------

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nobody annotates, and all that was due is done."""
        self.annotator.rest()
        self.backend.wait_for(self._at_rest, "quiet", BACK_AGAIN)
        yield
        self.annotator.at_work.set()

    def _at_rest(self) -> bool:
        with self.backend.database() as db:
            due = db.execute("SELECT due FROM projects").fetchone()[0]
            # One whose publishing was broken off waits for another try, and may be served already.
            under_way = db.execute("SELECT count(*) FROM rounds WHERE state IN ('running', 'publishing')").fetchone()[0]
        return due is None and not under_way and self._differences() == []

    def _differences(self) -> list[Any]:
        """Between what Label Studio holds and what we do: tasks, and annotations with all that they say."""
        query = {"project": self.project, "fields": "all", "page_size": 1000, "resolve_uri": "false"}
        held = self.studio.call("GET", "/api/tasks", params=query)["tasks"]
        theirs = {("task", task["id"], json.dumps(task["data"])) for task in held}
        for task in held:
            for annotation in task["annotations"]:
                one = record_of_annotation(annotation, task["id"])
                result = json.dumps(one.result, sort_keys=True)
                theirs.add(("annotation", one.id, one.task_id, result, one.cancelled, one.updated_at))
        with self.backend.database() as db:
            ours: set[Any] = {("task", id, data) for id, data in db.execute("SELECT id, data FROM tasks")}
            asked = "SELECT id, task_id, result, cancelled, updated_at FROM annotations WHERE NOT deleted"
            for id, task, result, cancelled, updated_at in db.execute(asked):
                result = json.dumps(json.loads(result), sort_keys=True)
                ours.add(("annotation", id, task, result, bool(cancelled), updated_at))
        return sorted(theirs ^ ours, key=str)

    def check_quiet(self) -> None:
        """Both sides hold the same, and Label Studio serves the version that is current here."""
        assert self._differences() == []
        with self.backend.database() as db:
            asked = "SELECT version FROM projects JOIN rounds ON rounds.id = projects.current_round_id"
            current = [version for (version,) in db.execute(asked)]
        assert current == [self._served()]
        assert self.studio.call("GET", f"/api/projects/{self.project}")["model_version"] == current[0]
        self.check()


def plan() -> list[tuple[str, str]]:
    """All kills in a random order; `KILLS` in the environment takes only so many of them."""
    planned = [kill for kill, times in PLAN.items() for _ in range(times)]
    random.Random(SEED).shuffle(planned)
    return planned[: int(os.environ.get("KILLS", len(planned)))]


def table(kills: list[Kill]) -> str:
    """Who, during what, how often, recovered after how many seconds (median, longest)."""
    lines = [f"{'killed':14}{'the round was':16}{'times':>5}{'median s':>10}{'longest s':>10}"]
    for who, hit in sorted({(kill.who, kill.hit) for kill in kills}):
        seconds = sorted(kill.recovered for kill in kills if (kill.who, kill.hit) == (who, hit))
        lines.append(f"{who:14}{hit:16}{len(seconds):5}{seconds[len(seconds) // 2]:10.1f}{seconds[-1]:10.1f}")
    return "\n".join(lines)


def test_whatever_is_killed_nothing_is_lost_and_nothing_is_half_there(label_studio, backend, capsys):
    scene = Scene(label_studio, backend)
    began, kills = time.monotonic(), list[Kill]()
    planned = plan()
    for number, (who, aim) in enumerate(planned, start=1):
        kills.append(scene.kill(who, aim))
        with capsys.disabled():
            print(f"{number:3} {kills[-1]}", flush=True)
        scene.check()
        if number % SETTLE_AFTER == 0:
            with scene.quiet():
                scene.check_quiet()
    with scene.quiet():
        scene.check_quiet()
    scene.annotator.end()
    hit = Counter(kill.hit for kill in kills)
    figures = {
        "kills": [asdict(kill) for kill in kills],
        "seconds": round(time.monotonic() - began, 1),
        "annotator": dict(scene.annotator.did),
        "events answered 2xx": len(scene.witness.taken),
        "events that found nobody": scene.witness.refused,
        "rounds delivered": backend.delivered(),
        "lost": 0,
    }
    if report := os.environ.get("KILLS_REPORT"):
        Path(report).write_text(json.dumps(figures, indent=1))
    with capsys.disabled():
        print(f"\n{table(kills)}")
        print({name: value for name, value in figures.items() if name != "kills"})
    if len(planned) < FEWEST:
        pytest.skip(f"only {len(planned)} kills were asked for")
    assert all(hit[step] for step in HIT), hit
    with suppress(httpx.HTTPError):
        assert backend.project(scene.project)["error"] is None
