"""How the time and the memory of choosing grow with the pool, for each strategy, without the model's own.

Run as `python -m benchmarks.scaling [--sizes 1000 10000 100000 1000000] [--strategy NAME ...] [--out FOLDER]`. What a
tagger says of the pool is made up batch by batch, and only what the strategy keeps of it is kept. Each pool is measured
and ranked in a process of its own. A size that a strategy would need too long or too much memory for, by its slope, is
not tried. With `--out` the tables, the figures (`scaling.jsonl`) and pictures are written there, and what stands in
that file already is not measured again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import growth
from benchmarks.contest import Clock, Task, compete
from benchmarks.growth import Cost
from benchmarks.ways import LABELLED, MadeUp, Way, choose, classes_of
from strategies import FILTERS, STRATEGIES, strategy

ALIKE = {
    "w-badge": "badge",
    "bert-km": "ft-bert-km",
    **{f"power-{name}": name for name in ("lc", "entropy", "margin", "sequence-variation-ratio")},
    **{f"power-{name}": name for name in ("variation-ratio", "bald")},
}
"""Strategies that do the same work as another, or the same and one random number a sentence (`power-mnlp` is shown)."""
SHOWN = tuple(name for name in STRATEGIES if name not in ALIKE)
FILTERED = ("badge", "coreset", "ft-bert-km", "batl", "discriminative", "uherding")
"""Those that keep a vector of every sentence and choose by a trained tagger: what a filter is for."""
SIZES = (1_000, 10_000, 100_000, 1_000_000)


def ways(names: list[str], filters: list[str]) -> list[Way]:
    """Each strategy alone, and those that keep vectors behind each filter."""
    alone = [Way(name) for name in names]
    return alone + [Way(name, each) for each in filters for name in names if name in FILTERED]


def choosing(way: Way, size: int, limit: int, seed: int) -> Task:
    """The result is the time that ranking took."""
    labelled = MadeUp(min(LABELLED, size), seed)
    classes = classes_of(labelled.infer(strategy("random")), labelled.size)

    def run(clock: Clock, number: int, sentences: int = size) -> float:
        found = choose(way, MadeUp(sentences, seed), labelled, classes, limit, np.random.default_rng(seed))
        clock.seconds += found.seconds
        return found.ranking

    run(Clock(), 0, 200)  # what is imported and set up once
    return run


def kept_bytes(way: Way) -> int:
    """Of each sentence of the whole pool, by the strategy or else by the filter before it."""
    from strategies import pool_filter

    what = pool_filter(way.filter) if way.filter else strategy(way.strategy)
    values = what.measure(next(MadeUp(64).infer(what)))
    return values.nbytes // len(values) + np.dtype(np.int64).itemsize  # and its length


def cost(way: Way, size: int, limit: int, seed: int) -> Cost:
    """Raises RuntimeError if the process came to grief."""
    (outcome,) = compete([partial(choosing, way, size, limit, seed)], 1)
    return Cost(outcome.seconds, outcome.result or 0.0, outcome.extra_bytes)


def known(file: Path | None, setting: dict[str, int]) -> dict[tuple[str, int], Cost]:
    """What an earlier run of the same setting has written."""
    if file is None or not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {(line["way"], line["size"]): Cost(**line["cost"]) for line in lines if line["setting"] == setting}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--strategy", nargs="+", choices=list(STRATEGIES), default=list(SHOWN), metavar="NAME")
    parser.add_argument("--filter", nargs="*", choices=list(FILTERS), default=list(FILTERS), metavar="NAME")
    parser.add_argument("--chosen", type=int, default=100, help="sentences chosen, as `limit` says to `rank`")
    parser.add_argument("--limit-seconds", type=float, default=600)
    parser.add_argument("--limit-gb", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for tables, figures and pictures")
    arguments = parser.parse_args()
    sizes = sorted(arguments.sizes)
    setting = {"chosen": arguments.chosen, "seed": arguments.seed}
    file: Path | None = None
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        file = arguments.out / "scaling.jsonl"
    before = known(file, setting)

    costs: dict[str, dict[int, Cost]] = {}
    refused: dict[tuple[str, int], str] = {}
    chosen = ways(arguments.strategy, arguments.filter)
    for way in chosen:
        name = str(way)
        of = costs.setdefault(name, {})
        for size in sizes:
            reason = growth.refusal(of, size, arguments.limit_seconds, 1e9 * arguments.limit_gb)
            if reason is None and (name, size) not in before:
                try:
                    of[size] = cost(way, size, arguments.chosen, arguments.seed)
                except RuntimeError as error:
                    reason = f"failed: {str(error).strip().splitlines()[-1]}"
                else:
                    if file is not None:
                        line = {"way": name, "size": size, "setting": setting, "cost": asdict(of[size])}
                        with file.open("a") as lines:
                            lines.write(json.dumps(line) + "\n")
            elif reason is None:
                of[size] = before[name, size]
            if reason is not None:
                refused[name, size] = reason
            shown = reason or f"{of[size].seconds:.3g} s, {of[size].bytes / 1e9:.2f} GB"
            print(f"{name}, {size:,} sentences: {shown}", flush=True)

    report = growth.tables(costs, sizes, refused, {str(way): kept_bytes(way) for way in chosen})
    print(f"\n{report}")
    if arguments.out:
        (arguments.out / "scaling.md").write_text(report)
        for each in (None, *arguments.filter):
            some = {str(way): costs[str(way)] for way in chosen if way.filter == each}
            if some:
                ending = f"-{each}" if each else ""
                growth.draw(some, "seconds", arguments.out / f"scaling-seconds{ending}")
                growth.draw(some, "bytes", arguments.out / f"scaling-memory{ending}")


if __name__ == "__main__":
    main()
