"""A pool of a million texts beside a real Label Studio, from its import to the tasks that people see.

Run as `python -m benchmarks.million [--texts N] [--tagger window] [--strategy mnlp] [--folder F]`: starts a Label
Studio (the one that `make label-studio` installs, or LABEL_STUDIO_BIN) and the backend, labels some messages of the
demo's grammar for a model, and then runs the commands of `python -m cli pool` as people do, each a process of its own.
The first ranking is killed once a part of the pool is measured, to see that the next goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.live import Live, Watch, annotate, gold_of, started
from corpus import Sentence, Span
from demo.grammar import generate

MESSAGES = 2000
"""Every text is two of so many: enough for four million."""
KILLED_AT = 0.25
"""Share of the pool's parts."""


def texts(count: int) -> Iterator[Sentence]:
    """Different ones, with their gold spans."""
    messages = generate(MESSAGES)
    for i in range(count):
        first, second = messages[i % MESSAGES], messages[(i // MESSAGES + i) % MESSAGES]
        shift = len(first.text) + 1
        moved = (Span(span.start + shift, span.end + shift, span.label) for span in second.spans or ())
        yield Sentence.from_text(str(i), f"{first.text} {second.text}", (*(first.spans or ()), *moved))


@dataclass(frozen=True, slots=True)
class Stage:
    """What a command took."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Resident, of the process and its children at one moment, looked at ten times a second."""
    said: str


def run(name: str, live: Live, folder: Path, *words: str, until: Callable[[], bool] = lambda: False) -> Stage:
    """`python -m cli pool …` with the backend's settings, to its end, or killed as soon as `until` says so."""
    environment = {
        **os.environ,
        "DATA_DIR": str(live.backend_db.parent),
        "LABEL_STUDIO_URL": live.studio_url,
        "LABEL_STUDIO_API_KEY": live.token,
        "COLUMNS": "200",
    }
    log = folder / "commands.log"
    began, peak, cpu = time.monotonic(), 0, 0.0
    with log.open("a+") as output:
        start = output.tell()
        child = psutil.Popen(
            [sys.executable, "-m", "cli", "pool", *words], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while child.poll() is None:
            try:
                everyone = [child, *child.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in everyone))
                cpu = max(cpu, sum(sum(one.cpu_times()[:2]) for one in everyone))
            except psutil.Error:  # one has just ended
                pass
            if until():
                child.send_signal(signal.SIGKILL)
            time.sleep(0.1)
        output.seek(start)
        said = output.read().strip()
    if child.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{name}: exit code {child.returncode}\n{said}")
    return Stage(name, time.monotonic() - began, cpu, peak, said.splitlines()[-1] if said else "killed")


def stages(live: Live, folder: Path, count: int, labelled: int, extra: dict[str, object]) -> Iterator[Stage]:
    """All of it, one after the other."""
    pool, source = folder / "pool", folder / "texts.jsonl"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": sentence.text}, ensure_ascii=False) + "\n" for sentence in texts(count))
    known = list(texts(labelled))
    project = live.api.create_project("million", [sentence.text for sentence in known])
    watch = Watch(live)
    annotate(live, project, gold_of(known), labelled)
    live.api.connect_backend(project, live.backend_url, extra)
    watch.wait_for_done(0)
    yield run("import", live, folder, "import", str(pool), str(source))

    def measured() -> int:
        return len(list(pool.glob("measured/*/part-*.parquet")))

    parts = len(list(pool.glob("texts/*.parquet")))
    enough = max(1, round(KILLED_AT * parts))
    yield run(f"rank, killed at {enough} of {parts} parts", live, folder, "rank", str(pool), str(project),
              until=lambda: measured() >= enough)  # fmt: skip
    there = measured()
    yield run(f"rank, from part {there} on", live, folder, "rank", str(pool), str(project))
    yield run("rank, all measured", live, folder, "rank", str(pool), str(project))
    yield run("top-up of 500", live, folder, "top-up", str(pool), str(project), "--keep", "500")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--labelled", type=int, default=300, help="before the model that ranks")
    parser.add_argument("--tagger", default="window")
    parser.add_argument("--strategy", default="mnlp")
    parser.add_argument("--filter", help="a pool filter in front of the strategy")
    parser.add_argument("--folder", type=Path, help="keep the data here (default: a temporary folder)")
    arguments = parser.parse_args()
    program = Path(os.environ.get("LABEL_STUDIO_BIN") or ".label-studio/venv/bin/label-studio")
    console = Console(width=None if sys.stdout.isatty() else 160)
    extra = {"tagger": arguments.tagger, "strategy": arguments.strategy, "holdout_share": 0.1}
    if arguments.filter:
        extra["filter"] = arguments.filter
    table = Table("stage", "seconds", "CPU seconds", "texts/s", "peak GiB", "what it said last")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with started(program, folder, {}) as live:
            for stage in stages(live, folder, arguments.texts, arguments.labelled, extra):
                rate, peak = f"{arguments.texts / stage.seconds:,.0f}", f"{stage.peak_bytes / 2**30:.2f}"
                cells = (f"{stage.seconds:.1f}", f"{stage.cpu_seconds:.1f}", rate, peak, stage.said)
                console.log(stage.name, *cells, highlight=False, markup=False)
                table.add_row(stage.name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
