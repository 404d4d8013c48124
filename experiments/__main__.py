"""`python -m experiments`: which query strategy would have saved the most labels, on your data or on the papers'."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from experiments.execution import Experiment, corpus_of, execute
from experiments.measures import encoder_vectors
from experiments.plan import FULL, Plan
from experiments.presets import PRESETS, Preset
from experiments.report import LONG, console_tables
from experiments.report import compare as write_report
from experiments.results import Run, read_runs
from learning.settings import in_words

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console()

Runs = Annotated[Path, typer.Option(help="Folder that all runs are kept in.")]
Corpora = Annotated[
    Path, typer.Option(envvar="ACTIVE_TAGGER_CORPORA", help="Folder with the public corpora that are known by name.")
]
RUNS, CORPORA = Path("runs"), Path("corpora")


@app.command()
def run(
    data: Annotated[
        str | None, typer.Option(help="A corpus by name, a Label Studio JSON export, or files in CoNLL columns.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A paper's settings; see `presets`. The rest overrides.")] = None,
    tagger: Annotated[str | None, typer.Option(help="Trained for use, and evaluated.")] = None,
    option: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the tagger; repeat it.")] = None,
    strategy: Annotated[str | None, typer.Option(help="One or several, with commas.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many (0, 1, …), or which ones, with commas.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Labelled at random first: '2%', '500 words' or '50 sentences'.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Labelled in each round.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Batches chosen.")] = None,
    acquisition: Annotated[str | None, typer.Option(help="Tagger that ranks in the other's stead.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=JSON", help="Any other field of the plan; repeat it.")
    ] = None,
    full: Annotated[bool, typer.Option(help="Also train on everything, as the reference.")] = True,
    name: Annotated[str | None, typer.Option(help="Folder of these runs (default: data and tagger).")] = None,
    runs: Runs = RUNS,
    corpora: Corpora = CORPORA,
    processes: Annotated[int, typer.Option(min=1, help="Runs side by side.")] = os.cpu_count() or 1,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster to run on, 'auto' or 'local'; --data by its full path.")
    ] = None,
) -> None:
    """Simulate annotating with each strategy; started again, it goes on where it was."""
    given: dict[str, Any] = {
        "data": data,
        "tagger": tagger,
        "start": start,
        "budget": budget,
        "rounds": rounds,
        "acquisition": acquisition,
    }
    given = {field: value for field, value in given.items() if value is not None}
    known = _preset(preset) if preset else None
    if option or tagger is not None:
        before = known.plan.tagger_options if known and tagger in (None, known.plan.tagger) else {}
        given["tagger_options"] = {**before, **_assignments(option or [])}
    given |= _assignments(settings or [])
    if known is None and data is None:
        raise typer.BadParameter("give --data or --preset")
    try:
        plan = Plan.model_validate({**(known.plan.model_dump() if known else {}), **given})
        strategies = strategy.split(",") if strategy else list(known.strategies if known else ("random", "mnlp"))
        experiment = Experiment(
            runs / (name or preset or f"{Path(plan.data).stem}-{plan.tagger}"),
            plan,
            [*dict.fromkeys([*([FULL] if full else []), *strategies])],
            _seeds(seeds, known.seeds if known else 3),
            corpora,
        )
        failed = _execute(experiment, processes, ray)
    except ValidationError as error:
        raise typer.BadParameter(in_words(error)) from None
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    _report([experiment.root], experiment.root / "report", corpora)
    raise typer.Exit(1 if failed else 0)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[Path | None, typer.Option(help="Where the report goes (default: `report` in the first).")] = None,
    corpora: Corpora = CORPORA,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Also how diverse the batches were, by an encoder; takes minutes.")
    ] = False,
) -> None:
    """Tables, curves with error bands, and significance, of all runs in these folders."""
    _report(folders, out or folders[0] / "report", corpora, vectors)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(help="Tell all of this one.")] = None) -> None:
    """The papers' settings, by name."""
    if name is None:
        table = Table(Column("name", no_wrap=True), "from", "needs")
        for known, preset in PRESETS.items():
            table.add_row(known, preset.source, preset.needs or "–")
        console.print(table)
        return
    preset = _preset(name)
    console.print_json(data=preset.plan.model_dump(exclude_defaults=True))
    console.print(f"Strategies: {', '.join(preset.strategies)}; {preset.seeds} seeds.")
    console.print(escape(f"From {preset.source}. {preset.note}".strip()))
    if preset.needs:
        console.print(f"[yellow]Needs {escape(preset.needs)}.[/]")


def _execute(experiment: Experiment, processes: int, ray: str | None) -> bool:
    """Whether a run has failed; which, and why, is printed."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(experiment.name, total=None)

        def on_wait(runs: Sequence[Run]) -> None:
            total = sum(len(run.iterations) if run.finished else run.rounds for run in runs)
            progress.update(bar, total=total, completed=sum(len(run.iterations) for run in runs))

        failures = execute(experiment, processes=processes, ray=ray, on_wait=on_wait)
    for failure in failures:
        console.print(f"[red]{failure.run.strategy}, seed {failure.run.seed}:[/] {escape(failure.reason)}")
    return bool(failures)


def _report(folders: Sequence[Path], out: Path, corpora: Path, vectors: bool = False) -> None:
    found = [run for folder in folders for run in read_runs(folder)]
    if not any(run.iterations for run in found):
        raise typer.BadParameter(f"no finished round in {', '.join(map(str, folders))}")
    known = {}
    for plan in {run.plan.data: run.plan for run in found}.values():
        try:
            known[plan.data] = corpus_of(plan, corpora)
        except (ValueError, FileNotFoundError) as error:
            console.print(f"[yellow]without what only the texts tell:[/] {error}")
    of_pools = {data: encoder_vectors(corpus.train) for data, corpus in known.items()} if vectors else {}
    report = write_report(found, out, known, of_pools)
    for note in (note for chapter in report.chapters for note in chapter.notes):
        console.print(f"[yellow]{escape(note)}[/]")
    for table in (one for one in console_tables(report) if one.row_count < LONG):
        console.print(table)
    console.print(f"Written to {out}: report.html, tables as Markdown, pictures as PNG and SVG.")


def _preset(name: str) -> Preset:
    try:
        return PRESETS[name]
    except KeyError:
        raise typer.BadParameter(f"unknown preset {name!r}; known: {', '.join(PRESETS)}") from None


def _assignments(texts: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE; the value is JSON or, where it is none, the text itself."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r}: write it as NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _seeds(text: str | None, default: int) -> list[int]:
    if text is None:
        return list(range(default))
    numbers = [int(part) for part in text.split(",")]
    return numbers if "," in text else list(range(numbers[0]))


if __name__ == "__main__":
    app()
