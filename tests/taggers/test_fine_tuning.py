"""How the transformer tagger learns: its rule, its batches, its starts from an earlier model."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from corpus import Sentence
from taggers.base import Progress
from taggers.chunk_crf import FORBIDDEN
from taggers.fine_tuning import Course
from taggers.relation_classifier import RelationClassifier
from taggers.training import bucketed
from taggers.transformer import TransformerOptions, TransformerTagger
from taggers.transformer_classifier import TransformerClassifier
from tests.taggers.tiny import encoder, labelled, one_thread, tagger_of, train  # noqa: F401  (fixtures)


def course(passages: int, width: int = 384, frozen: bool = False, **given: Any) -> Course:
    rule = {"narrow_rate": 5e-4, "learning_rate": None, "epochs": None, "batch_size": None, "patience": None}
    return Course.suited(passages, width, frozen, **{**rule, **given})


def steps(course: Course, passages: int) -> int:
    """In an epoch."""
    return course.passes * -(-passages // course.batch_size)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("passages", [1, 3, 4, 39, 40, 41, 100, 160, 1_000, 15_000])
def test_an_epoch_of_few_sentences_has_ten_steps_of_small_batches(passages: int, frozen: bool) -> None:
    found = course(passages, frozen=frozen)
    assert steps(found, passages) >= 10
    assert 4 <= found.batch_size <= (32 if frozen else 16)
    assert found.passes == 1 or found.batch_size == 4
    assert course(passages, frozen=frozen, batch_size=8).batch_size <= 8


def test_a_small_encoder_learns_faster() -> None:
    for narrow in (kind.narrow_rate for kind in (TransformerTagger, TransformerClassifier, RelationClassifier)):
        rates = [course(100, width=width, narrow_rate=narrow).learning_rate for width in (384, 768)]
        assert rates == [narrow, 5e-5]


@pytest.mark.parametrize("passages", [1, 100, 225, 1_140, 3_000, 11_500, 100_000])
def test_a_frozen_one_takes_steps_enough_but_no_more_epochs_than_help(passages: int) -> None:
    found = course(passages, frozen=True)
    assert 20 <= found.epochs <= 80
    assert found.epochs in (20, 80) or 1500 <= found.epochs * steps(found, passages) < 1500 + steps(found, passages)


def test_what_is_given_holds() -> None:
    given = {"learning_rate": 0.3, "epochs": 7, "patience": 2}
    for frozen in (False, True):
        found = course(1_000, frozen=frozen, **given)
        assert given == {name: getattr(found, name) for name in given}
        assert found.crf_rate == 0.3


def test_batches_hold_each_text_once_and_texts_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 1_000).tolist()
    batches = bucketed(lengths, 16, np.random.default_rng(1))
    assert sorted(i for batch in batches for i in batch) == list(range(1_000))
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)
    assert [max(lengths[i] for i in b) for b in batches] != sorted(max(lengths[i] for i in b) for b in batches)
    assert batches != bucketed(lengths, 16, np.random.default_rng(2))


@pytest.mark.parametrize("what", ["none", "embeddings", 0, 1, 2, True, False])
def test_freezing_survives_storage(what: str | int | bool) -> None:
    """True and 1 are two things, in JSON too."""
    kept = TransformerOptions.model_validate_json(TransformerOptions(freeze=what).model_dump_json()).freeze
    assert kept == what and type(kept) is type(what)


@pytest.mark.parametrize(("text", "means"), [("none", "none"), ("2", 2), ("1", 1), ("true", True), ("false", False)])
def test_freezing_can_be_written_in_a_setting(text: str, means: object) -> None:
    found = TransformerOptions.model_validate_strings({"freeze": text}).freeze
    assert found == means and type(found) is type(means)


def test_freezing_nothing(encoder: str, train: list[Sentence]) -> None:
    taggers = [tagger_of(encoder, epochs=1, freeze=freeze) for freeze in (False, "none")]
    for tagger in taggers:
        tagger.fit(train, [])
        assert all(weight.requires_grad for weight in tagger._fitted().parameters())
    for one, other in zip(*(tagger._fitted().parameters() for tagger in taggers), strict=True):
        assert torch.equal(one, other)


WARM = [{}, {"crf": True}, {"freeze": True}, {"freeze": True, "crf": True}]


@pytest.mark.slow
@pytest.mark.parametrize("options", WARM)
def test_a_warm_start_is_ahead(encoder: str, train: list[Sentence], options: dict[str, Any]) -> None:
    """In its first epoch, and the earlier model is unharmed."""

    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        losses.append(progress.loss or 0)
        raise Enough

    losses: list[float] = []
    earlier = tagger_of(encoder, epochs=6, **options)
    earlier.fit(train, [])
    before = {name: weight.clone() for name, weight in earlier._fitted().state_dict().items()}
    for start in (None, earlier):
        with pytest.raises(Enough):
            tagger_of(encoder, epochs=6, **options).fit(train, [], start=start, on_progress=stop)
    assert losses[1] < 0.8 * losses[0]
    for name, weight in earlier._fitted().state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("options", WARM)
def test_a_warm_start_knows_labels_by_name(encoder: str, options: dict[str, Any]) -> None:
    """The rows of LOC move when AGE comes before it; what was learned of it does not."""
    earlier = tagger_of(encoder, learning_rate=1e-9, epochs=1, **options)
    earlier.fit([labelled("1", "Ada saw Lima", LOC="Lima")], [])
    with torch.no_grad():
        earlier._fitted().head.bias.zero_()[1:3] = torch.tensor([50.0, 80.0])
        if (crf := earlier._fitted().crf) is not None:
            crf.chain.between_CC[1, 2] = 500.0
    later = tagger_of(encoder, learning_rate=1e-9, epochs=1, **options)
    later.fit([labelled("1", "Ada saw Lima", LOC="Lima", AGE="Ada")], [], start=earlier)
    assert later.tags == ("O", "B-AGE", "I-AGE", "B-LOC", "I-LOC")
    bias = later._fitted().head.bias.tolist()
    place = 3 if (crf := later._fitted().crf) is None else 5  # of B-LOC, among tags or among the CRF's states
    assert [round(value / 10) for value in bias[place : place + 2]] == [3, 5]  # 0.6 of what they were
    assert sum(abs(value) for value in bias) == pytest.approx(0.6 * 130, abs=2)
    if crf is not None:
        between_SS = crf.chain.between_CC
        assert between_SS[place, place + 1].item() == pytest.approx(300, abs=1)
        assert between_SS[between_SS > FORBIDDEN].abs().sum().item() == pytest.approx(300, abs=10)


def test_what_cannot_be_started_from(encoder: str, train: list[Sentence]) -> None:
    with pytest.raises(ValueError, match="cannot start warm"):
        tagger_of(encoder).fit(train, [], start=tagger_of(encoder, epochs=9))
    with pytest.raises(RuntimeError, match="no model yet"):
        tagger_of(encoder).fit(train, [], start=tagger_of(encoder))


def test_a_tagger_can_go_on_from_itself(encoder: str, train: list[Sentence]) -> None:
    """With other labels than before."""
    tagger = tagger_of(encoder, epochs=4)
    tagger.fit(train, [])
    tagger.fit([labelled("1", "Ada saw Lima", X="Ada")], [], start=tagger)
    assert tagger.tags == ("O", "B-X", "I-X")
