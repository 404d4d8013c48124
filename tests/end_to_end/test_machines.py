"""Web and trainers on machines of their own: one is lost in mid-round, Redis and PostgreSQL go away and come back."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import func, select

from learning import rounds
from learning.database import Annotation, Database, Project, Round
from learning.settings import Settings
from server import heartbeat
from tests.end_to_end.kills import database_of
from tests.end_to_end.machines import HERE, Machines, Redis, network
from tests.end_to_end.test_live_loop import CONFIG, distinct, regions, version_of
from tests.postgresql import running

pytestmark = pytest.mark.slow

SLOW = {"TAGGER": "crf", "TAGGER_OPTIONS": '{"l1": 0, "l2": 1e-6, "iterations": 3000}', "COLD_START": "random"}
"""A training of several seconds, of which one can be broken off in the middle."""
TASKS, LABELLED = 700, 600


@pytest.fixture(scope="module")
def several(label_studio, tmp_path_factory):
    folder = tmp_path_factory.mktemp("machines")
    with network(), running(HERE, 5439) as postgresql, ExitStack() as stack:
        redis = Redis(folder, 6389)
        stack.callback(redis.stop)
        url = postgresql.new_database()
        db = Database(url)
        stack.callback(db.engine.dispose)
        there = {"LABEL_STUDIO_URL": f"http://{HERE}:{label_studio.port}"}
        there |= {"LABEL_STUDIO_API_KEY": label_studio.personal_access_token()}
        machines = Machines(folder, stack, DATABASE_URL=url, QUEUE_URL=redis.url, **there, **SLOW)
        yield SimpleNamespace(machines=machines, postgresql=postgresql, redis=redis, db=db, url=url)


class Labelled:
    """A project that comes with annotations, of which the first round learns."""

    def __init__(self, studio, title: str, url: str = "", tasks: int = TASKS, labelled: int = LABELLED) -> None:
        self.studio = studio
        self.id = studio.create_project(title, CONFIG)
        self.sentences = distinct(tasks)
        whole = [{"data": {"text": s.text}} for s in self.sentences]
        for task, sentence in zip(whole[:labelled], self.sentences, strict=False):
            task["annotations"] = [{"result": regions(sentence)}]
        self.tasks = studio.import_tasks(self.id, whole)
        self.annotated = labelled
        if url:
            self.connect(url)

    def connect(self, url: str) -> None:
        self.backend = self.studio.connect_backend(self.id, url, {"holdout_share": 0, "round_size": 200})

    def annotate(self, count: int) -> None:
        """The next tasks, as a person would."""
        for task, sentence in list(zip(self.tasks, self.sentences, strict=True))[self.annotated :][:count]:
            self.studio.annotate(task, regions(sentence))
            self.annotated += 1

    def train(self) -> None:
        self.studio.call("POST", f"/api/ml/{self.backend}/train")

    def annotations(self) -> dict[int, int]:
        """Label Studio's, by id: their tasks."""
        with database_of(self.studio) as there:
            return dict(
                there.execute("SELECT id, task_id FROM task_completion WHERE project_id = ?", [self.id]).fetchall()
            )

    def predictions(self) -> Counter[tuple[int, str]]:
        """How many each task has of each version, in Label Studio."""
        with database_of(self.studio) as there:
            rows = there.execute("SELECT task_id, model_version FROM prediction WHERE project_id = ?", [self.id])
            return Counter(map(tuple, rows))


def rounds_of(db, project: Labelled) -> list[Round]:
    with db.read() as session:
        mine = select(Project.id).where(Project.external_id == project.id).scalar_subquery()
        return list(session.scalars(select(Round).where(Round.project_id == mine).order_by(Round.number)))


def newest(several, project, state: str, step: str | None = None) -> Round | None:
    found = rounds_of(several.db, project)
    at_step = found and step in (None, found[-1].progress.get("step"))
    return found[-1] if at_step and found[-1].state == state else None


def host_of(this: Round) -> str:
    return this.owner.partition("/")[0]


def told(several, project) -> dict:
    return httpx.get(f"{several.machines.url}/api/projects/{project.id}", timeout=30).raise_for_status().json()


def check_published_once(several, project, versions: list[str]) -> None:
    """Everything annotated is known here, and each version has one prediction a task in Label Studio."""
    assert version_of(project.studio, project.id) == versions[-1]
    found = project.predictions()
    assert set(found.values()) == {1}
    assert {version for _, version in found} == set(versions)
    assert {task for task, version in found if version == versions[-1]} == set(project.tasks)
    with several.db.read() as session:
        mine = rounds_of(several.db, project)[0].project_id
        known = session.execute(
            select(Annotation.id, Annotation.task_id).where(Annotation.project_id == mine, ~Annotation.deleted)
        )
        assert dict(known.tuples().all()) == project.annotations()
    assert len(project.annotations()) == project.annotated


def test_a_trainer_that_is_lost_in_mid_round_is_replaced_by_another(several, label_studio):
    machines = several.machines
    project = Labelled(label_studio, "lost", machines.url)
    begun = machines.wait_for(lambda: newest(several, project, "running", "fit"), "the fit", pause=0.02)
    lost, other = sorted(machines.trainers, key=lambda name: name != host_of(begun))
    assert host_of(begun) == lost
    machines.trainers[lost].lose()
    project.annotate(12)  # people go on meanwhile
    broken = rounds_of(several.db, project)[0]
    assert broken.state == "running", "its loss was not in mid-round"
    done = machines.wait_for(lambda: newest(several, project, "done"), "the other's round", 150)
    first, second = rounds_of(several.db, project)
    assert (first.state, first.error, host_of(first)) == ("interrupted", rounds.LOST, lost)
    assert (second.id, second.kind, host_of(second)) == (done.id, "fit", other)
    waited = (second.started_at - first.heartbeat).total_seconds()
    limit = rounds.HEARTBEAT_LIMIT.total_seconds()
    assert limit <= waited < limit + 20
    check_published_once(several, project, [second.version])
    assert told(several, project)["version"] == second.version
    assert [folder.name for folder in machines.models.glob("*/v*")] == [second.version]
    workspace = SimpleNamespace(settings=Settings(_env_file=None, database_url=several.url), db=several.db)
    silent = {name.partition("/")[0]: seconds for name, seconds in heartbeat.signs(workspace).items()}
    assert silent[lost] > limit > heartbeat.LIMIT > silent[other]
    machines.trainers[lost].find_again(**machines.settings)
    machines.wait_for(lambda: machines.trainers[lost].log.read_text().count("trainer ready") == 2, "its return")


def test_redis_and_postgresql_come_back_in_mid_round(several, label_studio):
    machines = several.machines
    project = Labelled(label_studio, "away", machines.url)
    begun = machines.wait_for(lambda: newest(several, project, "running", "fit"), "the fit", pause=0.02)
    several.redis.stop()
    several.postgresql.stop()
    refused = httpx.post(
        f"{machines.url}/webhook", json={"action": "START_TRAINING", "project": project.id}, timeout=60
    )
    assert (refused.status_code, "see that it runs" in refused.json()["detail"]) == (503, True)
    several.postgresql.start()
    ended = machines.wait_for(lambda: newest(several, project, "done"), "the end of the round")
    assert (ended.id, ended.number, ended.owner) == (begun.id, 1, begun.owner)
    project.train()  # nobody can be told of it: Redis is still away
    machines.wait_for(lambda: told(several, project)["due"], "the due mark")
    several.redis.start()
    second = machines.wait_for(lambda: (new := newest(several, project, "done")) and new.number == 2 and new, "another")
    check_published_once(several, project, [ended.version, second.version])


def test_two_trainers_share_what_is_due(several, label_studio):
    machines = several.machines
    projects = [Labelled(label_studio, f"shared {n}") for n in range(2)]
    for project in projects:
        project.connect(machines.url)

    def done():
        found = [newest(several, project, "done") for project in projects]
        return all(found) and found

    both = machines.wait_for(done, "both rounds")
    assert {host_of(this) for this in both} == set(machines.trainers)
    assert both[0].started_at < both[1].finished_at
    assert both[1].started_at < both[0].finished_at, "they ran at the same time"
    for project, this in zip(projects, both, strict=True):
        assert len(rounds_of(several.db, project)) == 1
        check_published_once(several, project, [this.version])
    with several.db.read() as session:
        doubled = select(Round.project_id, Round.number).group_by(Round.project_id, Round.number)
        assert session.execute(doubled.having(func.count() > 1)).all() == []
