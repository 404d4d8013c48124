"""`python -m demo` for real: Label Studio, the backend and the scripted annotator, twice on the same data."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from demo.process import require_free_port
from tests.end_to_end.label_studio import executable

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment() -> dict[str, str]:
    program = executable()
    if program is None and "CI" not in os.environ:
        pytest.skip("no label-studio command: `make label-studio` installs it, or set LABEL_STUDIO_BIN")
    assert program is not None
    return os.environ | {
        "LABEL_STUDIO_BIN": str(program.absolute()),
        "LABEL_STUDIO_PORT": str(free_port()),
        "PORT": str(free_port()),
        "PYTHONPATH": str(ROOT),
        "ROUND_SIZE": "15",
        "WORKERS": "1",
    }


def test_learns_stops_and_goes_on(environment: dict[str, str], tmp_path: Path) -> None:
    demo = [sys.executable, "-m", "demo"]
    simulated = subprocess.run(
        [*demo, "--simulate", "--exit", "--annotations", "30", "--tasks", "150"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert simulated.returncode == 0, simulated.stdout + simulated.stderr
    rounds = re.findall(r"(\d+) labelled +F1 ([\d.]+)% .*?(v\d+-\d+-\d+)", simulated.stdout)
    assert [int(labelled) for labelled, _, _ in rounds] == [15, 30], simulated.stdout
    assert all(0 < float(f1) < 100 for _, f1, _ in rounds)
    require_all_free(environment)

    again = subprocess.Popen(demo, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_line(again, "Ctrl-C stops everything")
        status = httpx.get(f"http://127.0.0.1:{environment['PORT']}/api/projects", timeout=10).json()
        assert [(state["labelled"], state["tasks"]) for state in status["projects"]] == [(30, 150)]
        assert status["projects"][0]["version"] == rounds[-1][2]
        again.send_signal(signal.SIGTERM)
        assert again.wait(60) == 0
    finally:
        again.kill()
    require_all_free(environment)


def require_all_free(environment: dict[str, str]) -> None:
    for name in ("LABEL_STUDIO_PORT", "PORT"):
        require_free_port(int(environment[name]), "127.0.0.1", name)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    deadline, seen = time.monotonic() + 300, ""
    for line in process.stdout:
        seen += line
        if text in line:
            return
        assert time.monotonic() < deadline, seen
    raise AssertionError(f"it ended before {text!r}:\n{seen}")
