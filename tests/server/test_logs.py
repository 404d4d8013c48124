"""What a line of the log holds, and that one fault does not fill it."""

from __future__ import annotations

import errno
import io
import json
import logging
import logging.config
import subprocess
import sys
import threading

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from learning.context import set_about, working_on
from server import logs

log = logging.getLogger("active_tagger.of_this_test")


@pytest.fixture
def lines(monkeypatch):
    """Sets logging up, and returns what is written from then on; afterwards all is as before."""
    root, ours = logging.getLogger(), logging.getLogger("active_tagger")
    before = root.handlers[:], root.level, ours.level
    written = io.StringIO()

    def set_up(level="INFO", format="text"):
        monkeypatch.setattr(sys, "stderr", written)
        logs.set_up_logging(level, format)
        return lambda: written.getvalue().splitlines()

    yield set_up
    logging.captureWarnings(False)
    root.handlers[:], root.level, ours.level = before


def test_lines_for_people_stay_as_they_were(lines):
    told = lines()
    log.info("project %s: round %s is done", "4.1", 7)
    log.debug("not asked for")
    logging.getLogger("some.library").info("not of interest")
    logging.getLogger("some.library").warning("of interest")
    first, second = told()
    assert first.split(" ", 2)[2] == "INFO active_tagger.of_this_test: project 4.1: round 7 is done"
    assert second.endswith("WARNING some.library: of interest")


def test_a_json_line_says_what_it_is_about_and_holds_a_traceback_in_one_field(lines):
    told = lines("DEBUG", "json")
    with working_on():  # whatever this process was at before
        log.debug("begun")
        with working_on(project=4):
            set_about(project="4.1", round=7, version="v7")
            try:
                raise ValueError("line one\nline two \ud83d")
            except ValueError:
                log.exception("a round failed: %s", "for a reason")
        log.info("ended")
    begun, failed, ended = map(json.loads, told())
    assert set(begun) == set(ended) == {"time", "level", "logger", "message"}
    assert (begun["level"], begun["message"], begun["time"][-1]) == ("DEBUG", "begun", "Z")
    assert {k: failed[k] for k in ("level", "project", "round", "version", "message")} == {
        "level": "ERROR",
        "project": "4.1",
        "round": 7,
        "version": "v7",
        "message": "a round failed: for a reason",
    }
    assert failed["exception"].startswith("Traceback") and "line one\nline two" in failed["exception"]


def test_threads_do_not_mix_what_they_work_on(lines):
    told, both = lines("INFO", "json"), threading.Barrier(2)

    def work(name):
        with working_on(project=name):
            both.wait(10)
            log.info("by %s", name)

    threads = [threading.Thread(target=work, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {line["message"]: line["project"] for line in map(json.loads, told())} == {"by a": "a", "by b": "b"}


def test_what_fails_again_and_again_is_told_once_a_minute_and_counted(lines, monkeypatch):
    told, at = lines(), [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: at[0])
    for _ in range(300):  # five looks a second for a minute
        log.warning("cannot look")
        at[0] += 0.2
    log.info("said each time")
    log.info("said each time")
    log.warning("another one")
    log.warning("cannot look")
    said = [line.partition(": ")[2] for line in told()]
    assert said == [
        "cannot look",
        "said each time",
        "said each time",
        "another one",
        "cannot look (and 299 times more before)",
    ]


def test_a_fault_of_the_disk_or_the_database_is_told_in_words_without_a_traceback(lines, tmp_path):
    told = lines()
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        log.exception("project 4.1: round 3 failed")
    first, second = (create_engine(f"sqlite:///{tmp_path}/x.db", connect_args={"timeout": 0}) for _ in range(2))
    with first.connect() as holds, second.connect() as waits:
        holds.execute(text("CREATE TABLE t (x)"))
        holds.commit()
        holds.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError) as error:
            waits.exec_driver_sql("INSERT INTO t VALUES (1)")
    log.error("looking failed", exc_info=error.value)
    full, locked = told()
    assert full.endswith("project 4.1: round 3 failed: " + logs.faults.FULL)
    assert locked.endswith("looking failed: " + logs.faults.LOCKED)


def test_any_other_error_keeps_its_traceback(lines):
    told = lines()
    try:
        raise OSError("of its own kind")
    except OSError:
        log.exception("odd")
    assert "Traceback" in told()[1] and "of its own kind" in told()[-1]


def test_gunicorn_and_uvicorn_write_the_same_lines():
    """Set up as gunicorn does it, in a process of its own: it hands its handlers on to uvicorn."""
    code = """
import logging, warnings
from gunicorn.config import Config
from gunicorn.glogging import Logger
from uvicorn_worker import UvicornWorker
from server.logs import configuration, set_up_logging
settings = Config()
settings.set("logconfig_dict", configuration("INFO", "json"))
logger = Logger(settings)
UvicornWorker(1, 1, [], None, 30, settings, logger)
logger.warning("of %s", "gunicorn")
logging.getLogger("uvicorn.error").error("of uvicorn")
logging.getLogger("uvicorn.access").info("not of interest")
set_up_logging("INFO", "json")
logger.warning("later, of gunicorn")
logging.getLogger("uvicorn.error").error("later, of uvicorn")
warnings.warn("of Python")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in found[:4]] == [
        "of gunicorn",
        "of uvicorn",
        "later, of gunicorn",
        "later, of uvicorn",
    ]
    assert len(found) == 5 and "of Python" in found[4]["message"]
    assert done.stdout == ""
