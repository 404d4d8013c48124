"""The page of one project."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from corpus import Span
from tests.browser.projects import EMOJI, HEBREW, LABELS, LONG, PLAIN, RTL, SCRIPT, version

pytestmark = pytest.mark.slow


def address(project) -> str:
    return f"project?key={project.key}"


def task(page, id: int):
    """A task's entry in the queue."""
    return page.locator(f"#queue #task-{id}")


def cells(page, section: str) -> list[list[str]]:
    """A section's table as its people read it, without headings."""
    rows = page.locator(f"#{section} tbody tr")
    expect(rows.first).to_be_attached()
    return rows.evaluate_all("(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))")


def but_for_figures(text: str) -> re.Pattern[str]:
    """What is free on a machine changes from one look to the next."""
    return re.compile(r"[\d.,]+".join(map(re.escape, re.split(r"[\d.,]*\d", text))))


def test_it_shows_what_the_api_says(site, project, open_page):
    told = site.get(f"api/projects/{project.key}")
    page = open_page(address(project))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Project {project.number}")
    expect(page.locator(".advice")).to_have_text(told["advice"]["text"])
    expect(page.locator("#curve")).to_contain_text(told["curve"]["fit"]["text"])
    expect(page.locator("#curve")).to_contain_text(told["curve"]["saving"]["text"])
    points = [
        [str(p["round"]), p["version"], f"{p['words']:,}", f"{100 * p['f1']:.1f}"] for p in told["curve"]["points"]
    ]
    assert [row[:4] for row in cells(page, "curve") if row[0] != "expected"] == points
    assert len(points) == 5
    assert all(int(row[2].replace(",", "")) >= 1_500 for row in cells(page, "curve")[5:])
    labels = cells(page, "labels")
    assert [row[0] for row in labels] == list(LABELS)
    assert labels[0] == ["PER", "83.5", "79.5", "81.5", "40", "38", "14"]
    assert labels[1] == ["ORG", "–", "–", "–", "–", "–", "14"]
    assert cells(page, "batch")[0] == ["PER", "9", "40.0 %", "25.0 %"]
    expect(page.locator("#batch")).to_contain_text(told["batch"]["text"])
    assert [row[0] for row in cells(page, "rounds")] == ["5", "4", "3", "2", "1"]
    assert [row[0] for row in cells(page, "versions")][:2] == [f"{version(5)} in use", version(4)]
    checks = site.get(f"api/projects/{project.key}/checks")["checks"]
    expect(page.locator("#checks li")).to_have_count(len(checks))
    for check in checks:
        shown = page.locator("#checks li").filter(has_text=check["title"]).first
        expect(shown).to_contain_text(but_for_figures(check["text"]))


def test_the_curve_is_drawn_and_tells_the_round_under_the_cursor(project, open_page):
    page = open_page(address(project))
    chart = page.get_by_role("img", name="F1 of spans against words labelled")
    expect(chart.locator("canvas")).to_be_visible()
    reading = page.locator("#curve .reading")
    expect(reading).to_have_text(f"Round 5 · {version(5)} · 1,500 words · F1 81.5 (77.5–84.5)")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.06, box["y"] + 50)
    expect(reading).to_contain_text(f"Round 1 · {version(1)}")
    before = chart.locator("canvas").evaluate("(canvas) => canvas.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("(was) => document.querySelector('.chart canvas').toDataURL() !== was", arg=before)
    page.set_viewport_size({"width": 500, "height": 900})
    expect(chart.locator(".uplot")).to_have_css("width", re.compile(r"^4[0-9]{2}px$"))


def test_spans_lie_on_exactly_their_characters(site, project, open_page):
    page = open_page(address(project))
    emoji = task(page, 1)
    expect(emoji.locator("mark")).to_have_text(["Zoë", "Ana Ruiz"])
    expect(emoji.locator(".text > .tag")).to_have_text(["PER", "PER"])
    colour = emoji.locator("mark").first.evaluate("(mark) => mark.style.getPropertyValue('--label')")
    assert colour == LABELS["PER"]
    plain = "(text) => [...text.childNodes].filter((n) => !n.matches?.('.tag')).map((n) => n.textContent).join('')"
    assert emoji.locator(".text").evaluate(plain) == EMOJI
    expect(task(page, 2).locator("mark")).to_have_text([SCRIPT[:8], RTL[:7]])
    assert task(page, 2).locator(".text").evaluate(plain) == f"{SCRIPT} {RTL}"
    for shown in site.get(f"api/projects/{project.key}/queue")["tasks"]:
        doubted = [shown["text"][word["start"] : word["end"]] for word in shown["uncertain"]]
        assert task(page, shown["id"]).locator(".text .uncertain").all_text_contents() == doubted


def test_hostile_names_and_texts_are_text(project, open_page):
    page = open_page(address(project))
    expect(task(page, 2).locator(".text")).to_contain_text(SCRIPT)
    expect(task(page, 2).locator(".text > .tag")).to_have_text([SCRIPT, HEBREW])
    expect(page.locator("#content img, #content script, #content style")).to_have_count(0)
    expect(page.locator("body")).to_be_visible()  # a label's "colour" did not hide it
    long = task(page, 3)
    expect(long).to_contain_text("The text goes on")
    text = long.locator(".text")
    assert text.text_content().replace("ORG", "").replace("PER", "") == LONG[:2_000]
    expect(long.locator("mark").first).to_have_text(LONG[10:12])
    folded = text.bounding_box()["height"]
    button = long.get_by_role("button", name="Show all")
    button.click()
    expect(long.get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")
    assert text.bounding_box()["height"] > folded


def test_right_to_left_text_begins_at_the_right(project, open_page):
    project.tell(4, RTL)
    project.begin(6)
    project.finish(6, 0.8, 1_600, {4: []})
    text = task(open_page(address(project)), 4).locator(".text")
    expect(text).to_have_text(RTL)
    assert text.evaluate("(text) => getComputedStyle(text).direction") == "rtl"


def test_a_round_is_followed_to_its_end_without_a_reload(project, open_page):
    page = open_page(address(project))
    page.evaluate("window.unchanged = true")
    expect(task(page, 1)).to_be_visible()
    page.locator("#settings-" + version(4)).locator("summary").click()
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url.partition("/api/")[2]))
    project.begin(6, step="fit", epoch=1, epochs=10)
    bar = page.get_by_role("progressbar")
    expect(page.locator("#status")).to_contain_text("Round 6: training (1 of 10)")
    page.wait_for_timeout(1_500)
    asked.clear()
    shares = [float(bar.get_attribute("value"))]
    for epoch in (4, 8):
        project.move(6, step="fit", epoch=epoch, epochs=10)
        expect(page.locator("#status")).to_contain_text(f"Round 6: training ({epoch} of 10)")
        shares.append(float(bar.get_attribute("value")))
    assert shares == sorted(set(shares)), "the bar moves on"
    assert not [path for path in asked if "queue" in path or "suspects" in path], "progress alone asks for no queue"
    project.move(6, "publishing", step="publish", done=3, of=17)
    expect(page.locator("#status")).to_contain_text("sending predictions to Label Studio (3 of 17)")
    expect(page.locator("#changes")).to_have_text("The project is now: publishing")
    project.finish(6, 0.843, 2_100, {8: [Span(0, 7, "PER", 0.9)], 7: []})
    expect(page.locator("#status .state")).to_have_text("collecting")
    expect(bar).to_be_hidden()
    expect(page.locator("#curve tbody tr").nth(5)).to_contain_text(version(6))
    expect(page.locator("#labels tbody tr").first).to_contain_text("84.3")
    expect(page.locator("#rounds tbody tr").first).to_contain_text("80 s")
    expect(page.locator("#queue li .meta a, #queue li .meta span").filter(has_text="Task")).to_have_text(
        ["Task 8", "Task 7"]
    )
    expect(page.locator("#settings-" + version(4))).to_have_attribute("open", "")
    assert page.evaluate("window.unchanged")


def test_an_error_is_told_in_its_words(project, open_page):
    page = open_page(address(project))
    project.begin(6)
    project.fail(6, "OutOfMemoryError: the model does not fit; set tagger_options.batch_words lower")
    expect(page.locator("#status .state")).to_have_text("error")
    expect(page.locator("#notices .wrong")).to_contain_text("the model does not fit; set tagger_options")
    expect(page.locator("#rounds tbody tr").first).to_contain_text("the model does not fit")


def test_suspected_errors_show_both_readings(project, open_page):
    item = open_page(address(project)).locator("#suspects li").first
    expect(item).to_contain_text("Task 25")
    given, suggested = item.locator(".readings > div").all()
    expect(given.locator("mark")).to_have_text([PLAIN[21][18:27]])
    expect(suggested.locator("mark")).to_have_count(0)
    expect(suggested.locator(".text")).to_have_text(PLAIN[21])
    expect(item.locator(".words li")).to_contain_text(f"{PLAIN[21][18:22]} is given ORG, suggested no label")


def test_a_project_without_a_round_says_what_is_to_come(fresh, open_page):
    page = open_page(address(fresh))
    expect(page.locator("#status")).to_contain_text("No round has run yet")
    expect(page.locator("#curve")).to_contain_text("The curve begins with the first trained model.")
    expect(page.locator("#queue")).to_contain_text("Nothing is queued.")
    expect(page.locator("#versions")).to_contain_text("The first training makes the first version.")


def test_an_unknown_project_is_told_in_words(open_page):
    expect(open_page("project?key=777.1").get_by_role("alert")).to_contain_text("'777.1' is not known here")


def test_a_bare_number_is_as_good_as_a_key(project, open_page):
    page = open_page(f"project?key={project.number}")
    expect(page.locator("#status .state")).to_have_text("collecting")
    project.set(paused=True)
    expect(page.locator("#status .state")).to_have_text("paused")


def test_choices_are_shown_as_chips_with_how_sure_they_are(with_choices, open_page):
    page = open_page(address(with_choices))
    expect(task(page, 4).locator(".chips .chip")).to_have_text(["complaint 0.61"])
    expect(task(page, 5).locator(".chips .chip")).to_have_text([f"{SCRIPT} 0.90"])
    expect(task(page, 4).locator("mark, .uncertain")).to_have_count(0)
    expect(page.locator("#queue > div > p")).to_contain_text("Below a text: what the model chooses")
    expect(page.locator("#queue > div > p")).not_to_contain_text("Underlined")
    expect(page.get_by_role("img", name="F1 of choices (accuracy) against words labelled")).to_be_visible()
    expect(page.locator("#figures")).to_contain_text("F1 of choices (accuracy)")
    expect(page.locator("#labels")).to_contain_text("Given and found: choices in the tasks")
    expect(page.locator("#figures")).to_contain_text("transformer-classifier")
    expect(page.locator("#classifier")).to_have_value("transformer-classifier")
    expect(page.locator("#tagger")).to_be_hidden()
    expect(page.locator("#suspects li").first).to_contain_text(
        f"is given complaint, suggested {SCRIPT} (confidence 0.97)"
    )


def test_relations_are_shown_as_arrows_under_their_text(with_relations, open_page):
    page = open_page(address(with_relations))
    expect(task(page, 4).locator(".arrows li")).to_have_text(["Clerk 1 → works_for → Acme Corp 0.55"])
    expect(task(page, 4).locator("mark")).to_have_text(["Clerk 1", "Acme Corp"])
    expect(task(page, 5).locator(".arrows")).to_have_count(0)
    expect(page.get_by_role("img", name="F1 of relations against words labelled")).to_be_visible()
    kinds = page.get_by_role("table", name="F1 of each kind").locator("tbody tr")
    expect(kinds).to_have_text([re.compile("^F1 of relations60.0"), re.compile("^F1 of spans90.0")])
    expect(page.locator("#relation_classifier")).to_be_visible()
    expect(page.locator("#tagger")).to_have_value("crf")
    assert [row[0] for row in cells(page, "labels")][-2:] == ["works_for", "knows"]
