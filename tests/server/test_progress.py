from datetime import timedelta

import pytest

from learning.database import Project, Round, now
from server.progress import progress

SECONDS = {"collect": 10.0, "fit": 60.0, "evaluate": 20.0, "publish": 10.0}


@pytest.fixture
def project(workspace) -> int:
    with workspace.db.write() as session:
        session.add(made := Project(key="4.1", external_id=4, label_config=""))
        session.flush()
        return made.id


def add(workspace, project, number, state="done", kind="fit", seconds=None, progress=None, ago=0.0) -> Round:
    this = Round(
        **{"project_id": project, "number": number, "version": f"v{number}", "kind": kind, "state": state},
        **{"reason": "", "owner": "", "revision": 0, "started_at": now() - timedelta(seconds=ago)},
        **{"metrics": {"seconds": seconds} if seconds else {}, "progress": progress or {}},
    )
    with workspace.db.write() as session:
        session.add(this)
    return this


def told(workspace, this):
    with workspace.db.read() as session:
        return progress(session, this)


def test_by_the_steps_of_earlier_rounds(workspace, project):
    add(workspace, project, 1, seconds=SECONDS)
    going = add(workspace, project, 2, "running", progress={"step": "fit", "epoch": 3, "epochs": 6, "dev_f1": 0.6})
    assert told(workspace, going) == {
        **{"round": 2, "step": "fit", "done": 3, "of": 6},
        **{"share": 0.4, "seconds_left": 60.0},  # 10 + 60 · 3/6 of 100
    }


@pytest.mark.parametrize(
    ("step", "done", "of"),
    [
        ({"step": "measure", "done": 0, "of": 40}, 0, 40),
        ({"step": "evaluate", "fold": 2, "folds": 5}, 2, 5),
        ({"step": "adapt", "seconds": 30.4, "of": 300}, 30, 300),
        ({"step": "fit", "epoch": 0}, None, None),
        ({"step": "tag", "of": 0}, None, None),
        ({}, None, None),
    ],
)
def test_nothing_is_made_up_without_earlier_rounds(workspace, project, step, done, of):
    add(workspace, project, 1, "failed", seconds=SECONDS)
    add(workspace, project, 2, "done", kind="rank", seconds=SECONDS)
    going = add(workspace, project, 3, "running", progress=step)
    shown = told(workspace, going)
    assert (shown["done"], shown["of"], shown["share"], shown["seconds_left"]) == (done, of, None, None)


def test_the_median_of_the_newest_three_counts(workspace, project):
    for number, seconds in enumerate([900.0, 50.0, 60.0, 500.0], 1):
        add(workspace, project, number, seconds={"collect": 10.0, "fit": seconds})
    going = add(workspace, project, 5, "running", kind="successor", progress={"step": "fit", "done": 0, "of": 2})
    assert told(workspace, going)["seconds_left"] == 60.0


def test_a_step_that_does_not_count_goes_by_the_clock(workspace, project):
    add(workspace, project, 1, seconds=SECONDS)
    step = {"step": "evaluate"}
    assert told(workspace, add(workspace, project, 2, "running", progress=step, ago=80))["share"] == pytest.approx(0.8)
    late = told(workspace, add(workspace, project, 3, "running", progress=step, ago=9_999))
    assert (late["share"], late["seconds_left"]) == (0.9, 10.0)
    last = told(workspace, add(workspace, project, 4, "publishing", progress={"step": "publish", "of": 9}, ago=9_999))
    assert last["share"] == pytest.approx(0.995, abs=0.001), "almost, since it still runs"


def test_a_step_that_is_new_tells_nothing(workspace, project):
    add(workspace, project, 1, seconds=SECONDS)
    going = add(workspace, project, 2, "running", progress={"step": "adapt", "seconds": 3, "of": 300})
    assert told(workspace, going)["share"] is None
