"""The command line, as it is typed; beside it a thread does what a trainer would."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from collections import namedtuple
from contextlib import contextmanager

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import cli
import taggers
from corpus import Sentence, Span
from learning import rounds
from learning.database import Annotation, Project, Round, Simulation, Task
from learning.settings import Settings
from learning.workspace import Workspace
from server import heartbeat
from server.checks import Check
from tests.server.conftest import BORN, CONFIG

Ran = namedtuple("Ran", "code out")
VERSION = "v1-20260101-120000"


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A data folder with project 4, "News [bold]", whose stored model is in use; project 5 has done nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(cli.console, "_width", 300)
    made = Workspace(Settings(_env_file=None, data_dir=tmp_path / "data"))
    with made.db.write() as session:
        for number, title in ((4, "News [bold]"), (5, None)):
            session.add(
                Project(
                    key=f"{number}.1767225600",
                    external_id=number,
                    title=title,
                    label_config=CONFIG,
                    connection={},
                    extra_params={"tagger": "crf", "strategy": "mnlp"},
                )
            )
        session.flush()
        session.add(this := a_round(1, VERSION, state="done", metrics={"evaluation": SCORES, "labelled_words": 900}))
        session.flush()
        this.model_round_id = session.get_one(Project, 1).current_round_id = this.id
    texts = [Sentence.from_text("1", "Ada saw Oslo", [Span(0, 3, "PER")]), Sentence.from_text("2", "Bo ran", [])]
    tagger = taggers.tagger_class("crf")()
    tagger.fit(texts, [])
    made.models.save(tagger, 1, VERSION)
    heartbeat.beat(made)
    return made


SCORES = {"f1": 0.8125, "low": 0.75, "high": 0.875, "method": "hold-out"}
SCORES |= {"precision": 0.8, "recall": 0.8254, "sentences": 40, "spans": 60, "per_label": {}}


def a_round(number: int, version: str, **more) -> Round:
    common = {"project_id": 1, "kind": "fit", "reason": "", "owner": rounds.owner(), "revision": 0}
    return Round(number=number, version=version, **{"state": "running", **common, **more})


def run(*words: str) -> Ran:
    result = CliRunner().invoke(cli.app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ran(result.exit_code, result.output)


@contextmanager
def beside(work):
    """A trainer's work, in a thread; its failure is the test's."""
    failed = []

    def guarded():
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
    assert failed == []


def until(condition):
    for _ in range(500):
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing has happened")


def test_status_shows_every_project(space):
    ran = run("status")
    assert ran.code == 0
    (news,) = [line for line in ran.out.splitlines() if "News" in line]
    for told in ("4 News [bold]", "idle", "81.2%", "75% to 88%", "0 of 0", "after 50 tasks", VERSION):
        assert told in news
    assert "waiting" in ran.out


def test_status_for_programs_is_json(space):
    ran = run("status", "--json")
    told = json.loads(ran.out)["projects"]
    assert [one["id"] for one in told] == [4, 5]
    assert told[0]["evaluation"]["f1"] == SCORES["f1"]


def test_status_tells_errors_and_no_control_characters(space):
    with space.db.write() as session:
        session.get_one(Project, 1).title = "\x1b]0;owned\x07\u202e[red]x[/]"
        session.add(a_round(2, "v2", state="failed", error="MemoryError: it was \x1b[31mtoo much"))
    out = run("status").out
    assert "MemoryError" in out
    assert "[red]x[/]" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


@pytest.mark.parametrize("name", ["4", "4.1767225600", "News [bold]", "news [BOLD]"])
def test_a_project_goes_by_number_key_and_title(space, name):
    assert run("pause", name).code == 0
    with space.db.read() as session:
        assert [one.paused for one in session.scalars(select(Project))] == [True, False]
    assert "Resumed" in run("resume", name).out
    with space.db.read() as session:
        assert not any(one.paused for one in session.scalars(select(Project)))


def test_an_unknown_project_is_told_in_words(space):
    ran = run("pause", "Sport")
    assert ran.code == 2
    assert "no project 'Sport'; known: 4 News [bold], 5" in ran.out


def test_a_title_that_two_projects_have(space):
    with space.db.write() as session:
        session.get_one(Project, 2).title = "News [bold]"
    ran = run("pause", "News [bold]")
    assert ran.code == 2
    assert "several" in ran.out


def test_without_a_data_folder(space, monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "elsewhere"))
    ran = run("status")
    assert ran.code == 2
    assert "DATA_DIR" in ran.out
    assert not (tmp_path / "elsewhere").exists()


def test_settings_that_do_not_fit(space, monkeypatch):
    monkeypatch.setenv("TAGGER", "gone")
    ran = run("doctor")
    assert ran.code == 2
    assert "unknown tagger 'gone'" in ran.out


def test_train_follows_the_round_to_its_end(space):
    def trainer():
        until(lambda: rounds.ready(space.db, rounds.LONGEST_WAIT))
        id = rounds.claim(space.db, 1)
        with space.db.write() as session:
            session.get_one(Round, id).progress = {"step": "fit", "epoch": 1, "epochs": 2}
        time.sleep(0.1)
        with space.db.write() as session:
            this = session.get_one(Round, id)
            this.state, this.metrics = "done", {"evaluation": SCORES}

    with beside(trainer):
        ran = run("train", "4")
    assert ran.code == 0
    assert "Round 2 is done: version v2-" in ran.out
    assert "F1 81.2%" in ran.out


def test_train_tells_why_a_round_failed(space):
    def trainer():
        until(lambda: rounds.ready(space.db, rounds.LONGEST_WAIT))
        rounds.fail(space.db, rounds.claim(space.db, 1), "ValueError: no labels", transient=False)

    with beside(trainer):
        ran = run("train", "4")
    assert ran.code == 1
    assert "ValueError: no labels" in ran.out


def test_train_goes_on_to_the_round_that_follows_an_interrupted_one(space):
    def trainer():
        until(lambda: rounds.ready(space.db, rounds.LONGEST_WAIT))
        first = rounds.claim(space.db, 1)
        with space.db.write() as session:
            session.get_one(Round, first).state = "interrupted"
            session.add(a_round(3, "v3", state="done"))

    with beside(trainer):
        assert "Round 3 is done" in run("train", "4").out


def test_train_without_waiting(space):
    ran = run("train", "4", "--no-wait")
    assert ran.code == 0
    with space.db.read() as session:
        assert session.get_one(Project, 1).due == "fit"


def test_train_without_a_trainer_does_not_wait_for_ever(space):
    (space.settings.data_dir / heartbeat.NAME).unlink()
    ran = run("train", "4")
    assert ran.code == 1
    assert "python -m server" in ran.out
    with space.db.read() as session:
        assert session.get_one(Project, 1).due == "fit"  # it will, when there is one


def test_a_paused_project_is_not_trained(space):
    run("pause", "4")
    ran = run("train", "4")
    assert ran.code == 2
    assert "paused" in ran.out


def test_rollback(space):
    ran = run("rollback", "4", "v9")
    assert ran.code == 2
    assert VERSION in ran.out  # what is stored
    assert run("rollback", "4", VERSION).code == 0
    with space.db.read() as session:
        project = session.get_one(Project, 1)
    assert (project.due, project.due_model) == ("rank", 1)


def test_export_to_a_folder_and_to_a_zip(space, tmp_path):
    ran = run("export", "4", str(tmp_path / "model"))
    assert ran.code == 0, ran.out
    files = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert "README.md" in files  # the model card
    assert run("export", "4", "--version", VERSION, str(tmp_path / "out" / "model.zip")).code == 0
    again = run("export", "4", str(tmp_path / "model"))
    assert again.code == 2
    assert "is there already" in again.out
    with zipfile.ZipFile(tmp_path / "out" / "model.zip") as zipped:
        assert {name.split("/")[1] for name in zipped.namelist()} == set(files)


def test_export_of_what_is_not_there(space, tmp_path):
    for words in (["4", "--version", "v9"], ["5"]):
        ran = run("export", *words, str(tmp_path / "model"))
        assert ran.code == 2
        assert "v9" in ran.out or "none has been trained" in ran.out
    assert not (tmp_path / "model").exists()


def labelled(space, count: int) -> None:
    with space.db.write() as session:
        for id in range(1, count + 1):
            session.add(Task(project_id=1, id=id, data={"text": "Ada"}, created_at=BORN, draw=0.5, revision=0))
            session.add(Annotation(project_id=1, id=id, task_id=id, result=[], updated_at=BORN, revision=0))


def test_simulate_follows_to_the_verdict(space):
    labelled(space, 60)

    def trainer():
        def asked():
            with space.db.read() as session:
                return session.scalar(select(Simulation.id))

        id = until(asked)
        for done in (1, 2):
            with space.db.write() as session:
                this = session.get_one(Simulation, id)
                this.state, this.progress = "running", {"done": done, "of": 4}
            time.sleep(0.05)
        with space.db.write() as session:
            this = session.get_one(Simulation, id)
            this.state, this.result = "done", {"advice": "mnlp would have saved [a third] of the words."}

    with beside(trainer):
        ran = run("simulate", "4", "--strategy", "mnlp,lc", "--seeds", "2")
    assert ran.code == 0, ran.out
    assert "saved [a third] of the words" in ran.out
    assert "report.html" in ran.out
    with space.db.read() as session:
        settings = session.scalar(select(Simulation)).settings
    assert (settings["strategies"], settings["seeds"]) == (["random", "mnlp", "lc"], 2)


def test_simulate_says_what_it_lacks(space):
    ran = run("simulate", "4")
    assert ran.code == 2
    assert "label more" in ran.out


def test_a_simulation_that_fails(space):
    labelled(space, 60)

    def trainer():
        def asked():
            with space.db.read() as session:
                return session.scalar(select(Simulation.id))

        id = until(asked)
        with space.db.write() as session:
            this = session.get_one(Simulation, id)
            this.state, this.error = "failed", "out of memory?"

    with beside(trainer):
        ran = run("simulate", "4")
    assert ran.code == 1
    assert "out of memory?" in ran.out


def test_doctor_tells_what_is_wrong_and_how_to_mend_it(space):
    ran = run("doctor")
    assert ran.code == 1
    assert "✗ Label Studio can be reached" in ran.out
    assert "→ Set LABEL_STUDIO_URL" in ran.out
    assert "✓ The trainer is running" in ran.out
    assert ran.out.count("The trainer is running") == 1  # once, and not once a project
    assert ran.out.count("The label config can be learned from") == 2
    assert run("doctor", "4").out.count("The label config can be learned from") == 1


def test_doctor_exits_with_0_when_all_is_well_and_mends_when_told(space, monkeypatch):
    wrong, mended = Check("sampling", "By score", False, "It is not.", "Set it.", mendable=True), []
    monkeypatch.setattr(cli, "checks", lambda workspace, key: [] if mended or key is None else [wrong])
    monkeypatch.setattr(cli, "mend", lambda workspace, key, name: mended.append((key, name)))
    assert run("doctor", "4").code == 1
    assert mended == []
    assert run("doctor", "4", "--mend").code == 0
    assert mended == [("4.1767225600", "sampling")]
