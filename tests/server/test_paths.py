"""What a request names never becomes a path: no name leads out of a folder, and what comes back is no file's text."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from learning.database import Simulation
from learning.workspace import Workspace
from server.simulations import folder
from tests.server.conftest import KEY, Sender
from tests.server.test_app import annotate_and_train, the_project

pytestmark = pytest.mark.slow

CANARY = "CANARY-7f3a"
OUTSIDE = [
    "..",
    "../..",
    "../../canary",
    "..\\..\\canary",
    "....//....//canary",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "C:\\Windows\\win.ini",
    "~/.ssh/id_rsa",
    "%2e%2e%2f%2e%2e%2fcanary",
    "%252e%252e%252fcanary",
    "..%c0%af..%c0%afcanary",
    "..%00",
    "\x00",
    "v1\x00.zip",
    "canary\n",
    ".",
    "",
    " ",
    "acquisition",
    "\uff0e\uff0e/canary",
    "\u2024\u2024\u2215canary",
    "．．／．．／canary",
    "\u202e..",
    "*",
    "a" * 5_000,
    "../" * 1_000 + "etc/passwd",
]


@pytest.fixture
def canaries(workspace: Workspace) -> list[Path]:
    """Files that nobody may read, where such names would lead."""
    data = workspace.settings.data_dir
    places = [data.parent, data, data / "models", data / "models" / "canary", data / "simulations", data / "downloads"]
    files = []
    for place in places:
        place.mkdir(exist_ok=True, parents=True)
        for name in ("canary.txt", "tagger.json"):
            files.append(place / name)
            files[-1].write_text(CANARY)
    return files


def quoted(name: str) -> str:
    return quote(name, safe="")


def names(version: str) -> list[str]:
    """The hostile ones, and those that begin with one that is there."""
    return [*OUTSIDE, f"{version}/../canary", f"{version}/..", f"../1/{version}", f"{version}.", f"{version}\x00"]


def listing(workspace: Workspace) -> set[Path]:
    return {path for path in workspace.settings.data_dir.parent.rglob("*") if path.suffix not in (".db-wal", ".db-shm")}


def refused(answer, *statuses: int) -> None:
    assert answer.status_code in (statuses or (307, 404, 405, 422)), (answer.status_code, answer.text[:500])
    assert CANARY not in answer.text and "root:" not in answer.text and "Traceback" not in answer.text


def test_versions_lead_nowhere(sender: Sender, workspace: Workspace, canaries: list[Path]) -> None:
    annotate_and_train(sender, workspace)
    version = sender.setup().json()["model_version"]
    before = listing(workspace)
    for name in names(version):
        refused(sender.client.get(f"/api/projects/4/versions/{quoted(name)}/download"))
        refused(sender.client.get(f"/api/projects/4/versions/{quote(name)}/download", follow_redirects=False))
        refused(sender.client.post("/api/projects/4/rollback", json={"version": name}), 422)
    assert listing(workspace) == before
    assert the_project(workspace).due is None
    assert sender.client.get(f"/api/projects/4/versions/{version}/download").status_code == 200


def test_project_keys_lead_nowhere(sender: Sender, workspace: Workspace, canaries: list[Path]) -> None:
    annotate_and_train(sender, workspace)
    before = listing(workspace)
    for name in [*OUTSIDE, f"{KEY}/../../canary", f"../{KEY}"]:
        for path in ("", "/queue", "/checks", "/suspects", "/simulations", "/simulations/1/report"):
            answer = sender.client.get(f"/api/projects/{quoted(name)}{path}", follow_redirects=False)
            if name not in ("", ".", ".."):  # which a client resolves itself, to other routes
                refused(answer)
            assert CANARY not in answer.text
        for path in ("/round", "/pause", "/rollback", "/simulations", "/checks/tab"):
            refused(sender.client.post(f"/api/projects/{quoted(name)}{path}", json={"paused": True, "version": "v"}))
    assert listing(workspace) == before


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name.strip()])
def test_label_studio_names_no_path_either(
    sender: Sender, workspace: Workspace, canaries: list[Path], name: str
) -> None:
    """Neither as a whole key nor behind a number that is one: a project's folder is called by our own number."""
    before = listing(workspace)
    for key in (name, f"4.{name}", f"{name}.4"):
        body = {"project": key, "schema": sender.config, "hostname": "", "access_token": "", "extra_params": None}
        assert sender.client.post("/setup", json=body).status_code in (200, 422)
        body = {"tasks": [sender.task(1)], "project": key, "label_config": sender.config, "params": {}}
        assert sender.client.post("/predict", json=body).status_code in (200, 404, 422)
    new = listing(workspace) - before
    assert {path.parent for path in new} <= {workspace.settings.data_dir}, "databases only"


@pytest.mark.parametrize("id", ["0", "-1", "..", "1/..", "1%2f..%2f2", "1%00", "９", "1.0", "1e0", "9" * 19, "9" * 400])
def test_reports_are_those_of_simulations(sender: Sender, workspace: Workspace, canaries: list[Path], id: str) -> None:
    sender.setup()
    refused(sender.client.get(f"/api/projects/4/simulations/{id}/report", follow_redirects=False))


def test_a_report_lies_in_its_own_folder(sender: Sender, workspace: Workspace) -> None:
    sender.setup()
    mine = the_project(workspace)
    with workspace.db.write() as session:
        session.add(simulation := Simulation(project_id=mine.id, settings={}, state="done"))
        session.flush()
    place = folder(workspace, simulation)
    assert place == workspace.settings.data_dir / "simulations" / str(mine.id) / str(simulation.id)
    refused(sender.client.get(f"/api/projects/4/simulations/{simulation.id}/report"), 404)
    (place / "report").mkdir(parents=True)
    (place / "report" / "report.html").write_text("<p>told</p>")
    assert sender.client.get(f"/api/projects/4/simulations/{simulation.id}/report").text == "<p>told</p>"


@pytest.mark.parametrize("under", ["", "uplot/"])
def test_pages_are_those_of_their_folder(sender: Sender, under: str, canaries: list[Path]) -> None:
    for name in [*OUTSIDE, "../api.py", "../../pyproject.toml", "..%2fapi.py", "%2e%2e/api.py", "/../api.py", "../"]:
        for path in (quoted(name), quote(name), name.replace("\x00", "%00").replace("\n", "%0a")):
            answer = sender.client.get(f"/pages/{under}{path}", follow_redirects=False)
            assert answer.status_code in (200, 307, 404, 405, 422), (name, answer.status_code)
            assert CANARY not in answer.text and "from fastapi" not in answer.text and "[tool." not in answer.text
    assert sender.client.get("/pages/style.css").status_code == 200
