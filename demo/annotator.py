"""A scripted annotator: takes the task that is served, answers with its gold labels, waits for rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from corpus import Span
from demo.label_studio import API
from demo.process import DemoError

ROUND_SECONDS = 300.0
"""How long a round of the demo may take before we say that something is wrong."""


@dataclass(frozen=True, slots=True)
class Round:
    """What the backend says about a published round."""

    number: int
    kind: str
    """"fit", "rank" or "cold start" (see `learning.database.Round`)."""
    version: str
    labelled: int
    """Tasks that were labelled when it began."""
    f1: float | None
    """F1 in [0, 1] on the hold-out, None while too few texts of it are labelled."""
    low: float | None
    high: float | None
    """95% interval of `f1`."""
    seconds: float


def simulate(
    api: API,
    project: int,
    gold: Mapping[str, Sequence[Span]],
    finished: Callable[[], list[Round]],
    annotations: int,
    round_size: int,
) -> Iterator[Round]:
    """Annotate `annotations` tasks in the order served; yield each round that learned from them.

    `gold` has the spans of each text; `finished` gives the finished rounds, the oldest first.
    """
    latest = _wait_for(finished)[-1].number  # the first round puts the hold-out's share into the queue
    while annotations > 0:
        done = annotate(api, project, gold, min(round_size, annotations))
        annotations -= done
        if done < round_size:
            return  # the queue is empty, or all that was asked for is done
        fits = _wait_for(partial(_fits_after, latest, finished))
        yield from fits
        latest = fits[-1].number


def _fits_after(number: int, finished: Callable[[], list[Round]]) -> list[Round]:
    return [this for this in finished() if this.number > number and this.kind == "fit"]


def annotate(api: API, project: int, gold: Mapping[str, Sequence[Span]], limit: int) -> int:
    """Answer at most `limit` tasks; returns how many there were."""
    for done in range(limit):
        begun = time.monotonic()
        task = api.next_task(project)
        if task is None:
            return done
        text = task["data"]["text"]
        if text not in gold:
            raise DemoError(f"task {task['id']} is none of the demo's texts: answer or delete it by hand")
        api.submit(task["id"], gold[text], time.monotonic() - begun)
    return limit


def _wait_for(rounds: Callable[[], list[Round]]) -> list[Round]:
    """What `rounds` gives, as soon as that is not empty."""
    deadline = time.monotonic() + ROUND_SECONDS
    while time.monotonic() < deadline:
        if found := rounds():
            return found
        time.sleep(0.2)
    raise DemoError(f"no round was finished within {ROUND_SECONDS:.0f} s; see the status page")


def finished_rounds(project: Mapping[str, Any]) -> list[Round]:
    """The published rounds of a project, as the backend's /api/projects/{key} shows it, the oldest first.

    Raises DemoError if the latest round failed.
    """
    rounds = list(reversed(project["rounds"]))
    if rounds and rounds[-1]["state"] == "failed":
        raise DemoError(f"the backend's latest round failed: {rounds[-1]['error']}")
    return [_round(this) for this in rounds if this["state"] == "done"]


def _round(this: Mapping[str, Any]) -> Round:
    metrics = this["metrics"]
    evaluation = metrics["evaluation"] or {"f1": None, "low": None, "high": None}
    return Round(
        number=this["number"],
        kind=this["kind"],
        version=this["version"],
        labelled=metrics["train_sentences"] + metrics["holdout_sentences"],
        f1=evaluation["f1"],
        low=evaluation["low"],
        high=evaluation["high"],
        seconds=this["seconds"],
    )
