"""Reports: their numbers against hand-made ones, what they must not hide, and what they must not let through."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from selectolax.lexbor import LexborHTMLParser as Page

from corpus import Sentence, Span
from experiments import pictures
from experiments.corpora import Corpus
from experiments.plan import FULL, Plan
from experiments.report import compare, console_tables
from experiments.results import Iteration, Run, add, open_run, read_runs

pytestmark = pytest.mark.slow

PLAN = Plan(data="made up", start="100 words", budget="100 words", rounds=2)
MNLP = {0: (0.4, 0.6, 0.74), 1: (0.4, 0.64, 0.75)}
RANDOM = {0: (0.2, 0.4, 0.6), 1: (0.2, 0.44, 0.68)}


def write(
    root: Path, strategy: str, curves: Mapping[int, Sequence[float]], *, plan: Plan = PLAN, label: str = "PER"
) -> list[Run]:
    """Runs with these test F1 by seed, after 100, 200, … words; the seed's number is in each batch's ids."""
    runs = []
    for seed, curve in curves.items():
        run = open_run(root, plan, strategy, seed)
        for i, f1 in enumerate(curve):
            per_label = {label: {"precision": f1, "recall": f1, "f1": f1 / 2, "support": 7}}
            words, batch = 100 * (i + 1), [f"{i}-{seed}"] if i < plan.rounds else []
            scores = {"f1": f1, "per_label": per_label}
            run = add(run, Iteration(i, words // 10, words, scores, 0.1 * i, {"fit": 1.0 + i, "query": 0.5}, batch))
        runs.append(run)
    return runs


def write_full(root: Path, f1: float = 0.8, words: int = 1000, plan: Plan = PLAN) -> Run:
    run = open_run(root, plan, FULL, 0)
    return add(run, Iteration(0, words // 10, words, {"f1": f1}, 0.05, {"fit": 9.0, "evaluate": 1.0}, []))


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch) -> None:
    """Most of a report's time is spent on the PNGs' points."""
    monkeypatch.setitem(pictures._LOOKS, "savefig.dpi", 10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "small", "mnlp", MNLP)
    write(tmp_path / "small", "random", RANDOM)
    write_full(tmp_path / "small")
    return tmp_path / "small"


def tables(markdown: str) -> dict[str, dict[str, list[str]]]:
    """By caption, by the row's first cell, the others; the head is a row too."""
    found: dict[str, dict[str, list[str]]] = {}
    for caption, lines in re.findall(r"^\*\*(.+)\*\*\n\n((?:\|.*\n)+)", markdown, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines() if "---" not in line
        ]
        found[caption] = {first.strip("| "): [cell.strip("| ") for cell in others] for first, *others in rows}
    return found


def report_on(root: Path, corpora: Mapping[str, Corpus] | None = None) -> tuple[str, dict[str, dict[str, list[str]]]]:
    """The only chapter's Markdown, and its tables."""
    report = compare(list(read_runs(root)), root / "report", corpora)
    (chapter,) = report.chapters
    return chapter.file.read_text(), tables(chapter.file.read_text())


def test_f1_by_round_and_area_by_hand(root) -> None:
    """Areas: mnlp 0.585 and 0.6075, random 0.4 and 0.44; t(0.975; 1) = 12.706, so ± 12.706 · |a − b| / 2."""
    _, found = report_on(root)
    assert found["F1 on the test set (%)"] == {
        "strategy": ["round 1", "round 2", "area"],
        "mnlp": ["62.0", "74.5", "59.6 (45.3 to 73.9)"],
        "random": ["42.0", "64.0", "42.0 (16.6 to 67.4)"],
    }


def test_shares_by_hand(root) -> None:
    """0.72 is 90% of 0.8: mnlp reaches it at 200 + 100 · 0.12/0.14 = 285.7 and 200 + 100 · 0.08/0.11 = 272.7 words."""
    _, found = report_on(root)
    shares = found["Share of the pool's words (%) needed for a share of the full-data F1"]
    assert shares["strategy"] == ["90% (F1 72.0)", "95% (F1 76.0)", "98% (F1 78.4)", "99% (F1 79.2)"]
    assert shares["mnlp"] == ["27.9 (19.7 to 36.2)", *["> 30.0 (2 of 2 seeds not there)"] * 3]


def test_differences_by_hand(root) -> None:
    """0.185 and 0.1675: mean 0.17625 ± 12.706 · 0.00875; of the four sign flips two are as far from 0."""
    _, found = report_on(root)
    differences = found["Difference from random, seed by seed (area, in points of F1)"]
    assert differences["mnlp"] == ["+17.6", "+6.5 to +28.7", "0.500", "2", "better"]
    assert "random" not in differences


@pytest.mark.parametrize(
    ("curves", "verdict"),
    [
        ({0: (0.1, 0.1, 0.1), 1: (0.1, 0.12, 0.18)}, "worse"),
        ({0: (0.9, 0.9, 0.9), 1: (0, 0, 0)}, "no clear difference"),
    ],
)
def test_verdicts(tmp_path, curves, verdict) -> None:
    write(tmp_path / "small", "random", RANDOM)
    write(tmp_path / "small", "badge", curves)
    _, found = report_on(tmp_path / "small")
    assert found["Difference from random, seed by seed (area, in points of F1)"]["badge"][-1] == verdict


def test_seconds_calibration_and_labels(root) -> None:
    """Fit takes 1, 2 and 3 s; the calibration error is 0, 10 and 20%; a label's F1 is half of the whole."""
    _, found = report_on(root)
    assert found["Seconds of an iteration"]["mnlp"] == ["2.00", "0.50"]
    assert found["Expected calibration error (%)"]["random"] == ["10.0", "20.0"]
    labels = found["F1 of each label (%) after round 2"]
    assert labels == {"label": ["in the test set", "mnlp", "random", FULL], "PER": ["7", "37.2", "32.0", "–"]}


def test_settings_are_those_that_differ(tmp_path) -> None:
    plan = PLAN.model_copy(update={"tagger_options": {"iterations": 7}, "warm_start": True})
    write(tmp_path / "small", "mnlp", MNLP, plan=plan)
    settings = report_on(tmp_path / "small")[1]["What was run"]
    assert settings["tagger options"] == ['{"iterations": 7}']
    assert settings["warm start"] == ["true"]
    assert settings["seeds"] == ["mnlp: 2 (0, 1); full data: none"]
    assert f"numpy {np.__version__}" in settings["versions"][0]
    assert not {"filter", "adapt", "dev share", "acquisition"} & set(settings)


def test_unfinished_runs_are_told_and_compared_on_common_ground(root) -> None:
    """Seed 2 of mnlp ends after round 1, seed 3 has not begun: mnlp's and all areas end at 200 words."""
    write(root, "mnlp", {2: (0.4, 0.62)})
    open_run(root, PLAN, "mnlp", 3)
    text, found = report_on(root)
    assert "Not finished: mnlp, seed 2 (round 1 of 2 done); mnlp, seed 3 (nothing done yet)." in text
    assert "seeds of mnlp have finished different numbers of rounds" in text
    assert "ends with round 1" in text and "over 100 to 200 words" in text
    rows = found["F1 on the test set (%)"]
    assert rows["mnlp"][:2] == ["62.0", "–"]
    assert rows["random"] == ["42.0", "64.0", "31.0 (18.3 to 43.7)"]
    assert "F1 of each label (%) after round 1" in found
    assert found["Seconds of an iteration"]["random"] == ["1.50", "0.50"]


def test_a_failed_run_says_so(root) -> None:
    (run,) = write(root, "badge", {0: (0.4,)})
    (run.folder / "error.txt").write_text("Traceback")
    text, found = report_on(root)
    assert "badge, seed 0 (round 0 of 2 done, ended with an error)" in text
    assert found["F1 on the test set (%)"]["badge"] == ["–", "–", "–"], "a point is no curve, and takes no other's away"
    assert found["F1 on the test set (%)"]["mnlp"][-1] == "59.6 (45.3 to 73.9)"


def test_a_pool_that_ran_dry_is_an_end(tmp_path) -> None:
    run = open_run(tmp_path / "small", PLAN, "mnlp", 0)
    add(run, Iteration(0, 10, 100, {"f1": 0.5}, 0.1, {"fit": 1.0}, []))
    assert "Not finished" not in report_on(tmp_path / "small")[0]


def test_finished_runs_are_not_called_unfinished(root) -> None:
    text, _ = report_on(root)
    assert "Not finished" not in text and "One seed" not in text and "no-full" not in text


def test_one_seed_has_no_interval(tmp_path) -> None:
    write(tmp_path / "small", "mnlp", {0: MNLP[0]})
    write(tmp_path / "small", "random", {0: RANDOM[0]})
    write_full(tmp_path / "small")
    text, found = report_on(tmp_path / "small")
    assert "One seed only of mnlp and random" in text
    assert found["F1 on the test set (%)"]["mnlp"][-1] == "58.5 (–)"
    shares = found["Share of the pool's words (%) needed for a share of the full-data F1"]
    assert shares["mnlp"][0] == "28.6 (–)"
    differences = found["Difference from random, seed by seed (area, in points of F1)"]
    assert differences["mnlp"] == ["+18.5", "–", "–", "1", "one seed"]


def test_without_full_data_the_way_to_it_is_told(tmp_path) -> None:
    write(tmp_path / "small", "mnlp", MNLP)
    text, found = report_on(tmp_path / "small")
    assert "without “--no-full”" in text
    assert not [caption for caption in found if "Share of the pool" in caption]


def test_versions_that_differ_are_told(root) -> None:
    card = root / "mnlp" / "seed-0" / "run.json"
    content = json.loads(card.read_text())
    content["versions"]["torch"] = "1.0"
    card.write_text(json.dumps(content))
    text, found = report_on(root)
    assert "different versions of torch" in text
    assert "torch 1.0 or " in found["What was run"]["versions"][0]


def test_nothing_begun(tmp_path) -> None:
    open_run(tmp_path / "small", PLAN, "mnlp", 0)
    text, found = report_on(tmp_path / "small")
    assert "mnlp, seed 0 (nothing done yet)" in text and "nothing to compare" in text
    assert list(found) == ["What was run"]
    with pytest.raises(ValueError, match="no runs to compare"):
        compare([], tmp_path / "report")


def sentence(id: str, label: str) -> Sentence:
    return Sentence.from_words(id, [f"word{id}", "and"], (Span(0, 4, label),))


@pytest.fixture
def corpus() -> Corpus:
    """Batches `i-seed` hold a PER for seed 0 and a LOC for seed 1; the rest of the pool LOC."""
    chosen = [sentence(f"{i}-{seed}", ("PER", "LOC")[seed]) for i in range(2) for seed in range(2)]
    pool = [*chosen, *(sentence(str(i), "LOC") for i in range(4))]
    return Corpus("made up", pool, [], {one.id: "mail" if one.id[0] == "0" else "news" for one in pool})


def test_mixes_against_the_pool(root, corpus) -> None:
    """In the pool 2 of 8 spans are PER, and 3 of 8 ids begin with 0 (mail); a run takes one batch of each kind."""
    _, found = report_on(root, {"made up": corpus})
    labels = found["Labels of the batches (% of their spans)"]
    assert labels == {
        "label": ["pool", "mnlp", "random"],
        "LOC": ["75.0", "50.0", "50.0"],
        "PER": ["25.0", "50.0", "50.0"],
    }
    groups = found["Groups of the batches (% of their sentences)"]
    assert groups["mail"] == ["37.5", "50.0", "50.0"]


def test_batches_by_hand(root, corpus) -> None:
    """Seed 0 chose 0-0 (entropy 1) of 8, then 1-0 (entropy 3) of 7; with all others they share the word "and"."""
    ids = [one.id for one in corpus.train]
    entropies = [{"0-0": 1.0, "1-0": 3.0}.get(id, 9.0) for id in ids]
    np.savez(root / "full-data" / "seed-0" / "entropies.npz", ids=np.array(ids), entropies=entropies)
    _, found = report_on(root, {"made up": corpus})
    diversity = (1 / 9 + 1 / 8) / 2
    assert found["What the batches were like"]["mnlp"] == ["2.000", f"{diversity:.3f}"]
    assert (root / "report" / "small-batches.svg").is_file()


def test_the_geometry_of_batches_by_brute_force(root, corpus) -> None:
    vectors = np.random.default_rng(0).normal(size=(len(corpus.train), 3)).astype(np.float32)
    lines = read_runs(root / "mnlp")
    report = compare([*lines], root / "report", {"made up": corpus}, {"made up": vectors})
    (table,) = [one for one in report.chapters[0].tables if one.caption == "What the batches were like"]
    diversity, density = [], []
    for name in ("0-0", "1-0"):
        (chosen,) = [i for i, one in enumerate(corpus.train) if one.id == name]
        far = [math.dist(vector, vectors[chosen]) for vector in vectors]
        diversity.append(len(far) / sum(far))
        cosines = [float(a @ vectors[chosen] / np.linalg.norm(a) / np.linalg.norm(vectors[chosen])) for a in vectors]
        density.append((sum(cosines) - 1) / (len(cosines) - 1))  # of so few, all others are the nearest 10
    assert table.columns == ("strategy", "diversity", "density")
    assert table.rows == (("mnlp", f"{np.mean(diversity):.3f}", f"{np.mean(density):.3f}"),)


def test_another_corpus_is_refused(root, corpus) -> None:
    other = Corpus("other", corpus.train[1:], [], {})
    with pytest.raises(ValueError, match=r"seed-0 chose sentence '0-0', which the corpus 'made up' does not have"):
        report_on(root, {"made up": other})


class Balanced(HTMLParser):
    """Raises AssertionError where a tag is not closed in order."""

    VOID = frozenset({"meta", "br", "img", "input", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_sound_and_needs_nothing_else(root, tmp_path) -> None:
    write(tmp_path / "other", "random", RANDOM, plan=PLAN.model_copy(update={"rounds": 3}))
    report = compare(list(read_runs(tmp_path)), tmp_path / "report")
    text = report.page.read_text()
    balanced = Balanced()
    balanced.feed(text)
    assert balanced.open == []
    page = Page(text)
    assert page.css_first("html").attributes["lang"] == "en"
    assert page.css_first("meta[name=viewport]") and "prefers-color-scheme: dark" in text
    assert [heading.text() for heading in page.css("h2")] == ["other", "small"]
    assert len(page.css("figure svg")) == 4
    for table in page.css("table"):
        assert table.css_first("caption").text()
        assert all(head.attributes.get("scope") in ("col", "row") for head in table.css("th"))
    ids = [node.attributes["id"] for node in page.css("[id]")]
    assert len(ids) == len(set(ids))
    assert not page.css("script, link, img, iframe, object, image, [src], [onload]")
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', text))
    assert "@import" not in text and not re.findall(r"url\((?!#)", text)
    assert str(tmp_path) not in text


def test_page_tells_the_same_numbers(root) -> None:
    report = compare(list(read_runs(root)), root / "report")
    page = Page(report.page.read_text())
    shown = {
        table.css_first("caption").text(): [[cell.text() for cell in row.css("th, td")] for row in table.css("tr")]
        for table in page.css("table")
    }
    assert shown == {
        table.caption: [list(row) for row in (table.columns, *table.rows)] for table in report.chapters[0].tables
    }


HOSTILE = "<img src=x onerror=alert(1)>"


def test_hostile_names_stay_text(tmp_path) -> None:
    plan = PLAN.model_copy(update={"data": "</style><script>alert(1)</script>"})
    root = tmp_path / '<b onclick="x">&'
    write(root, HOSTILE, MNLP, plan=plan, label='"><script>alert(2)</script> | `a` [b](c)')
    report = compare(list(read_runs(root)), tmp_path / "report")
    page = Page(report.page.read_text())
    assert not page.css("script, img, b, [onerror], [onclick]")
    shown = page.css_first("body").text()
    for name in (HOSTILE, plan.data, '<b onclick="x">&', '"><script>alert(2)</script> | `a` [b](c)'):
        assert name in shown
    markdown = report.chapters[0].file.read_text()
    assert not re.search(r"(?<!\\)<", markdown), "no HTML"
    assert r"\"><" not in markdown and r"\| \`a\` \[b\](c)" in markdown, "no cell, code or link of a name's making"
    assert report.chapters[0].file.parent == tmp_path / "report"


def test_the_same_bytes_every_time(root, corpus, tmp_path) -> None:
    runs = list(read_runs(root))
    compare(runs, tmp_path / "first", {"made up": corpus})
    compare(runs[::-1], tmp_path / "second", {"made up": corpus})
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_plans_are_chapters_of_their_own(tmp_path) -> None:
    """Folders of one name do not write over each other, and one plan's runs in two folders are compared together."""
    write(tmp_path / "a" / "small", "mnlp", MNLP)
    write(tmp_path / "b" / "small", "random", RANDOM)
    write(tmp_path / "c" / "small", "random", {0: (0.1, 0.1, 0.1)}, plan=PLAN.model_copy(update={"tagger": "window"}))
    report = compare(list(read_runs(tmp_path)), tmp_path / "report")
    assert [chapter.name for chapter in report.chapters] == ["small", "small (2)"]
    assert [chapter.file.name for chapter in report.chapters] == ["small.md", "small-2.md"]
    assert list(tables(report.chapters[0].file.read_text())["F1 on the test set (%)"]) == ["strategy", "mnlp", "random"]


def test_of_the_same_run_twice_the_longer_one_counts(tmp_path) -> None:
    write(tmp_path / "a" / "small", "mnlp", {0: (0.1, 0.1)})
    write(tmp_path / "b" / "small", "mnlp", {0: MNLP[0]})
    _, found = report_on(tmp_path)
    assert found["F1 on the test set (%)"]["mnlp"] == ["60.0", "74.0", "58.5 (–)"]


def test_long_tables_are_folded(tmp_path) -> None:
    run = open_run(tmp_path / "small", PLAN, "mnlp", 0)
    of_label = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1}
    add(
        run,
        Iteration(0, 10, 100, {"f1": 0.5, "per_label": {f"L{i:02}": of_label for i in range(40)}}, 0.1, {"fit": 1.0}),
    )
    report = compare(list(read_runs(tmp_path)), tmp_path / "report")
    (folded,) = Page(report.page.read_text()).css("details")
    assert folded.css_first("summary").text() == "F1 of each label (%) after round 0"
    assert len(folded.css("tbody tr")) == 40


def printed(root: Path) -> str:
    console = Console(width=200, file=StringIO())
    for table in console_tables(compare(list(read_runs(root)), root / "report")):
        console.print(table)
    return console.file.getvalue()


def test_the_terminal_shows_the_same(root) -> None:
    text = printed(root)
    assert "59.6 (45.3 to 73.9)" in text and "+6.5 to +28.7" in text and "better" in text


def test_the_terminal_takes_no_markup_from_names(tmp_path) -> None:
    write(tmp_path / "small", "[red]mnlp", MNLP)
    assert "[red]mnlp" in printed(tmp_path / "small")
