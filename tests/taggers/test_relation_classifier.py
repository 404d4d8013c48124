"""The relation classifier on a tiny encoder and a tiny decoder: what it reads, what it learns, what it promises."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from corpus import Inference, Relation, Sentence, Span
from taggers import TAGGERS, load
from taggers.encoders import load_encoder
from taggers.labels import exact_f1
from taggers.pair_network import reads_backwards_only
from taggers.pair_reading import PairReader, kind_names
from taggers.pairs import candidates
from taggers.relation_classifier import RelationClassifier, RelationOptions
from tests.taggers.tiny import NAMES, POSITIONS, TOWNS
from tests.taggers.tiny import encoder as tiny_encoder  # noqa: F401  (a fixture)
from tests.taggers.tiny import one_thread as one_thread


def of(id: str, text: str, *names: str, arrows: dict[tuple[str, str], str] | None = None) -> Sentence:
    """A text with these entities, and a relation for each head and tail in `arrows`."""
    spans = {n: Span(text.index(n), text.index(n) + len(n), "PER" if n in NAMES else "LOC") for n in names}
    relations = tuple(Relation(spans[head], spans[tail], label) for (head, tail), label in (arrows or {}).items())
    return replace(Sentence.from_text(id, text, tuple(spans.values())), relations=relations)


@pytest.fixture(scope="module")
def encoder(tiny_encoder: str) -> str:  # noqa: F811
    return tiny_encoder


@pytest.fixture(scope="module")
def train() -> list[Sentence]:
    """ "Ada in Lima": lives; "Lima near Ada": saw, from the person too, so against the order of the text; else none."""
    found = []
    for i in range(8):
        name, other, town = NAMES[i], NAMES[(i + 3) % 8], TOWNS[i]
        found += [
            of(f"{i}a", f"{name} in {town}", name, town, arrows={(name, town): "lives"}),
            of(f"{i}b", f"{town} near {name}", name, town, arrows={(name, town): "saw"}),
            of(f"{i}c", f"{name} met {other} in {town}", name, other, town, arrows={(other, town): "lives"}),
            of(f"{i}d", f"the sea: {name}", name),
        ]
    return found


def model(encoder: str, seed: int = 0, **options: object) -> RelationClassifier:
    settings = {"encoder": encoder, "learning_rate": 5e-3, "epochs": 12, "freeze": "none", "max_pieces": 64, **options}
    return RelationClassifier(RelationOptions(**settings), seed=seed)  # type: ignore[arg-type]


def decoder(kind: str, encoder: str, folder: Path) -> str:
    """A folder with a tiny random decoder, which reads the same pieces and, as such do, has no piece for padding."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.pad_token = None
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "gpt2":
            small = GPT2Config(**sizes, n_positions=POSITIONS)
            GPT2Model(small).save_pretrained(folder)
        else:
            config = LlamaConfig(
                **sizes, intermediate_size=64, num_key_value_heads=1, max_position_embeddings=POSITIONS
            )
            LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def fitted(encoder: str, train: list[Sentence]) -> RelationClassifier:
    classifier = model(encoder)
    classifier.fit(train, [])
    return classifier


@pytest.fixture(scope="module")
def texts(train: list[Sentence]) -> list[Sentence]:
    """None, one and many pairs, entities that overlap, that cut words, that stand far apart; texts without words."""
    crowd = " ".join(f"{NAMES[i % 8]} saw {TOWNS[i % 7]}," for i in range(40))
    ends = (Span(0, 3, "PER"), Span(len(crowd) - 7, len(crowd) - 1, "LOC"), Span(40, 44, "new"), Span(40, 60, "PER"))
    others = [
        Sentence.from_text("empty", "", ()),
        Sentence.from_text("blank", " ", (Span(0, 1, "PER"),)),
        Sentence.from_text("nobody", "the sea", None),
        Sentence.from_text("far", crowd, ends),
        Sentence.from_text(
            "within a word", "Bergensea 🙂🙂 Lima", (Span(0, 6, "LOC"), Span(6, 9, "PER"), Span(10, 16, "LOC"))
        ),
        Sentence.from_text("odd", "\x07 in Lima \ud800", (Span(0, 1, "PER"), Span(5, 9, "LOC"), Span(10, 11, "LOC"))),
    ]
    return [replace(s, entities=s.spans).unlabelled() for s in [*train, *others]]


def by_text(batches: Iterator[Inference]) -> dict[int, dict[str, np.ndarray]]:
    """Text -> its arrays without padding."""
    found = {}
    for batch in batches:
        for b, (i, n) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            arrays = {"path": batch.path_BT[b], "marginals": batch.marginals_BTC[b], "hidden": batch.hidden_BTH[b]}  # type: ignore[index]
            assert i not in found
            assert not any(array[n:].any() for array in arrays.values()), "numbers in the padding"
            found[int(i)] = {name: array[:n] for name, array in arrays.items()} | {"log_prob": batch.log_prob_B[b]}
            if batch.samples_BMTC is not None and batch.sample_paths_BMT is not None:
                assert not batch.samples_BMTC[b, :, n:].any()
                found[int(i)] |= {"samples": batch.samples_BMTC[b, :, :n], "paths": batch.sample_paths_BMT[b, :, :n]}
    return found


def assert_same(ours: dict[int, dict[str, np.ndarray]], theirs: dict[int, dict[str, np.ndarray]]) -> None:
    assert ours.keys() == theirs.keys()
    for i, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, theirs[i][name], atol=1e-4, err_msg=f"{name} of text {i}")


def test_registered_as_it_is() -> None:
    entry = TAGGERS["relation-classifier"]
    assert (entry.kind, entry.dropouts, entry.warm_starts) == ("relations", RelationClassifier.dropouts, True)


@pytest.mark.slow
@pytest.mark.parametrize("input", ["distre", "markers"])
def test_learns_both_directions_and_what_is_unrelated(encoder: str, train: list[Sentence], input: str) -> None:
    classifier = model(encoder, input=input)
    classifier.fit(train[:28], [])
    assert classifier.tags == ("O", "<saw", ">lives")
    unseen = [replace(s, entities=s.spans).unlabelled() for s in train[28:]]
    assert exact_f1(train[28:], classifier.predict(unseen), "relations") == 1
    assert exact_f1(train[:28], classifier.predict(train[:28]), "relations") > 0.9


@pytest.mark.parametrize("input", ["distre", "markers"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_learns_too(kind: str, input: str, encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    classifier = model(decoder(kind, encoder, tmp_path / kind), input=input)
    classifier.fit(train, [])
    assert exact_f1(train, classifier.predict(train), "relations") > 0.9
    alone = {i: by_text(classifier.infer([s]))[0] for i, s in enumerate(train)}
    assert_same(by_text(classifier.infer(train)), alone)


def test_tells_decoders_from_encoders(encoder: str, tmp_path: Path) -> None:
    assert not reads_backwards_only(load_encoder(encoder)[0])
    assert reads_backwards_only(load_encoder(decoder("gpt2", encoder, tmp_path / "gpt2"))[0])
    assert reads_backwards_only(load_encoder(decoder("llama", encoder, tmp_path / "llama"))[0])


def test_infers_each_pair_once(fitted: RelationClassifier, texts: list[Sentence]) -> None:
    for i, arrays in by_text(fitted.infer(texts)).items():
        assert len(arrays["path"]) == len(candidates(texts[i]).pairs)
        np.testing.assert_allclose(arrays["marginals"].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(arrays["marginals"].argmax(axis=1), arrays["path"])
        np.testing.assert_allclose(arrays["log_prob"], np.log(arrays["marginals"].max(axis=1)).sum(), atol=1e-4)
    assert {len(a["path"]) for a in by_text(fitted.infer(texts)).values()} == {0, 1, 3, 6}


def test_head_makes_the_marginals_of_the_hidden_states(fitted: RelationClassifier, texts: list[Sentence]) -> None:
    head = fitted._fitted().head
    for arrays in by_text(fitted.infer(texts)).values():
        with torch.no_grad():
            told = head(torch.from_numpy(arrays["hidden"])).softmax(dim=1).numpy()
        np.testing.assert_allclose(arrays["marginals"], told, atol=1e-5)


@pytest.mark.parametrize("dropout", [None, "last", "all"])
def test_numbers_depend_on_no_company(fitted: RelationClassifier, texts: list[Sentence], dropout: str | None) -> None:
    passes = 3 if dropout else 0
    together = by_text(fitted.infer(texts, passes=passes, dropout=dropout))
    alone = {i: by_text(fitted.infer([s], passes=passes, dropout=dropout))[0] for i, s in enumerate(texts)}
    assert_same(together, alone)
    last = len(texts) - 1
    backwards = by_text(fitted.infer(texts[::-1], passes=passes, dropout=dropout))
    assert_same(together, {last - i: arrays for i, arrays in backwards.items()})


@pytest.mark.parametrize("dropout", ["last", "all"])
def test_passes_scatter_about_the_answer(fitted: RelationClassifier, texts: list[Sentence], dropout: str) -> None:
    found = by_text(fitted.infer(texts, passes=40, dropout=dropout))
    marginals, samples = (
        np.concatenate([a[name] for a in found.values()], axis=-2) for name in ("marginals", "samples")
    )
    assert samples.std(axis=0).max() > 0.01
    assert np.abs(samples.mean(axis=0) - marginals).mean() < 0.05
    one, two = (by_text(fitted.infer(texts[:1], passes=2, dropout=dropout))[0]["samples"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one[0], one[1])


def test_unknown_dropout_is_refused(fitted: RelationClassifier, texts: list[Sentence]) -> None:
    with pytest.raises(ValueError, match="no dropout 'word'"):
        list(fitted.infer(texts, passes=1, dropout="word"))


def test_marks_carry_the_probability_of_the_class(fitted: RelationClassifier, train: list[Sentence]) -> None:
    [found] = fitted.predict([train[0].unlabelled()])
    assert found == []  # nobody has said what the entities are
    asked = replace(train[0], entities=train[0].spans).unlabelled()
    [[relation]] = fitted.predict([asked])
    [batch] = fitted.infer([asked])
    assert relation in (train[0].relations or ())
    assert relation.confidence == pytest.approx(batch.marginals_BTC[0, 0].max())  # type: ignore[union-attr]


def test_same_seed_same_model(
    fitted: RelationClassifier, encoder: str, train: list[Sentence], texts: list[Sentence]
) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    first, again, other = (model(encoder, seed, epochs=1) for seed in (0, 0, 1))
    for classifier in (first, again, other):
        classifier.fit(train, [])
    ours, theirs = by_text(first.infer(texts)), by_text(again.infer(texts))
    assert all(np.array_equal(ours[i]["marginals"], theirs[i]["marginals"]) for i in ours)
    assert not np.array_equal(ours[0]["marginals"], by_text(other.infer(texts))[0]["marginals"])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


@pytest.mark.parametrize("input", ["distre", "markers"])
def test_load_gives_everything_back(
    encoder: str, train: list[Sentence], texts: list[Sentence], input: str, tmp_path: Path
) -> None:
    classifier = model(encoder, input=input, epochs=2)
    classifier.fit(train, [])
    classifier.save(tmp_path / "model")
    assert not [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.pkl"), *tmp_path.rglob("*.pt")]
    stored = load(tmp_path / "model")
    assert isinstance(stored, RelationClassifier)
    assert (stored.tags, stored.options, stored.seed) == (classifier.tags, classifier.options, classifier.seed)
    passes = {"passes": 2, "dropout": "all"}
    assert_same(by_text(classifier.infer(texts, **passes)), by_text(stored.infer(texts, **passes)))  # type: ignore[arg-type]
    assert stored.predict(texts) == classifier.predict(texts)


def test_goes_on_from_an_earlier_model_with_other_classes_and_labels(
    encoder: str,
    fitted: RelationClassifier,
    train: list[Sentence],
) -> None:
    town = of("new", "Lima saw the Tartu", "Lima", "Tartu")
    first, second = (Span(s.start, s.end, "sea") for s in town.spans or ())
    more = [*train, replace(town, spans=(first, second), relations=(Relation(first, second, "far"),))]
    warm = model(encoder, epochs=1, learning_rate=1e-9)
    assert warm.options != fitted.options and not warm.goes_on_from(fitted)
    before = {name: weight.clone() for name, weight in fitted._fitted().state_dict().items()}
    warm = model(encoder)
    warm.fit(more, [], start=fitted)
    assert warm.tags == ("O", "<saw", ">far", ">lives")
    assert exact_f1(more, warm.predict(more), "relations") > 0.9
    assert all(torch.equal(weight, before[name]) for name, weight in fitted._fitted().state_dict().items())
    with pytest.raises(ValueError, match="cannot start warm"):
        model(encoder, epochs=1).fit(train, [], start=fitted)


def test_best_epoch_on_dev_is_kept_and_progress_told(encoder: str, train: list[Sentence]) -> None:
    told = []
    classifier = model(encoder, epochs=4)
    classifier.fit(train[:28], train[28:], on_progress=told.append)
    assert [p.epoch for p in told] == list(range(1, len(told) + 1))
    assert exact_f1(train[28:], classifier.predict(train[28:]), "relations") == max(p.dev_f1 or 0 for p in told)


def test_without_any_relation_it_knows_none(encoder: str, train: list[Sentence]) -> None:
    classifier = model(encoder)
    classifier.fit([replace(s, relations=()) for s in train], [])
    assert classifier.tags == ("O",)
    assert classifier.predict(train) == [[] for _ in train]
    assert sum(batch.lengths.sum() for batch in classifier.infer(train)) == sum(len(candidates(s).pairs) for s in train)


def test_refuses_what_nobody_has_labelled(encoder: str, train: list[Sentence]) -> None:
    with pytest.raises(ValueError, match="task 0a has not been labelled"):
        model(encoder).fit([replace(train[0], relations=None)], [])
    with pytest.raises(ValueError, match="`train` is empty"):
        model(encoder).fit([], [])


def test_unrelated_pairs_that_are_drawn_weigh_for_all(encoder: str, train: list[Sentence]) -> None:
    """24 related pairs and 16 unrelated ones, of which 12 are learned from."""
    classifier = model(encoder, unrelated=0.5, epochs=1)
    classifier.fit(train, [])
    network = classifier._fitted()
    np.testing.assert_allclose(network.weights.numpy(), [16 / 12, 1, 1], rtol=1e-6)
    every = model(encoder, unrelated=None, epochs=1)
    every.fit(train, [])
    assert every._fitted().weights.tolist() == [1, 1, 1]


def test_relations_that_cannot_be_learned_and_pairs_that_are_too_many_are_told(
    encoder: str,
    train: list[Sentence],
    caplog: pytest.LogCaptureFixture,
) -> None:
    spans = train[2].spans or ()
    odd = replace(train[2], relations=(Relation(spans[0], spans[0], "self"), *(train[2].relations or ())))
    with caplog.at_level(logging.WARNING, "taggers.relation_classifier"):
        model(encoder, epochs=1, max_pairs=2).fit([*train[:2], odd], [])
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert "task 0c: 'self'" in told and "1 texts have more than 2 pairs" in told and "task 0c: 1 are not" in told


class TestReading:
    @staticmethod
    def read(encoder: str, sentence: Sentence, input: str, longest: int = 64) -> list[list[tuple[str, str]]]:
        """The pieces of each pair, with their roles and labels."""
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        labels = ("LOC", "PER")
        reader = PairReader(tokenizer, POSITIONS, labels, input, longest)  # type: ignore[arg-type]
        [passages] = reader.read_pairs([sentence], [candidates(sentence).pairs])
        assert [passage.start for passage in passages] == list(range(len(passages)))
        assert all(len(passage) <= longest and len(passage.kinds) == len(passage) for passage in passages)
        names = kind_names(labels)
        return [
            [(tokenizer.decode([piece]), names[kind]) for piece, kind in zip(p.pieces, p.kinds, strict=True)]
            for p in passages
        ]

    def test_distre_is_both_entities_then_the_text(self, encoder: str) -> None:
        [row] = self.read(encoder, of("1", "the sea in Lima, Ada", "Ada", "Lima"), "distre")
        assert " ".join(piece for piece, _ in row) == "[CLS] lima [SEP] ada [SEP] the sea in lima , ada [SEP]"
        assert [kind for _, kind in row if kind != "none"] == ["first LOC", "second PER"] * 2

    def test_markers_stand_around_both_entities(self, encoder: str) -> None:
        [row] = self.read(encoder, of("1", "the sea in Lima, Ada", "Ada", "Lima"), "markers")
        kinds = ["none"] * 4 + ["opens first LOC", "first LOC", "closes first LOC", "none"]
        assert [kind for _, kind in row] == [*kinds, "opens second PER", "second PER", "closes second PER", "none"]
        assert row[0][0] == "[CLS]" and [p for p, k in row if k in ("first LOC", "second PER")] == ["lima", "ada"]

    def test_an_entity_inside_a_word_is_cut_out(self, encoder: str) -> None:
        sentence = Sentence.from_text("1", "Adasea met Lima", (Span(0, 3, "PER"), Span(11, 15, "LOC")))
        [row] = self.read(encoder, sentence, "distre")
        assert [piece for piece, kind in row if kind == "first PER"] == ["ada", "ada"]

    @pytest.mark.parametrize("input", ["distre", "markers"])
    def test_of_long_texts_both_entities_are_read_with_words_around_them(self, encoder: str, input: str) -> None:
        filler = " the sea" * 60
        text = f"{filler} in Lima near {filler} saw Ada met {filler}"
        [row] = self.read(encoder, of("1", text, "Ada", "Lima"), input, longest=48)
        words = " ".join(piece for piece, kind in row if not kind.startswith(("opens", "closes")))
        assert "in lima near" in words and "saw ada met" in words
        assert len(row) > 40

    def test_an_entity_longer_than_what_is_read_keeps_its_front(self, encoder: str) -> None:
        text = "Ada saw " + "the sea " * 80
        sentence = Sentence.from_text("1", text, (Span(0, 3, "PER"), Span(8, len(text), "LOC")))
        for input in ("distre", "markers"):
            [row] = self.read(encoder, sentence, input)
            assert ("ada", "first PER") in row and ("the", "second LOC") in row
