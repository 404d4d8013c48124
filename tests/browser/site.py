"""The real application with prepared projects, and a page in a browser that notices everything that goes wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import ConsoleMessage, Page

from learning.settings import Settings
from learning.workspace import Workspace

ROOT = Path(__file__).parents[2]
REFUSED = "the server responded with a status of 4"
"""What Chromium notes of an answer that the page expects and shows."""


class Site:
    """Gunicorn with our application, without a trainer: the tests write what rounds do. Data lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        settings = {"DATA_DIR": str(folder / "data"), "TAGGER": "crf", "COLD_START": "random", "ROUND_SIZE": "10"}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LABEL_STUDIO")}
        self.workspace = Workspace(
            Settings(data_dir=folder / "data", tagger="crf", cold_start="random", round_size=10, _env_file=None)
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        config = str(ROOT / "server" / "gunicorn.conf.py")
        options = ["-c", config, f"--bind=127.0.0.1:{port}", "--workers=1", "server.app:app"]
        self._log = folder / "site.log"
        self._command = [sys.executable, "-m", "gunicorn", *options]
        self._run: dict[str, Any] = {"cwd": folder, "env": {**inherited, **settings, "PYTHONPATH": str(ROOT)}}
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, **self._run)
        for _ in range(300):
            try:
                httpx.get(f"{self.url}/health", timeout=2).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise AssertionError(f"the server did not start:\n{self._log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        """Stop in good order."""
        self._process.terminate()
        self._process.wait(timeout=60)

    def get(self, address: str) -> Any:
        """What the API says."""
        return httpx.get(f"{self.url}/{address}", timeout=60).raise_for_status().json()


@dataclass
class Faults:
    """What a page must never do: errors in the console, broken policy, dialogs (a script from outside ran), and
    requests to anywhere but the site."""

    found: list[str] = field(default_factory=list)

    def watch(self, page: Page, url: str) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (self.found.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda sent: sent.url.startswith(url) or self.found.append(f"request: {sent.url}"))
        page.expose_function("policyBroken", lambda told: self.found.append(f"policy: {told}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => policyBroken(`${e.violatedDirective} ${e.blockedURI}`))"
        )

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and REFUSED not in message.text:
            self.found.append(f"{message.type}: {message.text}")
