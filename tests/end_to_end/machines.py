"""Machines for tests: network namespaces with names of their own, joined by a bridge, and what runs on them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.end_to_end.backend import ROOT, until

NET = f"10.213.{os.getpid() % 256}"
HERE = f"{NET}.1"
"""This machine's address on the bridge: that of the database, of Redis and of Label Studio."""
BRIDGE = f"tg{os.getpid()}"
"""No two test runs have the same; also the beginning of the names of its links and namespaces."""
GUNICORN = ["-m", "gunicorn", "-c", str(ROOT / "server/gunicorn.conf.py"), "server.app:app"]
TRAINER = ["-m", "server.trainer"]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


class Machine:
    """One program on a machine of its own: a network, a name, and a data folder, in which only models are shared."""

    def __init__(self, name: str, number: int, folder: Path, models: Path, program: list[str]) -> None:
        self.name, self.address, self.folder = name, f"{NET}.{number}", folder / name
        self._link = self._space = f"{BRIDGE}-{number}"
        self._program = program
        self.log = folder / f"{name}.log"
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "data/models").symlink_to(models)
        _ip("netns", "add", self._space)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        _ip("link", "set", self._link, "master", BRIDGE, "up")
        _ip("-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self._space, "link", "set", "eth0", "up")
        _ip("-n", self._space, "link", "set", "lo", "up")

    def start(self, **settings: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LABEL_STUDIO")}
        common = {"PYTHONPATH": str(ROOT), "DATA_DIR": "data", "OMP_NUM_THREADS": "1"}
        named = 'hostname "$0" && exec "$@"'
        command = ["ip", "netns", "exec", self._space, "unshare", "--uts", "sh", "-c", named, self.name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, sys.executable, *self._program],
                cwd=self.folder,
                env={**inherited, **common, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def processes(self) -> list[int]:
        told = subprocess.run(["ip", "netns", "pids", self._space], check=True, capture_output=True, timeout=30).stdout
        return [int(pid) for pid in told.split()]

    def lose(self) -> None:
        """As if somebody pulled its plugs: nobody on the network hears of its end."""
        _ip("link", "set", self._link, "down")
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)

    def find_again(self, **settings: str) -> None:
        _ip("link", "set", self._link, "up")
        self.start(**settings)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def remove(self) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.lose()
        _ip("link", "del", self._link)
        _ip("netns", "del", self._space)


class Redis:
    """A real redis-server, which keeps nothing on a disk."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"redis://{HERE}:{port}/0"
        self.start()

    def start(self) -> None:
        options = ["--bind", HERE, "--port", str(self.port), "--save", "", "--protected-mode", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = psutil.Popen(["redis-server", *options], cwd=self.folder, stdout=log, stderr=log)

    def stop(self) -> None:
        with suppress(psutil.NoSuchProcess):  # it is away already
            self._process.kill()
        self._process.wait(30)


@contextmanager
def network() -> Iterator[None]:
    """The bridge; skips the test where there can be none."""
    missing = [name for name in ("ip", "unshare", "hostname", "redis-server") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"several machines are made as root, with network namespaces; missing: {missing or 'root'}")
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no bridge can be made here: {error.stderr.decode().strip()}")
    try:
        try:
            _ip("addr", "add", f"{HERE}/24", "dev", BRIDGE)
            _ip("link", "set", BRIDGE, "up")
            _ip("netns", "add", BRIDGE)
            _ip("netns", "del", BRIDGE)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
        yield
    finally:
        _ip("link", "del", BRIDGE)


class Machines:
    """A web machine and two trainers on one database, one queue and one shared folder of models."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: str) -> None:
        self.models = folder / "shared-models"
        self.models.mkdir()
        self.settings = {"HOST": "0.0.0.0", "PORT": "9090", "WORKERS": "1", **settings}
        self.web = Machine("tagger-web", 2, folder, self.models, GUNICORN)
        stack.callback(self.web.remove)
        self.trainers = {}
        for number, name in enumerate(("tagger-one", "tagger-two"), 3):
            self.trainers[name] = Machine(name, number, folder, self.models, TRAINER)
            stack.callback(self.trainers[name].remove)
        self.url = f"http://{self.web.address}:9090"
        for machine in (self.web, *self.trainers.values()):
            machine.start(**self.settings)
        until(lambda: httpx.get(f"{self.url}/health", timeout=2).status_code == 200, "health", self.web.log, 90)
        for machine in self.trainers.values():
            until(lambda machine=machine: "trainer ready" in machine.log.read_text(), "a trainer", machine.log, 90)

    def logs(self) -> str:
        """The ends of all logs."""
        ends = [(m.name, m.log.read_text(errors="replace")[-3000:]) for m in (self.web, *self.trainers.values())]
        return "\n".join(f"--- {name}\n{end}" for name, end in ends)

    def wait_for(self, condition, what: str, seconds: float = 120, pause: float = 0.05):
        """Ask until `condition` gives something true; fails with the logs' ends."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if found := condition():
                return found
            time.sleep(pause)
        raise AssertionError(f"{what}: not within {seconds} s\n{self.logs()}")
