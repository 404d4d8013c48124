"""From the last annotation of a round to the re-ordered queue, in a real Label Studio, and where each second goes.

Run as `python -m benchmarks.iteration [--data FOLDER] [--tagger crf]`: starts a Label Studio (the one that
`make label-studio` installs, or LABEL_STUDIO_BIN) and the backend with real processes and empty data, imports 14,000
sentences (CoNLL-2003's from FOLDER, else messages of the demo's grammar), annotates some of them through the API, and
then a few rounds in the order served. "plain" is the same round's work done in the plain way, in the same Label
Studio, right after: all tasks listed, and all predictions imported before the switch.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.conll2003 import read
from benchmarks.live import Live, Moment, Watch, annotate, cpu_seconds, gold_of, round_of, started
from corpus import Sentence
from demo.grammar import generate
from labelstudio.client import LabelStudio

GOAL, GOAL_STORED = 10.0, 5.0
"""Seconds to the re-ordered queue, and to the stored round, for 14,000 sentences on two cores."""
RENAMED = {"MISC": "PRODUCT"}
"""CoNLL-2003's label that the demo's label config does not have."""


def sentences(data: Path | None, count: int) -> list[Sentence]:
    """Different texts with their gold spans, in the order they are imported."""
    if data is None:
        return generate(count)
    texts = {sentence.text: sentence for part in read(data) for sentence in part}
    return [
        sentence.labelled(
            tuple(replace(span, label=RENAMED.get(span.label, span.label)) for span in sentence.spans or ())
        )
        for sentence in list(texts.values())[:count]
    ]


def steps(moments: Sequence[Moment], number: int, annotated: float) -> dict[str, float]:
    """Seconds of one round: how long it took to begin, each of its steps, and from the last annotation to the three
    ends that are called in capitals."""
    mine = [moment for moment in moments if moment.round == number]
    took = {"wake up": mine[0].at - annotated}
    before = next(moment.shown for moment in reversed(moments) if moment.round < number)
    for moment, following in pairwise(mine):
        name = moment.step.removeprefix("publishing ") or "collect"
        if name == "publish":
            name = "publish, to the switch" if moment.shown == before else "publish, the rest"
        took[name] = took.get(name, 0.0) + following.at - moment.at
    took["ROUND STORED"] = next(m.at for m in mine if m.step.startswith("publishing")) - annotated
    took["QUEUE RE-ORDERED"] = next(m.at for m in mine if m.shown != before) - annotated
    took["EVERYTHING THERE"] = next(m.at for m in mine if m.step.startswith("done")) - annotated
    return took


def plain(live: Live, project: int) -> dict[str, float]:
    """The same work in the plain way: the whole project listed; every prediction imported, then the switch."""
    client = LabelStudio(live.studio_url, live.token)
    began = time.monotonic()
    tasks = list(client.tasks(project))
    listed = time.monotonic() - began
    version = client.project(project).model_version
    texts = {task.id: task.data["text"] for task in tasks}
    region = {"from_name": "label", "to_name": "text", "type": "labels"}
    again = [
        {"task": id, "model_version": f"{version}-plain", "score": place / len(texts), "result": [
            {**region, "id": "r", "score": 0.5, "value": {
                "start": 0, "end": len(text), "text": text, "labels": ["PER"]}}]}
        for place, (id, text) in enumerate(texts.items())
    ]  # fmt: skip
    began = time.monotonic()
    client.import_predictions(project, again)
    client.set_model_version(project, f"{version}-plain")
    return {"collect": listed, "publish, to the switch": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with CoNLL-2003's files")
    parser.add_argument("--tasks", type=int, default=14_000)
    parser.add_argument("--labelled", type=int, default=300, help="before the first round")
    parser.add_argument("--round-size", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tagger", default="crf")
    parser.add_argument("--tagger-options", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--strategy", default="mnlp")
    parser.add_argument("--no-plain", action="store_true", help="leave out what is done in the plain way")
    parser.add_argument("--folder", type=Path, help="keep the data here (default: a temporary folder)")
    arguments = parser.parse_args()
    program = Path(os.environ.get("LABEL_STUDIO_BIN") or ".label-studio/venv/bin/label-studio")
    console = Console()

    texts = sentences(arguments.data, arguments.tasks)
    gold = gold_of(texts)
    extra = {
        "tagger": arguments.tagger,
        "tagger_options": arguments.tagger_options,
        "strategy": arguments.strategy,
        "round_size": arguments.round_size,
    }
    with (
        tempfile.TemporaryDirectory() as temporary,
        started(program, arguments.folder or Path(temporary), {"COLD_START": "random"}) as live,
    ):
        project = live.api.create_project("iteration", [sentence.text for sentence in texts])
        annotate(live, project, gold, arguments.labelled)
        watch = Watch(live)
        live.api.connect_backend(project, live.backend_url, extra)
        number = watch.wait_for_done(0)
        console.print(
            f"{len(texts)} tasks, {arguments.labelled} labelled, first round {round_of(live, number)['kind']}"
        )
        took = []
        for _ in range(arguments.rounds):
            last = annotate(live, project, gold, arguments.round_size)
            cpu = cpu_seconds()
            number = watch.wait_for_done(number)
            used = {who: seconds - cpu[who] for who, seconds in cpu_seconds().items()}
            took.append(steps(watch.moments, number, last) | {f"CPU, {who}": s for who, s in used.items()})
            console.print(f"round {number}: " + ", ".join(f"{name} {s:.2f}" for name, s in took[-1].items()))
        print_table(console, took, {} if arguments.no_plain else plain(live, project))


def print_table(console: Console, took: Sequence[dict[str, float]], plain_way: dict[str, float]) -> None:
    """The median of each step, beside the goal and the plain way."""
    goals = {"ROUND STORED": GOAL_STORED, "QUEUE RE-ORDERED": GOAL}
    table = Table("step", "seconds", "goal", "plain way", "ratio")
    for name in dict.fromkeys(name for one in took for name in one):
        seconds = median(one.get(name, 0.0) for one in took)
        goal = f"{goals[name]:.0f}" if name in goals else ""
        theirs = plain_way.get(name)
        ratio = "" if theirs is None else f"{theirs / max(seconds, 1e-9):.1f}"
        table.add_row(name, f"{seconds:.2f}", goal, "" if theirs is None else f"{theirs:.2f}", ratio)
    console.print(table)


if __name__ == "__main__":
    main()
