"""Exports: what others load says the same as we do, and the card tells what a round has stored."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pycrfsuite
import pytest
import torch
import yaml
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline

import taggers
from corpus import Sentence, Span
from corpus.tags import decode
from taggers.crf import CRFTagger
from taggers.crf_features import sequence_features
from taggers.export import ModelCard, export, plain
from taggers.flair_bilstm_crf import FlairBiLSTMCRFTagger, FlairOptions
from taggers.flair_contextual import FlairContextualOptions, FlairContextualTagger
from taggers.transformer import TransformerTagger
from taggers.window import WindowOptions, WindowTagger
from tests.taggers.tiny import POSITIONS, encoder, labelled, one_thread, tagger_of, train  # noqa: F401  (fixtures)

SCORES = {
    "method": "hold-out",
    "precision": 0.75,
    "recall": 0.6,
    "f1": 2 / 3,
    "low": 0.51,
    "high": 0.8,
    "sentences": 31,
    "spans": 44,
    "per_label": {
        "LOC": {"precision": 0.5, "recall": 0.4, "f1": 4 / 9, "support": 20},
        "a|b <i>": {"precision": 1.0, "recall": 0.8, "f1": 8 / 9, "support": 24},
    },
}
CARD = ModelCard(
    title="Ships | and <b>towns</b>",
    version="v7-20260102-030405",
    created_at=datetime(2026, 1, 2, 3, 4, 5),
    settings={"tagger": "auto", "strategy": "mnlp", "tagger_options": {}, "seed": 3},
    texts=120,
    holdout_texts=31,
    words=2345,
    evaluation=SCORES,
)
NEW = [
    Sentence.from_text(str(number), text)
    for number, text in enumerate(
        [
            "Lise met Emmy in Quito.",
            "near Hue, Grace saw the sea",
            "the sea: in the sea",
            "Mary saw Osaka, Turin and Accra",
            "Chien",
            "艾达 met Ada in 东京",
        ]
    )
]


def card_of(folder: Path) -> tuple[dict, str]:
    """Its YAML head and its text."""
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), body


def outsiders_spans(folder: Path, sentence: Sentence) -> list[Span]:
    """What the transformers library says of a sentence's words, a word's first piece answering for it."""
    model = AutoModelForTokenClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = [word.text for word in sentence.words]
    encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        best = model(input_ids=encoded.input_ids, attention_mask=encoded.attention_mask).logits[0].argmax(dim=1)
    of_word = encoded.word_ids()
    tags = [model.config.id2label[int(best[of_word.index(number)])] for number in range(len(words))]
    return decode(sentence.words, tags)


@pytest.fixture(scope="module")
def bare(encoder: str, train: list[Sentence]) -> TransformerTagger:
    tagger = tagger_of(encoder, capitalisation=False, precision="fp32")
    tagger.fit(train, [])
    return tagger


def test_a_fine_tuned_transformer_is_hugging_faces(bare: TransformerTagger, tmp_path: Path) -> None:
    form = export(bare, tmp_path / "it", CARD)
    assert form.library == "transformers"
    config = json.loads((tmp_path / "it" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert [config["id2label"][str(number)] for number in range(5)] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    ours = bare.predict(NEW)
    assert sum(map(len, ours)) >= 7
    assert [outsiders_spans(tmp_path / "it", sentence) for sentence in NEW] == ours


def test_the_cards_own_lines_find_the_same(bare: TransformerTagger, tmp_path: Path) -> None:
    export(bare, tmp_path / "it", CARD)
    tag = pipeline("token-classification", model=str(tmp_path / "it"), aggregation_strategy="first")
    for sentence, spans in zip(NEW, bare.predict(NEW), strict=True):
        found = [(entity["start"], entity["end"], entity["entity_group"]) for entity in tag(sentence.text)]
        assert found == [(span.start, span.end, span.label) for span in spans]
    assert 'aggregation_strategy="first"' in card_of(tmp_path / "it")[1]


def test_a_long_text_is_no_stumbling_block(bare: TransformerTagger, tmp_path: Path) -> None:
    """Many tokenizers do not know how much their encoder reads."""
    limit, bare._tokenizer.model_max_length = bare._tokenizer.model_max_length, 10**30
    try:
        export(bare, tmp_path / "it", CARD)
    finally:
        bare._tokenizer.model_max_length = limit
    assert AutoTokenizer.from_pretrained(tmp_path / "it").model_max_length == POSITIONS
    tag = pipeline("token-classification", model=str(tmp_path / "it"), aggregation_strategy="first", stride=16)
    text = " ".join(["the sea: in the sea"] * 40 + ["Lise met Emmy in Quito."])
    assert [entity["word"] for entity in tag(text) if entity["start"] > 700] == ["lise", "emmy", "quito"]


@pytest.mark.parametrize("more", [{"capitalisation": True}, {"capitalisation": False, "crf": True}])
def test_what_hugging_face_has_no_class_for_stays_ours(
    more: dict, encoder: str, train: list[Sentence], tmp_path: Path
) -> None:
    tagger = tagger_of(encoder, precision="fp32", epochs=3, **more)
    tagger.fit(train, [])
    folder = tmp_path / "it"
    assert export(tagger, folder, CARD).library == "active-tagger"
    assert taggers.load(folder / "model").predict(NEW) == tagger.predict(NEW)
    assert "model/encoder/" in card_of(folder)[1]
    theirs, own = AutoModel.from_pretrained(folder / "model" / "encoder").state_dict(), tagger._fitted().encoder  # type: ignore[attr-defined]
    assert all(torch.equal(theirs[name], weight) for name, weight in own.state_dict().items())
    assert encoder not in (folder / "model" / "tagger.json").read_text(), "a path of this machine"


def test_capitalisation_that_says_nothing_is_left_out(encoder: str, train: list[Sentence], tmp_path: Path) -> None:
    tagger = tagger_of(encoder, capitalisation=True, precision="fp32", epochs=2)
    tagger.fit(train, [])
    assert tagger._fitted().capitalisation.weight.any()  # type: ignore[union-attr]
    with torch.no_grad():
        tagger._fitted().capitalisation.weight.zero_()  # type: ignore[union-attr]
    assert export(tagger, tmp_path / "it", CARD).library == "transformers"
    assert [outsiders_spans(tmp_path / "it", sentence) for sentence in NEW] == tagger.predict(NEW)


def test_an_encoder_of_this_machine_comes_along(
    encoder: str, train: list[Sentence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved elsewhere, without the folder that it was made from."""
    lent = tmp_path / "lent"
    shutil.copytree(encoder, lent)
    tagger = WindowTagger(WindowOptions(encoder=str(lent), units=8, epochs=2))
    tagger.fit(train, [])
    wanted = tagger.predict(NEW)
    export(tagger, tmp_path / "it", CARD)
    shutil.move(tmp_path / "it", tmp_path / "elsewhere")
    shutil.rmtree(lent)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert taggers.load(Path("model")).predict(NEW) == wanted
    assert "working directory" in Path("README.md").read_text()
    assert str(tmp_path) not in Path("README.md").read_text() + Path("model/tagger.json").read_text()


def test_flairs_file_names_no_folder_of_this_machine(
    encoder: str, train: list[Sentence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flair.models import SequenceTagger

    tagger = FlairContextualTagger(FlairContextualOptions(encoder=encoder, units=8, epochs=2))
    tagger.fit(train, [])
    export(tagger, tmp_path / "it", CARD)
    monkeypatch.chdir(tmp_path / "it")
    theirs = SequenceTagger.load("model.pt")
    assert theirs.embeddings.features.options.encoder == "encoder"
    assert all(torch.equal(theirs.state_dict()[name], weight) for name, weight in tagger._fitted().weights().items())
    assert encoder.encode() not in Path("model.pt").read_bytes()


def test_flair_reads_its_own_file(train: list[Sentence], tmp_path: Path) -> None:
    from flair.models import SequenceTagger

    from taggers.flair_embeddings import flair_sentence

    tagger = FlairBiLSTMCRFTagger(FlairOptions(units=8, epochs=8, batch_size=4))
    tagger.fit(train, [])
    assert export(tagger, tmp_path / "it", CARD).library == "flair"
    theirs = SequenceTagger.load(str(tmp_path / "it" / "model.pt"))
    assert type(theirs) is SequenceTagger
    ours = tagger.predict(train)
    assert sum(map(len, ours)) >= 5
    for sentence, spans in zip(train, ours, strict=True):
        words = sentence.words
        told = flair_sentence([word.text for word in words])
        theirs.predict(told)
        found = [
            Span(words[s.tokens[0].idx - 1].start, words[s.tokens[-1].idx - 1].end, s.tag)
            for s in told.get_spans("tag")
        ]
        assert found == spans
    assert taggers.load(tmp_path / "it" / "model").predict(train) == ours


def test_crfsuite_reads_its_file_as_the_card_says(train: list[Sentence], tmp_path: Path) -> None:
    tagger = CRFTagger()
    tagger.fit(train, [])
    export(tagger, tmp_path / "it", CARD)
    theirs = pycrfsuite.Tagger()
    theirs.open(str(tmp_path / "it" / "model" / "model.crfsuite"))
    for sentence, spans in zip(NEW, tagger.predict(NEW), strict=True):
        numbers = theirs.tag(sequence_features([word.text for word in sentence.words]))
        assert decode(sentence.words, [tagger.tags[int(number)] for number in numbers]) == spans
    assert "0 = O, 1 = B-LOC" in card_of(tmp_path / "it")[1]


@pytest.fixture(scope="module")
def shared(train: list[Sentence], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "it"
    tagger = CRFTagger(seed=3)
    tagger.fit(train, [])
    export(tagger, folder, CARD)
    return folder


def test_the_cards_head_is_what_the_hub_reads(shared: Path) -> None:
    from huggingface_hub import ModelCard as TheirCard

    data = TheirCard.load(shared / "README.md").data.to_dict()
    assert data == card_of(shared)[0]
    assert "language" not in data
    assert data["pipeline_tag"] == "token-classification" and "crf" in data["tags"]
    [result] = data["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "f1": 0.6667,
        "precision": 0.75,
        "recall": 0.6,
    }


def test_the_card_tells_what_was_measured(shared: Path) -> None:
    body = card_of(shared)[1]
    assert "F1 0.667 (95% bootstrap interval 0.510 to 0.800)" in body and "31 texts with 44 spans" in body
    assert "120 labelled texts; 31 more were kept for evaluation (2,345 words in all)" in body
    assert "| LOC | 0.500 | 0.400 | 0.444 | 20 |" in body
    assert "2026-01-02" in body and "v7-20260102-030405" in body
    assert "python-crfsuite" in body.replace("&#45;", "-") and "| seed | 3 |" in body


def test_names_from_outside_are_text(shared: Path) -> None:
    whole = (shared / "README.md").read_text()
    body = card_of(shared)[1]
    assert "<b>" not in whole and "<i>" not in whole
    assert f"| {plain('a|b <i>')} | 1.000" in body
    assert plain("# a\n---\nb") == "&#35; a &#45;&#45;&#45; b"


def test_without_scores_it_says_so(train: list[Sentence], tmp_path: Path) -> None:
    tagger = CRFTagger()
    tagger.fit(train, [])
    export(tagger, tmp_path / "it", ModelCard("Ships", "v1", datetime(2026, 1, 2)))
    head, body = card_of(tmp_path / "it")
    assert "model-index" not in head and "Not measured" in body and "None" not in body


def test_no_text_of_annotators_is_in_the_card(train: list[Sentence], shared: Path) -> None:
    card = (shared / "README.md").read_text()
    names = {s.text[span.start : span.end] for s in train for span in s.spans or ()}
    assert len(names) == 16
    assert not [name for name in names if name in card]


def test_it_is_there_whole_or_not_at_all(train: list[Sentence], tmp_path: Path) -> None:
    tagger = CRFTagger()
    with pytest.raises(RuntimeError, match="no model yet"):
        export(tagger, tmp_path / "it", CARD)
    assert not [*tmp_path.iterdir()]
    tagger.fit(train, [])
    (tmp_path / "it").mkdir()
    with pytest.raises(FileExistsError):
        export(tagger, tmp_path / "it", CARD)


def test_labels_need_no_scores(tmp_path: Path) -> None:
    tagger = CRFTagger()
    tagger.fit([labelled("1", "Ada in Oslo", PER="Ada", LOC="Oslo"), labelled("2", "in the sea")], [])
    export(tagger, tmp_path / "it", CARD)
    assert "labels LOC, PER." in card_of(tmp_path / "it")[1]
