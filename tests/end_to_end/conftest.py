"""The fixtures that give tests a real Label Studio, a backend to it, and a person's tab."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.chromium import launched
from tests.end_to_end.backend import RunningBackend, backend_of
from tests.end_to_end.label_studio import RunningLabelStudio, executable, shared


@pytest.fixture(scope="session")
def label_studio() -> RunningLabelStudio:
    """A real Label Studio, the same for every test of the run; tests make their own projects in it."""
    if executable() is None and "CI" not in os.environ:
        pytest.skip("no label-studio command: `make label-studio` installs it, or set LABEL_STUDIO_BIN")
    return shared()


@pytest.fixture(scope="module")
def backend(label_studio: RunningLabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBackend]:
    """A backend of the module's own, with the key to that Label Studio."""
    with backend_of(label_studio, tmp_path_factory.mktemp("backend")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Browser, label_studio: RunningLabelStudio) -> Iterator[Page]:
    """A person's tab, logged in by the form."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{label_studio.url}/user/login/")
    page.fill("input[name=email]", label_studio.email)
    page.fill("input[name=password]", label_studio.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    yield page
    page.close()
