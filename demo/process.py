"""Child processes that write to a log, are waited for, and are stopped with all their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

STOP_SECONDS = 45.0
"""How long a process may take to end by itself after SIGTERM."""


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def require_free_port(port: int, host: str, setting: str) -> None:
    """Raise DemoError if `port` cannot be listened on; `setting` is the variable that picks another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise DemoError(
                f"nothing can listen on port {port} of {host} ({error}): if it is taken, stop what runs there, "
                f"or choose another with {setting}=<port>"
            ) from error


class Process:
    """A running command, in a session of its own: Ctrl-C in the terminal reaches us alone, and we stop it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._log_start = output.tell()
                self._child = subprocess.Popen(
                    command,
                    env=os.environ | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise DemoError(f"{name} could not be started: {error}") from error

    def require_running(self) -> None:
        """Raise DemoError with the end of its log if the process is gone."""
        if self._child.poll() is not None:
            raise DemoError(f"{self.name} ended with status {self._child.returncode}; {self._last_words()}")

    def _last_words(self) -> str:
        with self.log.open("rb") as output:
            output.seek(self._log_start)
            tail = output.read().decode(errors="replace").splitlines()[-15:]
        return f"the end of {self.log}:\n" + ("\n".join(tail) or "(nothing)")

    def wait_until_healthy(self, url: str, seconds: float) -> None:
        """Return once GET `url` answers 200. Raises DemoError if the process ends, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.require_running()
            try:
                if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.3)
        raise DemoError(f"{self.name} did not answer at {url} within {seconds:.0f} s; {self._last_words()}")

    def stop(self) -> None:
        """End the process and its children: SIGTERM, and SIGKILL for what is left after STOP_SECONDS."""
        self._signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._child.wait()
        self._signal(signal.SIGKILL)  # children that outlived their parent

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # all gone
            os.killpg(self._child.pid, number)
