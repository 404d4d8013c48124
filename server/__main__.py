"""`python -m server` starts the web processes and the trainer, and restarts whichever ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from learning.migrations import UnusableDatabase
from learning.settings import Settings, in_words
from learning.workspace import Workspace

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "web": [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "server/gunicorn.conf.py"), "server.app:app"],
    "trainer": [sys.executable, "-m", "server.trainer"],
}
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before a process that ended is started again; doubled while it keeps ending within a minute."""


def main() -> None:
    """Keep both running until told to stop; then stop both."""
    try:
        settings = Settings()
    except ValidationError as error:  # here, once, and not again and again in every process
        raise SystemExit(f"Settings (environment or .env): {in_words(error)}") from None
    try:  # likewise; and the tables are there before several processes want them
        Workspace(settings).db.check()
    except UnusableDatabase as error:
        raise SystemExit(str(error)) from None
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    started = dict.fromkeys(COMMANDS, 0.0)
    start_at = dict.fromkeys(COMMANDS, 0.0)
    wait = dict.fromkeys(COMMANDS, SHORTEST_WAIT)
    print(f"Active Tagger listens on http://{settings.host}:{settings.port}", flush=True)
    while not stopping:
        for name, command in COMMANDS.items():
            process = processes.get(name)
            if process is not None and process.poll() is not None:
                print(f"{name} ended with status {process.returncode}; starting it again", file=sys.stderr)
                quick = time.monotonic() - started[name] < LONGEST_WAIT
                wait[name] = min(2 * wait[name], LONGEST_WAIT) if quick else SHORTEST_WAIT
                start_at[name] = time.monotonic() + wait[name]
                del processes[name]
            if name not in processes and time.monotonic() >= start_at[name]:
                processes[name] = subprocess.Popen(command, env=environment)
                started[name] = time.monotonic()
        time.sleep(0.2)
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    main()
