"""What approximations cost in F1: runs of the simulator on CoNLL-2003, each beside the exact way, seed by seed.

Run as `python -m benchmarks.cost_in_f1 [FOLDER]`, with the folder of the runs; `experiments/README.md` tells how they
were made. Differences are points of F1 over the words that all runs of a table share, with 95% t-intervals over seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growth import markdown
from experiments.curves import Difference, paired
from experiments.results import Run, read_runs

HEADS = ("approximation", "exact", "area under the curve", "at its end", "beyond `random`")


@dataclass(frozen=True, slots=True)
class Kept:
    """The runs of one experiment and strategy."""

    experiment: str
    strategy: str

    def runs(self, folder: Path) -> list[Run]:
        """Raises ValueError where there are none, or some have not come to their end."""
        found = [*read_runs(folder / self.experiment / self.strategy)]
        if not found or not all(run.finished for run in found):
            raise ValueError(
                f"{folder / self.experiment}: no finished runs of {self.strategy}; see experiments/README.md"
            )
        return found


WHOLE = "conll2003-window"
RANDOM = Kept(WHOLE, "random")
BADGE, MNLP, GRADIENTS = Kept(WHOLE, "badge"), Kept(WHOLE, "mnlp"), Kept("approx-badge-4096", "badge")
PAIRS = {
    ("`mnlp` after `ups`", "`mnlp` of the whole pool"): (Kept("approx-mnlp-ups", "mnlp"), MNLP),
    ("`mnlp` after `anchors`", "`mnlp` of the whole pool"): (Kept("approx-mnlp-anchors", "mnlp"), MNLP),
    ("`badge` after `ups`", "`badge` of the whole pool"): (Kept("approx-badge-ups", "badge"), BADGE),
    ("`badge` after `anchors`", "`badge` of the whole pool"): (Kept("approx-badge-anchors", "badge"), BADGE),
    ("`badge`, sketch of 256", "exact gradients"): (BADGE, GRADIENTS),
    ("`badge`, sketch of 64", "exact gradients"): (Kept("approx-badge-64", "badge"), GRADIENTS),
    ("`ft-bert-km`, k-means on samples alone", "and on the whole pool"): (
        Kept("approx-ft-bert-km-samples", "ft-bert-km"),
        Kept("approx-ft-bert-km", "ft-bert-km"),
    ),
}
"""What is approximated and exact, in words -> the runs of either."""


def points(difference: Difference) -> str:
    """In hundredths of F1."""
    return f"{100 * difference.mean:+z.1f} ({100 * difference.low:z.1f} to {100 * difference.high:z.1f})"


def table(folder: Path) -> str:
    lines = []
    for (what, beside), (approximate, exact) in PAIRS.items():
        runs = approximate.runs(folder)
        cost, gain = paired(runs, exact.runs(folder)), paired(runs, RANDOM.runs(folder))
        lines.append([what, beside, points(cost.area), points(cost.end), points(gain.area)])
    return markdown(HEADS, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("experiments/results"), help="of the runs")
    print(table(parser.parse_args().folder))


if __name__ == "__main__":
    main()
