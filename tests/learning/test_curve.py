import numpy as np
import pytest
from scipy import optimize

from learning.advice import Point
from learning.curve import MIN_POINTS, fitted, least_squares

WORDS = np.array([600, 1200, 1800, 2400, 3000, 3600, 4200.0])


def law(words, a=0.9, b=0.5, c=0.5):
    return a - b * (np.asarray(words, float) / 600) ** -c


def points(f1s, half=0.01, words=WORDS, method="hold-out", counts=None):
    return [
        Point(int(at), f1, f1 - half, f1 + half, method, 100, counts=counts[i] if counts else {})
        for i, (at, f1) in enumerate(zip(words, f1s, strict=True))
    ]


@pytest.mark.parametrize(("a", "b", "c"), [(0.9, 0.5, 0.5), (0.85, 0.4, 1.0), (1.0, 0.5, 0.1), (0.8, 0.3, 2.0)])
def test_least_squares_agrees_with_scipy(a, b, c):
    f1 = law(WORDS, a, b, c) + np.random.default_rng(1).normal(0, 0.01, len(WORDS))
    weights = np.linspace(1, 3, len(WORDS))
    mine = least_squares(WORDS, f1[None], weights)

    def rest(parameters):
        return np.sqrt(weights) * (law(WORDS, *parameters) - f1)

    bounds = ([-np.inf, 0, 0.02], [1, np.inf, 4])
    theirs = min(
        (optimize.least_squares(rest, [0.7, 0.3, start], bounds=bounds) for start in (0.1, 0.5, 2)),
        key=lambda found: found.cost,
    )
    loss = float((rest((mine.a_D[0], mine.b_D[0], mine.c_D[0])) ** 2).sum())
    assert loss <= 2 * theirs.cost * 1.05
    assert mine.at(2 * WORDS)[0] == pytest.approx(law(2 * WORDS, *theirs.x), abs=0.01)


@pytest.mark.parametrize("f1", [law(WORDS, 0.5, -0.2, 1), law(WORDS, 1.4, 0.8, 0.5), law(WORDS, 0.7, 0, 1)])
def test_bounds_hold_and_are_the_best_there_is(f1):
    """Curves that fall, that would pass 1, that are flat: against a grid of everything allowed."""
    weights = np.ones(len(WORDS))
    found = least_squares(WORDS, f1[None], weights)
    assert found.a_D[0] <= 1
    assert found.b_D[0] >= 0
    loss = ((found.at(WORDS)[0] - f1) ** 2).sum()
    for a in np.linspace(0, 1, 26):
        for b in np.linspace(0, 1, 26):
            for c in (0.02, 0.1, 0.5, 1, 4):
                assert loss <= ((np.maximum(law(WORDS, a, b, c), 0) - f1) ** 2).sum() + 1e-9


def test_words_for_inverts_the_law():
    found = least_squares(WORDS, law(WORDS)[None], np.ones(len(WORDS)))
    assert found.words_for(found.at(np.array([1000.0]))[0]) == pytest.approx([1000])
    assert found.words_for(found.a_D + 0.01) == [np.inf]


def test_doubling_brings_what_the_curve_says():
    fit = fitted(points(law(WORDS), half=0.005))
    assert (fit.line[0].words, fit.line[-1].words) == (600, 8400)
    assert [at.f1 for at in fit.line] == pytest.approx(law([at.words for at in fit.line]), abs=0.002)
    assert all(at.low <= at.f1 <= at.high for at in fit.line)
    gain = 100 * (law(8400) - law(4200))
    assert f"(8,400 words) would bring about {gain:+.1f} F1 points" in fit.text
    assert fitted(points(law(WORDS), half=0.005)) == fit


def test_the_band_is_wider_where_points_are_less_sure_and_further_out():
    sure, unsure = (fitted(points(law(WORDS), half=half)).line for half in (0.005, 0.02))
    width = [at.high - at.low for at in sure]
    assert all(narrow < at.high - at.low for narrow, at in zip(width, unsure, strict=True))
    assert width[-1] > width[len(width) // 2]


def test_the_interval_of_what_doubling_brings_holds_in_nine_of_ten():
    rng = np.random.default_rng(0)
    truth, inside = law(8400), 0
    for _ in range(100):
        fit = fitted(points(law(WORDS) + rng.normal(0, 0.01 / 1.96, len(WORDS)), half=0.01))
        inside += bool(fit.line) and fit.line[-1].low <= truth <= fit.line[-1].high
    assert inside >= 88


def test_errors_that_rounds_share_do_not_blur_the_gain():
    """The same hold-out each time: its spans make every F1 too high or too low alike."""
    right = 140 + np.arange(len(WORDS))
    counts = [{f"{i}": (1, 1, int(i < n)) for i in range(200)} for n in right]
    _, low, high = fitted(points(right / 200, half=0.06, counts=counts)).gain
    _, lowest, highest = fitted(points(right / 200, half=0.06)).gain
    assert 0 < high - low < 0.7 * (highest - lowest)


def test_training_that_jumps_about_widens_the_band():
    jumps = 0.02 * np.array([1, -1, 1, -1, 1, -1, 1])
    calm, restless = (fitted(points(law(WORDS) + each, half=0.005)) for each in (0 * jumps, jumps))
    end = restless.line[-1] if restless.line else None
    assert end is None or end.high - end.low > 2 * (calm.line[-1].high - calm.line[-1].low)


def test_too_few_points_of_the_newest_method_give_nothing():
    assert fitted([]) is None
    assert fitted(points(law(WORDS[:3]), words=WORDS[:3])) is None
    crossed = points(law(WORDS[:4]), words=WORDS[:4], method="cross-validation")
    assert fitted(crossed) is not None
    assert fitted([*crossed, *points(law(WORDS[4:]), words=WORDS[4:])]) is None
    assert fitted([*crossed, *points(law(WORDS[:MIN_POINTS]), words=WORDS[:MIN_POINTS])]) is not None


def test_a_short_stretch_says_so_and_draws_nothing():
    near = np.array([4000, 4200, 4400, 4600.0])
    fit = fitted(points(law(near), words=near))
    assert fit.line == ()
    assert "only 4,000 to 4,600 words" in fit.text


def test_a_curve_that_shows_nothing_says_so_and_draws_nothing():
    fit = fitted(points([0.2, 0.35, 0.25, 0.5], half=0.3, words=[600, 1200, 1800, 2400]))
    assert fit.line == ()
    assert "does not show yet" in fit.text
    assert fit.gain[2] - fit.gain[1] > 0.1


def test_a_flat_curve_promises_nothing():
    fit = fitted(points(np.full(len(WORDS), 0.8), half=0.005))
    assert "about +0.0 F1 points" in fit.text
    assert fit.line[-1].f1 == pytest.approx(0.8)


def test_perfect_scores_and_certain_intervals_are_no_trouble():
    fit = fitted(points(np.ones(len(WORDS)), half=0))
    assert fit.line[-1].f1 == pytest.approx(1)
    assert fit.line[-1].high <= 1 + 1e-9


def test_as_json_follows_the_contract():
    made = fitted(points(law(WORDS))).as_json()
    assert set(made) == {"text", "line"}
    assert set(made["line"][0]) == {"words", "f1", "low", "high"}
