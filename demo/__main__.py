"""`python -m demo`: Label Studio and the backend on this machine, joined in a demo project."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.panel import Panel

from demo import annotator, grammar, label_studio
from demo.process import DemoError, Process, require_free_port
from learning.settings import Settings

TITLE = "Active Tagger demo"
FOLDER = Path(".label-studio")
EXTRA_PARAMS: dict[str, Any] = {"tagger": "crf", "strategy": "mnlp", "round_size": 20}
"""Rounds of seconds, for a demonstration; a variable that is set in the environment or `.env` has its way."""
BACKEND_SECONDS = 120.0

console = Console(highlight=False)


def main(
    simulate: Annotated[
        bool, typer.Option("--simulate", envvar="SIMULATE", help="Let a scripted annotator do the work.")
    ] = False,
    annotations: Annotated[int, typer.Option(min=1, envvar="ANNOTATIONS", help="How many tasks it annotates.")] = 200,
    stop: Annotated[bool, typer.Option("--exit", envvar="EXIT", help="Stop when it has finished.")] = False,
    tasks: Annotated[int, typer.Option(min=1, envvar="TASKS", help="Tasks of a new demo project.")] = 600,
    label_studio_port: Annotated[int, typer.Option(envvar="LABEL_STUDIO_PORT")] = 8080,
    label_studio_bin: Annotated[
        Path, typer.Option(envvar="LABEL_STUDIO_BIN", help="Label Studio's program, in a venv of its own.")
    ] = FOLDER / "venv/bin/label-studio",
) -> None:
    """Start everything on this machine; with LABEL_STUDIO_URL set, the backend alone."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = _settings()
        if settings.label_studio_url:
            serve_for(settings)
        with ExitStack() as running:
            processes, api, project = start(settings, running, label_studio_bin, label_studio_port, tasks)
            if simulate:
                run_annotator(settings, api, project, annotations, tasks)
                if stop:
                    return
            console.print("Ctrl-C stops everything; the next `make run` goes on from here.")
            while True:
                for process in processes:
                    process.require_running()
                time.sleep(1)
    except DemoError as error:
        console.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped.")


def serve_for(settings: Settings) -> NoReturn:
    """Become the backend for somebody's own Label Studio."""
    address = f"http://{settings.host}:{settings.port}"
    lines = [
        f"Label Studio:  {settings.label_studio_url}",
        f"Backend:       [bold]{address}[/bold]",
        f"Status:        [bold]{address}[/bold]",
        "",
        "In your project: Settings, Model, Connect Model, with the backend's address as Backend URL.",
    ]
    if not settings.label_studio_api_key:
        lines += ["", "Without LABEL_STUDIO_API_KEY texts are pre-annotated,", "but the queue is not re-ordered."]
    console.print(Panel("\n".join(lines), title="Active Tagger", expand=False))
    require_free_port(settings.port, settings.host, "PORT")
    os.execv(sys.executable, [sys.executable, "-m", "server"])


def start(
    settings: Settings, running: ExitStack, program: Path, port: int, tasks: int
) -> tuple[list[Process], label_studio.API, int]:
    """Start Label Studio and the backend, and join them in the demo project, whose id is the last value."""
    require_free_port(settings.port, settings.host, "PORT")
    with console.status("Starting Label Studio (the first time takes up to a minute)"):
        studio = label_studio.start(program, FOLDER, port)
        running.callback(studio.stop)
        studio_url = label_studio.url_of(port)
        studio.wait_until_healthy(f"{studio_url}/health", label_studio.START_SECONDS)
        token = label_studio.api_key(FOLDER, port)
    backend_url = f"http://{label_studio.HOST}:{settings.port}"
    with console.status("Starting the backend"):
        backend = Process(
            "the backend",
            [sys.executable, "-m", "server"],
            {
                "LABEL_STUDIO_URL": studio_url,
                "LABEL_STUDIO_API_KEY": token,
                "DATA_DIR": str(FOLDER / "backend"),  # its projects are not those of your own Label Studio
            },
            FOLDER / "backend.log",
        )
        running.callback(backend.stop)
        backend.wait_until_healthy(f"{backend_url}/health", BACKEND_SECONDS)
    with console.status("Preparing the demo project"):
        api = running.enter_context(label_studio.API(studio_url, token))
        project = api.find_project(TITLE)
        if project is None:
            project = api.create_project(TITLE, [sentence.text for sentence in grammar.generate(tasks)])
        extra = {name: value for name, value in EXTRA_PARAMS.items() if name not in settings.model_fields_set}
        api.connect_backend(project, backend_url, extra, _login(settings))
    console.print(
        Panel(
            f"Annotate:   [bold]{studio_url}/projects/{project}/data[/bold]  > Label All Tasks\n"
            f"Login:      {label_studio.EMAIL} / {label_studio.PASSWORD}\n"
            f"Status:     [bold]{backend_url}[/bold]\n"
            f"Logs:       {studio.log}, {backend.log}",
            title="Active Tagger",
            expand=False,
        )
    )
    return [studio, backend], api, project


def run_annotator(settings: Settings, api: label_studio.API, project: int, annotations: int, tasks: int) -> None:
    """Let the scripted annotator work, and print a line per round."""
    gold = {sentence.text: sentence.spans or () for sentence in grammar.generate(tasks)}
    round_size = settings.round_size if "round_size" in settings.model_fields_set else EXTRA_PARAMS["round_size"]
    address = f"http://{label_studio.HOST}:{settings.port}/api/projects/{project}"

    def finished() -> list[annotator.Round]:
        answer = httpx.get(address, auth=_login(settings), timeout=10, trust_env=False)
        return annotator.finished_rounds(answer.raise_for_status().json())

    console.print(f"A scripted annotator answers {annotations} tasks, always the one that is served next.")
    for done in annotator.simulate(api, project, gold, finished, annotations, round_size):
        f1 = "too few labels" if done.f1 is None else f"{done.f1:.1%}"
        interval = "" if done.low is None else f" ({done.low:.1%} to {done.high:.1%})"
        console.print(f"{done.labelled:5} labelled   F1 {f1}{interval}   {done.version}   {done.seconds:.1f} s")


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        faults = (" ".join([*(str(name).upper() for name in f["loc"]), f["msg"]]) for f in error.errors())
        raise DemoError("the settings (environment or .env) are wrong: " + "; ".join(faults)) from error


def _login(settings: Settings) -> tuple[str, str] | None:
    if settings.basic_auth_user and settings.basic_auth_pass:
        return settings.basic_auth_user, settings.basic_auth_pass.get_secret_value()
    return None


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
