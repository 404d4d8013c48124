"""The connection check against a real Label Studio: what is wrong is found, and set right where that can be done."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import httpx
import pytest
from pydantic import SecretStr

from learning.settings import Settings
from learning.workspace import Workspace
from server.checks import checks, mend
from tests.end_to_end.test_live_loop import CONFIG, Annotated

pytestmark = pytest.mark.slow


def opened(label_studio, backend, key: str | None = None) -> Workspace:
    """The backend's data, as another process would open it; with another key if one is given."""
    key = key or label_studio.personal_access_token()
    told = {"label_studio_url": label_studio.url, "label_studio_api_key": SecretStr(key)}
    return Workspace(Settings(_env_file=None, data_dir=backend.folder / "data", tagger="crf", **told))


@pytest.fixture(scope="module")
def project(label_studio, backend):
    """A connected project whose first round is published."""
    id = label_studio.create_project("checked", CONFIG)
    label_studio.import_tasks(id, [{"text": f"Ada saw Oslo on day {n}"} for n in range(12)])
    label_studio.connect_backend(id, backend.url)

    def published():
        version = label_studio.call("GET", f"/api/projects/{id}")["model_version"]
        return version.startswith("v") and not wrong(checks(opened(label_studio, backend), str(id)))

    backend.wait_for(published, "a first queue")
    return id


def wrong(listed) -> dict[str, str]:
    """What is not all right, with what is said of it."""
    return {check.name: f"{check.ok}: {check.text} {check.remedy}" for check in listed if check.ok is not True}


def test_a_healthy_connection_is_all_well(label_studio, backend, project):
    listed = checks(opened(label_studio, backend), str(project))
    assert wrong(listed) == {}
    assert len(listed) >= 14
    # and by the page's own route, which asks Label Studio, which asks this backend
    answer = httpx.get(f"{backend.url}/api/projects/{project}/checks", timeout=15).raise_for_status().json()
    assert [check["ok"] for check in answer["checks"]] == [True] * len(listed)


def test_what_people_change_in_label_studio_is_found_and_mended(label_studio, backend, project):
    space = opened(label_studio, backend)
    version = label_studio.call("GET", f"/api/projects/{project}")["model_version"]
    patched = {"sampling": "Uniform sampling", "model_version": "Active Tagger", "maximum_annotations": 3}
    label_studio.call("PATCH", f"/api/projects/{project}", json=patched)
    (webhook,) = label_studio.call("GET", "/api/webhooks/", params={"project": project})
    label_studio.call("PATCH", f"/api/webhooks/{webhook['id']}/", json={"is_active": False})
    for tab in label_studio.call("GET", "/api/dm/views/", params={"project": project}):
        label_studio.call("DELETE", f"/api/dm/views/{tab['id']}/")
    found = {check.name: check for check in checks(space, str(project)) if check.ok is not True}
    assert {name: check.mendable for name, check in found.items()} == {
        "webhook": True,
        "sampling": True,
        "model_version": True,
        "overlap": False,
        "tab": True,
    }
    assert "Uniform sampling" in found["sampling"].text
    assert "Uncertainty sampling" in found["sampling"].remedy
    assert "Active Tagger" in found["model_version"].text
    assert version in found["model_version"].remedy
    for name, check in found.items():
        if check.mendable:
            mend(space, str(project), name)
    assert set(wrong(checks(space, str(project)))) == {"overlap"}
    now = label_studio.call("GET", f"/api/projects/{project}")
    assert (now["sampling"], now["model_version"]) == ("Uncertainty sampling", version)

    label_studio.call("DELETE", f"/api/webhooks/{webhook['id']}/")
    label_studio.call("PATCH", f"/api/projects/{project}", json={"maximum_annotations": 1})
    assert set(wrong(checks(space, str(project)))) == {"webhook"}
    mend(space, str(project), "webhook")
    assert wrong(checks(space, str(project))) == {}


def test_the_command_line_beside_a_running_backend(label_studio, backend, project, tmp_path):
    """`train` follows a real round, whose model `export` writes; `doctor` finds nothing wrong."""
    labelled = Annotated(label_studio, "typed", 40, 25)
    label_studio.connect_backend(labelled.id, backend.url, {"strategy": "mnlp"})
    backend.round_after(labelled.id)

    def typed(*words: str) -> str:
        environment = {**backend.environment, "COLUMNS": "200"}
        command = [sys.executable, "-m", "cli", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert re.search(r"Round \d+ is done: version v\d+-", typed("train", "typed"))
    (told,) = [one for one in json.loads(typed("status", "--json"))["projects"] if one["id"] == labelled.id]
    assert (told["title"], told["labelled"], told["tagger"]) == ("typed", 25, "crf")
    typed("export", "typed", "model")
    assert told["version"] in (tmp_path / "model" / "README.md").read_text()
    assert "✗" not in typed("doctor", str(labelled.id))


def test_a_second_backend_is_a_warning(label_studio, backend, project):
    second = label_studio.connect_backend(project, f"{backend.url}/", title="Again")
    found = {check.name: check for check in checks(opened(label_studio, backend), str(project)) if not check.ok}
    assert set(found) == {"backend"}
    assert "2 ML backends" in found["backend"].text
    label_studio.call("DELETE", f"/api/ml/{second}")
    assert wrong(checks(opened(label_studio, backend), str(project))) == {}


@pytest.mark.parametrize("kind", ["legacy", "personal"])
def test_a_wrong_token(label_studio, backend, project, kind):
    bad = "0" * 40 if kind == "legacy" else label_studio.personal_access_token()[:-6] + "AAAAAA"
    listed = {check.name: check for check in checks(opened(label_studio, backend, bad), str(project))}
    assert {name for name, check in listed.items() if check.ok is False} == {"token"}
    assert "Personal Access Token" in listed["token"].remedy
    assert listed["address"].ok
    assert listed["sampling"].ok is None
    assert bad not in str(listed)
    with pytest.raises(ValueError, match="Personal Access Token"):
        mend(opened(label_studio, backend, bad), str(project), "sampling")


def test_a_backend_that_is_gone(label_studio, backend, project):
    backend.stop()
    try:
        found = {check.name: check for check in checks(opened(label_studio, backend), str(project)) if not check.ok}
        assert "backend" in found
        assert backend.url in found["backend"].text or found["backend"].ok is None
        assert {"backend", "trainer"} <= set(found) <= {"backend", "trainer", "webhook"}
    finally:
        backend.start()


def test_a_label_studio_that_is_gone(label_studio, backend, project):
    space = opened(label_studio, backend)
    label_studio.stop()
    try:
        listed = {check.name: check for check in checks(space, str(project))}
    finally:
        label_studio.start()
    assert {name for name, check in listed.items() if check.ok is False} == {"address"}
    assert "LABEL_STUDIO_URL" in listed["address"].remedy
    assert listed["sampling"].ok is None
    assert listed["trainer"].ok
    assert wrong(checks(space, str(project))) == {}
