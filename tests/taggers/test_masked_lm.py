"""The masked-language model: surprisal against the definition, adapting, and what it leaves on disk."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    GPT2Model,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from corpus import Sentence, Span
from taggers import adaptation, encoders
from taggers.encoders import load_encoder
from taggers.frozen_vectors import FrozenVectors
from taggers.masked_lm import LENGTH, MaskedLanguageModel
from taggers.masking import corrupted, logits_at, never_predicted, predicted
from taggers.transformer import TransformerOptions, TransformerTagger
from taggers.word_pieces import PieceReader

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["ada", "emmy", "mary", "met", "saw", "the", "sea", "in", "lima", "turin", "hue", "near", ".", ","]
PIECES = [*SPECIAL, *WORDS, "un", "##seen", "##s"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So little work is done sooner by one thread than by several that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tokenizer(positions: int, mask: bool = True) -> PreTrainedTokenizerFast:
    ids = {piece: i for i, piece in enumerate(PIECES)}
    words = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    words.normalizer = BertNormalizer(lowercase=True)
    words.pre_tokenizer = BertPreTokenizer()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if mask:
        names["mask_token"] = "[MASK]"
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=positions, **names)


def tiny(positions: int = 200) -> BertConfig:
    return BertConfig(
        vocab_size=len(PIECES),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )


def stored(folder: Path, model: type, config: PretrainedConfig, positions: int = 200, mask: bool = True) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = model(config)
        # Bigger weights than at the start of pre-training, so that its predictions differ from word to word.
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(5 if weight.ndim > 1 else 1)
    made.save_pretrained(folder)
    tokenizer(positions, mask).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny, random BERT with a head, that reads 200 word pieces."""
    return stored(tmp_path_factory.mktemp("mlm"), BertForMaskedLM, tiny())


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same without a head."""
    return stored(tmp_path_factory.mktemp("headless"), BertModel, tiny())


def sentences(count: int, longest: int = 30) -> list[Sentence]:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, longest + 1))) for _ in range(count)]
    return [Sentence.from_text(str(i), text) for i, text in enumerate(texts)]


TOY = [
    Sentence.from_text(f"{a}{b}", f"{a} met the sea in {b} . the sea saw {a} near {b} , {b} saw the sea .")
    for a in ("Ada", "Emmy", "Mary")
    for b in ("Lima", "Turin", "Hue")
]
"""A language in which most words follow from the others."""


def surprisal(model: MaskedLanguageModel, texts: list[Sentence]) -> np.ndarray:
    """(N, 128), in the order of `texts`; every text in exactly one batch."""
    found: dict[int, np.ndarray] = {}
    for batch in model.infer(texts):
        assert batch.surprisal_BL is not None and batch.surprisal_BL.shape == (len(batch.indices), LENGTH)
        assert batch.surprisal_BL.dtype == np.float32
        for i, row in zip(batch.indices, batch.surprisal_BL, strict=True):
            assert int(i) not in found
            found[int(i)] = row
    return np.stack([found[i] for i in range(len(texts))]) if texts else np.zeros((0, LENGTH))


def directly(folder: str, text: Sentence) -> torch.Tensor:
    """Each piece's cross-entropy against itself, from the library's own model, one text by itself."""
    with torch.inference_mode():
        words = [word.text for word in text.words]
        read = AutoTokenizer.from_pretrained(folder)(
            words, is_split_into_words=True, truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        logits = AutoModelForMaskedLM.from_pretrained(folder).eval()(**read).logits[0]
        return cross_entropy(logits, read["input_ids"][0], reduction="none")


@pytest.mark.parametrize(
    "text",
    ["Ada", "Ada saw the sea in Lima.", "unseens saw unseen , Zoë met 天 in Turin", " ".join(WORDS * 5), "Mary, " * 80],
    ids=["one", "short", "pieces", "70", "160"],
)
def test_surprisal_is_the_cross_entropy_of_some_pieces_against_themselves(folder: str, text: str) -> None:
    sentence = Sentence.from_text("0", text)
    expected = directly(folder, sentence).numpy()
    [found] = surprisal(MaskedLanguageModel.load(folder), [sentence])
    (at,) = np.nonzero(found)
    candidates = len(expected) - 2
    assert len(at) == max(1, round(0.15 * candidates))
    assert at.min() >= 1 and at.max() <= candidates, "special pieces are never evaluated"
    np.testing.assert_allclose(found[at], expected[at], rtol=1e-4, atol=1e-5)


def test_which_pieces_is_random_and_a_matter_of_the_seed(folder: str) -> None:
    texts = sentences(200)
    first, again, other = (surprisal(MaskedLanguageModel.load(folder, seed=seed), texts) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert ((first > 0) != (other > 0)).any(axis=1).mean() > 0.5
    pieces = list(range(10, 30))
    chosen = Counter(i for seed in range(1000) for i in predicted(pieces, (), np.random.default_rng(seed)))
    assert set(chosen) == set(range(20))
    # 150 expected of each, with a deviation of 11
    assert all(105 < count < 195 for count in chosen.values())


def test_surprisal_depends_on_the_text_alone(folder: str) -> None:
    model, texts = MaskedLanguageModel.load(folder), sentences(60)
    together = surprisal(model, texts)
    order = np.random.default_rng(1).permutation(len(texts))
    shuffled = surprisal(model, [texts[i] for i in order])
    alone = np.concatenate([surprisal(model, [Sentence.from_text("another id", text.text)]) for text in texts])
    for other in (shuffled[np.argsort(order)], alone):
        assert np.array_equal(other > 0, together > 0)
        np.testing.assert_allclose(other, together, rtol=1e-4, atol=1e-5)


def test_special_pieces_in_a_text_are_not_evaluated(folder: str) -> None:
    model = MaskedLanguageModel.load(folder)
    [found] = surprisal(model, [Sentence.from_words("0", ["[MASK]", "sea", "[PAD]", "[SEP]"])])
    assert np.flatnonzero(found).tolist() == [2]
    assert not surprisal(model, [Sentence.from_words("0", ["[MASK]", "[SEP]"])]).any()
    [unknown] = surprisal(model, [Sentence.from_text("0", "天")])
    assert np.flatnonzero(unknown).tolist() == [1], "a word that the model cannot read surprises it"


def test_texts_without_words_and_no_texts(folder: str) -> None:
    model = MaskedLanguageModel.load(folder)
    assert list(model.infer([])) == []
    found = surprisal(
        model, [Sentence.from_text("0", ""), Sentence.from_text("1", "Ada"), Sentence.from_text("2", " ")]
    )
    assert np.array_equal((found > 0).sum(axis=1), [0, 1, 0])
    assert not surprisal(model, [Sentence.from_text("0", "")]).any()


def test_long_texts_are_read_as_far_as_it_goes(folder: str, tmp_path: Path) -> None:
    long = Sentence.from_text("0", "Mary saw the sea. " * 500)
    [whole] = surprisal(MaskedLanguageModel.load(folder), [long])
    assert (whole > 0).sum() == round(0.15 * 126) and not whole[127]
    short = stored(tmp_path, BertForMaskedLM, tiny(positions=96), positions=96)
    [cut] = surprisal(MaskedLanguageModel.load(short), [long])
    assert (cut > 0).sum() == round(0.15 * 94) and not cut[95:].any()


def test_a_batch_is_like_that_of_a_tagger_without_labels(folder: str) -> None:
    [batch] = MaskedLanguageModel.load(folder).infer(
        [Sentence.from_text("0", "Ada saw Lima"), Sentence.from_text("1", "")]
    )
    assert batch.tags == ("O",) and batch.hidden_BTH is None
    rows = {int(i): b for b, i in enumerate(batch.indices)}
    assert batch.lengths[rows[0]] == 3 and batch.lengths[rows[1]] == 0
    assert not batch.path_BT.any() and not batch.log_prob_B.any()
    assert batch.marginals_BTC[rows[0]].tolist() == [[1.0]] * 3 and not batch.marginals_BTC[rows[1]].any()


@pytest.mark.parametrize("config", [BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig])
def test_predictions_at_some_positions_are_those_of_the_whole_model(config: Callable[..., PretrainedConfig]) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    if config is DistilBertConfig:
        sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    model = AutoModelForMaskedLM.from_config(config(vocab_size=40, max_position_embeddings=20, **sizes)).eval()
    pieces, mask = torch.randint(2, 40, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    at = torch.tensor([2, 9, 20])
    with torch.inference_mode():
        expected = model(input_ids=pieces, attention_mask=mask).logits.flatten(0, 1)[at]
        torch.testing.assert_close(logits_at(model, pieces, mask, at), expected)
        assert model(input_ids=pieces, attention_mask=mask).logits.shape == (3, 7, 40), "nothing stays behind"


def test_of_the_predicted_pieces_most_are_masked_and_some_replaced() -> None:
    words = tokenizer(10_000)
    reader = PieceReader(words, 10_000)
    batch = reader.batch([passage for [passage] in reader.read([Sentence.from_text("0", "sea " * 8000).words])])
    positions = torch.tensor(predicted(batch.pieces_RP[0].tolist(), never_predicted(words), np.random.default_rng(0)))
    before, after = batch.pieces_RP[0], corrupted(batch, positions, words, np.random.default_rng(0))[0]
    others = torch.ones(len(before), dtype=torch.bool)
    others[positions] = False
    assert len(positions) == 1200 and torch.equal(after[others], before[others])
    masked = (after[positions] == words.mask_token_id).float().mean()
    unchanged = (after[positions] == before[positions]).float().mean()
    assert 0.77 < masked < 0.84 and 0.08 < unchanged < 0.13
    assert len(after[positions].unique()) > 10, "replaced by any piece"


def test_adapting_lowers_the_masked_loss(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adaptation.LEARNING_RATE, False, 5e-3)
    model = MaskedLanguageModel.tied(encoder)
    told = []
    result = model.adapt(TOY * 3, steps=50, on_progress=lambda step, **detail: told.append((step, detail["loss"])))
    assert result["steps"] == 50 == len(told) and {step for step, _ in told} == {"adapt"}
    assert result["loss_after"] < result["loss_before"] - 1
    assert result["accuracy_after"] > result["accuracy_before"] + 0.2
    assert result["texts"] == len(TOY) - 1 and result["held_out"] == 1, "what was learned is not measured on"


def test_a_new_head_starts_out_with_the_frequencies_of_the_pieces(encoder: str, folder: str) -> None:
    model = MaskedLanguageModel.tied(encoder)
    course = adaptation._Course(model._model, model._tokenizer, seed=0)
    course.expect([Sentence.from_text("0", "sea sea sea Ada").words])
    odds = model._model.cls.predictions.bias.exp()
    sea, ada, hue = (odds[PIECES.index(word)].item() for word in ("sea", "ada", "hue"))
    assert sea / ada == pytest.approx(3.1 / 1.1, rel=1e-4) and ada / hue == pytest.approx(11, rel=1e-4)
    assert odds.sum().item() == pytest.approx(1, rel=1e-4)

    trained = MaskedLanguageModel.load(folder)
    before = trained._model.cls.predictions.bias.clone()
    trained.adapt(TOY, steps=1)
    assert (trained._model.cls.predictions.bias - before).abs().max() < 1e-2, "a head that has learned is kept"


def test_the_same_seed_and_steps_give_the_same_weights(encoder: str) -> None:
    def adapted(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(int(time.time_ns() % 1000))
        np.random.seed(int(time.time_ns() % 1000))
        model = MaskedLanguageModel.tied(encoder, seed=seed)
        before = torch.get_rng_state()
        model.adapt(TOY, steps=5)
        assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are used up"
        return {name: weight.clone() for name, weight in model._model.state_dict().items()}

    first, again, other = adapted(3), adapted(3), adapted(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_time_is_kept(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which measuring takes 0.1 seconds and a step 0.2."""
    clock = itertools.count(step=0.1)
    monkeypatch.setattr(adaptation, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    told: list[float] = []
    model = MaskedLanguageModel.tied(encoder)
    result = model.adapt(TOY, seconds=5, on_progress=lambda step, **detail: told.append(detail["seconds"]))
    assert result["steps"] == len(told) == 24
    assert told[0] == pytest.approx(0.3) and told == sorted(told)
    assert result["seconds"] == pytest.approx(5.1, abs=0.11), "measuring is part of the time"


def test_the_learning_rate_rises_and_falls(encoder: str) -> None:
    model = MaskedLanguageModel.tied(encoder)
    course = adaptation._Course(model._model, model._tokenizer, seed=0)
    lesson = next(course.lessons([text.words for text in TOY]))
    rates = []
    for share in (0.05, 0.1, 0.55, 1.0):
        course.learn(lesson, share)
        rates.append(course._optimiser.param_groups[0]["lr"] / adaptation.LEARNING_RATE[False])
    assert rates == pytest.approx([0.5, 1, 0.5, 0])


def test_held_out_texts_occur_nowhere_else(encoder: str) -> None:
    model = MaskedLanguageModel.tied(encoder)
    course = adaptation._Course(model._model, model._tokenizer, seed=0)
    texts = sentences(300, longest=40)
    learned, held_out = course.split(texts * 2)
    pieces = [of_text[0].pieces for of_text in course._reader.read(learned)]
    assert held_out and all(passage.pieces not in pieces for passage in held_out)
    distinct = {text.text for text in texts}
    assert len(learned) + len(held_out) == len(distinct) and len(held_out) == round(0.05 * len(distinct))


def test_every_passage_is_read_once_in_a_turn_and_in_another_order_in_the_next(encoder: str) -> None:
    model = MaskedLanguageModel.tied(encoder)
    course = adaptation._Course(model._model, model._tokenizer, seed=0)
    texts = [*(text.words for text in sentences(100)), Sentence.from_text("long", "Mary saw the sea. " * 200).words]
    expected = Counter(tuple(p.pieces) for of_text in course._reader.read(texts) for p in of_text)
    assert max(map(len, expected)) <= adaptation.PASSAGE
    lessons = course.lessons(texts)
    turns = []
    for _ in range(2):
        read: list[tuple[int, ...]] = []
        while len(read) < expected.total():
            step = next(lessons)
            assert len(step) * max(len(p.pieces) for p in step) <= adaptation.STEP_PIECES
            read += [tuple(p.pieces) for p in step]
        assert Counter(read) == expected
        turns.append(read)
    assert turns[0] != turns[1]


def test_what_progress_raises_passes_through(encoder: str) -> None:
    class Stopped(Exception):
        pass

    def stop(step: str, **detail: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        MaskedLanguageModel.tied(encoder).adapt(TOY, steps=5, on_progress=stop)


def test_one_text_is_enough_and_none_is_refused(encoder: str) -> None:
    result = MaskedLanguageModel.tied(encoder).adapt(TOY[:1], steps=2)
    assert result["steps"] == 2 and "loss_before" not in result, "there is nothing to measure on"
    with pytest.raises(ValueError, match="no text has a word"):
        MaskedLanguageModel.tied(encoder).adapt([Sentence.from_text("0", " ")], steps=2)


def test_the_head_is_tied_to_the_table(encoder: str, tmp_path: Path) -> None:
    model = MaskedLanguageModel.tied(encoder)
    start = load_encoder(encoder)[0].state_dict()
    assert all(torch.equal(weight, start[name]) for name, weight in model._model.bert.state_dict().items())
    model.adapt(TOY, steps=3)
    model.save(tmp_path / "adapted")
    for tied in (model, MaskedLanguageModel.load(str(tmp_path / "adapted"))):
        table = tied._model.bert.embeddings.word_embeddings.weight
        assert tied._model.cls.predictions.decoder.weight is table
        assert not torch.equal(table, start["embeddings.word_embeddings.weight"]), "it learns"


def test_saved_and_loaded_it_is_the_same(encoder: str, tmp_path: Path) -> None:
    model = MaskedLanguageModel.tied(encoder, seed=5)
    model.adapt(TOY, steps=3)
    model.save(tmp_path / "shelf" / "adapted")
    texts = sentences(20)
    again = MaskedLanguageModel.load(str(tmp_path / "shelf" / "adapted"), seed=5)
    assert np.array_equal(surprisal(model, texts), surprisal(again, texts))
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "shelf" / "adapted")


def test_a_save_that_fails_leaves_nothing(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, *rest: object) -> None:
        (folder / "config.json").write_text("{")
        raise OSError("no space left on device")

    model = MaskedLanguageModel.tied(encoder)
    monkeypatch.setattr(encoders, "save_encoder", full)
    with pytest.raises(OSError, match="no space"):
        model.save(tmp_path / "adapted")
    assert list(tmp_path.iterdir()) == []


def test_taggers_start_from_the_adapted_encoder(encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = MaskedLanguageModel.tied(encoder)
    model.adapt(TOY, steps=3)
    folder = str(tmp_path / "adapted")
    model.save(tmp_path / "adapted")
    found, again = (load_encoder(folder)[0].state_dict() for _ in range(2))
    assert found.keys() == again.keys() and all(torch.equal(found[name], again[name]) for name in found)
    adapted = model._model.bert.state_dict()
    assert all(torch.equal(found[name], adapted[name]) for name in adapted)
    assert not caplog.records, "nobody is told to train a pooler"

    vectors = FrozenVectors(folder).of([["Ada", "saw", "Lima"]])[0]
    assert vectors.shape == (3, 32) and np.isfinite(vectors).all()
    train = [text.labelled((Span(0, text.words[0].end, "PER"),)) for text in TOY]
    tagger = TransformerTagger(TransformerOptions(encoder=folder, epochs=1))
    tagger.fit(train, [])
    tagger.save(tmp_path / "tagger")
    assert TransformerTagger.load(tmp_path / "tagger").predict(TOY) == tagger.predict(TOY)


def test_an_encoder_that_is_not_whole_is_refused(encoder: str, tmp_path: Path) -> None:
    model, words = load_encoder(encoder)
    weights = {name: weight for name, weight in model.state_dict().items() if "layer.1.output" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"not whole: its file lacks encoder\.layer\.1\.output"):
        load_encoder(str(tmp_path))


def test_half_precision_is_cast(folder: str, tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_pretrained(folder).half().save_pretrained(tmp_path)
    tokenizer(200).save_pretrained(tmp_path)
    assert {w.dtype for w in MaskedLanguageModel.load(str(tmp_path))._model.parameters()} == {torch.float32}


def test_models_that_cannot_predict_words_are_refused(encoder: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no masked-language head .*adapt"):
        MaskedLanguageModel.load(encoder)
    with pytest.raises(ValueError, match="neither a folder nor within reach"):
        MaskedLanguageModel.load(str(tmp_path / "nothing"))
    config = GPT2Config(vocab_size=len(PIECES), n_embd=8, n_layer=1, n_head=1, n_positions=64)
    gpt = stored(tmp_path / "gpt", GPT2Model, config)
    for refused in (MaskedLanguageModel.load, MaskedLanguageModel.tied):
        with pytest.raises(ValueError, match="no masked-language model"):
            refused(gpt)
    maskless = stored(tmp_path / "maskless", BertModel, tiny(), mask=False)
    with pytest.raises(ValueError, match="no mask token"):
        MaskedLanguageModel.tied(maskless).adapt(TOY, steps=1)


@pytest.mark.slow
def test_the_packaged_encoder_adapts() -> None:
    model = MaskedLanguageModel.tied()
    result = model.adapt(TOY, steps=4)
    assert result["loss_after"] < result["loss_before"]
    assert ((surprisal(model, TOY[:2]) > 0).sum(axis=1) == round(0.15 * 21)).all()
