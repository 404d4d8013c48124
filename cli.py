"""`python -m cli`: look at the backend's projects and act on them, from the machine that holds its data folder.

What a command alone needs is imported there: some of it brings torch along, which takes seconds.
"""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from sqlalchemy import func, select

from learning.database import Project, Round, Simulation
from learning.workspace import Workspace
from pools.commands import pool
from server import backups, heartbeat
from server.checks import Check, checks, mend
from server.terminal import InWords, Named, console, name_of, named_project, open_workspace, plain, read_settings

T = TypeVar("T")
LOOK_EVERY = 0.5
"""Seconds between two looks at what is followed."""

app = typer.Typer(cls=InWords, help=__doc__.partition("\n")[0], no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(pool, name="pool")

NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not follow it to its end.")]


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="All of it, to be read by programs.")] = False) -> None:
    """What goes on in each project."""
    from server import states

    projects = states.summaries(open_workspace())
    if as_json:
        typer.echo(json.dumps({"projects": projects}, indent=2))
        return
    if not projects:
        console.print("No project is connected yet.")
        return
    table = Table("project", "state", "F1", "labelled", "next round", Column("version", no_wrap=True))
    for one in projects:
        table.add_row(*map(plain, _row(one)))
    console.print(table)
    for one in projects:
        if said := one["error"] or one["notice"]:
            console.print(f"[yellow]{plain(name_of(one))}:[/] {plain(said)}")


@app.command()
def train(project: Named, no_wait: NoWait = False) -> None:
    """Begin a round with training now, and follow it."""
    from server import actions

    workspace = open_workspace()
    known = named_project(workspace, project)
    before = _newest_round(workspace, known)
    console.print(plain(actions.start_round(workspace, known.key)))
    _needs_trainer(workspace)
    if not no_wait:
        this = _follow_round(workspace, known, before)
        if this.state != "done":
            console.print(f"[red]Round {this.number} {this.state}:[/] {plain(this.error or 'no reason is known')}")
            raise typer.Exit(1)
        console.print(f"Round {this.number} is done: version {plain(this.version)}{_f1(this.metrics)}.")


@app.command()
def export(
    project: Named,
    target: Annotated[Path, typer.Argument(help="A folder to make, or a file whose name ends in .zip.")],
    version: Annotated[str | None, typer.Option(help="Which version (default: the model in use).")] = None,
) -> None:
    """Write a version's model as its library reads it, with a model card."""
    from server.download import archive

    workspace = open_workspace()
    known = named_project(workspace, project)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(f"{target} is there already: name another, or remove it")
    version = version or _model_in_use(workspace, known)
    packed = archive(workspace, known.key, version)
    try:
        if target.suffix == ".zip":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(packed, target)
        else:
            _unpack(packed, target)
    finally:
        packed.unlink(missing_ok=True)
    console.print(f"Version {plain(version)} is written to {plain(str(target))}.")


@app.command()
def rollback(project: Named, version: Annotated[str, typer.Argument(help="One that is stored.")]) -> None:
    """Rank and serve with an earlier model again."""
    from server import actions

    workspace = open_workspace()
    console.print(plain(actions.roll_back(workspace, named_project(workspace, project).key, version)))
    _needs_trainer(workspace)


@app.command()
def pause(project: Named) -> None:
    """Let no round begin; one that runs goes on."""
    from server import actions

    workspace = open_workspace()
    console.print(plain(actions.pause(workspace, named_project(workspace, project).key, True)))


@app.command()
def resume(project: Named) -> None:
    """Let rounds begin again."""
    from server import actions

    workspace = open_workspace()
    console.print(plain(actions.pause(workspace, named_project(workspace, project).key, False)))
    _needs_trainer(workspace)


@app.command()
def simulate(
    project: Named,
    strategy: Annotated[str | None, typer.Option(help="One or several, with commas (its own, and mnlp).")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many (3).")] = None,
    tagger: Annotated[str | None, typer.Option(help="The model (default: the one that ranks).")] = None,
    start: Annotated[str | None, typer.Option(help="Labelled at random first ('10%').")] = None,
    budget: Annotated[str | None, typer.Option(help="Labelled in each round ('10%').")] = None,
    rounds: Annotated[int | None, typer.Option(help="Batches chosen (8).")] = None,
    no_wait: NoWait = False,
) -> None:
    """Compare strategies on what the project has labelled so far."""
    from server import simulations

    workspace = open_workspace()
    known = named_project(workspace, project)
    wanted: dict[str, Any] = {"seeds": seeds, "tagger": tagger, "start": start, "budget": budget, "rounds": rounds}
    wanted["strategies"] = [name.strip() for name in strategy.split(",")] if strategy else None
    id = simulations.ask(workspace, known.key, {name: value for name, value in wanted.items() if value is not None})
    console.print(f"Simulation {id} will begin as soon as no other one runs.")
    _needs_trainer(workspace)
    if not no_wait:
        this = _follow_simulation(workspace, id)
        if this.state != "done" or not this.result:
            console.print(f"[red]Simulation {id} failed:[/] {plain(this.error or 'no reason is known')}")
            raise typer.Exit(1)
        console.print(plain(this.result["advice"]))
        console.print(f"Report: {plain(str(simulations.folder(workspace, this) / 'report' / 'report.html'))}")


@app.command()
def doctor(
    project: Annotated[str | None, typer.Argument(help="Number, title or key (default: all projects).")] = None,
    set_right: Annotated[bool, typer.Option("--mend", help="Set right in Label Studio what can be set there.")] = False,
) -> None:
    """Check the connection; what is wrong comes with its remedy, and exit code 1."""
    workspace = open_workspace()
    if project is None:
        with workspace.db.read() as session:
            known = list(session.scalars(select(Project).order_by(Project.id)))
    else:
        known = [named_project(workspace, project)]
    everywhere = checks(workspace, None) if len(known) != 1 else []
    _tell("This backend", everywhere)
    found = [*everywhere]
    for one in known:
        if set_right:
            for check in checks(workspace, one.key):
                if check.ok is False and check.mendable:
                    mend(workspace, one.key, check.name)
        mine = [check for check in checks(workspace, one.key) if check not in everywhere]
        _tell(name_of({"id": one.external_id, "title": one.title}), mine)
        found += mine
    if any(check.ok is False for check in found):
        raise typer.Exit(1)


@app.command()
def backup(target: Annotated[Path, typer.Argument(help="A file to make, or a folder to put one in.")]) -> None:
    """Write database and models into one file, while the backend runs."""
    console.print(*map(plain, backups.write(read_settings(), target)), sep="\n")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `backup` has written.")],
    force: Annotated[bool, typer.Option("--force", help="Where a database is: keep all that is there aside.")] = False,
) -> None:
    """Put a backup in the place of what is in the data folder, while the backend does not run."""
    console.print(*map(plain, backups.put_back(read_settings(), file, force)), sep="\n")


# -- finding ------------------------------------------------------------------------------------------------


def _model_in_use(workspace: Workspace, project: Project) -> str:
    with workspace.db.read() as session:
        current = session.get(Round, project.current_round_id) if project.current_round_id else None
        model = session.get(Round, current.model_round_id) if current and current.model_round_id else None
    if model is None:
        raise ValueError("no model is in use: none has been trained yet")
    return model.version


def _newest_round(workspace: Workspace, project: Project) -> int:
    with workspace.db.read() as session:
        return session.scalar(select(func.max(Round.number)).where(Round.project_id == project.id)) or 0


def _unpack(packed: Path, folder: Path) -> None:
    """What is in the one folder of a zip of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(packed) as file:
        for part in file.infolist():
            part.filename = part.filename.partition("/")[2]
            if part.filename:
                file.extract(part, folder)


# -- following ----------------------------------------------------------------------------------------------


def _needs_trainer(workspace: Workspace) -> None:
    """Ends the command where nobody would begin what was asked for; it stays asked for."""
    silent = heartbeat.silent_for(workspace)
    if silent is None or silent > heartbeat.LIMIT:
        console.print("[yellow]The trainer is not running:[/] this waits until it does (`python -m server`).")
        raise typer.Exit(1)


def _follow_round(workspace: Workspace, project: Project, before: int) -> Round:
    """The round after number `before`, when it has ended; one that was interrupted or overtaken has a successor."""
    from server import states

    def ended() -> Round | None:
        with workspace.db.read() as session:
            of_project = (Round.project_id == project.id, Round.number > before)
            final = Round.state.in_(["done", "failed"])
            return session.scalar(select(Round).where(*of_project, final).order_by(Round.number).limit(1))

    def told() -> tuple[str, float | None]:
        with workspace.db.read() as session:
            now = states.summary(session, session.get_one(Project, project.id), workspace)
        if now["progress"] is None:
            return now["state"], None
        left = now["progress"]["seconds_left"]
        words = f"round {now['progress']['round']}, {now['progress']['step']}"
        return words + (f", {_duration(left)} left" if left is not None else ""), now["progress"]["share"]

    return _follow(ended, told)


def _follow_simulation(workspace: Workspace, id: int) -> Simulation:
    def read() -> Simulation:
        with workspace.db.read() as session:
            return session.get_one(Simulation, id)

    def ended() -> Simulation | None:
        this = read()
        return this if this.state in ("done", "failed") else None

    def told() -> tuple[str, float | None]:
        this = read()
        of = this.progress.get("of")
        return f"simulation {id}, {this.state}", this.progress["done"] / of if of else None

    return _follow(ended, told)


def _follow(ended: Callable[[], T | None], told: Callable[[], tuple[str, float | None]]) -> T:
    """Show what is `told` (words, and the share that is done) until something has `ended`."""
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("waiting", total=None)
        while (found := ended()) is None:
            words, share = told()
            progress.update(bar, description=plain(words), total=None if share is None else 1.0, completed=share or 0)
            time.sleep(LOOK_EVERY)
        progress.update(bar, description="done", total=1.0, completed=1.0)
    return found


# -- telling ------------------------------------------------------------------------------------------------


def _row(one: dict[str, Any]) -> Iterator[str]:
    yield name_of(one)
    share = (one["progress"] or {}).get("share")
    yield one["state"] + (f" {share:.0%}" if share is not None else "") + (", due" if one["due"] else "")
    scores = one["evaluation"]
    yield f"{scores['f1']:.1%} ({scores['low']:.0%} to {scores['high']:.0%})" if scores else "–"
    yield f"{one['labelled']:,} of {one['tasks']:,}"
    yield "paused" if one["paused"] else f"after {one['next_round']['in']:,} {one['next_round']['unit']}"
    yield one["version"]


def _tell(title: str, found: list[Check]) -> None:
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]?[/]"}
    lines = Table.grid(padding=(0, 1))
    for check in found:
        lines.add_row(marks[check.ok], f"{plain(check.title)}: {plain(check.text)}")
        if check.remedy:
            by_itself = " [dim](or: doctor --mend)[/]" if check.mendable else ""
            lines.add_row("", f"→ {plain(check.remedy)}{by_itself}")
    if found:
        console.print(f"[bold]{plain(title)}[/]", lines, sep="\n")


def _f1(metrics: dict[str, Any]) -> str:
    scores = metrics.get("evaluation")
    return f", F1 {scores['f1']:.1%} ({scores['low']:.1%} to {scores['high']:.1%})" if scores else ""


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


if __name__ == "__main__":
    app()
