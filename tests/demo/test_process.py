"""Child processes are watched, explained when they fail, and stopped with their children."""

import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from demo.process import DemoError, Process, require_free_port


def python(code: str, folder: Path) -> Process:
    return Process("the child", [sys.executable, "-c", code], {}, folder / "child.log")


def test_a_taken_port_is_named_with_the_setting_that_helps() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"port {port} .*in use.*LABEL_STUDIO_PORT="):
            require_free_port(port, "127.0.0.1", "LABEL_STUDIO_PORT")
    require_free_port(port, "127.0.0.1", "LABEL_STUDIO_PORT")
    with pytest.raises(DemoError, match="port 70000"):
        require_free_port(70000, "127.0.0.1", "PORT")


def test_a_process_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("from an earlier run\n")
    child = python("import sys; print('no such table'); sys.exit(3)", tmp_path)
    with pytest.raises(DemoError, match=r"the child ended with status 3.*\n.*no such table") as error:
        child.wait_until_healthy("http://127.0.0.1:9/health", 20)
    assert "an earlier run" not in str(error.value)
    child.stop()


def test_waits_until_it_is_healthy(tmp_path: Path) -> None:
    code = """
import http.server, time
class Health(http.server.BaseHTTPRequestHandler):
    begun = time.monotonic()
    def do_GET(self):
        self.send_response(200 if time.monotonic() > self.begun + 0.5 else 503)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Health)
print(server.server_port, flush=True)
server.serve_forever()
"""
    child = python(code, tmp_path)
    try:
        while not (port := (tmp_path / "child.log").read_text().partition("\n")[0]):
            time.sleep(0.05)
        begun = time.monotonic()
        child.wait_until_healthy(f"http://127.0.0.1:{port}/", 20)
        assert time.monotonic() - begun > 0.3
    finally:
        child.stop()


def test_gives_up_after_a_while(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path)
    with pytest.raises(DemoError, match="did not answer"):
        child.wait_until_healthy("http://127.0.0.1:9/health", 0.5)
    child.stop()


def test_a_missing_program_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="the child could not be started"):
        Process("the child", [str(tmp_path / "missing")], {}, tmp_path / "child.log")


@pytest.mark.parametrize("parent_ignores_it", [False, True])
def test_stop_ends_grandchildren_too(tmp_path: Path, parent_ignores_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.process.STOP_SECONDS", 0.5)
    code = f"""
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"
deaf += "; time.sleep(60)"
grandchild = subprocess.Popen([sys.executable, "-c", deaf])
if {parent_ignores_it}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(grandchild.pid, flush=True)
time.sleep(60)
"""
    child = python(code, tmp_path)
    log = tmp_path / "child.log"
    while len(lines := log.read_text().split()) < 2:
        time.sleep(0.05)
    (grandchild,) = (int(line) for line in lines if line != "up")
    assert psutil.pid_exists(grandchild)
    child.stop()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(grandchild) and psutil.Process(grandchild).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the grandchild still runs"
        time.sleep(0.05)
