"""The commands as they are typed. What they do with a real Label Studio: `tests/end_to_end/test_pool.py`."""

from __future__ import annotations

import json
import os
import signal

import pytest
from typer.testing import CliRunner

import cli
from learning.database import Project, Round
from pools import commands
from pools.folder import Pool
from pools.ranking import Ranked
from tests.pools.test_topping import KEY, ROWS, SENTENCES, Studio, lots, pool, ranked, studio, workspace  # noqa: F401


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """In an empty folder, with the backend's data in `data`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(commands.console, "_width", 300)
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["pool", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def write(path, n: int) -> str:
    path.write_text("".join(json.dumps({"body": text, "n": i}) + "\n" for i, text in enumerate(SENTENCES[:n])))
    return str(path)


def test_a_source_is_imported_and_what_is_there_passed_over(terminal):
    code, said = run("import", "pool", write(terminal / "a.jsonl", 50), "--text-field", "body")
    assert code == 0
    assert "50 new texts, 0 that were there" in said
    code, said = run("import", "pool", write(terminal / "b.jsonl", 80), "--text-field", "body")
    assert "30 new texts, 50 that were there" in said
    assert "pool has 80 texts" in said
    opened = Pool.open(terminal / "pool")
    assert opened.read(opened.parts[0])[0] == {"text": SENTENCES[0], "n": 0}


def test_errors_are_told_in_words(terminal, pool, workspace):  # noqa: F811
    code, said = run("import", "pool", "missing.jsonl")
    assert code == 2 and "missing.jsonl" in said
    code, said = run("rank", "nowhere", "4")
    assert code == 2 and "no pool" in said
    code, said = run("rank", "pool", "17")
    assert code == 2 and "no project '17'" in said and "4 News" in said
    code, said = run("top-up", "pool", "4")
    assert code == 2 and "LABEL_STUDIO_API_KEY" in said


def test_status_counts_what_was_done(terminal, pool, workspace):  # noqa: F811
    pool.note_sent(KEY, {3: 30, 4: 31, 5: 0})
    code, said = run("status", "pool")
    assert code == 0
    assert f"{ROWS} in 1 parts" in said
    assert "2 into project 4, 1 left out" in said


@pytest.fixture
def queue(terminal, pool, workspace, studio, ranked, monkeypatch):  # noqa: F811
    """`top-up` with a Label Studio that is within reach; rankings are counted, and by model `versions[-1]`."""
    made: list[str] = []
    monkeypatch.setattr(commands, "connect", lambda settings, connection: studio.client)

    def newest(self) -> Ranked:
        with self.workspace.db.read() as session:
            this = session.get_one(Project, 1).current_round_id
            made.append(session.get_one(Round, this).version)
        return ranked

    monkeypatch.setattr(commands._Queue, "_newest", newest)
    return made


def test_nothing_is_ranked_while_enough_wait(queue, studio):  # noqa: F811
    code, said = run("top-up", "pool", "4", "--keep", "40")
    assert code == 0
    assert "40 tasks imported, ranked by model v1-20260101-120000; 40 wait to be labelled" in said
    code, said = run("top-up", "pool", "4", "--keep", "40")
    assert "40 unlabelled tasks wait in Label Studio already" in said
    assert len(queue) == 1
    code, said = run("top-up", "pool", "4", "--keep", "500")
    assert code == 0
    assert "used up" in said


def test_a_watch_fills_up_when_half_is_used_and_ends_cleanly(queue, studio, monkeypatch):  # noqa: F811
    looks = []

    def people_label(seconds: float) -> None:
        assert seconds == 3
        looks.append(len(studio.tasks))
        if len(looks) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        studio.label(*sorted(studio.tasks)[(len(looks) - 1) * 8 : len(looks) * 8])

    monkeypatch.setattr(commands.time, "sleep", people_label)
    before = signal.getsignal(signal.SIGTERM)
    code, said = run("top-up", "pool", "4", "--keep", "40", "--watch", "3")
    assert code == 0
    assert looks == [40, 40, 40, 64, 64]  # 40, 32, 24 and then no more than 20 waited
    assert "Stopped" in said
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_watch_outlives_a_label_studio_that_is_away(queue, studio, monkeypatch):  # noqa: F811
    looks = []

    def people_label(seconds: float) -> None:
        looks.append(len(studio.tasks))
        studio.label(*sorted(studio.tasks))
        studio.silent = len(looks) == 1  # the tasks are there, the answer is lost
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(commands.time, "sleep", people_label)
    code, said = run("top-up", "pool", "4", "--keep", "20", "--watch", "3")
    assert code == 0
    assert "no answer in time" in said and "The next look is in 3 s" in said
    assert looks == [20, 40, 60, 80]
    assert len({*studio.texts()}) == 80


def test_one_that_ends_midway_says_how_it_goes_on(queue, studio):  # noqa: F811
    studio.silent = True
    code, said = run("top-up", "pool", "4", "--keep", "20")
    assert code == 2
    assert "Nothing is lost: start `pool top-up pool 4` again" in said
    studio.silent = False
    assert run("top-up", "pool", "4", "--keep", "20")[0] == 0
    assert len(studio.tasks) == 20
    assert sorted(Pool.open("pool").sent(KEY).values()) == [*studio.tasks]  # though enough were waiting
