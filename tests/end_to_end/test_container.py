"""The container without Docker: what its files say, and the server as it runs in one: another user, nothing to write
to but the data folder and /tmp."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from tests.end_to_end.backend import until

ROOT = Path(__file__).parents[2]
USER = 10001
COPIED = [line[1:].strip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile's last stage."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    found = [tuple(line.split(None, 1)) for line in lines if line.strip() and not line.startswith((" ", "#"))]
    last = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]  # type: ignore[return-value]


def test_the_image_runs_as_nobody_special() -> None:
    names = [name for name, _ in instructions()]
    users = [value for name, value in instructions() if name == "USER"]
    assert users == [str(USER)]  # by number: who runs it can see that it is not root
    assert "COPY" not in names[names.index("USER") :], "what is copied belongs to root"
    assert not any("--chown" in value for name, value in instructions() if name == "COPY")
    assert not any(name == "ADD" for name in names)


def test_the_services_can_write_to_their_data_alone() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    ours = [service for service in compose["services"].values() if service.get("image") == "active-tagger"]
    assert len(ours) == 2
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert [volume.rpartition(":")[2] for volume in service["volumes"]] == ["/data"]
        assert service["tmpfs"] == ["/tmp"]
        assert not {"privileged", "cap_add", "user", "devices", "pid"} & service.keys()
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


@pytest.fixture
def contained(tmp_path) -> Iterator[tuple[str, Path, subprocess.Popen[bytes], Path]]:
    """`python -m server` as the image has it: its files root's, the whole file system read-only but for two folders."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("needs root, unshare and setpriv")
    app, data, temporary = (tmp_path / name for name in ("app", "data", "tmp"))
    app.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, app / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(source, app / name)
    for folder in (data, temporary):
        folder.mkdir(mode=0o700)
        os.chown(folder, USER, USER)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)  # pytest's own folders are for its user only
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mounts = _interpreter_for_all(tmp_path) + (
        f"mount --bind {data} {data} && mount --bind {temporary} {temporary} && "
        "mount -t tmpfs -o mode=1777 none /dev/shm && "
        "for at in $(awk '$4 ~ /^rw/ {print $2}' /proc/mounts | sort -ru); do case $at in "
        f"{data}|{temporary}|/dev*|/proc*|/sys*) ;; *) mount -o remount,bind,ro $at || exit 1;; esac; done && "
    )
    person = f"setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --bounding-set=-all"
    environment = {
        **{"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(temporary)},
        **{"TMPDIR": str(temporary), "HF_HOME": f"{data}/huggingface", "DATA_DIR": str(data), "PORT": str(port)},
        **{"HOST": "0.0.0.0", "TAGGER": "crf", "OMP_NUM_THREADS": "1", "COLD_START": "random"},
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"{mounts} exec {person} {sys.executable} -m server"],
            cwd=app,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield f"http://127.0.0.1:{port}", data, process, log
    process.terminate()
    try:
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _interpreter_for_all(tmp_path: Path) -> str:
    """Where Python lies in a folder of root's own, the same files in one that all may read."""
    base = Path(sys.base_prefix)
    private = next((folder for folder in [base, *base.parents] if not folder.stat().st_mode & 0o001), None)
    if private is None:
        return ""
    aside = tmp_path / "python"
    aside.mkdir()
    return (
        f"mount --bind {base} {aside} && mount -t tmpfs -o mode=755 none {private} && mkdir -p {base} && "
        f"mount --bind {aside} {base} && "
    )


@pytest.mark.slow
def test_it_learns_where_it_can_write_to_its_data_alone(contained) -> None:
    url, data, process, log = contained
    until(lambda: httpx.get(f"{url}/health", timeout=5).status_code == 200, "health", log)
    ours = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in ours:
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
        assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    place = Path(f"/proc/{process.pid}/cwd/anything")
    with pytest.raises(OSError, match="Read-only file system"):
        place.touch()  # not even root could, there

    born = "2026-01-01T00:00:00.500000Z"
    config = '<View><Labels name="l" toName="t"><Label value="PER"/></Labels><Text name="t" value="$text"/></View>'
    project = {"id": 4, "created_at": born, "label_config": config}
    setup = {"project": "4.1767225600", "schema": config, "extra_params": {"round_size": 10, "holdout_share": 0}}
    httpx.post(f"{url}/setup", json=setup, timeout=60).raise_for_status()
    for n in range(1, 13):
        value = {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}
        result = [{"id": "r", "from_name": "l", "to_name": "t", "type": "labels", "value": value}]
        times = {"created_at": born, "updated_at": born}
        annotation = {"id": n, "task": n, "result": result, "was_cancelled": False, "ground_truth": False, **times}
        task = {"id": n, "data": {"text": f"Ada saw {n} ships"}, **times}
        event = {"action": "ANNOTATION_CREATED", "project": project, "annotation": annotation, "task": task}
        httpx.post(f"{url}/webhook", json=event, timeout=60).raise_for_status()

    def trained() -> bool:
        state = httpx.get(f"{url}/api/projects/4", timeout=30).raise_for_status().json()
        assert not state["error"], state["error"]
        return any(this["kind"] == "fit" and this["state"] == "done" for this in state["rounds"])

    until(trained, "a model", log)
    assert "there is no password" in log.read_text()
    stored = [path for path in data.rglob("*") if path.is_file()]
    assert stored and all(path.stat().st_uid == USER for path in stored)
