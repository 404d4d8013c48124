"""The transformer tagger, on an encoder so small that each test can train it in a second."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    GPT2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from corpus import Sentence, Span
from taggers import load
from taggers.base import Progress
from taggers.encoders import longest_input, save_encoder
from taggers.labels import exact_f1
from taggers.transformer import TransformerTagger
from tests.taggers.tiny import (  # noqa: F401  (fixtures)
    NAMES,
    POSITIONS,
    TOWNS,
    by_sentence,
    encoder,
    fitted,
    labelled,
    one_thread,
    tagger_of,
    texts,
    train,
)


def test_it_learns_what_there_is_to_learn(fitted: TransformerTagger, train: list[Sentence]) -> None:
    assert fitted.tags == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert fitted.predict([s.unlabelled() for s in train]) == [sorted(s.spans or ()) for s in train]


def test_every_sentence_and_word_is_answered_for(fitted: TransformerTagger, texts: list[Sentence]) -> None:
    found = by_sentence(list(fitted.infer(texts)))
    assert sorted(found) == list(range(len(texts)))
    for i, (path, log_prob, marginals, _) in found.items():
        assert len(path) == len(texts[i])
        np.testing.assert_allclose(marginals.sum(axis=1), 1, atol=1e-5)
        assert log_prob == pytest.approx(np.log(marginals.max(axis=1).astype(float)).sum(), abs=1e-4)
        assert (marginals.argmax(axis=1) == path).all()
    assert found[next(i for i, s in enumerate(texts) if s.text == "")][1] == 0


def test_a_batch_does_not_change_its_sentences(fitted: TransformerTagger, texts: list[Sentence]) -> None:
    together = by_sentence(list(fitted.infer(texts)))
    for i, sentence in enumerate(texts):
        alone = by_sentence(list(fitted.infer([sentence])))[0]
        for one, other in zip(alone, together[i], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_hidden_is_what_enters_the_last_layer(fitted: TransformerTagger, texts: list[Sentence], tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    fitted.save(tmp_path / "model")
    head = load_file(tmp_path / "model" / "head.safetensors")
    for _, _, marginals, hidden in by_sentence(list(fitted.infer(texts))).values():
        odds = np.exp(hidden @ head["head.weight"].T + head["head.bias"])
        np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), marginals, atol=1e-5)


@pytest.mark.parametrize("words", [3_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_long_document_is_tagged_to_its_end(fitted: TransformerTagger, words: int) -> None:
    count = words // 7
    text = " ".join(f"{NAMES[i % 8]} met the sea in {TOWNS[i % 8]}." for i in range(count))
    document = Sentence.from_text("long", text)
    assert len(document) == 7 * count
    (batch,) = fitted.infer([document])
    np.testing.assert_allclose(batch.marginals_BTC.sum(axis=2), 1, atol=1e-5)
    (spans,) = fitted.predict([document])
    names = {Span(w.start, w.end, "PER") for w in document.words if w.text in NAMES}
    towns = {Span(w.start, w.end, "LOC") for w in document.words if w.text in TOWNS}
    assert len(names) == len(towns) == count
    assert {max(names), max(towns)} <= {*spans}
    # Training showed no text of several sentences, so a few errors are allowed; a lost stretch is not.
    assert len({*spans} & (names | towns)) > 0.95 * 2 * count


def test_long_documents_are_learned_from_beyond_the_first_window(encoder: str) -> None:
    filler = "the sea " * 60
    text = f"{filler}Ada {filler}"
    tagger = tagger_of(encoder, epochs=4)
    tagger.fit([labelled("1", text, PER="Ada"), labelled("2", f"{filler}sea.")], [])
    (spans,) = tagger.predict([Sentence.from_text("3", text)])
    assert spans == [Span(len(filler), len(filler) + 3, "PER")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RobertaConfig, DistilBertConfig, GPT2Config])
def test_other_architectures(encoder: str, tmp_path: Path, kind: type[PretrainedConfig]) -> None:
    """RoBERTa counts positions from 2, the others name their parts differently; all read exactly to their limit."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(encoder, model_max_length=10**9)
    config = BertConfig.from_pretrained(encoder)
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    shape = {size: getattr(config, size) for size in sizes} | {"max_position_embeddings": POSITIONS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(kind(**shape, pad_token_id=1 if kind is RobertaConfig else 0))
    assert longest_input(model, tokenizer) == (POSITIONS - 2 if kind is RobertaConfig else POSITIONS)
    save_encoder(tmp_path / "encoder", model, tokenizer)
    text = f"{'sea ' * 200}Ada"
    tagger = tagger_of(str(tmp_path / "encoder"), freeze=1)
    tagger.fit([labelled("1", text, PER="Ada")], [])
    assert tagger.predict([Sentence.from_text("2", text)]) == [[Span(800, 803, "PER")]]


@pytest.mark.slow
def test_another_process_reads_the_same_model(fitted: TransformerTagger, texts: list[Sentence], tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    program = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from corpus import Sentence; from taggers import load\n"
        "tagger = load(Path(sys.argv[1])); texts = Path(sys.argv[2]).read_text().split('\\n')\n"
        "batches = list(tagger.infer([Sentence.from_text('', t) for t in texts]))\n"
        "np.savez(sys.argv[3], **{f'{i}': batch.marginals_BTC[b, :n]\n"
        "  for batch in batches for b, (i, n) in enumerate(zip(batch.indices, batch.lengths))})"
    )
    (tmp_path / "texts").write_text("\n".join(s.text for s in texts))
    command = [sys.executable, "-c", program, *(str(tmp_path / n) for n in ("model", "texts", "out.npz"))]
    subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
    theirs = np.load(tmp_path / "out.npz")
    for i, (_, _, marginals, _) in by_sentence(list(fitted.infer(texts))).items():
        np.testing.assert_array_equal(theirs[str(i)], marginals)


def test_a_stored_model_needs_no_encoder_and_no_chance(encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    original = shutil.copytree(encoder, tmp_path / "original")
    tagger = tagger_of(str(original), epochs=2)
    tagger.fit(train, [])
    tagger.save(tmp_path / "model")
    shutil.rmtree(original)
    state = torch.get_rng_state()
    again = load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state)
    assert again.predict(train) == tagger.predict(train)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def test_a_seed_decides_everything_and_leaves_no_trace(encoder: str, train: list[Sentence]) -> None:
    state = torch.get_rng_state()
    runs = []
    for seed in (1, 1, 2):
        tagger = tagger_of(encoder, seed=seed, epochs=2)
        tagger.fit(train, train[:3])
        runs.append(np.concatenate([m.ravel() for _, _, m, _ in by_sentence(list(tagger.infer(train))).values()]))
        torch.rand(3)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    torch.set_rng_state(state)
    tagger_of(encoder, epochs=2).fit(train[:3], [])
    assert torch.equal(torch.get_rng_state(), state)


def test_what_on_progress_raises_passes_through(encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        assert (progress.epoch, progress.epochs, progress.dev_f1) == (1, 8, None)
        raise Enough

    tagger = tagger_of(encoder)
    with pytest.raises(Enough):
        tagger.fit(train, [], on_progress=stop)
    with pytest.raises(RuntimeError, match="fit"):
        tagger.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="fit"):
        list(tagger.infer(train))


def test_negatives_are_learned_from(encoder: str) -> None:
    """The same word is PER in one place only; without the negatives nothing says where not."""
    positives = [labelled(f"p{i}", f"{name} met the sea", PER=name) for i, name in enumerate(NAMES)]
    negatives = [labelled(f"n{i}", f"the sea near {name}") for i, name in enumerate(NAMES)]
    without, both = tagger_of(encoder), tagger_of(encoder)
    without.fit(positives, [])
    both.fit(positives + negatives, [])
    assert any(without.predict(negatives))
    assert not any(both.predict(negatives))
    assert both.predict(positives) == [list(s.spans or ()) for s in positives]


def test_the_best_epoch_on_dev_is_kept(encoder: str, train: list[Sentence]) -> None:
    """Dev asks for what the model says after one early epoch; the same fit must stop later and go back to it."""
    said: list[list[tuple[Span, ...]]] = []
    tagger = tagger_of(encoder, epochs=10, learning_rate=2e-4)
    tagger.fit(train, [], on_progress=lambda _: said.append([tuple(p) for p in tagger.predict(train)]))
    best = next(e for e in range(8) if any(said[e]) and said[e] not in said[e + 1 :])
    dev = [sentence.labelled(spans) for sentence, spans in zip(train, said[best], strict=True)]
    heard: list[Progress] = []
    again = tagger_of(encoder, epochs=10, learning_rate=2e-4, patience=2)
    again.fit(train, dev, on_progress=heard.append)
    assert [progress.dev_f1 for progress in heard] == [exact_f1(dev, spans) for spans in said[: best + 3]]
    assert heard[best].dev_f1 == 1
    assert [tuple(spans) for spans in again.predict(train)] == said[best]


def test_what_cannot_be_learned_from(encoder: str, train: list[Sentence]) -> None:
    with pytest.raises(ValueError, match="empty"):
        tagger_of(encoder).fit([], [])
    with pytest.raises(ValueError, match="task 7 has not been labelled"):
        tagger_of(encoder).fit([Sentence.from_text("7", "Ada")], [])
    with pytest.raises(ValueError, match="task 7 has not been labelled"):
        tagger_of(encoder).fit(train, [Sentence.from_text("7", "Ada")])
    with pytest.raises(ValueError, match="word"):
        tagger_of(encoder).fit([Sentence.from_text("7", "", ())], [])
    with pytest.raises(ValueError, match="2 layers"):
        tagger_of(encoder, freeze=3).fit(train, [])
    with pytest.raises(ValueError, match="no-such-folder"):
        tagger_of("./no-such-folder").fit(train, [])


def test_no_labels_at_all(encoder: str) -> None:
    tagger = tagger_of(encoder, epochs=2)
    tagger.fit([labelled("1", "the sea"), labelled("2", "")], [labelled("3", "the sea")])
    assert tagger.tags == ("O",)
    assert tagger.predict([Sentence.from_text("4", "Ada met the sea")]) == [[]]
    (batch,) = tagger.infer([Sentence.from_text("4", "Ada met the sea")])
    assert batch.log_prob_B == pytest.approx(0)


def test_one_sentence_is_enough_to_learn_that_sentence(encoder: str) -> None:
    one = labelled("1", "Ada met the sea", PER="Ada")
    tagger = tagger_of(encoder, epochs=4)
    tagger.fit([one], [])
    assert tagger.predict([one]) == [[Span(0, 3, "PER")]]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("艾达在东京。", "东京"),
        ("🙂🙂 Ada 👩‍👩‍👧 saw the 🌊", "Ada"),
        ("met \u200b \x07 \ue000 in Lima", "\ue000"),
        ("preAdamite sea", "Ada"),
    ],
)
def test_any_script_and_any_span(encoder: str, text: str, phrase: str) -> None:
    """Offsets are exact; the last span cuts a word, which is cut for training but not for tagging."""
    tagger = tagger_of(encoder, epochs=4)
    tagger.fit([labelled("1", text, X=phrase), labelled("2", "the sea in the sea")], [])
    (spans,) = tagger.predict([Sentence.from_text("1", text)])
    if phrase in [word.text for word in Sentence.from_text("1", text).words] or phrase == "东京":
        assert [text[span.start : span.end] for span in spans] == [phrase]


@pytest.mark.parametrize(("freeze", "still"), [("none", 0), ("embeddings", 1), (1, 2), (2, 3)])
def test_what_is_frozen_stays(encoder: str, train: list[Sentence], freeze: str | int, still: int) -> None:
    before = BertModel.from_pretrained(encoder).state_dict()
    tagger = tagger_of(encoder, epochs=2, freeze=freeze)
    tagger.fit(train, [])
    after = tagger._fitted().encoder.state_dict()
    places = ["embeddings.word_embeddings", "encoder.layer.0", "encoder.layer.1"]
    names = [next(name for name in before if name.startswith(place)) for place in places]
    assert [torch.equal(before[n], after[n]) for n in names] == [True] * still + [False] * (3 - still)


def test_capitals_tell_what_an_uncased_encoder_cannot(encoder: str) -> None:
    pairs = [(f"{w.lower()} saw the sea", f"{w} saw the sea", w) for w in NAMES]
    data = [s for low, high, w in pairs for s in (labelled(low, low), labelled(high, high, PER=w))]
    for switch, solved in ((True, True), (False, False)):
        tagger = tagger_of(encoder, capitalisation=switch)
        tagger.fit(data, [])
        assert (tagger.predict(data) == [list(s.spans or ()) for s in data]) is solved


@pytest.mark.slow
def test_the_packaged_encoder_knows_words_it_was_not_shown(train: list[Sentence]) -> None:
    """Twenty-one sentences suffice to find a name and a town that were in none of them; which is which, a seed in four
    gets wrong."""
    unseen = [sentence for sentence in train if sentence.id.startswith("7")]
    truth = [sorted(sentence.spans or ()) for sentence in unseen]
    right = 0
    for seed in range(3):
        tagger = TransformerTagger(seed=seed)
        tagger.fit([sentence for sentence in train if sentence not in unseen], [])
        found = tagger.predict(unseen)
        right += found == truth
        assert [[(s.start, s.end) for s in spans] for spans in found] == [
            [(s.start, s.end) for s in spans] for spans in truth
        ]
    assert right >= 2
