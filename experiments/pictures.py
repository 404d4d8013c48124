"""Pictures of a comparison as PNG and SVG: readable in black and white, and the same bytes every time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from experiments.curves import common_range, mean_curve
from experiments.plan import BASELINE
from experiments.results import Run

INK = "#1b1f24"
"""Text, axes and the baseline; a page in dark colours puts its own in its place."""
PAPER = "#ffffff"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#bf5f96", "#997700")
"""Told apart by the colour-blind (after Okabe & Ito 2008), 3:1 or more against white and against near-black."""
DASHES: tuple[Any, ...] = (
    (0, (5, 2)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (10, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
    (0, (1, 3)),
    (0, (10, 2, 3, 2)),
    (0, (3, 4)),
    (0, (12, 2, 1, 2, 1, 2)),
    (0, (2, 1)),
)
MARKERS = ("s", "^", "D", "v", "P", "X", "<", "*", ">", "p")

_WIDTH = 5.6
"""Inches: on a phone's screen the letters can still be read."""
_LOOKS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "active-tagger",
    "text.parse_math": False,  # a "$" in a name is a "$"
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # which has the same widths
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.35,
    "grid.color": "#808080",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "savefig.dpi": 200,
}


@dataclass(frozen=True, slots=True)
class Style:
    """How a strategy is drawn, in every picture."""

    colour: str
    dashes: Any
    """Matplotlib's line style."""
    marker: str

    def line(self) -> dict[str, Any]:
        """Properties of a line of it."""
        return {**self.marks(), "linestyle": self.dashes, "linewidth": 1.4}

    def marks(self) -> dict[str, Any]:
        """Properties of its marks alone."""
        return {"color": self.colour, "linestyle": "", "marker": self.marker, "markersize": 4.5}


def styles(strategies: Iterable[str]) -> dict[str, Style]:
    """A style for each: `random` a solid line of ink with dots, the others by alphabet.

    Lines and markers are all different for up to eleven strategies, and the pair of them for up to 101.
    """
    chosen = {BASELINE: Style(INK, "-", "o")}
    for i, name in enumerate(sorted(set(strategies) - {BASELINE})):
        turn, place = divmod(i, len(DASHES))
        marker = MARKERS[(place + turn) % len(MARKERS)]
        chosen[name] = Style(COLOURS[i % len(COLOURS)], DASHES[place], marker)
    return chosen


def learning_curves(
    runs_by_strategy: Mapping[str, Sequence[Run]],
    full: Sequence[Run],
    path_without_suffix: Path,
    *,
    pool: int | None = None,
    measure: str = "F1",
    style: Mapping[str, Style] | None = None,
) -> None:
    """Mean test F1 (%), or what `measure` calls it, against the words (or sentences: `Plan.unit`) labelled, with a 95%
    band over seeds as far as all seeds of a strategy reach.

    `full` (may be empty) are the runs on everything: lines at their mean F1 and at 99% of it. A second axis tells the
    share of the pool where its size is known, from `full` or `pool`. The legend's order is that of the curves' ends.
    A strategy no run of which has an iteration is left out.
    """
    style = style or styles(runs_by_strategy)
    pool = pool or next((int(run.labelled[-1]) for run in full if run.iterations), None)
    unit = next((run.plan.unit for runs in runs_by_strategy.values() for run in runs), "words")
    ends: list[tuple[float, str]] = []
    with drawing(path_without_suffix, 4.0, list(runs_by_strategy)) as axes:
        curves = {name: [run for run in runs if run.iterations] for name, runs in runs_by_strategy.items()}
        for i, (name, begun) in enumerate((name, runs) for name, runs in curves.items() if runs):
            labels = _rounds_of(begun)
            mean, low, high = (100 * values for values in mean_curve(begun, labels))
            looks = style[name]
            if len(begun) > 1:
                band = low.clip(0, 100), high.clip(0, 100)
                axes.fill_between(labels, *band, color=looks.colour, alpha=0.13, linewidth=0)
            every = max(1, len(labels) // 7)  # and not all at the same place: curves may lie on each other
            axes.plot(labels, mean, **looks.line(), markevery=(i % every, every))
            ends.append((float(mean[-1]), name))
        ends.sort(key=lambda end: (-end[0], end[1]))
        handles, names = [Line2D([], [], **style[name].line()) for _, name in ends], [name for _, name in ends]
        _full_lines(axes, full)
        axes.set(xlabel=f"{unit} labelled", ylabel=f"test {measure} (%)")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if pool:
            share = (lambda labels: 100 * labels / pool, lambda percent: percent * pool / 100)
            above = axes.secondary_xaxis("top", functions=share)
            above.set_xlabel(f"share of the pool's {unit} (%)")
            above.spines["top"].set_visible(True)
        legend(axes, handles, names)


def durations(seconds: Mapping[str, Mapping[str, float]], path_without_suffix: Path) -> None:
    """Seconds of an iteration by strategy and step ("fit", "query", …), the first strategy at the top."""
    names = list(seconds)
    steps = list(dict.fromkeys(step for of in seconds.values() for step in of))
    hatches = ("", "////", "....", "xxxx", "----")
    with drawing(path_without_suffix, 0.6 + 0.3 * max(len(names), 2), steps) as axes:
        left = np.zeros(len(names))
        for i, step in enumerate(steps):
            width = np.array([seconds[name].get(step, 0.0) for name in names])
            axes.barh(
                range(len(names)), width, 0.62, left, label=step, linewidth=0.8, edgecolor=INK,
                facecolor=COLOURS[0] if i == 0 else PAPER, hatch=hatches[i % len(hatches)],
            )  # fmt: skip
            left += width
        for place, total in enumerate(left):
            axes.annotate(f"{total:.3g} s", (total, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel("seconds in an iteration (mean)")
        patches = [patch for patch in (bars[0] for bars in axes.containers) if isinstance(patch, Patch)]
        legend(axes, patches, steps)


def batches(
    points: Mapping[str, Sequence[tuple[float, float]]],
    path_without_suffix: Path,
    *,
    style: Mapping[str, Style] | None = None,
) -> None:
    """A mark per batch, (uncertainty, diversity), as in Yuan et al. 2020, figure 3 (eq. 3 and 4 define both)."""
    style = style or styles(points)
    with drawing(path_without_suffix, 4.0, list(points)) as axes:
        for name, of in points.items():
            uncertainty, diversity = np.array(of, np.float64).reshape(-1, 2).T
            axes.plot(uncertainty, diversity, **style[name].marks(), alpha=0.8)
        axes.set(xlabel="uncertainty of the batch", ylabel="diversity of the batch")
        legend(axes, [Line2D([], [], **style[name].marks()) for name in points], list(points))


def inline(svg: Path, description: str) -> str:
    """The picture as an element of an HTML page: no prologue, ids its own, ink and paper the page's."""
    text = svg.read_text(encoding="utf-8")
    element = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    prefix = re.sub(r"[^\w-]", "-", svg.stem)
    element = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", element)
    element = (
        element.replace(INK, "currentColor")
        .replace(f"fill: {PAPER}", "fill: none")
        .replace(f'fill="{PAPER}"', 'fill="none"')
    )
    return element.replace("<svg ", f'<svg role="img" aria-label="{_attribute(description)}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _rounds_of(runs: Sequence[Run]) -> NDArray[np.float64]:
    """Where marks stand: the mean labels at each round that all `runs` have, inside the range that all cover."""
    rounds = min(len(run.labelled) for run in runs)
    means = np.mean([run.labelled[:rounds] for run in runs], axis=0)
    return np.unique(np.clip(means, *common_range(runs)))


def _full_lines(axes: Axes, full: Sequence[Run]) -> None:
    done = [float(run.f1[-1]) for run in full if run.iterations]
    if not done:
        return
    for share, dashes, name in ((1.0, "-", "full data"), (0.99, (0, (4, 3)), "99% of it")):
        height = 100 * share * float(np.mean(done))
        axes.axhline(height, color=INK, linestyle=dashes, linewidth=0.8, zorder=1)
        above = share == 1
        axes.annotate(
            f"{name}: {height:.1f}", (0.995, height), (0, 2 if above else -2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", va="bottom" if above else "top", fontsize=8,
        )  # fmt: skip


def _columns(names: Sequence[str]) -> int:
    """As many as the width has room for: a letter takes about a thirteenth of an inch."""
    return max(1, int(_WIDTH / (1 + max(map(len, names), default=0) / 13)))


def legend(axes: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Below the axes, so that a narrow screen shows it; names as they are, also those that begin with an underscore."""
    if names and isinstance(figure := axes.figure, Figure):
        looks: dict[str, Any] = {
            "loc": "outside lower center",
            "ncols": _columns(names),
            "handlelength": 4.5,
            "columnspacing": 1.5,
        }
        figure.legend(list(handles), list(names), **looks)


@contextmanager
def drawing(path_without_suffix: Path, height: float, names: Sequence[str]) -> Iterator[Axes]:
    """Axes to draw on, about `height` inches, and room for a legend of `names`; both files are written at the end."""
    with matplotlib.rc_context(_LOOKS):
        rows = -(-len(names) // _columns(names))
        figure = Figure((_WIDTH, height + 0.18 * rows + 0.1), layout="constrained")
        yield figure.subplots()
        nameless: dict[str, dict[str, Any]] = {
            "png": {"Software": None},
            "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        }
        for suffix, metadata in nameless.items():
            path = path_without_suffix.with_name(f"{path_without_suffix.name}.{suffix}")
            figure.savefig(path, metadata=metadata)
