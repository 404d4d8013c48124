"""What people do on a project's page, and the answers they see."""

from __future__ import annotations

import json

import httpx
import pytest
from playwright.sync_api import expect

from learning.database import Simulation
from tests.browser.projects import version

pytestmark = pytest.mark.slow


def opened(open_page, project, **options):
    page = open_page(f"project?key={project.key}", **options)
    expect(page.locator("#round")).to_be_visible()
    return page


def test_a_round_is_asked_for(project, open_page):
    page = opened(open_page, project)
    page.get_by_role("button", name="Start a round now").click()
    expect(page.locator("#answer")).to_contain_text("A round will begin")
    assert project.get("due") == "fit"


def test_pausing_and_resuming(project, open_page):
    page = opened(open_page, project)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#answer")).to_contain_text("Paused")
    expect(page.locator("#status .state")).to_have_text("paused")
    assert project.get("paused") is True
    page.get_by_role("button", name="Start a round now").click()
    expect(page.locator("#answer.wrong")).to_contain_text("The project is paused: resume it")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert project.get("paused") is False


def test_strategies_are_offered_that_fit_the_tagger_and_a_refusal_is_told(site, project, open_page):
    choices = site.get(f"api/projects/{project.key}")["choices"]
    page = opened(open_page, project)
    offered = page.get_by_label("Strategy").locator("option")
    assert offered.all_text_contents() == choices["strategies"]["crf"]
    assert "badge" not in choices["strategies"]["crf"]
    page.get_by_label("Tagger").select_option("transformer")
    assert offered.all_text_contents() == choices["strategies"]["transformer"]
    page.get_by_label("Strategy").select_option("badge")
    with page.expect_request("**/settings") as sent:
        page.get_by_role("button", name="Use from the next round").click()
    assert json.loads(sent.value.post_data) == {"tagger": "transformer", "strategy": "badge"}
    expect(page.locator("#answer.wrong")).to_contain_text("Settings live in Label Studio's connection form")
    expect(page.get_by_label("Strategy")).to_have_value("badge")


def test_settings_that_are_in_use_already_are_not_sent(project, open_page):
    page = opened(open_page, project)
    page.get_by_role("button", name="Use from the next round").click()
    expect(page.locator("#answer")).to_have_text("These are in use already.")


def test_rolling_back(project, open_page):
    page = opened(open_page, project)
    expect(page.locator("#versions button")).to_have_count(1)
    page.get_by_role("button", name=f"Roll back to {version(4)}").click()
    expect(page.locator("#versions-answer")).to_contain_text(version(4))
    assert project.get("due_reason") == f"roll back to {version(4)}"


def test_a_version_is_downloaded(project, open_page):
    page = opened(open_page, project)
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {version(5)}").click()
    assert download.value.path().read_bytes()[:2] == b"PK"


def test_a_simulation_is_asked_for_and_followed(project, open_page):
    page = opened(open_page, project)
    page.get_by_text("Simulate on the labelled data").click()
    page.get_by_label("Repetitions").fill("2")
    page.get_by_label("entropy", exact=True).check()
    simulate = page.get_by_role("button", name="Simulate", exact=True)
    simulate.click()
    expect(page.locator("#simulation-answer.wrong")).to_contain_text("label more first")
    project.label(50)
    simulate.click()
    expect(page.locator("#simulation-answer:not(.wrong)")).not_to_be_empty()
    listed = page.locator("#simulations .plain-list li")
    expect(listed).to_contain_text("waiting")
    with project.workspace.db.write() as session:
        asked = session.query(Simulation).filter_by(project_id=project.id).one()
        assert asked.settings["seeds"] == 2
        assert set(asked.settings["strategies"]) == {"random", "mnlp", "entropy"}
        asked.state, asked.progress = "running", {"done": 5, "of": 48}
    expect(listed).to_contain_text("5 of 48 rounds")
    simulate.click()
    expect(page.locator("#simulation-answer.wrong")).to_contain_text("is not finished yet")


def test_the_connection_is_checked_again(project, open_page):
    page = opened(open_page, project)
    expect(page.locator("#checks li").first).to_be_visible()
    with page.expect_response("**/checks") as answer:
        page.get_by_role("button", name="Check again").click()
    assert answer.value.ok
    expect(page.locator('#checks li[data-ok="false"]').first).to_contain_text("LABEL_STUDIO_URL")


def test_a_mend_is_asked_for_and_its_answer_shown(project, open_page):
    page = opened(open_page, project)
    expect(page.locator("#checks li").first).to_be_visible()
    broken = {
        "name": "sampling",
        "title": "Sampling",
        "ok": False,
        "text": "Sequential",
        "remedy": "Set it.",
        "mendable": True,
    }
    told = {"checks": [broken]}

    def answer(route):
        if route.request.method == "POST":
            told["checks"] = [{**broken, "ok": True, "text": "Uncertainty"}]
        route.fulfill(json=told)

    page.route("**/checks*", answer)
    page.route("**/checks/sampling", answer)
    page.get_by_role("button", name="Check again").click()
    page.get_by_role("button", name="Set it (Sampling)").click()
    expect(page.locator("#checks-answer")).to_have_text("Sampling: set.")
    expect(page.locator("#checks li")).to_have_attribute("data-ok", "true")
    expect(page.locator("#checks li")).to_contain_text("Uncertainty")


def test_other_sites_cannot_act(site, project):
    sent = {"headers": {"Sec-Fetch-Site": "cross-site"}, "json": {"paused": True}}
    assert httpx.post(f"{site.url}/api/projects/{project.key}/pause", **sent).status_code == 403
    assert project.get("paused") is False
