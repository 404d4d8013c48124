"""What a comparison tells, in tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from corpus import Kind
from experiments.comparison import Comparison
from experiments.curves import LEVELS, ShareNeeded, group_mix, label_mix, paired, share_needed, t_interval
from experiments.plan import BASELINE, FULL, Plan
from experiments.results import Iteration
from experiments.tables import Table, capital, percent, with_interval

_OF_WHAT: dict[Kind, str] = {
    "spans": "",
    "choices": "",
    "relations": " A relation counts where both of its entities, its direction and its label are right.",
}
ROUNDS_SHOWN = (1, 5, 10, 15, 20)
"""Those of Shelmanov et al. 2021, table 5; the last one is shown besides."""


def findings(comparison: Comparison) -> list[Table]:
    """All that can be told of these runs; the settings first."""
    found: list[Table | None] = [settings(comparison)]
    if comparison.runs:
        tables = curves, shares, differences, seconds, calibration, surest, labels, label_mixes, group_mixes, batches
        found += [table(comparison) for table in tables]
    return [table for table in found if table is not None]


def curves(comparison: Comparison) -> Table:
    """F1 by round, and the area under the curve."""
    areas, shared = comparison.areas, comparison.area_range
    rows = [
        (name, *_along(comparison, name, lambda iteration: float(iteration.scores["f1"])), _interval(areas.get(name)))
        for name in comparison.runs
    ]
    unit, measure = comparison.plan.unit, comparison.measure
    labels = f"{shared[0]:,} to {shared[1]:,} {unit}" if shared else f"no {unit} that all curves share"
    full = "" if comparison.full_f1 is None else f" On all of the data: {percent(comparison.full_f1)}."
    return Table(
        f"{capital(measure)} on the test set (%)",
        ("strategy", *_round_columns(comparison), "area"),
        tuple(rows),
        f"Mean over seeds, after each round. Area: mean {measure} along the curve, over {labels}, with its 95% "
        f"interval over seeds.{full}{_OF_WHAT[comparison.plan.kind]}",
    )


def shares(comparison: Comparison) -> Table | None:
    """Labels needed for a share of the full-data F1."""
    if comparison.full_f1 is None or not comparison.pool_labels:
        return None
    measure = comparison.measure
    rows = tuple(
        (name, *map(_share, share_needed(runs, comparison.full_f1, comparison.pool_labels)))
        for name, runs in comparison.runs.items()
    )
    targets = (f"{level:.0%} ({measure} {percent(level * comparison.full_f1)})" for level in LEVELS)
    return Table(
        f"Share of the pool's {comparison.plan.unit} (%) needed for a share of the full-data {measure}",
        ("strategy", *targets),
        rows,
        "Mean over seeds with its 95% interval, interpolated between rounds. “>”: some seeds did not get there; "
        "they count with all that they had labelled.",
    )


def differences(comparison: Comparison) -> Table | None:
    """Each strategy against `random`."""
    others = [name for name in comparison.runs if name != BASELINE]
    if BASELINE not in comparison.runs or not others:
        return None
    return Table(
        f"Difference from {BASELINE}, seed by seed (area, in points of {comparison.measure})",
        ("strategy", "mean", "95% interval", "p", "seeds", "verdict"),
        tuple((name, *_difference(comparison, name)) for name in others),
        f"Over the {comparison.plan.unit} that the runs of both strategies share. Better or worse: the interval "
        "excludes 0. p: sign-flip permutation test, never below 2/2ⁿ with n seeds. Not corrected for the number of "
        "strategies.",
    )


def _difference(comparison: Comparison, name: str) -> tuple[str, ...]:
    try:
        found = paired(comparison.runs[name], comparison.runs[BASELINE])
    except ValueError:  # no seed, or no range of labels, in common
        return ("–", "–", "–", "0", "not comparable yet")
    of, mean = found.area, f"{100 * found.area.mean:+z.1f}"
    if found.n == 1:
        return (mean, "–", "–", "1", "one seed")
    verdict = "better" if of.low > 0 else "worse" if of.high < 0 else "no clear difference"
    return (mean, f"{100 * of.low:+z.1f} to {100 * of.high:+z.1f}", f"{of.p:.3f}", str(found.n), verdict)


def seconds(comparison: Comparison) -> Table:
    """What an iteration takes."""
    means = comparison.step_seconds()
    steps = _steps(means)
    rows = ((name, *(f"{of[step]:.2f}" if step in of else "–" for step in steps)) for name, of in means.items())
    return Table(
        "Seconds of an iteration",
        ("strategy", *steps),
        tuple(rows),
        f"Mean over seeds and rounds 0 to {comparison.shared}. Query: measuring and ranking the pool.",
    )


def calibration(comparison: Comparison) -> Table:
    """Calibration error by round."""
    rows = tuple(
        (name, *_along(comparison, name, lambda iteration: iteration.calibration_error)) for name in comparison.runs
    )
    of = {"spans": "tag", "choices": "choice", "relations": "pair"}[comparison.plan.kind]
    note = f"Mean over seeds of how far the confidence of a {of} is from the share of right ones: lower is better."
    return Table("Expected calibration error (%)", ("strategy", *_round_columns(comparison)), rows, note)


def surest(comparison: Comparison) -> Table | None:
    """Of relations, how many of the surest finds are right at the end."""
    ends = {name: [run.iterations[comparison.shared].scores for run in runs] for name, runs in comparison.runs.items()}
    if comparison.full:
        ends[FULL] = [run.iterations[-1].scores for run in comparison.full]
    ends = {name: of for name, of in ends.items() if all("precision_at" in scores for scores in of)}
    if not ends:
        return None
    first = next(iter(ends.values()))[0]["precision_at"]
    return Table(
        f"Precision of the surest relations (%) after round {comparison.shared}",
        ("strategy", *(f"P@{n}" for n in first)),
        tuple(
            (name, *(percent(float(np.mean([one["precision_at"][n] for one in of]))) for n in first))
            for name, of in ends.items()
        ),
        "Mean over seeds. P@n: the right ones of the n relations of the test set that the model is surest of, over n.",
    )


def labels(comparison: Comparison) -> Table | None:
    """F1 of each label at the end."""
    ends = {name: [run.iterations[comparison.shared].scores for run in runs] for name, runs in comparison.runs.items()}
    if comparison.full:
        ends[FULL] = [run.iterations[-1].scores for run in comparison.full]
    support: dict[str, int] = {}
    for scores in (one for of in ends.values() for one in of):
        for label, of_label in scores.get("per_label", {}).items():
            support[label] = max(support.get(label, 0), int(of_label["support"]))
    if not support:
        return None
    rows = (
        (label, f"{support[label]:,}", *(percent(_label_f1(of, label)) for of in ends.values()))
        for label in sorted(support, key=lambda label: (-support[label], label))
    )
    return Table(
        f"F1 of each label (%) after round {comparison.shared}",
        ("label", "in the test set", *ends),
        tuple(rows),
        "Mean over seeds.",
    )


def label_mixes(comparison: Comparison) -> Table | None:
    """Of which labels the batches were, beside the pool."""
    if comparison.corpus is None:
        return None
    sentences = {sentence.id: sentence for sentence in comparison.corpus.train}
    kind = comparison.plan.kind
    chosen = _for_runs(comparison, lambda ids: label_mix((sentences[id] for id in ids), kind))
    return _mix(f"Labels of the batches (% of their {kind})", "label", label_mix(sentences.values(), kind), chosen)


def group_mixes(comparison: Comparison) -> Table | None:
    """Of which groups the batches were, beside the pool."""
    if comparison.corpus is None or not comparison.corpus.groups:
        return None
    groups = comparison.corpus.groups
    pool = group_mix((sentence.id for sentence in comparison.corpus.train), groups)
    chosen = _for_runs(comparison, lambda ids: group_mix(ids, groups))
    return _mix("Groups of the batches (% of their sentences)", "group", pool, chosen)


def batches(comparison: Comparison) -> Table | None:
    """How uncertain and how diverse the batches were."""
    measured: list[tuple[str, str, dict[str, list[tuple[float, float]]]]] = [
        ("uncertainty", "vocabulary shared", comparison.batch_points),
        ("diversity", "density", comparison.batch_geometry),
    ]
    measured = [one for one in measured if one[2]]
    if not measured:
        return None
    means = {
        name: [number for *_, points in measured for number in np.mean(points[name], axis=0)] for name in measured[0][2]
    }
    return Table(
        "What the batches were like",
        ("strategy", *(column for one in measured for column in one[:2])),
        tuple((name, *(f"{number:.3f}" for number in numbers)) for name, numbers in means.items()),
        "Mean over the batches of the first seed. By Yuan et al. 2020, eq. 4 and 3: mean entropy (nats) to the model "
        "of all data, and Jaccard overlap of the batch's vocabulary with that of all that no batch had until then. "
        "By Seo et al. 2022, eq. 7 and 9, from an encoder's vectors: how near every text of the pool has one of the "
        "batch, and how alike the batch's texts and their 10 nearest are.",
    )


def _round_columns(comparison: Comparison) -> list[str]:
    return [f"round {number}" for number in _rounds_shown(comparison)]


def _rounds_shown(comparison: Comparison) -> list[int]:
    longest = max(comparison.reached.values())
    return [*(number for number in ROUNDS_SHOWN if number < longest), longest]


def _along(comparison: Comparison, name: str, value: Callable[[Iteration], float]) -> list[str]:
    """Means over seeds at the rounds shown, in percent, as far as all seeds go."""
    runs, reached = comparison.runs[name], comparison.reached[name]
    return [
        percent(float(np.mean([value(run.iterations[number]) for run in runs])) if number <= reached else None)
        for number in _rounds_shown(comparison)
    ]


def settings(comparison: Comparison) -> Table:
    """What was run: the data, what differs from the defaults, seeds and versions."""
    plan, rows = comparison.plan, []
    for name, about in Plan.model_fields.items():
        value = getattr(plan, name)
        if name in ("data", "tagger") or value != about.get_default(call_default_factory=True):
            rows.append((name.replace("_", " "), _as_text(value)))
    if comparison.pool_words:
        rows.append(("pool", f"{comparison.pool_sentences:,} sentences, {comparison.pool_words:,} words"))
    seeds: dict[str, list[str]] = {}
    for strategy in dict.fromkeys([*comparison.runs, *(run.strategy for run in comparison.all_runs), FULL]):
        of = sorted(run.seed for run in comparison.all_runs if run.strategy == strategy)
        seeds.setdefault(f"{len(of)} ({', '.join(map(str, of))})" if of else "none", []).append(strategy)
    rows.append(("seeds", "; ".join(f"{', '.join(names)}: {which}" for which, names in seeds.items())))
    rows.append(("versions", ", ".join(f"{of} {' or '.join(known)}" for of, known in comparison.versions().items())))
    return Table("What was run", ("setting", "value"), tuple(rows), "Everything else is at its default.", numbers=False)


def _as_text(value: Any) -> str:
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _interval(values: Sequence[float] | None) -> str:
    if values is None:
        return "–"
    return with_interval(*(float(of) for of in t_interval(values)))


def _share(needed: ShareNeeded) -> str:
    if needed.unreached:
        return f"> {percent(needed.mean)} ({needed.unreached} of {needed.seeds} seeds not there)"
    return with_interval(needed.mean, needed.low, needed.high)


def _steps(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """All steps that took time: fit, query, then what else there was."""
    named = {step for of in means.values() for step in of}
    return ["fit", "query", *sorted(named - {"fit", "query"})]


def _label_f1(scores: Sequence[Mapping[str, Any]], label: str) -> float | None:
    found = [one["per_label"][label]["f1"] for one in scores if label in one.get("per_label", {})]
    return float(np.mean(found)) if found else None


def _for_runs(
    comparison: Comparison, mix: Callable[[Sequence[str]], dict[str, int]]
) -> dict[str, list[dict[str, int]]]:
    """By strategy the mix of all that each of its runs chose."""
    return {
        name: [mix([id for batch in batches for id in batch]) for batches in of_runs]
        for name, of_runs in comparison.batches.items()
    }


def _mix(
    caption: str, kind: str, pool: Mapping[str, int], chosen: Mapping[str, Sequence[Mapping[str, int]]]
) -> Table | None:
    """Shares of each kind in the pool and, mean over seeds, in what each strategy chose."""
    if not pool or not chosen:
        return None
    everything = sum(pool.values())
    rows = []
    for one, count in pool.items():
        shares = ([of.get(one, 0) / total for of in runs if (total := sum(of.values()))] for runs in chosen.values())
        rows.append((one, percent(count / everything), *(percent(float(np.mean(of)) if of else None) for of in shares)))
    return Table(caption, (kind, "pool", *chosen), tuple(rows), "Mean over seeds; the start is not a batch.")
