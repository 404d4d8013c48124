"""The application, and the browser in which its pages are tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.projects import Written, classified, learned, related, write
from tests.browser.site import Faults, Site
from tests.chromium import launched


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of the pages."""
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One running application; tests make projects of their own in it."""
    running = Site(tmp_path_factory.mktemp("site"))
    yield running
    running.stop()


@pytest.fixture
def empty_site(tmp_path: Path) -> Iterator[Site]:
    """An application of the test's own, without projects."""
    running = Site(tmp_path)
    yield running
    running.stop()


@pytest.fixture(scope="package")
def _numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture
def fresh(site: Site, _numbers: Iterator[int]) -> Written:
    """A project without a round."""
    return write(site.workspace, next(_numbers))


@pytest.fixture
def project(site: Site, _numbers: Iterator[int]) -> Written:
    """A project after five rounds."""
    return learned(site.workspace, next(_numbers))


@pytest.fixture
def with_choices(site: Site, _numbers: Iterator[int]) -> Written:
    """A project whose texts are classified, after two rounds."""
    return classified(site.workspace, next(_numbers))


@pytest.fixture
def with_relations(site: Site, _numbers: Iterator[int]) -> Written:
    """A project with relations between spans, after a round."""
    return related(site.workspace, next(_numbers))


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Opens an address in a context of its own, with Playwright's options of one. `site`: the address of another site;
    `without`: requests that fail. Whatever goes wrong in any of these pages fails the test at its end, unless `silent`,
    for pages that lose their server."""
    faults, contexts, running = Faults(), [], site.url

    def opened(
        address: str = "",
        *,
        site: str | None = None,
        width: int = 1280,
        without: str | None = None,
        silent: bool = False,
        **options: Any,
    ) -> Page:
        url = site or running
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        if without:
            page.route(without, lambda route: route.fulfill(status=404))
        if not silent:
            faults.watch(page, url)
        page.goto(f"{url}/{address}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults.found
