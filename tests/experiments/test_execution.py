from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from corpus.conll import write_conll
from experiments.corpora import load_corpus
from experiments.execution import Experiment, execute
from experiments.plan import FULL, Plan
from experiments.results import Run, open_run, read_run
from experiments.simulation import complete
from tests.learning.texts import texts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path) -> Path:
    assert write_conll(texts(150), tmp_path / "texts.conll") == []
    return tmp_path / "texts.conll"


def experiment(data: Path, *strategies: str, seeds=(0,), **settings) -> Experiment:
    plan = Plan(**{"data": str(data), "start": "10 sentences", "budget": "10 sentences", "rounds": 2, **settings})
    return Experiment(data.parent / "runs" / "one", plan, strategies, seeds)


def results(run: Run) -> list[dict]:
    return [asdict(replace(iteration, seconds={})) for iteration in run.iterations]


def alone(data: Path, one: Run) -> list[dict]:
    """What the run comes to without any process around it."""
    run = open_run(data.parent / "alone", one.plan, one.strategy, one.seed)
    return results(complete(load_corpus(str(data)), run))


@pytest.mark.slow
def test_runs_side_by_side_come_to_the_same_as_alone(data):
    several = experiment(data, FULL, "random", "mnlp", seeds=(0, 3))
    seen: list[int] = []
    assert execute(several, processes=2, on_wait=lambda runs: seen.append(sum(len(r.iterations) for r in runs))) == []
    runs = several.runs()
    assert {(run.strategy, run.seed) for run in runs} == {(s, n) for s in (FULL, "random", "mnlp") for n in (0, 3)}
    assert all(run.finished for run in runs)
    assert seen == sorted(seen) and seen[-1] == 2 + 4 * 3
    for run in runs:
        if run.seed == 3:
            assert results(run) == alone(data, run)
    written = {run.folder: (run.folder / "results.jsonl").stat().st_mtime_ns for run in runs}
    assert execute(several) == []
    assert written == {run.folder: (run.folder / "results.jsonl").stat().st_mtime_ns for run in runs}, "done twice"


@pytest.mark.slow
def test_on_a_ray_cluster_they_come_to_the_same(data, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    several = experiment(data, "random", "mnlp", seeds=(0, 1))
    broken = open_run(several.root, several.plan, "mnlp", 1)
    (broken.folder / "results.jsonl").mkdir()  # nothing can be written there
    try:
        (failure,) = execute(several, ray="local")
    finally:
        ray.shutdown()
    assert (failure.run.strategy, failure.run.seed) == ("mnlp", 1)
    assert "results.jsonl" in failure.reason
    (broken.folder / "results.jsonl").rmdir()
    for run in several.runs():
        if (run.strategy, run.seed) != ("mnlp", 1):
            assert run.finished and results(run) == alone(data, run)


@pytest.mark.slow
def test_one_runs_failure_leaves_the_others_alone(data):
    both = experiment(data, "mnlp", "badge", tagger="crf", strategy_options={})
    with pytest.raises(ValueError, match="badge"):  # a CRF has no hidden states: told before anything is started
        execute(both)
    broken = experiment(data, "mnlp", "alps", masked_lm=str(data.parent / "nowhere"))
    (failure,) = execute(broken)
    assert failure.run.strategy == "alps" and "nowhere" in failure.reason
    assert "Traceback" in (failure.run.folder / "error.txt").read_text()
    assert {run.strategy: run.finished for run in broken.runs()} == {"mnlp": True, "alps": False}


@pytest.mark.slow
def test_a_run_that_another_process_is_at_is_left_to_it(data):
    import fcntl

    one = experiment(data, "mnlp")
    (run,) = one.runs()
    with (run.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (failure,) = execute(one)
    assert failure.reason == "another process is at it"
    assert execute(one) == []


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_end(data):
    """The command, its children with it, three times."""
    command = [sys.executable, "-m", "experiments", "run", "--data", str(data), "--strategy", "random"]
    command += ["--seeds", "2", "--start", "5 sentences", "--budget", "2 sentences", "--rounds", "60"]
    command += ["--name", "one", "--runs", str(data.parent / "runs"), "--no-full", "--processes", "2"]
    folders = [data.parent / "runs/one/random" / f"seed-{seed}" for seed in (0, 1)]

    def lines() -> int:
        files = [folder / "results.jsonl" for folder in folders]
        return sum(len(file.read_text().splitlines()) for file in files if file.exists())

    for wanted in (3, 15, 40):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
        began = time.monotonic()
        while lines() < wanted and time.monotonic() - began < 60:
            time.sleep(0.05)
        assert wanted <= lines() < 2 * 61
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(2)  # in which its children notice
        after = lines()
        time.sleep(0.5)
        assert lines() == after, "a child lives on"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    for folder in folders:
        run = read_run(folder)
        assert run.finished and results(run) == alone(data, run)
    assert json.loads((folders[0] / "run.json").read_text())["plan"]["data"] == str(data)
