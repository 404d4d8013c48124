import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.advice import Point, advise, recent_gain
from learning.agreement import Agreement


def agreeing(kappa: float, *, changed: int = 4, entity_words: int = 300) -> Agreement:
    return Agreement(kappa, 2_000, 100, changed, entity_words)


def curve(words, f1, half, tasks=1_000, kappas=None) -> list[Point]:
    """Rounds on the hold-out whose F1 has an interval of ± half."""
    half = np.broadcast_to(half, len(words))
    kappas = [None] * len(words) if kappas is None else kappas
    return [
        Point(int(w), f, f - h, f + h, "hold-out", tasks, None if k is None else agreeing(k))
        for w, f, h, k in zip(words, f1, half, kappas, strict=True)
    ]


# The slope


def test_gain_is_the_slope_of_a_line_times_its_words():
    gain = recent_gain(curve([100, 900, 950, 1_000], [0.1, 0.60, 0.61, 0.62], 0.04))
    assert (gain.words, gain.f1) == (100, pytest.approx(0.02))
    # with equal variances, the gain of three equidistant points is the difference of the first and the last
    assert gain.half == pytest.approx(0.04 * np.sqrt(2))


def test_gain_is_weighted_least_squares():
    words, f1, half = [900, 920, 985, 1_000], [0.5, 0.56, 0.55, 0.58], [0.08, 0.04, 0.06, 0.02]
    gain = recent_gain(curve(words, f1, half))
    fitted, covariance = np.polyfit(words, f1, 1, w=1.96 / np.array(half), cov="unscaled")
    assert gain.f1 == pytest.approx(100 * fitted[0])
    assert gain.sampling == pytest.approx(1.96 * 100 * np.sqrt(covariance[0, 0]))
    assert gain.half >= gain.sampling


def test_gain_covers_the_last_three_rounds_or_the_last_fifth_of_the_words():
    assert recent_gain(curve([100, 200, 300, 400], [0.1, 0.2, 0.3, 0.4], 0.02)).words == 200
    words = list(range(1_000, 2_001, 50))
    assert recent_gain(curve(words, [w / 4_000 for w in words], 0.02)).words == 400


@pytest.mark.parametrize("slope", [0.0, 0.03, -0.02])
def test_interval_of_independent_rounds_covers_the_truth(slope):
    rng = np.random.default_rng(0)
    words, half = np.array([900, 930, 990, 1_000]), np.array([0.06, 0.03, 0.04, 0.03])
    held = 0
    for _ in range(2_000):
        f1 = 0.6 + slope * (words - 900) / 100 + rng.normal(0, half / 1.96)
        gain = recent_gain(curve(words, f1, half))
        held += gain.low <= slope <= gain.high
    assert held >= 0.93 * 2_000


def counted(rng, chances, tasks=150):
    """Rounds over the same hold-out: span j of a task is found once the model is good enough for it."""
    gold = rng.poisson(2, tasks)
    hard = [rng.random(n) for n in gold]
    points = []
    for i, chance in enumerate(chances):
        spans = [h + rng.normal(0, 0.03, len(h)) for h in hard]  # training is random, too
        right = [int((h < chance).sum()) for h in spans]
        counts = {str(t): (int(gold[t]), int(gold[t]), right[t]) for t in range(tasks)}
        f1 = sum(right) / gold.sum()
        half = 1.96 * np.sqrt(f1 * (1 - f1) / gold.sum())
        points.append(Point(1_000 + 50 * i, f1, f1 - half, f1 + half, "hold-out", tasks, counts=counts))
    return points


def test_rounds_compared_task_by_task_cover_the_truth_with_a_narrower_interval():
    rng = np.random.default_rng(1)
    held, halves = 0, []
    for _ in range(400):
        points = counted(rng, [0.70, 0.72, 0.74])
        paired = recent_gain(points)
        alone = recent_gain([replace(point, counts={}) for point in points])
        assert paired.f1 == pytest.approx(alone.f1, abs=0.005)
        held += paired.low <= 0.04 <= paired.high
        halves.append((paired.sampling, alone.sampling))
    assert held >= 0.93 * 400
    paired, alone = np.mean(halves, 0)
    assert paired < 0.6 * alone


def test_linearised_interval_is_the_bootstraps():
    rng = np.random.default_rng(2)
    points = counted(rng, [0.6, 0.62, 0.68], tasks=300)
    counts = np.array([[point.counts[t] for t in points[0].counts] for point in points])
    totals = rng.multinomial(300, np.full(300, 1 / 300), size=4_000)
    f1 = np.stack([2 * totals @ c[:, 2] / (totals @ (c[:, 0] + c[:, 1])) for c in counts])
    assert recent_gain(points).sampling == pytest.approx(1.96 * (f1[2] - f1[0]).std(), rel=0.05)


def test_task_by_task_only_over_tasks_that_all_rounds_share():
    points = counted(np.random.default_rng(3), [0.5, 0.6, 0.7])
    fewer = replace(points[0], counts=dict(list(points[0].counts.items())[:30]))
    assert recent_gain([fewer, *points[1:]]).tasks == 30
    too_few = replace(points[0], counts=dict(list(points[0].counts.items())[:5]))
    assert recent_gain([too_few, *points[1:]]).tasks == 150  # by the intervals instead


def test_a_hold_out_without_a_change_does_not_prove_that_nothing_changes():
    same = {str(t): (1, 1, 1) for t in range(60)}
    points = [Point(w, 1.0, 1.0, 1.0, "hold-out", 60, counts=same) for w in (100, 200, 300)]
    for history in (points, [replace(point, counts={}) for point in points]):
        gain = recent_gain(history)
        assert gain.f1 == 0
        assert gain.half >= 3 / 60
    nothing = [replace(p, f1=0.0, low=0.0, high=0.0, counts=dict.fromkeys(same, (0, 0, 0))) for p in points]
    assert recent_gain(nothing).f1 == 0
    assert recent_gain(nothing).half == pytest.approx(3 / 60)


def test_points_off_the_line_widen_the_interval():
    words = [900, 950, 1_000]
    straight, jumping = curve(words, [0.60, 0.61, 0.62], 0.01), curve(words, [0.60, 0.70, 0.62], 0.01)
    assert recent_gain(jumping).sampling == pytest.approx(recent_gain(straight).sampling)
    assert recent_gain(jumping).half > 4 * recent_gain(straight).half


def test_cross_validation_is_never_compared_with_the_hold_out():
    points = curve([100, 200, 300, 400], [0.1, 0.5, 0.51, 0.52], 0.01)
    mixed = [replace(points[0], method="cross-validation"), *points[1:]]
    assert recent_gain(mixed) == recent_gain(points[1:])
    assert recent_gain(mixed[:3]) is None
    assert recent_gain([*points[1:], replace(points[3], words=500, method="cross-validation")]) is None


def test_rounds_over_the_same_words_have_no_slope():
    assert recent_gain(curve([400, 400, 400], [0.5, 0.5, 0.5], 0.01)) is None


# The advice

WORDS = [1_000, 1_200, 1_400]


def test_a_flat_curve_is_called_flat_and_a_rising_one_never():
    rng = np.random.default_rng(4)
    flat = rising = 0
    for _ in range(500):
        noise = rng.normal(0, 0.004 / 1.96, 3)
        flat += advise(curve(WORDS, 0.8 + noise, 0.004, tasks=2_000)).flat is True
        rising += advise(curve(WORDS, 0.8 + np.array([0, 0.02, 0.04]) + noise, 0.004, tasks=2_000)).flat is True
    assert flat > 0.7 * 500  # the third point's scatter leaves some of them open
    assert rising == 0


def test_an_interval_around_zero_is_not_enough_for_flat():
    assert advise(curve(WORDS, [0.8, 0.801, 0.802], 0.03)).flat is None
    assert advise(curve(WORDS, [0.8, 0.801, 0.802], 0.003)).flat is True
    assert advise(curve(WORDS, [0.8, 0.801, 0.802], 0.003), worth=0.005).flat is None
    assert advise(curve(WORDS, [0.8, 0.82, 0.84], 0.01)).flat is False
    with pytest.raises(ValueError, match="worth must be above 0"):
        advise([], worth=0)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=6), st.data())
def test_more_kappa_never_turns_stable_off(kappas, data):
    points = curve(range(100, 100 + len(kappas)), [0.5] * len(kappas), 0.01, kappas=kappas)
    raised = [k + data.draw(st.floats(0, 1 - k)) for k in kappas]
    more = curve(range(100, 100 + len(kappas)), [0.5] * len(kappas), 0.01, kappas=raised)
    assert advise(more).stable >= advise(points).stable


def test_stable_is_the_mean_of_the_last_three_comparisons():
    def stable(*kappas):
        return advise(curve(range(1, 1 + len(kappas)), [0.5] * len(kappas), 0.01, kappas=kappas)).stable

    assert stable(0.99, 0.99, 0.99) is True
    assert stable(0.98, 1, 0.99) is True
    assert stable(0.5, 0.99, 0.99, 0.99) is True
    assert stable(0.99, 0.99, 0.989) is False
    assert stable(None, 1, 1) is None
    assert stable(1, 1, None) is None
    assert advise(curve(range(4), [0.5] * 4, 0.01, kappas=[0.1, 0.2, 0.3, 0.4])).kappas == (0.2, 0.3, 0.4)


def test_models_that_tag_nothing_agree_and_are_not_called_stable():
    points = [replace(p, agreement=agreeing(1.0, entity_words=7)) for p in curve(WORDS, [0.0] * 3, 0.002)]
    advice = advise(points)
    assert advice.stable is None
    assert "only 7 words of the hold-out tasks are tagged and it takes 100" in advice.text


SETTLED = "the predictions hardly change any more (0.2% of the words from round to round, kappa 0.993)"
UNSETTLED = "the predictions still change (0.2% of the words from round to round, kappa 0.950)"


@pytest.mark.parametrize(
    "f1, half, kappa, text",
    [
        ([0.8, 0.8155, 0.831], 0.00849, None, "Go on labelling: the last 400 words brought +3.1 ± 1.2 F1 points."),
        (
            [0.8, 0.8155, 0.831],
            0.00849,
            0.993,
            f"Go on labelling: the last 400 words brought +3.1 ± 1.2 F1 points, although {SETTLED}.",
        ),
        (
            [0.8, 0.8015, 0.803],
            0.00354,
            0.993,
            f"The model has settled: {SETTLED}, and the last 400 words brought +0.3 ± 0.5 F1 points. Labelling on is "
            "unlikely to pay; label 50 more tasks at random to be sure, or stop.",
        ),
        (
            [0.8, 0.8015, 0.803],
            0.00354,
            0.95,
            f"The signs disagree: the last 400 words brought +0.3 ± 0.5 F1 points, but {UNSETTLED}. Label one more "
            "round and look again.",
        ),
        (
            [0.8, 0.8015, 0.803],
            0.00354,
            None,
            "Labelling on may not pay: the last 400 words brought +0.3 ± 0.5 F1 points. Whether the predictions settle "
            "shows after three more rounds; label 50 more tasks at random to be sure.",
        ),
        (
            [0.831, 0.8155, 0.8],
            0.00849,
            0.993,
            "F1 fell: the last 400 words brought -3.1 ± 1.2 F1 points. Before you label on, check whether the latest "
            "annotations follow the same rules as the earlier ones.",
        ),
        (
            [0.8, 0.805, 0.81],
            0.0283,
            0.95,
            "Go on labelling: the last 400 words brought +1.0 ± 4.0 F1 points, and the hold-out is too small to tell; "
            "about 3,100 more hold-out tasks would narrow that to ± 2 at best. The predictions still change (0.2% of "
            "the words from round to round, kappa 0.950).",
        ),
        (
            [0.8, 0.805, 0.81],
            0.0106,
            0.993,
            "Label one more round and look again: the last 400 words brought +1.0 ± 1.5 F1 points, too close to call. "
            "The predictions hardly change any more (0.2% of the words from round to round, kappa 0.993).",
        ),
    ],
)
def test_wording(f1, half, kappa, text):
    assert advise(curve(WORDS, f1, half, kappas=[kappa] * 3)).text == text


def test_wording_while_something_is_missing():
    assert advise([]).text == "Go on labelling: what more labels bring can be told after three more rounds."
    two = curve(WORDS[:2], [0.5, 0.6], 0.1, kappas=[None, 0.9])
    assert advise(two).text == (
        "Go on labelling: what more labels bring can be told after one more round. "
        "Whether the predictions settle shows after two more rounds."
    )
    crossed = [replace(point, method="cross-validation", holdout_tasks=7) for point in two]
    assert advise([replace(point, agreement=None) for point in crossed]).text == (
        "Go on labelling: what more labels bring can be told after 13 more hold-out tasks and three rounds with them; "
        "until then F1 is cross-validated on texts that were chosen, not drawn."
    )
    spanless = [replace(point, holdout_tasks=25, agreement=None) for point in crossed]
    assert "after hold-out tasks with 10 spans in all" in advise(spanless).text


def test_as_many_more_tasks_as_it_asks_for_are_enough():
    """Intervals shrink with the root of the tasks: with those asked for, the next advice does not ask again."""
    before = advise(curve(WORDS, [0.8, 0.805, 0.81], 0.0283, tasks=1_000)).text
    assert "3,100 more hold-out tasks" in before
    after = advise(curve(WORDS, [0.8, 0.805, 0.81], 0.0283 * np.sqrt(1_000 / 4_100), tasks=4_100))
    assert "too small" not in after.text
    assert after.gain_high - after.gain == pytest.approx(0.02, rel=0.02)


def test_points_come_from_stored_metrics_and_advice_goes_to_json():
    counts = {str(t): [2, 2, 1] for t in range(25)}
    scores = {"method": "hold-out", "f1": 0.5, "low": 0.4, "high": 0.6, "precision": 0.5, "sentences": 25}
    metrics = {
        "labelled_words": 300,
        "holdout_sentences": 25,
        "evaluation": scores,
        "agreement": agreeing(0.98).as_json(),
        "holdout_counts": counts,
    }
    point = Point.from_metrics(json.loads(json.dumps(metrics)))
    assert point == Point(300, 0.5, 0.4, 0.6, "hold-out", 25, agreeing(0.98), counts)
    assert Point.from_metrics({**metrics, "evaluation": None}) is None
    older = {name: metrics[name] for name in ("labelled_words", "holdout_sentences", "evaluation")}
    assert Point.from_metrics(older) == Point(300, 0.5, 0.4, 0.6, "hold-out", 25)
    advice = advise([point, replace(point, words=400), replace(point, words=500)])
    assert json.loads(json.dumps(advice.as_json(), allow_nan=False)) == advice.as_json()
    assert advice.as_json()["words"] == 200


# Other marks than spans


def test_what_is_compared_is_named():
    settled = Agreement(0.995, 600, 600, 3, 600, "choices")
    points = [
        replace(point, agreement=settled, kind="choices")
        for point in curve([1_000, 1_100, 1_200], [0.8, 0.8, 0.8], 0.001)
    ]
    assert "hardly change any more (0.5% of the choices from round to round" in advise(points).text
    few = [replace(point, agreement=replace(settled, entity_words=60)) for point in points]
    assert "since only 60 choices are made for the hold-out tasks and it takes 100" in advise(few).text
    crossed = [replace(point, method="cross-validation") for point in points]
    assert "hold-out tasks with 10 choices in all" in advise(crossed).text


def test_agreement_on_other_marks_is_not_mixed_in():
    points = curve([1_000, 1_100, 1_200], [0.8, 0.8, 0.8], 0.001, kappas=[1.0, 1.0, 1.0])
    assert len(advise(points).kappas) == 3
    assert advise([replace(point, kind="relations") for point in points]).kappas == ()
