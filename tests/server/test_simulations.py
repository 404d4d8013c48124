"""Simulations on what a project has labelled: asked for, carried out as the experiments do it, and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from corpus import Sentence
from experiments.comparison import Comparison
from experiments.corpora import load_corpus
from experiments.curves import labels_needed, paired
from experiments.formats import read_corpus, write_corpus
from experiments.plan import FULL, Plan
from experiments.results import open_run
from experiments.simulation import complete
from labelstudio.records import AnnotationRecord, TaskRecord
from learning.database import Project, Round, Simulation
from learning.intake import mark_due, put_annotations, put_tasks
from learning.workspace import Workspace
from server import simulations
from server.simulating import simulate
from server.simulations import SHOWN, Simulations, ask, claim, folder
from tests.learning.texts import texts
from tests.server.conftest import CONFIG, KEY

ROOT = Path(__file__).parents[2]
QUICK = {"seeds": 2, "start": "3 sentences", "budget": "4 sentences", "rounds": 2}


def connect(workspace: Workspace, labelled: list[Sentence], config: str = CONFIG, **extra) -> Project:
    """A project with these texts labelled, and twenty more that are not."""
    project = Project(key=KEY, external_id=4, label_config=config, extra_params=extra)
    more = [(1000 + i, f"Ken saw text {i}") for i in range(20)]
    rows = [(int(s.id), s.text) for s in labelled]
    records = []
    for s in labelled:
        values = [{"start": span.start, "end": span.end, "labels": [span.label]} for span in utf16(s)]
        result = [{"from_name": "label", "to_name": "text", "type": "labels", "value": value} for value in values]
        records.append(AnnotationRecord(int(s.id), int(s.id), result, "2026"))
    with workspace.db.write() as session:
        session.add(project)
        session.flush()
        put_tasks(session, project, [TaskRecord(id, {"text": text}, "2026") for id, text in [*rows, *more]], 0)
        put_annotations(session, project, records)
    return project


def utf16(sentence: Sentence):
    """None of these texts has an emoji before a span: both ways of counting agree."""
    assert all(sentence.text[: span.end].isascii() or "😀" not in sentence.text[: span.end] for span in sentence.spans)
    return sentence.spans


def stored(workspace: Workspace, id: int) -> Simulation:
    with workspace.db.read() as session:
        return session.get_one(Simulation, id)


def carried_out(workspace: Workspace, **wanted) -> Simulation:
    """In this process."""
    id = ask(workspace, KEY, {**QUICK, **wanted})
    assert claim(workspace.db) == id
    simulate(workspace, id)
    return stored(workspace, id)


def directly(labelled: list[Sentence], plan: Plan, strategies: list[str], seeds: int, where: Path) -> Comparison:
    """The same by `experiments` alone."""
    where.mkdir()
    write_corpus(labelled, where / "x.corpus.json")
    corpus = load_corpus(str(where / "x.corpus.json"), kind=plan.kind)
    asked = [(strategy, seed) for strategy in [FULL, *strategies] for seed in range(seeds)]
    runs = [complete(corpus, open_run(where / "runs", plan, *one)) for one in asked]
    return Comparison("x", plan, runs, corpus)


def assert_same(result: dict, comparison: Comparison) -> None:
    assert list(result["strategies"]) == list(comparison.runs)
    assert result["full_f1"] == comparison.full_f1
    for name, runs in comparison.runs.items():
        numbers = result["strategies"][name]
        assert numbers["area"] == pytest.approx(np.mean(comparison.areas[name]))
        needed = [min(labels_needed(run, 0.95 * comparison.full_f1), run.labelled[-1]) for run in runs]
        assert numbers["needed"]["mean"] == pytest.approx(np.mean(needed) / comparison.pool_labels)
        if name != "random":
            of = paired(runs, comparison.runs["random"]).area
            assert numbers["difference"] == {"mean": of.mean, "low": of.low, "high": of.high, "p": of.p, "seeds": 2}


def test_its_result_is_that_of_the_experiments(workspace, tmp_path):
    labelled = texts(90)
    connect(workspace, labelled, holdout_share=0.4)
    done = carried_out(workspace)
    assert (done.state, done.error) == ("done", None)
    assert done.progress == {"done": 2 + 2 * 2 * 3, "of": 2 + 2 * 2 * 3}
    of_simulation = folder(workspace, done)
    assert read_corpus(of_simulation / "texts.corpus.json") == labelled, "held-out texts are labelled texts too"
    assert (done.result["texts"], done.result["pool_texts"]) == (90, 72)
    assert len({one["area"] for one in done.result["strategies"].values()}) == 2, "nothing to compare"
    assert json.loads(json.dumps(done.result, allow_nan=False)) == done.result
    plan = Plan(data="labelled so far", tagger="crf", **{name: QUICK[name] for name in ("start", "budget", "rounds")})
    assert_same(done.result, directly(labelled, plan, ["random", "mnlp"], 2, tmp_path / "direct"))
    assert done.result["advice"].startswith("On the 90 texts labelled so far, `mnlp` would have reached 95%")
    assert "with 2 seeds" in done.result["advice"]
    assert "mnlp" in (of_simulation / "report" / "report.html").read_text()


def test_what_is_asked_for_by_default(workspace):
    connect(workspace, texts(60), tagger="transformer", strategy="lc", acquisition="crf")
    asked = stored(workspace, ask(workspace, KEY, {})).settings
    assert (asked["strategies"], asked["seeds"]) == (["random", "lc", "mnlp"], 3)
    plan = asked["plan"]
    assert (plan["tagger"], plan["start"], plan["budget"], plan["rounds"]) == ("crf", "10%", "10%", 8)


def test_the_projects_own_options_are_used(workspace):
    options = {"tagger_options": {"c2": 0.5}, "strategy": "power-mnlp", "strategy_options": {"beta": 2.0}}
    connect(workspace, texts(60), **options, dev_share=0.1)
    plan = Plan(**stored(workspace, ask(workspace, KEY, {"strategies": ["power-mnlp"] * 2})).settings["plan"])
    assert (plan.tagger_options, plan.dev_share) == ({"c2": 0.5}, 0.1)
    assert plan.settings("power-mnlp", 0).strategy_options == {"beta": 2.0}
    assert plan.settings("mnlp", 0).strategy_options == {}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"strategies": ["oracle"]}, "unknown strategy 'oracle'"),
        ({"strategies": []}, "strategies"),
        ({"strategies": ["badge"]}, "hidden states"),
        ({"tagger": "oracle"}, "unknown tagger 'oracle'"),
        ({"seeds": 21}, "seeds"),
        ({"seeds": 0}, "seeds"),
        ({"budget": "much"}, "'much' is no amount"),
        ({"rounds": 0}, "rounds"),
        ({"password": "secret"}, "password"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(workspace, sender, wanted, said):
    connect(workspace, texts(60))
    answer = sender.client.post("/api/projects/4/simulations", json=wanted)
    assert answer.status_code == 422
    assert said in answer.json()["detail"] and "secret" not in answer.json()["detail"]
    with workspace.db.read() as session:
        assert session.scalars(select(Simulation)).all() == []


def test_too_few_texts_are_refused(workspace):
    connect(workspace, texts(49))
    with workspace.db.write() as session:
        project = session.scalars(select(Project)).one()
        skipped = AnnotationRecord(2000, 1001, [], "2026", cancelled=True)
        again = AnnotationRecord(2001, 1, [], "2027")
        put_annotations(session, project, [skipped, again])
    with pytest.raises(ValueError, match="49 texts are labelled, and a simulation needs at least 50"):
        ask(workspace, KEY, {})


def test_one_at_a_time(workspace):
    connect(workspace, texts(60))
    first = ask(workspace, KEY, {})
    with pytest.raises(ValueError, match=f"simulation {first} of this project is not finished"):
        ask(workspace, KEY, {})
    assert claim(workspace.db) == first
    with pytest.raises(ValueError, match="not finished"):
        ask(workspace, KEY, {})
    simulations.give_back(workspace.db, first, "exit code -9")
    simulations.give_back(workspace.db, claim(workspace.db), "exit code -9")
    assert ask(workspace, KEY, {}) == first + 1


def test_a_process_that_dies_is_started_once_more(workspace):
    connect(workspace, texts(60))
    id = ask(workspace, KEY, {})
    for state, error in (("waiting", None), ("failed", "its process died 2 times (the last time: exit code -9)")):
        assert claim(workspace.db) == id
        simulations.give_back(workspace.db, id, "exit code -9")
        died = stored(workspace, id)
        assert died.state == state and (died.error or "").startswith(error or "")
    assert claim(workspace.db) is None


def test_a_trainer_that_is_told_to_end_is_no_failure(workspace):
    connect(workspace, texts(60))
    id = ask(workspace, KEY, {})
    for _ in range(3):
        assert claim(workspace.db) == id
        simulations.give_back(workspace.db, id, None)
    assert (stored(workspace, id).state, stored(workspace, id).failures) == ("waiting", 0)


def test_another_living_trainers_simulation_is_left_to_it(workspace):
    connect(workspace, texts(60))
    id = ask(workspace, KEY, {})
    claim(workspace.db)
    host = simulations.owner().rpartition(":")[0]
    with workspace.db.write() as session:
        session.get_one(Simulation, id).owner = f"{host}:{os.getppid()}"
    assert claim(workspace.db) is None
    with workspace.db.write() as session:
        session.get_one(Simulation, id).owner = f"{host}:{2**22 + 1}"  # above any process id
    assert claim(workspace.db) == id
    assert stored(workspace, id).failures == 1


def test_a_failure_is_told(workspace, caplog):
    connect(workspace, texts(60), tagger_options={"c2": "<b>much</b>"})
    failed = carried_out(workspace)
    assert failed.state == "failed" and failed.finished_at is not None
    assert failed.error and failed.result is None
    assert f"simulation {failed.id} failed" in caplog.text


def test_only_the_newest_are_kept(workspace):
    project = connect(workspace, texts(60))
    shelf = workspace.settings.data_dir / "simulations" / str(project.id)
    with workspace.db.write() as session:
        for id in range(1, SHOWN + 3):
            settings = {"strategies": [], "seeds": 1, "plan": Plan(data="x").model_dump(mode="json")}
            session.add(Simulation(id=id, project_id=project.id, state="failed", settings=settings))
            (shelf / str(id)).mkdir(parents=True)
    last = carried_out(workspace, seeds=1, rounds=1, strategies=["random"]).id
    told = [one["id"] for one in simulations.newest_of(workspace, "4")]
    assert told == list(range(last, last - SHOWN, -1))
    assert {int(path.name) for path in shelf.iterdir()} == set(told)


def test_routes(workspace, sender):
    connect(workspace, texts(60))
    asked = sender.client.post("/api/projects/4/simulations", json=QUICK)
    assert asked.status_code == 200 and asked.json()["message"].startswith("Simulation 1 ")
    report = "/api/projects/4/simulations/1/report"
    assert sender.client.get(report).status_code == 404
    assert "waiting" in sender.client.get(report).json()["detail"]
    simulate(workspace, claim(workspace.db))
    (told,) = sender.client.get(f"/api/projects/{KEY}/simulations").json()["simulations"]
    assert (told["id"], told["state"], told["seeds"], told["tagger"]) == (1, "done", 2, "crf")
    assert told["result"]["advice"].startswith("On the 60 texts labelled so far")
    answer = sender.client.get(f"/api/projects/{KEY}/simulations/1/report")
    assert answer.headers["content-type"].startswith("text/html") and "<svg" in answer.text
    assert "script" not in answer.headers["content-security-policy"], "none may run"
    for path in ("5/simulations", "5/simulations/1/report", "4/simulations/2/report"):
        assert sender.client.get(f"/api/projects/{path}").status_code == 404
    assert sender.client.post("/api/projects/5/simulations", json={}).status_code == 404


def test_hostile_names_are_escaped(workspace, sender):
    hostile = "<script>alert(1)</script>"
    config = CONFIG.replace('value="PER"', 'value="&lt;script&gt;alert(1)&lt;/script&gt;"')
    labelled = [
        s.labelled(tuple(sp if sp.label == "LOC" else type(sp)(sp.start, sp.end, hostile) for sp in s.spans))
        for s in texts(60)
    ]
    connect(workspace, labelled, config)
    assert carried_out(workspace, seeds=1, rounds=1).state == "done"
    report = sender.client.get("/api/projects/4/simulations/1/report").text
    assert hostile not in report and "&lt;script&gt;alert(1)" in report


def waited_for(found, seconds: float = 60):
    """What `found` gives as soon as that is something."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


@pytest.mark.slow
def test_in_a_process_of_its_own(workspace):
    connect(workspace, texts(60))
    id = ask(workspace, KEY, {**QUICK, "seeds": 1, "rounds": 1})
    assert stored(workspace, id).state == "waiting"
    runner = Simulations(workspace)
    runner.look()
    child = runner._process
    assert stored(workspace, id).state == "running" and child is not None
    waited_for(lambda: stored(workspace, id).state == "running" and os.getpriority(os.PRIO_PROCESS, child.pid) == 19)

    def done():
        runner.look()
        return stored(workspace, id).state == "done"

    waited_for(done)
    waited_for(lambda: runner.look() or runner._process is None)
    runner.look()
    assert runner._process is None, "nothing else to do"
    assert "mnlp" in stored(workspace, id).result["strategies"]
    runner.close()


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_end_beside_the_rounds(workspace, tmp_path):
    """A child killed, a trainer told to end; a round meanwhile is not delayed."""
    labelled = texts(80)
    project = connect(workspace, labelled)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA_DIR": str(workspace.settings.data_dir)}
    environment |= {"TAGGER": "crf", "STRATEGY": "mnlp", "COLD_START": "random", "ROUND_SIZE": "10"}

    def trainer() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "server.trainer"], cwd=tmp_path, env=environment)

    def at_least(rounds: int):
        return lambda: stored(workspace, id).progress.get("done", 0) >= rounds

    def fitted() -> Round | None:
        with workspace.db.read() as session:
            return session.scalar(select(Round).where(Round.project_id == project.id, Round.state == "done"))

    wanted = {"seeds": 2, "start": "3 sentences", "budget": "1 sentences", "rounds": 50}
    id = ask(workspace, KEY, wanted)
    first = trainer()
    try:
        waited_for(at_least(5))
        with workspace.db.write() as session:
            mark_due(session.get_one(Project, project.id), "fit", "test")
        round_ = waited_for(fitted, 20)
        assert round_.kind == "fit" and stored(workspace, id).state == "running", "they run side by side"
        (child,) = [pid for pid in children(first.pid) if os.getpriority(os.PRIO_PROCESS, pid) == 19]
        before = stored(workspace, id).progress["done"]
        os.kill(child, signal.SIGKILL)
        waited_for(at_least(before + 10))
        assert (stored(workspace, id).state, stored(workspace, id).failures) == ("running", 1)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) is not None
        assert (stored(workspace, id).state, stored(workspace, id).failures) == ("waiting", 1)
        assert stored(workspace, id).progress["done"] < stored(workspace, id).progress["of"]
    finally:
        first.kill()
    second = trainer()
    try:
        waited_for(lambda: stored(workspace, id).state == "done", 120)
    finally:
        second.terminate()
        second.wait(20)
    plan = Plan(data="labelled so far", tagger="crf", **{name: wanted[name] for name in ("start", "budget", "rounds")})
    assert_same(stored(workspace, id).result, directly(labelled, plan, ["random", "mnlp"], 2, tmp_path / "direct"))


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in tasks for child in file.read_text().split()]


CHOICES = (
    '<View><Text name="text" value="$text"/><Labels name="label" toName="text"><Label value="PER"/></Labels>'
    '<Choices name="class" toName="text"><Choice value="person"/><Choice value="place"/></Choices></View>'
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [CHOICES, CHOICES[: CHOICES.index("<Labels")] + CHOICES[CHOICES.index("<Choices") :]]
)
def test_choices_are_simulated_too(workspace, tmp_path, config):
    """Also in a project of several kinds, where an annotator may have left the choice of a text open."""
    project = connect(workspace, [], config)
    rows = [(i, f"{'Ada met Bob' if i % 2 else 'Oslo is in Norway'} on day {i}") for i in range(61)]
    records = []
    for id, _ in rows[:60]:
        chosen = {"choices": ["person" if id % 2 else "place"]}
        result = [{"from_name": "class", "to_name": "text", "type": "choices", "value": chosen}]
        records.append(AnnotationRecord(id, id, result, "2026"))
    if "Labels" in config:
        span = {"start": 0, "end": 3, "labels": ["PER"]}
        records.append(
            AnnotationRecord(
                60, 60, [{"from_name": "label", "to_name": "text", "type": "labels", "value": span}], "2026"
            )
        )
    with workspace.db.write() as session:
        project = session.get_one(Project, project.id)
        put_tasks(session, project, [TaskRecord(id, {"text": text}, "2026") for id, text in rows], 0)
        put_annotations(session, project, records)
    done = carried_out(workspace, tagger="tfidf-classifier", strategies=["random", "margin"])
    assert (done.state, done.error) == ("done", None)
    assert done.result["texts"] == 60
    labelled = read_corpus(folder(workspace, done) / "texts.corpus.json")
    labelled = [sentence for sentence in labelled if sentence.choices is not None]
    plan = Plan(
        data="labelled so far",
        tagger="tfidf-classifier",
        **{name: QUICK[name] for name in ("start", "budget", "rounds")},
    )
    assert_same(done.result, directly(labelled, plan, ["random", "margin"], 2, tmp_path / "direct"))
    assert "margin" in done.result["advice"]
