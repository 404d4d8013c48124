"""Everybody can use the pages: in both themes, on a phone, by keyboard, with a screen reader."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.projects import SCRIPT, version

pytestmark = pytest.mark.slow


@pytest.fixture
def addresses(project) -> dict[str, str]:
    """Both pages, with everything on them that they can show."""
    project.set(title=SCRIPT, notice="The token is refused: put a new one into LABEL_STUDIO_API_KEY.")
    project.begin(6, step="fit", epoch=2, epochs=10)
    return {"overview": "", "project": f"project?key={project.key}"}


def loaded(page) -> None:
    """Wait until everything is there."""
    page.locator("progress:visible").first.wait_for()
    if "project?" in page.url:
        for part in ("#curve canvas", "#queue li", "#suspects li", "#checks li"):
            page.locator(part).first.wait_for()


@pytest.mark.parametrize("which", ["overview", "project"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(addresses, open_page, which, scheme):
    page = open_page(addresses[which], color_scheme=scheme)
    loaded(page)
    for summary in page.locator("summary").all():
        summary.click()
    found = Axe().run(page).response["violations"]
    grave = [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not grave


@pytest.mark.parametrize("which", ["overview", "project"])
def test_a_phone_needs_no_scrolling_sideways(addresses, open_page, which):
    page = open_page(addresses[which], width=360)
    loaded(page)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.evaluate("scrollTo(500, 0)")
    assert page.evaluate("scrollX") == 0


@pytest.mark.parametrize("which", ["overview", "project"])
def test_dark_mode_is_dark(addresses, open_page, which):
    background = (
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b) / 3"
    )
    for scheme, dark in (("dark", True), ("light", False)):
        page = open_page(addresses[which], color_scheme=scheme)
        assert (page.evaluate(background) < 60) == dark
        assert (page.evaluate(background) > 200) != dark


def test_the_keyboard_reaches_every_action(addresses, open_page):
    page = open_page(addresses["project"])
    loaded(page)
    page.evaluate("document.getElementById('simulate').open = true")
    wanted = {element.get_attribute("id") for element in page.locator("main :is(button, select)[id]:visible").all()}
    assert {"round", "pause", "tagger", "strategy", "check", f"rollback-{version(4)}"} <= wanted
    reached, outlined = [], set()
    here = "((at) => [at.id, at.textContent, getComputedStyle(at).outlineStyle])(document.activeElement)"
    for _ in range(250):
        page.keyboard.press("Tab")
        id, text, outline = page.evaluate(here)
        if not reached:
            assert text == "Skip to the project"
        reached.append(id)
        outlined.add(outline)
        if id == "check":
            break
    assert wanted <= set(reached)
    assert "none" not in outlined, "what has the focus shows it"


def test_actions_work_by_keyboard_and_are_announced(project, open_page):
    page = open_page(f"project?key={project.key}")
    button = page.get_by_role("button", name="Pause")
    button.focus()
    page.keyboard.press("Enter")
    answer = page.get_by_role("status").and_(page.locator("#answer"))  # the change of state is a status of its own
    expect(answer).to_contain_text("Paused: ")
    expect(page.locator("#pause")).to_be_focused()
    expect(page.locator("#pause")).to_have_text("Resume")


def test_the_skip_link_leads_to_the_content(addresses, open_page):
    page = open_page(addresses["overview"])
    loaded(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_landmarks_headings_and_captions(addresses, open_page):
    page = open_page(addresses["project"])
    loaded(page)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for section in page.locator("main section").all():
        assert section.get_attribute("aria-label") or section.get_attribute("aria-labelledby")
    tables = page.locator("table")
    assert tables.count() >= 5
    assert tables.locator("caption").count() == tables.count()
