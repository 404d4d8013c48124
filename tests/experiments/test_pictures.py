"""The pictures of a comparison: what they show, and that they can be told apart without colours."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from experiments.pictures import COLOURS, INK, PAPER, batches, durations, inline, learning_curves, styles
from experiments.plan import FULL, Plan
from experiments.results import Iteration, Run
from strategies import STRATEGIES

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
DARK = "#14171a"


def run(strategy: str, seed: int, words: list[int], f1: list[float]) -> Run:
    rounds = zip(range(len(words)), words, f1, strict=True)
    done = tuple(Iteration(i, n // 10, n, {"f1": f}, 0.1, {"fit": 1.0, "query": 0.5}) for i, n, f in rounds)
    return Run(Path("nowhere"), Plan(data="x", rounds=2), strategy, seed, done)


@pytest.fixture
def runs() -> dict[str, list[Run]]:
    words = [100, 200, 300]
    return {
        "mnlp": [run("mnlp", 0, words, [0.4, 0.6, 0.74]), run("mnlp", 1, words, [0.4, 0.64, 0.76])],
        "random": [run("random", 0, words, [0.2, 0.4, 0.6]), run("random", 1, words, [0.2, 0.5, 0.7])],
    }


@pytest.fixture
def full() -> list[Run]:
    return [run(FULL, 0, [1000], [0.8])]


def texts(svg: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(svg).iter(f"{SVG}text")]


def lines(svg: Path) -> list[tuple[dict[str, str], np.ndarray]]:
    """Style and points of each line of data."""
    found = []
    for path in ElementTree.parse(svg).iter(f"{SVG}path"):
        style = dict(re.findall(r"([\w-]+): ([^;]+)", path.get("style", "")))
        if style.get("fill") == "none" and path.get("clip-path"):
            found.append((style, np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d", "")), float)))
    return found


def test_points_are_the_means_over_seeds(runs, full, tmp_path) -> None:
    """Heights measured by the two lines that the picture draws at 80% and 79.2%."""
    learning_curves(runs, full, tmp_path / "curves")
    found = lines(tmp_path / "curves.svg")
    at_80, at_792 = sorted(
        p[0, 1] for style, p in found if style.get("stroke") == INK and style["stroke-width"] == "0.8"
    )
    colour = styles(runs)["mnlp"].colour
    curve = next(points for style, points in found if style.get("stroke") == colour)
    percents = 80 - 0.8 * (curve[:, 1] - at_80) / (at_792 - at_80)
    assert percents == pytest.approx([40, 62, 75], abs=0.05)
    assert curve[1, 0] - curve[0, 0] == pytest.approx(curve[2, 0] - curve[1, 0])


def test_full_data_and_axes_are_told(runs, full, tmp_path) -> None:
    learning_curves(runs, full, tmp_path / "curves")
    shown = texts(tmp_path / "curves.svg")
    assert {"full data: 80.0", "99% of it: 79.2", "share of the pool's words (%)", "words labelled"} <= set(shown)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_legend_is_in_the_order_of_the_ends(runs, full, tmp_path) -> None:
    learning_curves(dict(reversed(runs.items())), full, tmp_path / "curves")
    shown = texts(tmp_path / "curves.svg")
    assert shown.index("mnlp") < shown.index("random")


def test_no_full_data_no_lines_and_no_share(runs, tmp_path) -> None:
    learning_curves(runs, [], tmp_path / "without")
    learning_curves(runs, [], tmp_path / "known", pool=1000)
    assert not [text for text in texts(tmp_path / "without.svg") if "full data" in text or "share" in text]
    assert "share of the pool's words (%)" in texts(tmp_path / "known.svg")


def test_a_band_needs_two_seeds(runs, tmp_path) -> None:
    def bands(svg: Path) -> int:
        return sum(group.get("id", "").startswith("FillBetween") for group in ElementTree.parse(svg).iter(f"{SVG}g"))

    learning_curves(runs, [], tmp_path / "two")
    learning_curves({name: of[:1] for name, of in runs.items()}, [], tmp_path / "one")
    assert bands(tmp_path / "two.svg") == len(runs)
    assert bands(tmp_path / "one.svg") == 0


def test_what_has_not_begun_is_left_out(runs, tmp_path) -> None:
    learning_curves({**runs, "badge": [run("badge", 0, [], [])]}, [], tmp_path / "curves")
    assert "badge" not in texts(tmp_path / "curves.svg")


def test_ten_strategies_have_ten_lines_and_ten_markers() -> None:
    chosen = list(styles(["random", *sorted(STRATEGIES)[:9]]).values())
    assert len({str(style.dashes) for style in chosen}) == len(chosen) == len({style.marker for style in chosen})


def test_all_strategies_differ_without_colours() -> None:
    chosen = styles(STRATEGIES)
    assert len({(str(style.dashes), style.marker) for style in chosen.values()}) == len(STRATEGIES)


def test_curves_are_drawn_with_those_lines(tmp_path) -> None:
    names = ["random", *sorted(set(STRATEGIES) - {"random"})[:9]]
    runs = {name: [run(name, 0, [100, 200], [0.1, 0.3 + i / 100])] for i, name in enumerate(names)}
    learning_curves(runs, [], tmp_path / "curves")
    curves = [style for style, points in lines(tmp_path / "curves.svg") if style.get("stroke-width") == "1.4"]
    assert len({style.get("stroke-dasharray") for style in curves}) == len(names)


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("ground", [PAPER, DARK])
def test_colours_stand_out_on_light_and_dark(colour: str, ground: str) -> None:
    lighter, darker = sorted([luminance(colour), luminance(ground)], reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_the_same_bytes_every_time(runs, full, tmp_path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        learning_curves(runs, full, tmp_path / name / "curves")
        durations({"mnlp": {"fit": 2.0, "query": 1.0}}, tmp_path / name / "seconds")
        batches({"mnlp": [(0.1, 0.2)]}, tmp_path / name / "batches")
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("first", "second"))
    assert len(first) == 6
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_names_are_shown_as_they_are(tmp_path) -> None:
    names = ["$x^", "_hidden", "<script>alert(1)</script>", 'a "b" & c']
    runs = {name: [run(name, 0, [100, 200], [0.1, 0.2])] for name in names}
    learning_curves(runs, [], tmp_path / "curves")
    durations({name: {"fit": 1.0} for name in names}, tmp_path / "seconds")
    batches({name: [(0.1, 0.2)] for name in names}, tmp_path / "batches")
    for picture in ("curves", "seconds", "batches"):
        assert set(names) <= set(texts(tmp_path / f"{picture}.svg"))


def test_durations_name_steps_and_totals(tmp_path) -> None:
    durations({"mnlp": {"fit": 2.0, "query": 1.5}, "random": {"fit": 2.0}}, tmp_path / "seconds")
    shown = texts(tmp_path / "seconds.svg")
    assert {"mnlp", "random", "fit", "query", "3.5 s", "2 s"} <= set(shown)
    assert "pattern" in (tmp_path / "seconds.svg").read_text(), "query is hatched"


def test_a_name_with_a_dot_keeps_it(runs, tmp_path) -> None:
    learning_curves(runs, [], tmp_path / "budget-0.5")
    assert {path.name for path in tmp_path.iterdir()} == {"budget-0.5.png", "budget-0.5.svg"}


def test_two_pictures_share_a_page(runs, full, tmp_path) -> None:
    """Their ids differ, and whatever they refer to is there; nothing keeps a colour that only paper bears."""
    learning_curves(runs, full, tmp_path / "one")
    durations({"mnlp": {"fit": 2.0, "query": 1.0}}, tmp_path / "two")
    page = f"<div>{inline(tmp_path / 'one.svg', 'a < b')}{inline(tmp_path / 'two.svg', 'two')}</div>"
    ids = [element.get("id") for element in ElementTree.fromstring(page).iter() if element.get("id")]
    referred = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', page))
    assert len(set(ids)) == len(ids)
    assert referred and {one or other for one, other in referred} <= set(ids)
    assert INK not in page and PAPER not in page and "currentColor" in page
    assert 'aria-label="a &lt; b"' in page
