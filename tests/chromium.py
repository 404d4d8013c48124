"""A Chromium for tests of what people see, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """Where Chromium is: `CHROMIUM_BIN`, else the first on the path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM_BIN") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser of its own; skips the tests that ask for it where there is none (never in CI).

    To be held by a fixture of one module or package, not of the session: while it is open, no other Playwright and no
    `asyncio.run` can begin in this thread.
    """
    found = executable()
    if found is None and "CI" not in os.environ:
        pytest.skip("no Chromium: install Debian's `chromium`, or set CHROMIUM_BIN")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()
