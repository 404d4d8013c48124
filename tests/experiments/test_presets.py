"""Presets are real experiments: their taggers, options, strategies and corpora are there, or they say what is not."""

from __future__ import annotations

import pytest

from experiments.plan import FULL, Amount
from experiments.presets import PRESETS, Preset
from experiments.published import KNOWN
from learning.readers import ADAPTED
from strategies import strategy
from taggers import TAGGERS, tagger_class

BY_NAME = [pytest.param(preset, id=name) for name, preset in PRESETS.items()]
RUNNABLE = [pytest.param(p, id=name) for name, p in PRESETS.items() if p.plan.tagger in TAGGERS]


def taggers_of(preset: Preset) -> list[tuple[str, dict[str, object]]]:
    """Each model of the plan, with its options."""
    plan = preset.plan
    both = [(plan.tagger, plan.tagger_options), (plan.acquisition, plan.acquisition_options)]
    return [(name, options) for name, options in both if name is not None]


@pytest.mark.parametrize("preset", RUNNABLE)
def test_options_are_those_of_the_tagger(preset: Preset) -> None:
    for name, options in taggers_of(preset):
        read = tagger_class(name).Options.model_validate(options).model_dump()
        assert {option: read[option] for option in options} == options


@pytest.mark.parametrize("preset", RUNNABLE)
def test_settings_fit_together(preset: Preset) -> None:
    for name in (*preset.strategies, FULL):
        settings = preset.plan.settings(name, 3)
        assert (settings.seed, settings.dev_share) == (3, preset.plan.dev_share)
        assert settings.strategy_options == preset.plan.strategy_options.get(name, {})


@pytest.mark.parametrize("preset", BY_NAME)
def test_strategies_and_corpora_are_known(preset: Preset) -> None:
    for name in (*preset.strategies, *preset.plan.strategy_options):
        strategy(name, **preset.plan.strategy_options.get(name, {}))
    assert preset.strategies[0] == "random", "what the others are compared with"
    assert len(set(preset.strategies)) == len(preset.strategies)
    assert preset.plan.data in KNOWN


@pytest.mark.parametrize("preset", BY_NAME)
def test_needs_names_all_that_is_not_here(preset: Preset) -> None:
    needs, plan = preset.needs or "", preset.plan
    models = {options.get("encoder", "minilm") for _, options in taggers_of(preset)} | {plan.masked_lm}
    missing = [str(model) for model in models - {"minilm", None, ADAPTED}]
    missing += ["licence"] if plan.data.startswith("ontonotes") else []
    missing += ["GloVe"] if "word_vectors" in plan.tagger_options else []
    assert all(what in needs for what in missing)
    assert bool(needs) == bool(missing)


def labelled_at_the_end(preset: Preset, words: int) -> float:
    """Share of a pool of `words`, batches being as large as they may."""
    start, budget = (Amount.of(text, words).words for text in (preset.plan.start, preset.plan.budget))
    assert start is not None and budget is not None
    return (start + preset.plan.rounds * budget) / words


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("shelmanov")])
def test_shelmanov_ends_with_half_of_the_words(name: str) -> None:
    assert labelled_at_the_end(PRESETS[name], 203_621) == pytest.approx(0.5, abs=1e-3)
    assert PRESETS[name].seeds == (3 if "ontonotes" in name else 5)
    assert PRESETS[name].plan.dev_share == 0.25


@pytest.mark.parametrize(
    ("name", "words", "claimed"),
    [
        ("shen-ontonotes", 1_088_503, 0.249),
        ("shen-ontonotes-chinese", 756_063, 0.301),
        ("shen-conll", 203_621, 0.249),
        ("kim-atis", 50_497, 0.15),
        ("kim-atis-decoder", 50_497, 0.15),
    ],
)
def test_rounds_go_beyond_the_share_that_the_paper_claims_to_suffice(name: str, words: int, claimed: float) -> None:
    assert labelled_at_the_end(PRESETS[name], words) > 1.5 * claimed


def test_a_round_of_shen_labels_the_same_share_of_either_corpus() -> None:
    scaled = Amount.of(PRESETS["shen-conll"].plan.budget, 203_621).words
    assert scaled == pytest.approx(20_000 / 1_088_503 * 203_621, rel=0.01)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("yuan")])
def test_yuan_labels_a_thousand_sentences(name: str) -> None:
    plan = PRESETS[name].plan
    start, budget = (Amount.of(text, 1).sentences for text in (plan.start, plan.budget))
    assert (start, budget) == (100, 100)
    assert 100 + plan.rounds * 100 == 1000


@pytest.mark.parametrize(("paper", "passes"), [("shelmanov", 10), ("kim", 100), ("shen", 100)])
def test_stochastic_passes(paper: str, passes: int) -> None:
    found = {
        strategy(each, **preset.plan.strategy_options.get(each, {})).passes
        for name, preset in PRESETS.items()
        if name.startswith(paper)
        for each in preset.strategies
    }
    assert found == {0, passes}


def test_a_mismatch_ranks_with_another_model_than_it_evaluates() -> None:
    mismatches = [preset.plan for name, preset in PRESETS.items() if "-by-" in name]
    pairs = {(plan.tagger_options["encoder"], plan.acquisition_options["encoder"]) for plan in mismatches}
    assert len(pairs) == len(mismatches) == 6
    assert all(successor != acquisition for successor, acquisition in pairs)
