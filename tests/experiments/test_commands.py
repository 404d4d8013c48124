"""`python -m experiments` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from corpus.conll import write_conll
from experiments import __main__ as commands
from experiments.__main__ import app
from experiments.plan import FULL
from experiments.results import read_runs
from tests.learning.texts import texts


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    monkeypatch.setattr(commands, "console", Console(width=200))


@pytest.fixture
def data(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    write_conll(texts(120), tmp_path / "mail.conll")
    return "mail.conll"


def command(*words: str) -> Result:
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


SMALL = ("--start", "10 sentences", "--budget", "8 sentences", "--rounds", "1", "--processes", "1")


@pytest.mark.slow
def test_run_then_compare(data):
    words = ("run", "--data", data, "--option", "iterations=20", *SMALL)
    done = command(*words, "--strategy", "mnlp,random", "--seeds", "1")
    assert done.exit_code == 0, done.output
    assert "F1 on the test set (%)" in done.output and "runs/mail-crf/report" in done.output
    runs = {run.strategy: run for run in read_runs(Path("runs"))}
    assert set(runs) == {FULL, "mnlp", "random"} and all(run.finished for run in runs.values())
    plan = runs["mnlp"].plan
    assert (plan.budget, plan.tagger_options) == ("8 sentences", {"iterations": 20})
    assert Path("runs/mail-crf/report/report.html").is_file()
    compared = command("compare", "runs", "--out", "elsewhere")
    assert compared.exit_code == 0 and Path("elsewhere/mail-crf-curves.svg").is_file()
    more = command(*words, "--strategy", "random", "--seeds", "2,5")
    assert more.exit_code == 0, more.output
    assert {run.seed for run in read_runs(Path("runs")) if run.strategy == "random"} == {0, 2, 5}


@pytest.mark.slow
def test_a_preset_is_overridden_by_what_is_given(data):
    given = ("--set", "dev_share=0", "--option", "iterations=5", "--name", "mine", "--no-full", "--seeds", "1")
    done = command("run", "--preset", "shelmanov-conll-crf", "--data", data, *given, *SMALL)
    assert done.exit_code == 0, done.output
    plans = [run.plan for run in read_runs(Path("runs/mine"))]
    assert len(plans) == 2 and plans[0] == plans[1]
    assert plans[0].tagger_options == {"l1": 0.1, "l2": 0.1, "iterations": 5}
    assert (plans[0].data, plans[0].dev_share, plans[0].rounds) == (data, 0, 1)


def test_what_is_typed_wrong_is_told(data):
    for words, told in (
        (["--preset", "shen"], "unknown preset 'shen'; known: "),
        ([], "give --data or --preset"),
        (["--data", "no-such-corpus"], "no-such-corpus"),
        (["--data", data, "--budget", "lots"], "'lots' is no amount"),
        (["--data", data, "--strategy", "bold"], "unknown strategy 'bold'"),
        (["--data", data, "--strategy", "badge"], "crf"),
        (["--data", data, "--option", "iterations"], "write it as NAME=VALUE"),
        (["--data", data, "--set", "pace=3"], "pace: Extra inputs are not permitted"),
    ):
        done = command("run", *words)
        assert done.exit_code == 2 and told in " ".join(done.output.replace("│", " ").split()), done.output
    nothing = command("compare", ".")
    assert nothing.exit_code == 2 and "no finished round" in nothing.output


@pytest.mark.slow
def test_a_run_that_failed_is_told_and_the_rest_is_reported(data):
    words = ("--strategy", "mnlp,alps", "--set", 'masked_lm="./nowhere"', "--seeds", "1", *SMALL)
    done = command("run", "--data", data, *words)
    assert "alps, seed 0: " in done.output and "Not finished: alps, seed 0" in done.output
    assert done.exit_code == 1 and "F1 on the test set (%)" in done.output


def test_presets_are_listed():
    done = command("presets")
    assert done.exit_code == 0 and "shelmanov-conll-crf" in done.output and "OntoNotes" in done.output
    one = command("presets", "kim-fmtod")
    assert '"budget": "1%"' in one.output and "w-badge" in one.output and "Needs GloVe" in one.output
    assert command("presets", "kim").exit_code == 2


@pytest.mark.slow
def test_an_export_of_label_studio_is_data_too(data):
    tasks = []
    for sentence in texts(60):
        result = [
            {
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "value": {"start": span.start, "end": span.end, "labels": [span.label]},
            }
            for span in sentence.spans or ()
        ]
        annotations = [{"id": int(sentence.id), "result": result, "was_cancelled": False}]
        tasks.append({"id": int(sentence.id), "data": {"text": sentence.text}, "annotations": annotations})
    Path("export.json").write_text(json.dumps(tasks))
    done = command("run", "--data", "export.json", "--strategy", "random", "--seeds", "1", "--no-full", *SMALL)
    assert done.exit_code == 0, done.output
    (run,) = read_runs(Path("runs/export-crf"))
    assert [iteration.sentences for iteration in run.iterations] == [10, 18]
