"""`python -m cli pool`: a pool outside Label Studio is filled, ranked, and imported from as the queue is used up.

What a command alone needs is imported there: some of it brings torch along, which takes seconds.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from labelstudio.client import LabelStudio, LabelStudioError
from learning.database import Project
from learning.serving import find_current
from learning.steps import OnStep
from learning.workspace import Workspace
from server.connection import connect
from server.terminal import Named, console, named_project, open_workspace, plain

if TYPE_CHECKING:
    from pools.folder import Pool
    from pools.ranking import Ranked

LIMIT = 1000
"""Rows that are chosen one by one, where nobody says how many."""
SHARE_LEFT = 0.5
"""Of the tasks to keep: a watch imports when no more are left, since every import makes the backend rank them anew."""
WORDS = {
    "settle": "looking for what was imported last",
    "import": "importing",
    "measure": "measuring",
    "rank": "ranking",
    "adapt": "adapting the encoder",
}

pool = typer.Typer(help="Pools too large for Label Studio: kept outside, only the top imported.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the pool lies.")]
Ray = Annotated[str | None, typer.Option("--ray", metavar="ADDRESS", help="Measure on a Ray cluster: its address.")]
Limit = Annotated[int, typer.Option(min=1, help="Rows to choose one by one; the others follow as they come.")]


@pool.command("import")
def import_(
    folder: Folder,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Files, globs, hf://…, label-studio:7.")],
    text_field: Annotated[str | None, typer.Option(help="What the text is called in the source.")] = None,
    field: Annotated[str, typer.Option(help="What it is called in the label config.")] = "text",
    format: Annotated[str | None, typer.Option(help="Where the name does not say it: jsonl, csv, parquet, …")] = None,
) -> None:
    """Add texts to a pool, which is made if it is not there; texts that it has already are passed over."""
    from pools.folder import Added, Pool
    from pools.sources import tasks

    opened, skipped = Pool.make(folder), list[str]()
    for source in sources:
        with _shown() as on_step:

            def told(added: Added, on_step: OnStep = on_step) -> None:
                on_step("import", done=added.new + added.repeated)

            found = tasks(source, text_field=text_field, format=format, field=field, on_skip=skipped.append)
            added = opened.add(found, on_progress=told)
        console.print(plain(f"{source}: {added.new:,} new texts, {added.repeated:,} that were there."))
    if skipped:
        console.print(f"[yellow]{len(skipped):,} empty texts were left out[/], the first: {plain(skipped[0])}")
    console.print(plain(f"{folder} has {opened.size:,} texts."))


@pool.command()
def rank(folder: Folder, project: Named, limit: Limit = LIMIT, ray: Ray = None) -> None:
    """Measure what is not measured yet with the project's model, and put the pool in order."""
    from pools.folder import Pool

    opened, workspace = Pool.open(folder), open_workspace()
    known = named_project(workspace, project)
    ranked = _rank(opened, workspace, known, limit, ray)
    console.print(plain(f"{len(ranked.rows):,} texts are in order, by model {ranked.version}."))
    if ranked.unread:
        console.print(plain(f"{ranked.unread:,} cannot be read and are left out, such as {ranked.problems[0]}"))


@pool.command("top-up")
def top_up(
    folder: Folder,
    project: Named,
    keep: Annotated[int, typer.Option(min=1, help="Unlabelled tasks that are to wait in Label Studio.")] = 500,
    watch: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Look again and again, until it is stopped.")
    ] = None,
    limit: Limit = LIMIT,
    ray: Ray = None,
) -> None:
    """Import the next of the pool's order, with predictions; it is ranked anew first if there is a newer model."""
    from pools.folder import Pool

    workspace = open_workspace()
    known = named_project(workspace, project)
    client = connect(workspace.settings, known.connection)
    if client is None:
        raise ValueError(
            "Label Studio cannot be told anything: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY (in Label Studio: "
            "Account & Settings → Personal Access Token)"
        )
    queue = _Queue(Pool.open(folder), workspace, known, client, keep, limit, ray)
    same = f"pool top-up {folder} {project}"
    try:
        with _terminable():
            if not queue.fill(keep - 1):
                console.print(f"{keep:,} unlabelled tasks wait in Label Studio already.")
            while watch is not None:
                time.sleep(watch)
                try:
                    queue.fill(int(keep * SHARE_LEFT))
                except LabelStudioError as error:
                    console.print(f"[yellow]{plain(str(error))}[/] The next look is in {watch:g} s.")
    except LabelStudioError as error:
        raise ValueError(f"{error}. Nothing is lost: start `{same}` again, which goes on from here") from None
    except KeyboardInterrupt:
        console.print(plain(f"Stopped. `{same}` goes on from here."))
        if watch is None:
            raise typer.Exit(130) from None


@pool.command()
def status(folder: Folder) -> None:
    """What a pool holds, and what has been done with it."""
    from pools.folder import Pool
    from pools.topping import REFUSED

    opened = Pool.open(folder)
    table = Table.grid(padding=(0, 2))
    table.add_row("texts", f"{opened.size:,} in {len(opened.parts):,} parts")
    table.add_row("on disk", _megabytes(folder))
    for measured in sorted((folder / "measured").glob("*/")):
        there = sum((measured / part.path.name).exists() for part in opened.parts)
        table.add_row("measured", plain(f"{measured.name}: {there:,} of {len(opened.parts):,} parts"))
    for sent in sorted((folder / "sent").glob("*.parquet")):
        key = unquote(sent.stem)
        tasks = opened.sent(key).values()
        refused = sum(task == REFUSED for task in tasks)
        left_out = f", {refused:,} left out" if refused else ""
        table.add_row("imported", plain(f"{len(tasks) - refused:,} into project {key.partition('.')[0]}{left_out}"))
    console.print(table)


# -- ranking and importing ----------------------------------------------------------------------------------


@dataclass
class _Queue:
    """What a project has to label next, filled from a pool."""

    pool: Pool
    workspace: Workspace
    project: Project
    client: LabelStudio
    keep: int
    limit: int
    ray: str | None

    def fill(self, left: int) -> bool:
        """Import up to `keep` unless more than `left` unlabelled tasks wait; whether that was so."""
        from pools import topping

        top_up = partial(topping.top_up, self.pool, self.workspace, self.project.id, self.client)
        if topping.unsettled(self.pool, self.project):
            with _shown() as on_step:
                top_up(keep=0, ranked=None, on_step=on_step)
        waiting = self.client.unlabelled(self.project.external_id)
        if waiting > left:
            return False
        ranked = self._newest()
        with _shown() as on_step:
            done = top_up(keep=self.keep, ranked=ranked, on_step=on_step)
        chosen = f"ranked by model {ranked.version}" if ranked else "drawn at random, since there is no model yet"
        console.print(plain(f"{done:,} tasks imported, {chosen}; {waiting + done:,} wait to be labelled."))
        if waiting + done < self.keep:
            console.print("[yellow]The pool is used up.[/]")
        return True

    def _newest(self) -> Ranked | None:
        """The order by the model in use, made if it is not there yet; None before there is a model."""
        with self.workspace.db.read() as session:
            current = find_current(session, self.project.key)
        if current is None or current.model is None:
            return None
        from pools.backing import backing
        from pools.ranking import latest

        ranked = latest(self.pool, backing(self.workspace, self.project.id))
        return ranked or _rank(self.pool, self.workspace, self.project, max(self.limit, 2 * self.keep), self.ray)


def _rank(opened: Pool, workspace: Workspace, project: Project, limit: int, ray: str | None) -> Ranked:
    from pools.measuring import Measure, measure_here
    from pools.ranking import rank

    measure: Measure = measure_here
    if ray is not None:
        from pools.cluster import measure_on

        measure = measure_on(ray)
    with _shown() as on_step:
        return rank(opened, workspace, project.id, limit=limit, on_step=on_step, measure=measure)


# -- telling ------------------------------------------------------------------------------------------------


@contextmanager
def _shown() -> Iterator[OnStep]:
    """A bar that goes on with each step, with the seconds that it has taken."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        bars: dict[str, Any] = {}

        def on_step(step: str, **detail: Any) -> None:
            done, of = detail.get("done"), detail.get("of")
            numbers = "" if done is None else f"{done:,}" + (f" of {of:,}" if of is not None else "")
            if step not in bars:
                for bar in bars.values():
                    progress.stop_task(bar)
                bars[step] = progress.add_task(WORDS.get(step, step), total=None, numbers="")
            progress.update(bars[step], total=of, completed=done or 0, numbers=numbers)

        yield on_step


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _megabytes(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:,.1f} MB"
