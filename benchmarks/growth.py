"""How a cost grows with the size of a pool: slopes in log-log, tables and pictures of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from experiments import pictures

LEAST_BYTES = 1e6
"""Less memory than that counts as that: a process takes its memory in pages, and its extra would be chance."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a pool of one size."""

    seconds: float
    ranking: float
    """Of these, the seconds that ranking took; the rest was measuring."""
    bytes: float
    """The peak of what the process held on top of what it held before."""


Costs = Mapping[int, Cost]
"""By the size of the pool."""


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The p of the best fit of value = c·size^p, by least squares of the logarithms; NaN for fewer than two."""
    if len(sizes) < 2:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def series(costs: Costs) -> dict[str, list[float]]:
    """What is told of a pool of each size, in order of size; seconds, and bytes."""
    of = [costs[size] for size in sorted(costs)]
    return {
        "seconds": [max(cost.seconds, 1e-6) for cost in of],
        "bytes": [max(cost.bytes, LEAST_BYTES) for cost in of],
    }


def predicted(costs: Costs, size: int) -> Cost:
    """What a larger pool would take, by the slope of the last two sizes, but at least in proportion to the size: what
    is the same for every pool (a process's own memory, say) makes small pools look cheaper to enlarge than they are.
    """
    sizes = sorted(costs)
    grown = {}
    for name, values in series(costs).items():
        last = slope(sizes[-2:], values[-2:])
        grown[name] = values[-1] * (size / sizes[-1]) ** (max(last, 1.0) if math.isfinite(last) else 1.0)
    return Cost(grown["seconds"], math.nan, grown["bytes"])


def refusal(costs: Costs, size: int, seconds: float, most_bytes: float) -> str | None:
    """Why a pool of that size is not tried, if its predicted cost is over these limits."""
    if not costs:
        return None
    cost = predicted(costs, size)
    reasons = [duration(cost.seconds)] if cost.seconds > seconds else []
    reasons += [f"{cost.bytes / 1e9:.3g} GB"] if cost.bytes > most_bytes else []
    return f"not run: about {' and '.join(reasons)} by its slope" if reasons else None


def duration(seconds: float) -> str:
    """In the unit that people would say it in."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def tables(
    costs: Mapping[str, Costs], sizes: Sequence[int], refused: Mapping[tuple[str, int], str], kept: Mapping[str, int]
) -> str:
    """In Markdown: time and memory, a row a name; `kept` are the bytes that each keeps of a sentence."""
    heads = [f"{size:,}" for size in sizes]

    def rows(what: str) -> Iterator[list[str]]:
        for name, of in costs.items():
            cells = []
            for size in sizes:
                cost = of.get(size)
                shown = refused.get((name, size), "–")
                if cost is not None:
                    shown = f"{cost.bytes / 1e9:.2f}" if what == "bytes" else f"{cost.seconds:.3g} ({cost.ranking:.2g})"
                cells.append(shown)
            values = series(of)[what]
            fits = (slope(sorted(of), values), slope(sorted(of)[-2:], values[-2:]))
            yield [name, *cells, *(f"{fit:.2f}" if math.isfinite(fit) else "–" for fit in fits)]

    seconds = markdown(["seconds (of these ranking)", *heads, "slope", "last slope"], list(rows("seconds")))
    of_memory = [[name, f"{kept[name]:,}", *rest] for name, *rest in rows("bytes")]
    memory = markdown(["extra peak memory, GB", "bytes kept a sentence", *heads, "slope", "last slope"], of_memory)
    return f"{seconds}\n\n{memory}\n"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, numbers to the right."""
    rules = ["---", *("---:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def draw(costs: Mapping[str, Costs], what: str, path_without_suffix: Path) -> None:
    """`what` ("seconds" or "bytes") against the size, both axes logarithmic, as PNG and SVG; grey lines rise in
    proportion to the size. The legend's order is that of the lines' ends."""
    shown = {name: of for name, of in costs.items() if of}
    styles = pictures.styles(shown)
    with pictures.drawing(path_without_suffix, 4.4, list(shown)) as axes:
        axes.set(xscale="log", yscale="log", xlabel="sentences in the pool")
        axes.set_ylabel("seconds" if what == "seconds" else "extra peak memory (GB)")
        ends = []
        for name, of in shown.items():
            values = np.array(series(of)[what]) / (1 if what == "seconds" else 1e9)
            axes.plot(sorted(of), values, **styles[name].line())
            ends.append((-max(of), -values[-1], name))
        _guides(axes)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:g}")
        names = [name for *_, name in sorted(ends)]
        pictures.legend(axes, [Line2D([], [], **styles[name].line()) for name in names], names)


def _guides(axes: Axes) -> None:
    """Lines of slope 1, a decade apart, within what is drawn."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for decade in range(math.floor(math.log10(low / right)), math.ceil(math.log10(high / left)) + 1):
        axes.plot([left, right], [left * 10.0**decade, right * 10.0**decade], color="#b0b0b0", linewidth=0.5, zorder=0)
    axes.set(xlim=(left, right), ylim=(low, high))
