"""The page with all projects."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.projects import EMOJI, SCRIPT, write

pytestmark = pytest.mark.slow


def card(page, project):
    """A project's entry on the overview."""
    return page.locator(f'li:has(a[href*="{project.key}"])')


def test_it_says_how_to_connect_a_project_while_there_is_none(empty_site, open_page):
    page = open_page(site=empty_site.url)
    expect(page.get_by_role("heading", name="No project is connected yet")).to_be_visible()
    expect(page.locator("#address")).to_have_text(f"{empty_site.url}/")
    expect(page.locator("#projects li")).to_have_count(0)
    added = write(empty_site.workspace, 1, "The first")
    expect(card(page, added).get_by_role("heading")).to_have_text("The first")
    expect(page.locator("#empty")).to_be_hidden()


def test_it_shows_what_the_api_says(site, project, open_page):
    project.set(title="Court decisions", notice="The token is refused: put a new one into LABEL_STUDIO_API_KEY.")
    told = next(one for one in site.get("api/projects")["projects"] if one["key"] == project.key)
    this = card(open_page(), project)
    expect(this.get_by_role("heading")).to_have_text("Court decisions")
    expect(this.locator(".state")).to_have_text(told["state"])
    expect(this.locator(".notice")).to_have_text(told["notice"])
    facts = this.locator("dd")
    expect(facts.nth(0)).to_have_text(re.compile(r"^81\.5\s77\.5–84\.5$"))
    expect(facts.nth(1)).to_have_text(f"{told['labelled']} of {told['tasks']}")
    expect(facts.nth(2)).to_have_text(str(told["queue_left"]))
    assert (told["labelled"], told["queue_left"]) == (14, 19)


def test_a_project_without_a_title_goes_by_its_number_and_leads_to_its_page(fresh, open_page):
    page = open_page()
    link = card(page, fresh).get_by_role("link", name=f"Project {fresh.number}")
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Project {fresh.number}")


def test_a_round_is_followed_without_a_reload(project, open_page):
    project.begin(6, step="fit", epoch=1, epochs=10)
    page = open_page()
    page.evaluate("window.unchanged = true")
    this = card(page, project)
    expect(this.locator(".state")).to_have_text("training")
    expect(this.locator(".status")).to_contain_text("Round 6: training (1 of 10)")
    bar = this.get_by_role("progressbar", name="Progress of the round")
    before = float(bar.get_attribute("value"))
    project.move(6, step="fit", epoch=9, epochs=10)
    expect(this.locator(".status")).to_contain_text("Round 6: training (9 of 10)")
    assert before < float(bar.get_attribute("value")) < 1
    expect(this.locator(".status")).to_contain_text(re.compile(r"about \d+ s left"))
    project.finish(6, 0.83, 1_900, {4: []})
    expect(bar).to_be_hidden()
    expect(this.locator("dd").first).to_contain_text("83.0")
    expect(page.get_by_role("status").filter(has_text=f"Project {project.number}")).to_contain_text("collecting")
    assert page.evaluate("window.unchanged")


def test_hostile_titles_and_errors_are_text(project, open_page):
    project.set(title=f"{SCRIPT} {EMOJI}")
    project.begin(6)
    project.fail(6, f"RuntimeError: {SCRIPT}")
    this = card(open_page(), project)
    expect(this.get_by_role("heading")).to_have_text(f"{SCRIPT} {EMOJI}")
    expect(this.locator(".state")).to_have_text("error")
    expect(this.locator(".notice.wrong")).to_have_text(f"RuntimeError: {SCRIPT}")
    expect(this.locator("img, script")).to_have_count(0)


def test_it_asks_again_and_again_while_the_stream_is_broken(project, open_page):
    page = open_page()
    expect(card(page, project)).to_be_visible()
    lost = open_page(without="**/api/events")
    expect(card(lost, project)).to_be_visible()
    expect(lost.locator("#connection")).to_be_empty()
    project.set(paused=True)
    expect(card(lost, project).locator(".state")).to_have_text("paused", timeout=15_000)


def test_it_says_that_it_is_not_connected_and_takes_up_again(empty_site, open_page):
    project = write(empty_site.workspace, 1)
    page = open_page(site=empty_site.url, silent=True)
    expect(card(page, project).locator(".state")).to_have_text("waiting")
    empty_site.stop()
    expect(page.locator("#connection")).to_have_text("not connected", timeout=15_000)
    project.set(paused=True)
    empty_site.start()
    expect(page.locator("#connection")).to_be_empty(timeout=20_000)
    expect(card(page, project).locator(".state")).to_have_text("paused", timeout=15_000)
