"""What approximations of a choice save, and what of the exact choice they keep: filters, sketch, k-means on samples.

Run as `python -m benchmarks.approximation [--sizes 10000 100000] [--part NAME ...] [--data FOLDER]`. Each is timed
beside the exact way in the same run, seed by seed, the model's own time apart; "read" tells how often models read the
pool, for a filter too. What a strategy optimises (lower is better) is taken over the whole pool, exactly, and beside a
random choice: 100% of the gain kept is as good as exact, 0% as good as chance; there is none where exact is no better
than chance beyond noise. In an exact choice's own line, "shared" tells how much it shares with itself from another
seed: where that is little, an approximation cannot share much either. `--data` takes CoNLL-2003 as the window tagger
reads it, not a made-up pool.
What approximations cost in F1, `python -m benchmarks.cost_in_f1` says.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import clusterings, neighbours
from benchmarks.growth import markdown
from benchmarks.objectives import Objective, objectives
from benchmarks.ways import LABELLED, Held, MadeUp, Pool, Way, choose, classes_of, measured_by
from strategies import FILTERS, STRATEGIES, pool_filter, strategy

HEADS = ("sentences", "chosen by", "read", "kept", "s", "× exact", "shared")
GAIN, CHANCE = "gain kept", "a random choice"
FEW = 500
"""Sentences to warm up with."""
FILTERED = ("mnlp", "badge", "coreset", "ft-bert-km")
CLUSTERED = ("alps", "ft-bert-km")
SKETCHES = (64, 256, 1024)
ANCHORS = 50
"""Ten of each of five classes."""


@dataclass(frozen=True, slots=True)
class Found:
    """One choice."""

    chosen: NDArray[np.int64]
    seconds: float
    read: float = 1.0
    """Times that models read the pool."""
    kept: float = 1.0
    """Share of the pool that the strategy chose from."""
    reached: tuple[float, ...] = ()
    """What is optimised, where the sentences chosen alone do not tell."""


Trial = Callable[[int], Found]
"""Given the seed."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A pool, and what is labelled beside it."""

    pool: Pool
    labelled: Pool
    classes: Sequence[frozenset[str]]


def filters(texts: Texts, k: int) -> dict[str, tuple[list[Objective], dict[str, Trial]]]:
    """Strategies alone and behind each filter."""
    return {
        name: (
            objectives(name, texts.pool, texts.labelled),
            {str(way): choosing(way, texts, k) for way in (Way(name), *(Way(name, each) for each in FILTERS))},
        )
        for name in FILTERED
    }


def sketches(texts: Texts, k: int) -> dict[str, tuple[list[Objective], dict[str, Trial]]]:
    """`badge` with exact gradients, and with sketches of them."""
    ways = {"badge, exact gradients": Way("badge", options={"dimensions": 1_000_000})}
    ways |= {f"badge, sketch of {m}": Way("badge", options={"dimensions": m}) for m in SKETCHES}
    trials = {name: choosing(way, texts, k) for name, way in ways.items()}
    return {"badge": (objectives("badge", texts.pool, texts.labelled), trials)}


def kmeans(texts: Texts, k: int) -> dict[str, tuple[list[Objective], dict[str, Trial]]]:
    """The sentences nearest the centres that each way of clustering finds."""
    found = {}
    for name in CLUSTERED:
        if isinstance(texts.pool, Held) and STRATEGIES[name].reads not in texts.pool.batches:
            continue
        vectors_Nd = measured_by(strategy(name), texts.pool).values.astype(np.float32, copy=False)
        trials = {f"{name}, {way}": _clustering(cluster, vectors_Nd, k) for way, cluster in clusterings.WAYS.items()}
        found[name] = ([Objective("inertia", partial(_inertia, vectors_Nd))], trials)
    return found


def _inertia(vectors_Nd: clusterings.Vectors, chosen: NDArray[np.int64]) -> float:
    return clusterings.inertia_of(vectors_Nd, vectors_Nd[chosen])


def search(texts: Texts, k: int) -> dict[str, tuple[list[Objective], dict[str, Trial]]]:
    """The neighbours of some labelled sentences, as the filter `anchors` seeks them."""
    anchors = pool_filter("anchors")
    pool_Nd, known_Ld = (
        measured_by(anchors, of).values.astype(np.float32, copy=False) for of in (texts.pool, texts.labelled)
    )

    def searching(seek: neighbours.Search) -> Trial:
        def trial(seed: int) -> Found:
            drawn = np.random.default_rng(seed).permutation(len(known_Ld))[:ANCHORS]
            chosen, seconds = neighbours.found(seek, known_Ld[drawn], pool_Nd, k)
            nearest = (pool_Nd[chosen] @ known_Ld[drawn].T).max(axis=1)
            return Found(chosen, seconds, reached=(float(-nearest.mean()),))

        return trial

    def of_chance(chosen: NDArray[np.int64]) -> float:
        return float(-(pool_Nd[chosen] @ known_Ld[:ANCHORS].T).max(axis=1).mean())

    trials = {f"anchors, {name}": searching(seek) for name, seek in neighbours.WAYS.items()}
    return {"anchors": ([Objective("− similarity", of_chance)], trials)}


PARTS = {"filters": filters, "sketch": sketches, "kmeans": kmeans, "search": search}


def choosing(way: Way, texts: Texts, k: int) -> Trial:
    def trial(seed: int) -> Found:
        found = choose(way, texts.pool, texts.labelled, texts.classes, k, np.random.default_rng(seed))
        kept = len(found.order) / texts.pool.size
        return Found(found.order[:k], found.seconds, 1.0 + kept if way.filter else 1.0, kept)

    return trial


def _clustering(cluster: clusterings.Cluster, vectors_Nd: clusterings.Vectors, k: int) -> Trial:
    def trial(seed: int) -> Found:
        chosen, inertia, seconds = clusterings.representatives(cluster, vectors_Nd, k, seed)
        return Found(chosen, seconds, reached=(inertia,))

    return trial


def table(size: int, k: int, seeds: int, sought: Sequence[Objective], trials: Mapping[str, Trial]) -> str:
    """A row for each trial, the first of which is the exact way, and one for a random choice."""
    runs: dict[str, list[Found]] = {name: [] for name in (*trials, CHANCE)}
    for seed in range(seeds):
        for name, trial in trials.items():
            runs[name].append(trial(seed))
        chance = np.random.default_rng([seed, 6]).choice(size, k, replace=False)
        runs[CHANCE].append(Found(chance, math.nan))
    reached = {
        name: np.array([found.reached or [each.of(found.chosen) for each in sought] for found in of])
        for name, of in runs.items()
    }
    exact, lines = next(iter(runs)), []
    for name, of in runs.items():
        cells = [f"{size:,}", name, *_timed(of, runs[exact])]
        for i in range(len(sought)):
            cells += _kept(*(reached[which][:, i] for which in (name, exact, CHANCE)))
        lines.append(cells)
    return markdown([*HEADS, *(head for each in sought for head in (each.name, GAIN))], lines)


def _timed(of: Sequence[Found], exact: Sequence[Found]) -> list[str]:
    others = [*exact[1:], *exact[:1]] if of is exact else exact
    shared = [len(np.intersect1d(a.chosen, b.chosen)) / len(b.chosen) for a, b in zip(of, others, strict=True)]
    cells = ["", "", "", ""]
    if not math.isnan(of[0].seconds):
        times = np.median([a.seconds / b.seconds for a, b in zip(of, exact, strict=True)])
        cells = [f"{of[0].read:.2f}", f"{of[0].kept:.1%}", f"{np.median([a.seconds for a in of]):.3g}", f"{times:.2g}"]
    return [*cells, "–" if of is exact and len(of) == 1 else f"{np.mean(shared):.0%}"]


def _kept(values: NDArray[np.float64], exact: NDArray[np.float64], chance: NDArray[np.float64]) -> list[str]:
    """The mean, and the share of exact's gain over chance that is kept, where that gain is more than noise."""
    several = len(values) > 1
    spread = f" ± {values.std(ddof=1):.2g}" if several else ""
    gain, noise = chance.mean() - exact.mean(), np.hypot(exact.std(ddof=1), chance.std(ddof=1)) if several else 0.0
    share = f"{(chance.mean() - values.mean()) / gain:.0%}" if gain > 2 * noise else "–"
    return [f"{values.mean():.4g}{spread}", share]


def made_up(size: int, seed: int) -> Texts:
    labelled = MadeUp(LABELLED, seed)
    return Texts(MadeUp(size, seed), labelled, classes_of(labelled.infer(strategy("random")), LABELLED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="NAME")
    parser.add_argument("--chosen", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with CoNLL-2003; the pool is then what of it is not labelled")
    parser.add_argument("--out", type=Path, help="file for the tables, in Markdown")
    arguments = parser.parse_args()
    if arguments.data:
        from benchmarks.conll2003_pool import pool_and_labelled

        pools = [Texts(*pool_and_labelled(arguments.data))]
    else:
        pools = [made_up(size, 0) for size in sorted(arguments.sizes)]
    written = []
    for part in arguments.part:
        for _, trials in PARTS[part](made_up(FEW, 0), 10).values():  # what is imported and set up once
            for trial in trials.values():
                trial(0)
        for texts in pools:
            for sought, trials in PARTS[part](texts, arguments.chosen).values():
                written.append(table(texts.pool.size, arguments.chosen, arguments.seeds, sought, trials))
                print(f"\n{written[-1]}", flush=True)
    if arguments.out:
        arguments.out.write_text("\n\n".join(written) + "\n")


if __name__ == "__main__":
    main()
