"""Every registered strategy through the same cases."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

import strategies
from corpus import Inference
from strategies import STRATEGIES, Measured, Ranking, Strategy, check, join, strategy
from tests.strategies.conftest import (
    PASSES,
    Tagged,
    batches,
    first_word,
    inference,
    one_choice,
    random_pool,
    several_choices,
    tagged,
    wordless,
)

SCALAR = {"lc", "mnlp", "entropy", "margin", "variation-ratio", "sequence-variation-ratio", "bald"}
POWER = {f"power-{name}" for name in SCALAR}

SURE = {*SCALAR, *POWER, "batch-bald", "badge", "w-badge", "uherding"}
"""Strategies for which a sentence that the tagger is sure of is worth nothing. `random` knows no worth; the others
compare sentences with each other, whatever the tagger thinks of them, or ask a model that is no tagger."""

DRAWN = {"random", *POWER, "badge", "w-badge", "alps", "bert-km", "ft-bert-km", "batl"}
"""Strategies that draw lots even without ties; the others are functions of what they measure."""

COARSE = {"variation-ratio", "sequence-variation-ratio"}
"""Strategies that count passes, so that many sentences tie, and ties are drawn too."""


def rooted(sentence: Tagged) -> Tagged:
    """Of probabilities that sum to 1 all mean margins would be alike, were each that of a label of several choices."""
    return dataclasses.replace(sentence, marginals=np.sqrt(sentence.marginals), samples=np.sqrt(sentence.samples))


SHAPES: dict[str, Callable[[Tagged], Tagged]] = {
    "words": lambda sentence: sentence,
    "one pair": first_word,
    "one choice": one_choice,
    "several choices": lambda sentence: several_choices(rooted(sentence)),
}
"""What kinds of model make of a sentence. Several pairs of entities look as words do."""


@dataclass(frozen=True)
class Case:
    """A strategy, how many sentences have been labelled when it ranks (None: no such set is handed over), and the kind
    of model that it reads."""

    name: str
    known: int | None
    shape: str = "words"

    def made(self) -> Strategy:
        """With as many passes as the pools here have."""
        return strategy(self.name, passes=PASSES) if strategy(self.name).passes else strategy(self.name)

    def draws(self) -> bool:
        """Whether the seed matters in a pool of sentences that differ."""
        unfounded = self.name == "discriminative" and not self.known  # nothing to tell the pool from
        return self.name in DRAWN | COARSE or unfounded

    def labelled(self, like: Tagged) -> list[Tagged] | None:
        """A labelled set with as many tags and states as `like` has."""
        tags, states = like.marginals.shape[1], like.hidden.shape[1]
        return None if self.known is None else random_pool(self.known, seed=99, tags=tags, states=states)

    def measured(self, pool: Sequence[Tagged], size: int = 4) -> Measured:
        chosen = self.made()
        return join(((batch, chosen.measure(batch)) for batch in batches(self.suited(pool), size)), len(pool))

    def rank(self, pool: Sequence[Tagged], limit: int | None = None, seed: int = 0, size: int = 4) -> Ranking:
        labelled = self.labelled(pool[0])
        known = None if labelled is None else self.measured(labelled, size)
        return self.made().rank(self.measured(pool, size), known, limit, np.random.default_rng(seed))

    def order(self, pool: Sequence[Tagged], limit: int | None = None, seed: int = 0, size: int = 4) -> list[int]:
        return [int(i) for i in self.rank(pool, limit, seed, size).order]

    def suited(self, pool: Sequence[Tagged]) -> Sequence[Tagged]:
        """The pool as such a model sees it."""
        return [SHAPES[self.shape](sentence) for sentence in pool]

    def __str__(self) -> str:
        labelled = f"{self.known} labelled, " if STRATEGIES[self.name].uses_labelled else ""
        return f"{self.name}, {labelled}{self.shape}"


def shapes(kind: type[Strategy]) -> list[str]:
    """The kinds of model that a strategy can read; no reader is a classifier. One choice a text is left to those that
    can read nothing else: that to the others it is what one word is, another test sees to."""
    if kind.reads != "tagger":
        return ["words"]
    several = ["words", "several choices"]
    return ["one pair", "one choice", *several] if "per_text" in kind.needs else several


CASES = [
    Case(name, known, shape)
    for name, kind in STRATEGIES.items()
    for known in ([None, 0, 6] if kind.uses_labelled else [None])
    for shape in shapes(kind)
]
EVERY = pytest.mark.parametrize("case", CASES, ids=str)
ONCE = pytest.mark.parametrize("case", [case for case in CASES if case.known is None], ids=str)
"""For tests of what does not depend on the labelled set, or that bring their own."""
BY_DRAWS = pytest.mark.parametrize(
    "case", [case for case in CASES if case.known != 0 and case.shape == shapes(STRATEGIES[case.name])[0]], ids=str
)
"""For tests that rank hundreds of times; an empty labelled set is as good as none, and another test sees to that. The
kind of model alters what is measured, and hardly what is drawn."""
NAMED = pytest.mark.parametrize("name", sorted(STRATEGIES))


def test_the_sets_above_name_strategies_that_there_are() -> None:
    assert STRATEGIES.keys() >= SURE | DRAWN | COARSE


def is_permutation(found: Sequence[int], n: int) -> bool:
    return sorted(found) == list(range(n))


@EVERY
@pytest.mark.parametrize("limit", [None, 0, 1, 5, 30, 1000])
def test_order_is_a_permutation_whatever_the_limit(case: Case, limit: int | None) -> None:
    pool = [*random_pool(30, seed=1), wordless()]
    found = case.rank(pool, limit)
    assert found.order.dtype == np.int64
    assert is_permutation(list(found.order), 31)
    assert found.priority.shape == (31,)
    assert np.isfinite(found.priority).all()
    assert found.priority.min() >= 0


@EVERY
def test_same_seed_same_ranking(case: Case) -> None:
    pool = random_pool(40, seed=2)
    for seed in (0, 1):
        first, second = (case.rank(pool, limit=10, seed=seed) for _ in range(2))
        np.testing.assert_array_equal(first.order, second.order)
        np.testing.assert_array_equal(first.priority, second.priority)


@EVERY
def test_seed_matters_just_where_lots_are_drawn(case: Case) -> None:
    pool = random_pool(40, seed=3)
    orders = {tuple(case.order(pool, limit=5, seed=seed)) for seed in range(5)}
    assert (len(orders) > 1) == case.draws()


@EVERY
def test_batches_do_not_matter(case: Case) -> None:
    pool = random_pool(40, seed=4)
    whole = case.measured(pool, size=40)
    for size in (1, 3, 16):
        np.testing.assert_array_equal(case.measured(pool, size).values, whole.values)
        assert case.order(pool, limit=10, size=size) == case.order(pool, limit=10, size=40)


@ONCE
def test_padding_is_never_read(case: Case) -> None:
    batch = inference(case.suited([*random_pool(6, seed=15), wordless()]))
    padding = np.arange(batch.marginals_BTC.shape[1]) >= batch.lengths[:, None]
    assert padding.any()
    assert batch.samples_BMTC is not None

    def soil(states: NDArray[np.float32] | None, over: NDArray[np.bool_]) -> NDArray[np.float32] | None:
        return None if states is None else np.where(over[..., None], np.float32(np.nan), states)

    soiled = dataclasses.replace(
        batch,
        path_BT=np.where(padding, 1000, batch.path_BT),
        marginals_BTC=np.where(padding[..., None], np.float32(np.nan), batch.marginals_BTC),
        hidden_BTH=soil(batch.hidden_BTH, padding),
        state_BH=soil(batch.state_BH, batch.lengths == 0),
        samples_BMTC=np.where(padding[:, None, :, None], np.float32(np.nan), batch.samples_BMTC),
        sample_paths_BMT=batch.sample_paths_BMT + padding[:, None] * np.arange(PASSES)[:, None],
    )
    np.testing.assert_array_equal(case.made().measure(soiled), case.made().measure(batch))


@BY_DRAWS
def test_permuting_the_pool_permutes_the_ranking(case: Case) -> None:
    pool = random_pool(12, seed=5)
    shuffle = np.random.default_rng(0).permutation(12)
    moved = [pool[i] for i in shuffle]
    if not case.draws():
        assert [shuffle[i] for i in case.order(moved, limit=4)] == case.order(pool, limit=4)
        return
    # by distribution: how often each sentence is among the first four
    draws, chosen = 300, case.made()
    labelled = case.labelled(pool[0])
    known = None if labelled is None else case.measured(labelled)
    counts = np.zeros((2, 12))
    for row, values in enumerate((case.measured(pool), case.measured(moved))):
        for seed in range(draws):
            # other draws for the other half, or the two shares would not be independent
            first = chosen.rank(values, known, 4, np.random.default_rng([row, seed])).order[:4]
            counts[row, first if row == 0 else shuffle[first]] += 1
    share = counts.mean(axis=0) / draws
    spread = np.sqrt(share * (1 - share) * 2 / draws)
    np.testing.assert_array_less(np.abs(counts[0] - counts[1]) / draws, 4 * spread + 1e-12)


@EVERY
def test_empty_pool(case: Case) -> None:
    chosen = case.made()
    known = None if case.known is None else case.measured(random_pool(case.known, seed=99))
    for limit in (None, 0, 7):
        found = chosen.rank(join([], 0), known, limit, np.random.default_rng(0))
        assert len(found.order) == len(found.priority) == 0
        assert found.order.dtype == np.int64


@EVERY
def test_pool_smaller_than_the_limit_is_chosen_whole(case: Case) -> None:
    pool = random_pool(6, seed=6)
    assert case.order(pool, limit=100) == case.order(pool, limit=None)


@BY_DRAWS
def test_duplicates_are_ranked_at_random(case: Case) -> None:
    pool = random_pool(1, seed=7, words=[5]) * 4
    labelled, chosen, values = case.labelled(pool[0]), case.made(), case.measured(pool)
    known = None if labelled is None else case.measured(labelled)
    firsts, lasts = Counter[int](), Counter[int]()
    for seed in range(200):
        found = chosen.rank(values, known, 3, np.random.default_rng(seed)).order
        assert is_permutation(list(found), 4)
        firsts[found[0]] += 1
        lasts[found[-1]] += 1
    for counted in (firsts, lasts):
        assert chisquare([counted[i] for i in range(4)]).pvalue > 1e-3


@EVERY
def test_wordless_sentences_come_last_and_are_worth_nothing(case: Case) -> None:
    certain = tagged([[1, 0, 0, 0, 0]], np.ones((1, 7)))  # measures 0 too, yet has a word to label
    pool = [wordless(), *random_pool(6, seed=8), wordless(), certain]
    for seed in range(20):
        for limit in (None, 2):
            found = case.rank(pool, limit, seed)
            assert set(found.order[-2:]) == {0, 7}
            assert found.priority[0] == found.priority[7] == 0
            assert found.priority.min() == 0


@EVERY
def test_pool_of_wordless_sentences(case: Case) -> None:
    firsts = {case.order([wordless()] * 3, seed=seed)[0] for seed in range(30)}
    assert firsts == {0, 1, 2}


@ONCE
def test_nothing_labelled(case: Case) -> None:
    """No labelled set, an empty one, and one in which no sentence has words come to the same."""
    values = case.measured(random_pool(12, seed=16))
    found = []
    for known in (None, case.measured([]), case.measured([wordless()] * 2)):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            found.append(case.made().rank(values, known, 5, np.random.default_rng(0)))
    for other in found[1:]:
        np.testing.assert_array_equal(other.order, found[0].order)
        np.testing.assert_array_equal(other.priority, found[0].priority)


@pytest.mark.parametrize("case", [case for case in CASES if case.known == 6], ids=str)
def test_labelled_sentences_without_words_count_for_nothing(case: Case) -> None:
    values, labelled = case.measured(random_pool(12, seed=18)), random_pool(6, seed=99)
    found = [
        case.made().rank(values, case.measured(known), 5, np.random.default_rng(0))
        for known in (labelled, [wordless(), *labelled, wordless()])
    ]
    np.testing.assert_array_equal(found[0].order, found[1].order)
    np.testing.assert_array_equal(found[0].priority, found[1].priority)


@EVERY
def test_probabilities_of_zero_and_one(case: Case) -> None:
    h = np.ones((2, 7))
    split = np.zeros((PASSES, 2, 5))
    split[:, 1, 2] = 1
    split[::2, 0, 0] = split[1::2, 0, 1] = 1
    pool = [
        tagged([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]], h),
        tagged([[0.5, 0.5, 0, 0, 0], [0, 0, 1, 0, 0]], h, samples=split),
        tagged([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], h, log_prob=-math.inf),
    ]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = case.rank(pool)
    assert np.isfinite(found.priority).all()
    assert is_permutation(list(found.order), 3)
    if case.name in SURE:
        assert found.priority[0] == 0 < found.priority[1]


@EVERY
def test_one_class_only(case: Case) -> None:
    pool = [tagged(np.ones((n, 1)), np.ones((n, 3))) for n in (1, 4, 2)]
    assert {case.order(pool, limit=2, seed=seed)[0] for seed in range(40)} == {0, 1, 2}
    if case.name in SURE:
        np.testing.assert_array_equal(case.rank(pool).priority, 0)


@EVERY
def test_pool_of_one_word(case: Case) -> None:
    halves = np.full((PASSES, 1, 2), 0.1)
    halves[::2, :, 0] = halves[1::2, :, 1] = 0.9
    found = case.rank([tagged([[0.6, 0.4]], [[1.0, 2.0]], samples=halves, surprisal=np.ones(16))], limit=1)
    assert list(found.order) == [0]
    if case.name in SURE:
        assert found.priority[0] > 0


@EVERY
@pytest.mark.parametrize("magnitude", [1e-38, 1e-20, 1e20, 3e38])
def test_states_of_any_magnitude(case: Case, magnitude: float) -> None:
    def scaled(sentence: Tagged) -> Tagged:
        states, surprisal = sentence.hidden / np.abs(sentence.hidden).max(), sentence.surprisal.astype(np.float64)
        return dataclasses.replace(
            sentence,
            hidden=(states * magnitude).astype(np.float32),
            surprisal=(surprisal / max(surprisal.max(), 1) * magnitude).astype(np.float32),
        )

    pool = random_pool(30, seed=10)
    labelled = case.labelled(pool[0])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        # all large, or only some
        for every in (1, 2):
            mixed, known = (
                None if part is None else case.measured([s if i % every else scaled(s) for i, s in enumerate(part)])
                for part in (pool, labelled)
            )
            assert mixed is not None
            assert np.isfinite(mixed.values).all()
            found = case.made().rank(mixed, known, 10, np.random.default_rng(0))
            assert np.isfinite(found.priority).all()
            assert found.priority.min() >= 0
            assert is_permutation(list(found.order), 30)


@EVERY
def test_measures_are_not_changed_by_ranking(case: Case) -> None:
    values = case.measured(random_pool(10, seed=11))
    known = None if case.known is None else case.measured(random_pool(case.known, seed=99))
    before = dataclasses.replace(values, values=values.values.copy(), lengths=values.lengths.copy())
    labelled_before = None if known is None else known.values.copy()
    case.made().rank(values, known, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(values.values, before.values)
    np.testing.assert_array_equal(values.lengths, before.lengths)
    if known is not None:
        np.testing.assert_array_equal(known.values, labelled_before)


@EVERY
def test_no_global_random_state(case: Case) -> None:
    state = repr(np.random.get_state())
    case.rank(random_pool(10, seed=12), limit=3)
    assert repr(np.random.get_state()) == state


FIELDS = {
    "log_prob": {"log_prob_B"},
    "marginals": {"marginals_BTC"},
    "hidden": {"hidden_BTH", "state_BH"},
    "samples": {"samples_BMTC", "sample_paths_BMT"},
    "surprisal": {"surprisal_BL"},
    "per_text": set[str](),
}
"""What `needs` names, as fields of `Inference`; all models give the best path."""


@ONCE
def test_needs_nothing_that_it_does_not_declare(case: Case) -> None:
    chosen = case.made()
    for batch in batches(case.suited(random_pool(8, seed=13)), 4):
        bare = {field: None for need, fields in FIELDS.items() if need not in chosen.needs for field in fields}
        if chosen.reads != "tagger":
            bare |= {"tags": ("O",), "path_BT": np.zeros_like(batch.path_BT)}  # it knows no other
        np.testing.assert_array_equal(
            chosen.measure(dataclasses.replace(batch, **bare)),  # type: ignore[arg-type]
            chosen.measure(batch),
        )


@ONCE
def test_declares_nothing_that_it_does_not_need(case: Case) -> None:
    chosen = case.made()
    batch = inference(case.suited(random_pool(8, seed=17)))
    for need in chosen.needs - {"per_text"}:
        with pytest.raises((ValueError, AttributeError, TypeError)):
            chosen.measure(dataclasses.replace(batch, **dict.fromkeys(FIELDS[need])))  # type: ignore[arg-type]


@NAMED
def test_labels_are_never_seen(name: str) -> None:
    """All that `measure` and `rank` are given is the output of models, and that holds no gold labels."""
    assert list(inspect.signature(STRATEGIES[name].measure).parameters) == ["self", "batch"]
    assert list(inspect.signature(STRATEGIES[name].rank).parameters)[1:] == ["pool", "labelled", "limit", "rng"]
    outputs = {"indices", "lengths", "tags", "path_BT"} | set[str]().union(*FIELDS.values())
    assert {field.name for field in dataclasses.fields(Inference)} <= outputs
    assert {field.name for field in dataclasses.fields(Measured)} == {"values", "lengths", "state_size"}


def test_package_imports_no_sentences() -> None:
    for module in Path(strategies.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("corpus"):
                assert [name.name for name in node.names] == ["Inference"], module.name


# by name


@ONCE
def test_registry_makes_strategies_that_say_what_they_measure(case: Case) -> None:
    made = case.made()
    assert isinstance(made, Strategy)
    values = made.measure(inference(case.suited(random_pool(3, seed=14))))
    assert len(values) == 3
    assert values.dtype in (np.float32, np.float64)


@NAMED
def test_declarations_fit_together(name: str) -> None:
    made = strategy(name)
    assert made.reads in {"tagger", "encoder", "masked-lm"}
    assert made.needs <= FIELDS.keys()
    assert ("samples" in made.needs) == (made.passes > 0)
    assert made.dropout is None


OPTIONS = [
    pytest.param(name, option, parameter.default, id=f"{name} {option}")
    for name, kind in sorted(STRATEGIES.items())
    for option, parameter in inspect.signature(kind).parameters.items()
]

WRONG: dict[type, list[object]] = {
    bool: ["true", 1, None],
    int: ["3", 2.5, True, None, -1],
    float: ["0.5", True, None, -1, math.nan, math.inf],
    str: ["", "nonsense", 3, None],
}
"""Of each type of option, values of other types and beyond any range."""

WRONG_UNLESS_NONE: dict[str, list[object]] = {"dropout": ["", 3, True], "radius": ["0.5", True, -1, 0, math.nan]}
"""The same of options that are None by default."""


@pytest.mark.parametrize(("name", "option", "default"), OPTIONS)
def test_every_option_can_be_given_by_name(name: str, option: str, default: object) -> None:
    """At its default it changes nothing."""
    given, left_out = strategy(name, **{option: default}), strategy(name)
    assert {k: v for k, v in vars(given).items() if not isinstance(v, Strategy)} == {
        k: v for k, v in vars(left_out).items() if not isinstance(v, Strategy)
    }


@pytest.mark.parametrize(("name", "option", "default"), OPTIONS)
def test_wrong_options_are_refused_in_words(name: str, option: str, default: object) -> None:
    for value in WRONG_UNLESS_NONE[option] if default is None else WRONG[type(default)]:
        with pytest.raises(ValueError, match=rf"{option}\b.*{value!r}" if value != "" else option):
            strategy(name, **{option: value})


def test_unknown_strategy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"unknown strategy 'bagde'; known: {', '.join(sorted(STRATEGIES))}$"):
        strategy("bagde")


def test_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'badge' has no option 'size'; its options: dimensions, seed"):
        strategy("badge", size=3)
    with pytest.raises(ValueError, match="'mnlp' has no option 'total'; its options: none"):
        strategy("mnlp", total=True)


# what a tagger must provide


@NAMED
def test_check_accepts_exactly_what_suffices(name: str) -> None:
    chosen = strategy(name)
    check(chosen, chosen.needs)
    check(chosen, chosen.needs | {"log_prob", "samples"})
    for missing in chosen.needs:
        if chosen.reads != "tagger":
            check(chosen, chosen.needs - {missing})  # it asks another model
            continue
        with pytest.raises(ValueError, match=f"^{name!r} needs of the tagger .*: {strategies.NEEDS[missing][:20]}"):
            check(chosen, chosen.needs - {missing})


def test_check_says_what_is_missing_and_what_works() -> None:
    with pytest.raises(ValueError) as raised:
        check(strategy("bald"), frozenset({"log_prob", "hidden"}))
    working = {name for name, kind in STRATEGIES.items() if kind.needs <= {"log_prob", "hidden"}}
    working |= {name for name, kind in STRATEGIES.items() if kind.reads != "tagger"}
    assert {"random", "mnlp", "bert-km", "alps", "coreset"} <= working
    assert str(raised.value) == (
        "'bald' needs of the tagger what this one does not provide: stochastic passes, which a tagger with dropout "
        f"has. Take another tagger, or one of the strategies that work with this one: {', '.join(sorted(working))}"
    )


def test_batch_bald_is_refused_for_sequences_with_what_to_take_instead() -> None:
    with pytest.raises(ValueError, match=r"decisions on texts, .*'bald' and 'power-bald'"):
        check(strategy("batch-bald"), frozenset({"log_prob", "marginals", "hidden", "samples"}))


def test_check_knows_unregistered_strategies_by_class() -> None:
    class Novel(strategies.uncertainty.Entropy):
        needs = frozenset({"samples", "telepathy"})

    with pytest.raises(ValueError, match=r"^'Novel' needs .*: stochastic passes, .*; telepathy"):
        check(Novel(), frozenset())
