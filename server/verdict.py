"""What a simulation comes to: numbers by strategy, and one sentence of advice."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.comparison import Comparison
from experiments.curves import ShareNeeded, paired, share_needed
from experiments.plan import BASELINE
from experiments.tables import percent

LEVEL = 0.95
"""The share of the full-data F1 whose price in labels is told."""


def verdict(comparison: Comparison, texts: int) -> dict[str, Any]:
    """The result of finished runs on `texts` labelled texts, as JSON.

    By strategy, the largest mean area first: the mean "area" under its learning curves (F1 in [0, 1]), its
    "difference" from random in it (mean, 95% interval over "seeds", and the p of `experiments.curves.sign_flip_p`), and
    the share of the pool's words (or sentences: the "unit" of the budget) "needed" for 95% of the full-data F1 (a lower
    bound where some seeds never got there). What cannot be told is None. Beside them "full_f1", what that is (its
    "measure") and the "advice".
    """
    strategies = {name: _numbers(comparison, name) for name in comparison.runs}
    return {
        "texts": texts,
        "pool_texts": comparison.pool_sentences,
        "pool_words": comparison.pool_words,
        "unit": comparison.plan.unit,
        "measure": comparison.measure,
        "full_f1": comparison.full_f1,
        "strategies": strategies,
        "advice": _advice(comparison, strategies, texts),
    }


def _numbers(comparison: Comparison, name: str) -> dict[str, Any]:
    areas, difference, needed = comparison.areas.get(name), None, None
    if name != BASELINE and BASELINE in comparison.areas and areas is not None:
        found = paired(comparison.runs[name], comparison.runs[BASELINE])
        of = found.area
        low, high = (of.low, of.high) if found.n > 1 else (None, None)
        difference = {"mean": of.mean, "low": low, "high": high, "p": of.p, "seeds": found.n}
    if comparison.full_f1 and comparison.pool_labels:
        needed = _share(share_needed(comparison.runs[name], comparison.full_f1, comparison.pool_labels, [LEVEL])[0])
    return {"area": None if areas is None else float(np.mean(areas)), "difference": difference, "needed": needed}


def _share(share: ShareNeeded) -> dict[str, Any]:
    return {"mean": share.mean, "seeds": share.seeds, "unreached": share.unreached}


def _advice(comparison: Comparison, strategies: dict[str, dict[str, Any]], texts: int) -> str:
    """For the person who labels."""
    full_f1, unit = comparison.full_f1, comparison.plan.unit
    begin = f"On the {texts:,} texts labelled so far"
    if not full_f1:
        return f"{begin}, the model learns nothing, not even from all of them: label more, and look at the labels."
    aim = f"{LEVEL:.0%} of the {comparison.measure} that all of them give ({percent(full_f1)})"
    best = next((name for name in strategies if name != BASELINE), None)
    if best is None:
        return f"{begin}, `{BASELINE}` needed {_labels(strategies[BASELINE], unit)} for {aim}."
    if (difference := strategies[best]["difference"]) is None:
        return (
            f"{begin}, the strategies cannot be compared, as their curves share no range of {unit}: "
            "start with less, or label less in each round."
        )
    needed, baseline = _labels(strategies[best], unit), _labels(strategies[BASELINE], unit)
    clear = _clear(best, difference)
    return f"{begin}, `{best}` would have reached {aim} with {needed}; `{BASELINE}` needed {baseline}. {clear}"


def _labels(numbers: dict[str, Any], unit: str) -> str:
    needed = numbers["needed"]
    return f"{'more than ' if needed['unreached'] else ''}{needed['mean']:.0%} of the {unit}"


def _clear(best: str, difference: dict[str, Any]) -> str:
    seeds, low, high = difference["seeds"], difference["low"], difference["high"]
    if low is None:
        return "One seed does not tell whether that is chance: ask for at least 3."
    if low > 0:
        return f"The difference is clear with {seeds} seeds: `{best}` is better."
    if high < 0:
        return f"The difference is clear with {seeds} seeds: `{BASELINE}` is better."
    return f"The difference is not clear with {seeds} seeds."
