"""The features of words: what each part gives, that no word's row depends on the others, saving and warm starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from taggers.frozen_vectors import FrozenVectors
from taggers.static_vectors import StaticVectors
from taggers.warm_start import shrink_and_perturb
from taggers.word_features import CHARACTER_STATES, LONGEST_WORD, FeatureOptions, WordFeatures
from taggers.word_pieces import capitalisation
from tests.taggers.test_transformer import encoder as tiny_encoder  # noqa: F401  (a fixture)

TEXTS = [["Anna", "met", "Anna", "in", "1999"], ["Berlin", "is", "in", "2001", "cities"], []]
ODD = ["", "\x00", "\ud800", "\u200b", "x" * 5000, "👩‍👩‍👧", "北京", "\n", " "]
NOTHING: dict[str, Any] = {"word_units": 0, "characters": "none", "capitalisation": False}


@pytest.fixture
def glove(tmp_path: Path) -> str:
    file = tmp_path / "vectors.txt"
    file.write_text("anna 1 2\nberlin 3 -4\nin 0.5 0\n")
    return str(file)


def features_of(**options: Any) -> WordFeatures:
    torch.manual_seed(0)
    return WordFeatures.of(TEXTS, FeatureOptions(**options)).eval()


@pytest.fixture(params=["learned", "lstm", "static", "all"])
def options(request: pytest.FixtureRequest, glove: str, tiny_encoder: str) -> dict[str, Any]:  # noqa: F811
    kinds: dict[str, dict[str, Any]] = {
        "learned": {},
        "lstm": {"characters": "lstm"},
        "static": {**NOTHING, "word_vectors": glove},
        "all": {"characters": "lstm", "word_vectors": glove, "encoder": tiny_encoder},
    }
    return kinds[request.param]


def test_rows_are_as_wide_as_said_and_one_for_each_word(options: dict[str, Any]) -> None:
    features = features_of(**options)
    rows = features([*TEXTS, ODD])
    assert rows.shape == (10 + len(ODD), features.width)
    assert rows.isfinite().all()
    assert features([]).shape == features([[], []]).shape == (0, features.width)


def test_no_row_depends_on_other_texts(options: dict[str, Any]) -> None:
    features = features_of(**options)
    together = features([*TEXTS, ["a" * 50, "Zoë"], ODD])
    alone = torch.cat([features([text]) for text in [*TEXTS, ["a" * 50, "Zoë"], ODD]])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_without_an_encoder_no_row_depends_on_other_words() -> None:
    for characters in ("cnn", "lstm"):
        features = features_of(characters=characters)
        torch.testing.assert_close(
            features([["Anna", "x" * 60, "in"]])[[0, 2]], features([["in"], ["Anna"]])[[1, 0]], rtol=1e-5, atol=1e-6
        )


def test_words_are_known_whatever_their_case_and_digits() -> None:
    features = features_of(word_units=5, characters="none", capitalisation=False)
    rows = features([["ANNA", "anna", "1234", "2001", "never", "seen"]])
    assert rows[0].equal(rows[1]) and rows[2].equal(rows[3]) and rows[4].equal(rows[5])
    assert not rows[0].equal(rows[4]) and not rows[2].equal(rows[4])


def test_in_training_words_met_once_are_unknown_half_of_the_time() -> None:
    features = features_of(word_units=5, characters="none", capitalisation=False)
    unknown, anna, met = features([["never", "Anna", "met"]])
    features.train()
    rows = features([["Anna", "met"] * 2000])
    assert (rows[0::2] == anna).all()
    hidden = (rows[1::2] == unknown).all(dim=1)
    assert (hidden | (rows[1::2] == met).all(dim=1)).all()
    assert 900 < int(hidden.sum()) < 1100


def test_the_character_cnn_is_the_greatest_answer_of_each_filter() -> None:
    features = features_of(word_units=0, capitalisation=False)
    (row,) = features([["Berlin"]])
    letters = ["UNKNOWN", "PADDING", *features.card()["characters"]]
    spelling: Any = features.spelling
    table, convolution = spelling.characters.weight, spelling.convolution
    word = torch.stack([table[letters.index(letter)] for letter in "Berlin"])
    padded = functional.pad(word, (0, 0, 1, 1))
    answers = [(convolution.weight * padded[t : t + 3].T).sum(dim=(1, 2)) + convolution.bias for t in range(6)]
    torch.testing.assert_close(row, torch.stack(answers).amax(dim=0))


def test_the_character_lstm_ends_at_each_end_of_the_word() -> None:
    features = features_of(word_units=0, capitalisation=False, characters="lstm")
    assert features.width == 2 * CHARACTER_STATES
    spelling: Any = features.spelling
    row = features([["a-much-longer-word", "Anna"]])[1]
    letters = ["UNKNOWN", "PADDING", *features.card()["characters"]]
    word = spelling.characters(torch.tensor([[letters.index(letter) for letter in "Anna"]]))
    states, _ = spelling.lstm(word)
    expected = torch.cat([states[0, -1, :CHARACTER_STATES], states[0, 0, CHARACTER_STATES:]])
    torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("characters", ["cnn", "lstm"])
def test_long_words_are_read_by_their_two_ends(characters: str) -> None:
    features = features_of(word_units=0, capitalisation=False, characters=characters)
    half = LONGEST_WORD // 2
    start, end = "B" * half, "n" * half
    rows = features([[start + "e" * 1000 + end, start + end, start + "e" + end, "e" + start + end]])
    torch.testing.assert_close(rows[0], rows[1])
    torch.testing.assert_close(rows[0], rows[2])
    assert not torch.allclose(rows[0], rows[3], atol=1e-4)


def test_capitalisation_is_told_apart() -> None:
    features = features_of(word_units=0, characters="none")
    table: Any = features.capitalisation
    words = ["anna", "Anna", "ANNA", "aNNa", "1999", "-", "北京"]
    rows = features([words])
    assert rows.tolist() == table.weight[[capitalisation(word) for word in words]].tolist()
    assert len({tuple(row) for row in rows.tolist()}) == len(words)


def test_static_vectors_stand_as_they_are_and_do_not_learn(glove: str) -> None:
    features = features_of(**NOTHING, word_vectors=glove)
    words = sorted({word for text in TEXTS for word in text})
    known = StaticVectors(glove).of(words)
    expected = (np.array([[1, 2], [0, 0], [3, -4]]) - known.mean(axis=0)) / known.std(axis=0)  # brought to one scale
    np.testing.assert_allclose(features([["Anna", "nobody", "BERLIN"]]).numpy(), expected, atol=1e-5)
    assert not list(features.parameters())


def test_contextual_vectors_stand_text_after_text(tiny_encoder: str) -> None:  # noqa: F811
    features = features_of(**NOTHING, encoder=tiny_encoder)
    raw = np.concatenate(FrozenVectors(tiny_encoder).of(TEXTS)).astype(np.float32)
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)  # brought to one scale, by the training texts
    np.testing.assert_allclose(features(TEXTS).numpy(), expected, atol=1e-4)
    assert not list(features.parameters())


def test_every_learned_part_gets_a_gradient(glove: str) -> None:
    for characters in ("cnn", "lstm"):
        features = features_of(characters=characters, word_vectors=glove).train()
        features([*TEXTS, ODD]).square().sum().backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in features.parameters())
        spelling: Any = features.spelling
        assert not spelling.characters.weight.grad[1].any()  # padding stays nothing


def test_a_stored_one_gives_the_same(options: dict[str, Any]) -> None:
    features = features_of(**options)
    card = json.loads(json.dumps(features.card()))
    torch.manual_seed(1)
    again = WordFeatures.stored(card, FeatureOptions(**options)).eval()
    again.load_state_dict(features.state_dict())
    assert again([*TEXTS, ODD]).equal(features([*TEXTS, ODD]))
    assert again.card() == card


def test_static_vectors_that_changed_or_went_are_refused_with_the_remedy(glove: str) -> None:
    options = FeatureOptions(word_vectors=glove)
    card = WordFeatures.of(TEXTS, options).card()
    assert card["fingerprints"] == {"word_vectors": StaticVectors(glove).fingerprint}
    Path(glove).write_text("anna 1 3\n")
    with pytest.raises(ValueError, match=r"word_vectors .*vectors\.txt' holds other vectors .*train again"):
        WordFeatures.stored(card, options)
    Path(glove).unlink()
    with pytest.raises(ValueError, match=r"no such file or folder\. Put it there"):
        WordFeatures.stored(card, options)


def test_only_what_is_asked_for_is_learned(glove: str) -> None:
    card = features_of(**NOTHING, word_vectors=glove).card()
    assert card["words"] == card["rare"] == card["characters"] == []
    assert features_of(word_units=7, characters="none").width == 7 + 8
    with pytest.raises(ValueError, match="no features"):
        FeatureOptions(**NOTHING)
    with pytest.raises(ValueError, match="word_units"):
        FeatureOptions(word_units=-1)


def test_warm_starts_find_words_and_characters_by_name() -> None:
    before = features_of(characters="lstm")
    options = FeatureOptions(characters="lstm")
    torch.manual_seed(7)
    now = WordFeatures.of([["Quito", "is", "Anna"], ["unknown", "is"]], options).eval()
    fresh = {name: weight.clone() for name, weight in now.state_dict().items()}
    shrink_and_perturb(now, before.state_dict(), now.axes(before.card()))
    shared = [name for name in now.card()["words"] if name in before.card()["words"]]
    assert shared == ["anna", "is"]

    def row(features: WordFeatures, weights: dict[str, Any], table: str, names: list[str], name: str) -> Any:
        first = {"words.weight": ["UNKNOWN"], "spelling.characters.weight": ["UNKNOWN", "PADDING"]}[table]
        return weights[table][[*first, *names].index(name)]

    for table, kind, names in [
        ("words.weight", "words", ["anna", "is", "UNKNOWN"]),
        ("spelling.characters.weight", "characters", ["A", "s", "PADDING", "UNKNOWN"]),
    ]:
        for name in names:
            old = row(before, before.state_dict(), table, before.card()[kind], name)
            was = row(now, fresh, table, now.card()[kind], name)
            torch.testing.assert_close(row(now, now.state_dict(), table, now.card()[kind], name), 0.6 * old + 0.4 * was)
    quito = row(now, now.state_dict(), "words.weight", now.card()["words"], "quito")
    assert quito.equal(row(now, fresh, "words.weight", now.card()["words"], "quito"))
    weight = "spelling.lstm.weight_hh_l0"
    torch.testing.assert_close(now.state_dict()[weight], 0.6 * before.state_dict()[weight] + 0.4 * fresh[weight])


def test_the_same_seed_gives_the_same_weights_whatever_the_order_of_the_texts() -> None:
    one = features_of().state_dict()
    torch.manual_seed(0)
    other = WordFeatures.of(TEXTS[::-1], FeatureOptions()).state_dict()
    assert all(one[name].equal(other[name]) for name in one)
