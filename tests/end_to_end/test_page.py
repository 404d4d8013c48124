"""The status page in a browser while a real trainer works for a real Label Studio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import Faults
from tests.chromium import launched
from tests.end_to_end.test_live_loop import Annotated

pytestmark = pytest.mark.slow
PATIENCE = 120_000.0
"""Milliseconds for what a round or Label Studio takes."""
WATCH = """
  window.seen = [];
  const look = () => {
    const status = document.querySelector("#status .status");
    const bar = status?.querySelector("progress:not([hidden])");
    const now = [status?.querySelector(".state")?.textContent ?? "", bar?.hasAttribute("value") ? bar.value : null];
    if (JSON.stringify(window.seen.at(-1)) !== JSON.stringify(now)) window.seen.push(now);
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true,
                                                     characterData: true});
  look();
"""
"""Notes every state and share of the progress bar that the page shows from now on."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser, backend) -> Iterator[Page]:
    """A page on the backend; whatever goes wrong in it fails the test at its end."""
    context, faults = browser.new_context(), Faults()
    opened = context.new_page()
    faults.watch(opened, backend.url)
    yield opened
    context.close()
    assert faults.found == []


def test_a_real_round_is_watched_and_the_connection_mended(label_studio, backend, page):
    project = Annotated(label_studio, "watched", 60, 40)
    settings = {"tagger": "window", "round_size": 1000, "holdout_share": 0}
    label_studio.connect_backend(project.id, backend.url, settings)
    first = backend.round_after(project.id, kind="fit")  # 40 labels are there already
    page.goto(f"{backend.url}/project?key={project.id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("watched")
    expect(page.locator("#queue li[id^=task-]")).to_have_count(len(project.unlabelled), timeout=PATIENCE)

    page.evaluate(WATCH)
    page.get_by_role("button", name="Start a round now").click()
    expect(page.locator("#answer")).to_contain_text("A round will begin")
    done = backend.round_after(project.id, first["number"], kind="fit")
    expect(page.locator("#rounds tbody tr").first).to_contain_text(str(done["number"]), timeout=PATIENCE)
    expect(page.locator("#figures")).to_contain_text(done["version"], timeout=PATIENCE)
    seen = page.evaluate("window.seen")
    states, shares = [state for state, _ in seen], [share for _, share in seen if share is not None]
    assert "training" in states and states[-1] == "idle"
    assert shares == sorted(shares) and len(set(shares)) > 2, "it has moved, by itself, and never back"

    told = backend.project(project.id)
    expect(page.locator("#curve .chart canvas")).to_be_visible()
    expect(page.locator("#curve-table tbody tr", has_text=done["version"])).to_have_count(1)
    expect(page.locator("#labels tbody tr")).to_have_count(len(told["label_scores"]))
    expect(page.locator("#versions tbody tr", has_text=done["version"])).to_have_count(1)
    served = label_studio.next_task(project.id)
    assert page.locator("#queue li[id^=task-]").first.get_attribute("id") == f"task-{served}"

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#status .state")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#status .state")).to_have_text("idle")

    label_studio.call("PATCH", f"/api/projects/{project.id}", json={"sampling": "Sequential sampling"})
    page.get_by_role("button", name="Check again").click()
    broken = page.locator('#checks li[data-ok="false"]')
    expect(broken).to_have_count(1, timeout=PATIENCE)
    broken.get_by_role("button", name="Set it").click()
    expect(broken).to_have_count(0, timeout=PATIENCE)
    sampling = label_studio.call("GET", f"/api/projects/{project.id}")["sampling"]
    assert sampling == "Uncertainty sampling"
