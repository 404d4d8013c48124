"""Reports on runs: Markdown, pictures, and one HTML page that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import rich.table
from numpy.typing import NDArray

from experiments.comparison import Comparison
from experiments.corpora import Corpus
from experiments.findings import findings
from experiments.pictures import Style, batches, durations, inline, learning_curves, styles
from experiments.results import Run
from experiments.tables import Table, as_markdown, capital, listed

LONG = 25
"""Rows from which on a table of the page is folded up."""


@dataclass(frozen=True)
class Picture:
    """Of a chapter; there is a PNG and an SVG."""

    path: Path
    """Without suffix."""
    caption: str

    def file(self, suffix: str) -> Path:
        """The PNG or the SVG."""
        return self.path.with_name(f"{self.path.name}.{suffix}")


@dataclass(frozen=True)
class Chapter:
    """What there is to say on the runs of one plan."""

    name: str
    file: Path
    """Its Markdown."""
    notes: tuple[str, ...]
    """What to know before believing the tables."""
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    """All chapters as one HTML file."""
    chapters: tuple[Chapter, ...]


def compare(
    runs: Sequence[Run],
    folder: Path,
    corpora: Mapping[str, Corpus] | None = None,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
) -> Report:
    """Write a report on `runs` into `folder`: a chapter for each plan, and `report.html` with all of them.

    By a plan's `data`: `corpora`, for what only the texts can tell, and `vectors` of their pools.
    Raises ValueError if there are no runs, or if a corpus is not the one that a run chose from.
    """
    comparisons = list(_by_plan(runs, corpora or {}, vectors or {}))
    if not comparisons:
        raise ValueError("there are no runs to compare: begin with `python -m experiments run`")
    folder.mkdir(parents=True, exist_ok=True)
    style = styles(name for comparison in comparisons for name in comparison.runs)
    chapters = tuple(_chapter(comparison, folder, style) for comparison in comparisons)
    for chapter in chapters:
        chapter.file.write_text(_markdown(chapter), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(_html(chapters), encoding="utf-8")
    return Report(page, chapters)


def console_tables(report: Report) -> list[rich.table.Table]:
    """The same tables for the terminal, each with its chapter's name where there are several."""
    named = len(report.chapters) > 1
    return [table.console(chapter.name if named else None) for chapter in report.chapters for table in chapter.tables]


def _by_plan(
    runs: Sequence[Run], corpora: Mapping[str, Corpus], vectors: Mapping[str, NDArray[np.float32]]
) -> Iterator[Comparison]:
    """A comparison for each plan, named after the folder that its runs are in; no two names make the same file's."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.plan.model_dump_json(), []).append(run)
    stems: set[str] = set()
    for of_plan in groups.values():
        plan = of_plan[0].plan
        wanted = name = of_plan[0].folder.parent.parent.name or plan.data
        number = 1
        while _stem(name) in stems:
            number += 1
            name = f"{wanted} ({number})"
        stems.add(_stem(name))
        corpus, of_pool = corpora.get(plan.data), vectors.get(plan.data)
        if corpus is not None and corpus.kind != plan.kind:  # other labels of the same texts
            corpus = of_pool = None
        yield Comparison(name, plan, _one_each(of_plan), corpus, of_pool)


def _stem(name: str) -> str:
    """A file's name for it."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.").lower() or "runs"


def _one_each(runs: Sequence[Run]) -> list[Run]:
    """The run of each strategy and seed that is furthest, of those that were begun in several folders."""
    furthest: dict[tuple[str, int], Run] = {}
    for run in runs:
        known = furthest.setdefault((run.strategy, run.seed), run)
        if len(run.iterations) > len(known.iterations):
            furthest[run.strategy, run.seed] = run
    return [furthest[key] for key in sorted(furthest)]


def _chapter(comparison: Comparison, folder: Path, style: Mapping[str, Style]) -> Chapter:
    stem = _stem(comparison.name)
    pictures = []
    if comparison.runs:
        curves = Picture(
            folder / f"{stem}-curves",
            f"{capital(comparison.measure)} on the test set by {comparison.plan.unit} labelled: mean and 95% band over "
            "seeds",
        )
        learning_curves(
            comparison.runs,
            comparison.full,
            curves.path,
            pool=comparison.pool_labels,
            measure=comparison.measure,
            style=style,
        )
        seconds = Picture(folder / f"{stem}-seconds", "Seconds of an iteration: training, and choosing the next batch")
        durations(
            {
                name: {step: of[step] for step in ("fit acquisition", "fit", "query") if step in of}
                for name, of in comparison.step_seconds().items()
            },
            seconds.path,
        )
        pictures += [curves, seconds]
    if comparison.batch_points:
        of_batches = Picture(folder / f"{stem}-batches", "Each batch of one seed: how uncertain, and how diverse")
        batches(comparison.batch_points, of_batches.path, style=style)
        pictures.append(of_batches)
    return Chapter(
        comparison.name, folder / f"{stem}.md", tuple(_notes(comparison)), tuple(pictures), tuple(findings(comparison))
    )


def _notes(comparison: Comparison) -> Iterator[str]:
    """What limits the tables."""
    if unfinished := comparison.unfinished():
        yield f"Not finished: {'; '.join(unfinished)}."
    if not comparison.runs:
        yield "No strategy has finished a round yet, so there is nothing to compare."
        return
    rounds = {name: sorted({len(run.iterations) - 1 for run in of}) for name, of in comparison.runs.items()}
    if ragged := [name for name, ends in rounds.items() if len(ends) > 1]:
        yield (
            f"The seeds of {listed(ragged)} have finished different numbers of rounds: means go only as far as all "
            "seeds of a strategy do (“–” beyond)."
        )
    if len({end for ends in rounds.values() for end in ends}) > 1:
        yield (
            "The runs do not all have the same number of rounds: areas, labels, seconds and batches are compared on "
            f"what all have in common, which ends with round {comparison.shared}."
        )
    if comparison.area_range is None and any(ends != [0] for ends in rounds.values()):
        yield (
            f"The curves share no range of {comparison.plan.unit}, so they have no areas to compare: run them with "
            "like budgets."
        )
    if alone := [name for name, of in comparison.runs.items() if len(of) == 1]:
        yield (
            f"One seed only of {listed(alone)}: an interval needs two, and is shown as “–”. For more: “python -m "
            "experiments run … --seeds 5”."
        )
    if not comparison.full:
        yield (
            "There is no run on all of the data, so the shares of labels needed are left out. “python -m experiments "
            "run …” without “--no-full” makes one."
        )
    if several := [library for library, known in comparison.versions().items() if len(known) > 1]:
        yield f"The runs were begun with different versions of {listed(several)}."


def _markdown(chapter: Chapter) -> str:
    parts = [f"# {as_markdown(chapter.name)}", *(f"> {as_markdown(note)}" for note in chapter.notes)]
    parts += [f"![{as_markdown(picture.caption)}]({picture.file('png').name})" for picture in chapter.pictures]
    return "\n\n".join([*parts, *(table.markdown() for table in chapter.tables)]) + "\n"


def _html(chapters: Sequence[Chapter]) -> str:
    contents = "".join(f'<li><a href="#c{i}">{escape(chapter.name)}</a></li>' for i, chapter in enumerate(chapters))
    body = "\n".join(_section(chapter, f"c{i}") for i, chapter in enumerate(chapters))
    navigation = f'<nav aria-label="Experiments"><ul>{contents}</ul></nav>\n' if len(chapters) > 1 else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Query strategies compared</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Query strategies compared</h1>
{navigation}<main>
{body}
</main>
</body>
</html>
"""


def _section(chapter: Chapter, id: str) -> str:
    parts = [f'<section aria-labelledby="{id}">', f'<h2 id="{id}">{escape(chapter.name)}</h2>']
    if chapter.notes:
        parts.append('<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in chapter.notes) + "</ul>")
    for picture in chapter.pictures:
        drawn = inline(picture.file("svg"), picture.caption)
        parts.append(
            f'<figure><div class="wide" role="region" tabindex="0" aria-label="{escape(picture.caption)}">{drawn}</div>'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        )
    for i, table in enumerate(chapter.tables):
        written = table.html(f"{id}-t{i}")
        if len(table.rows) >= LONG:
            written = f"<details><summary>{escape(table.caption)}</summary>\n{written}\n</details>"
        parts.append(written)
    return "\n".join([*parts, "</section>"])


_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #c9ced6; --soft: #f3f5f8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #14171a; --line: #414852; --soft: #1f242a } }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line) }
a { color: inherit }
.notes { padding: .75rem 1rem .75rem 2rem; background: var(--soft); border-left: .25rem solid var(--line) }
.wide { overflow-x: auto }
figure { margin: 1.5rem 0 }
figure svg { display: block; width: 100%; min-width: 22rem; max-width: 46rem; height: auto }
figcaption, table + p, .wide + p { font-size: .875rem }
table { border-collapse: collapse; margin-top: 1.5rem; font-variant-numeric: tabular-nums; font-size: .9rem }
caption { text-align: left; font-weight: 600; padding-bottom: .25rem }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td, thead th { text-align: right }
th:first-child, .texts td, .texts th { text-align: left }
tbody th { font-weight: 500 }
td { white-space: nowrap }
.texts td { white-space: normal }
summary { margin-top: 1.5rem; cursor: pointer; font-weight: 600 }
@media print { .wide { overflow: visible } }
"""
