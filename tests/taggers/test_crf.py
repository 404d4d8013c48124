"""The CRF tagger against CRFsuite's own answers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pycrfsuite
import pytest

from corpus import Sentence, Span
from corpus.tags import encode
from taggers.crf import CRFOptions, CRFTagger
from taggers.crf_features import own_features, sequence_features

NAMES = ["Ada", "Emmy Noether", "Mary", "Grace Hopper", "Lise"]
TOWNS = ["Lima", "New York", "Turin", "Osaka", "St Ives"]
PATTERNS = ["{0} went to {1} in 1905 .", "In {1} , {0} slept", "{0}", "The rain in {1} stays", "McX saw USA ."]


def made(n: int) -> Sentence:
    name, town, pattern = NAMES[n % 5], TOWNS[n // 5 % 5], PATTERNS[n // 2 % 5]
    text = pattern.format(name, town)
    found = [(text.find(phrase), phrase, label) for phrase, label in ((name, "PER"), (town, "LOC"))]
    spans = [Span(at, at + len(phrase), label) for at, phrase, label in found if at >= 0]
    return Sentence.from_text(str(n), text, tuple(sorted(spans)))


@pytest.fixture(scope="module")
def tagger() -> CRFTagger:
    tagger = CRFTagger(CRFOptions(l1=0.01, l2=0.5))  # little pruning, much uncertainty
    tagger.fit([made(n) for n in range(40)], [])
    return tagger


def test_features_are_the_papers() -> None:
    first, second, third = sequence_features(["Paris", "is", "2024"])
    assert set(first) == {"bias", "w=paris", "title", "s3=ris", "s2=is", "BOS", "+1:w=is"}
    assert set(second) == {"bias", "w=is", "s3=is", "s2=is", "-1:w=paris", "-1:title", "+1:w=2024", "+1:digit"}
    assert set(third) == {"bias", "w=2024", "digit", "s3=024", "s2=24", "EOS", "-1:w=is"}
    assert "upper" in own_features("USA") and "title" not in own_features("USA")
    assert sequence_features([]) == []


def test_options_are_the_papers() -> None:
    assert CRFOptions().model_dump() == {"l1": 0.1, "l2": 0.1, "iterations": 100}


def test_numbers_are_crfsuites_own(tagger: CRFTagger, tmp_path: Path) -> None:
    tagger.save(tmp_path / "model")
    theirs = pycrfsuite.Tagger()
    theirs.open(str(tmp_path / "model" / "model.crfsuite"))
    texts = [made(n).unlabelled() for n in range(0, 125, 3)]
    texts += [Sentence.from_text("u", "Zoe \x07 İstanbul SAW 🙂 42 利马"), Sentence.from_text("s", "X")]
    unsure = 0
    for batch in tagger.infer(texts):
        for b, i in enumerate(batch.indices):
            n = batch.lengths[b]
            best = theirs.tag(sequence_features([w.text for w in texts[i].words]))
            assert [str(tag) for tag in batch.path_BT[b, :n]] == best
            # CRFsuite's dump, which the weights come from, has six decimals.
            assert np.exp(batch.log_prob_B[b]) == pytest.approx(theirs.probability(best), abs=1e-5)
            for t in range(n):
                expected = [theirs.marginal(str(c), t) for c in range(len(tagger.tags))]
                np.testing.assert_allclose(batch.marginals_BTC[b, t], expected, atol=1e-5)
                unsure += max(expected) < 0.95
    assert unsure > 10, "the comparison says little where the tagger is sure of everything"


def test_a_tag_that_training_lacks_has_no_probability() -> None:
    tagger = CRFTagger()
    tagger.fit([Sentence.from_text("a", "in Lima", (Span(3, 7, "LOC"),))], [])
    assert tagger.tags == ("O", "B-LOC", "I-LOC")
    (batch,) = tagger.infer([Sentence.from_text("b", "to Lima and Lima Lima")])
    assert (batch.marginals_BTC[0, :, 2] == 0).all() and (batch.marginals_BTC[0, :, :2] > 0).all()


@pytest.mark.slow
def test_a_document_of_20000_words_is_tagged_to_its_end(tagger: CRFTagger) -> None:
    text = " ".join(["Grace Hopper went to Osaka in 1905 ."] * 2500)
    document = Sentence.from_text("long", text)
    assert len(document) == 20_000
    start = time.process_time()
    (spans,) = tagger.predict([document])
    assert time.process_time() - start < 10
    assert [text[s.start : s.end] for s in spans] == ["Grace Hopper", "Osaka"] * 2500
    (batch,) = tagger.infer([document])
    assert np.isfinite(batch.log_prob_B[0]) and batch.log_prob_B[0] < 0
    (short,) = tagger.infer([Sentence.from_text("s", text[: len(text) // 10])])
    assert batch.log_prob_B[0] == pytest.approx(10 * short.log_prob_B[0], rel=0.02)


def test_model_file_is_all_that_is_kept(tagger: CRFTagger, tmp_path: Path) -> None:
    tagger.save(tmp_path / "m")
    assert {file.name for file in (tmp_path / "m").iterdir()} == {"model.crfsuite", "tagger.json", "SHA256SUMS"}


def test_learns_to_tell_names_from_towns_by_their_company(tagger: CRFTagger) -> None:
    unseen = Sentence.from_text("n", "Zoe went to Bergen in 1911 .")
    assert [(s.label, unseen.text[s.start : s.end]) for s in tagger.predict([unseen])[0]] == [
        ("PER", "Zoe"),
        ("LOC", "Bergen"),
    ]


def test_crfsuite_sees_the_tags_of_words_cut_at_a_label() -> None:
    cut = Sentence.from_text("c", "Limabound", (Span(0, 4, "LOC"),))
    assert [w.text for w in encode(cut).words] == ["Lima", "bound"]
    tagger = CRFTagger()
    tagger.fit([cut] * 3, [])
    (spans,) = tagger.predict([Sentence.from_text("p", "Lima bound")])
    assert [(s.start, s.end, s.label) for s in spans] == [(0, 4, "LOC")]
