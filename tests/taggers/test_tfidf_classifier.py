"""The TF-IDF classifier against scikit-learn's own pipeline, and what it looks at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from taggers.tfidf_classifier import TfidfClassifier, TfidfOptions
from tests.taggers.test_classifiers import SEVERAL, SINGLE, rows, text

OURS = {"ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"\w+|[^\w\s]"}


def fitted(train: list, **options: object) -> TfidfClassifier:  # type: ignore[type-arg]
    tagger = TfidfClassifier(TfidfOptions(**options))  # type: ignore[arg-type]
    tagger.fit(train, [])
    return tagger


@pytest.mark.parametrize("labels", [2, 3])
def test_one_choice_is_scikit_learns_pipeline(labels: int) -> None:
    train = [sentence for i, sentence in enumerate(SINGLE) if i % 3 < labels]
    peer = make_pipeline(TfidfVectorizer(**OURS), LogisticRegression(C=1 / 0.3, max_iter=300))
    peer.fit([s.text for s in train], [s.choices[0].label for s in train if s.choices])
    tagger = fitted(train, characters=False, l2=0.3)
    assert list(tagger.tags) == list(peer.classes_) and len(tagger.tags) == labels
    found = rows(list(tagger.infer(SINGLE)))
    expected = peer.predict_proba([s.text for s in SINGLE])
    np.testing.assert_allclose([found[i]["marginals"][0] for i in range(len(SINGLE))], expected, atol=1e-4)


def test_several_choices_are_one_regression_each() -> None:
    peer = make_pipeline(TfidfVectorizer(**OURS), OneVsRestClassifier(LogisticRegression(C=10, max_iter=300)))
    labels = ["person", "town"]
    targets = np.array([[label in {c.label for c in s.choices or ()} for label in labels] for s in SEVERAL])
    peer.fit([s.text for s in SEVERAL], targets.astype(int))
    tagger = fitted(SEVERAL, characters=False)
    expected = peer.predict_proba([s.text for s in SEVERAL])
    for i, row in rows(list(tagger.infer(SEVERAL))).items():
        np.testing.assert_allclose(row["marginals"][:, 1], expected[i], atol=1e-4)


def test_parts_of_words_tell_what_whole_words_cannot() -> None:
    train = [
        text(f"{i}", word, label)
        for i, (word, label) in enumerate(
            [("walking", "verb"), ("talking", "verb"), ("houses", "noun"), ("horses", "noun")]
        )
    ]
    new = [text("new", "sulking").unlabelled(), text("other", "noses").unlabelled()]
    assert [marks[0].label for marks in fitted(train).predict(new)] == ["verb", "noun"]
    certain = [row["marginals"].max() for row in rows(list(fitted(train, characters=False).infer(new))).values()]
    assert certain == pytest.approx([0.5, 0.5], abs=1e-3)


def test_what_is_stored_are_words_and_numbers(tmp_path: Path) -> None:
    tagger = fitted([*SINGLE, text("odd", "\ud83d 艾达 Ada", "person")])
    tagger.save(tmp_path / "model")
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert files == {"SHA256SUMS", "tagger.json", "choices.json", "vocabulary.json", "weights.safetensors"}
    terms = json.loads((tmp_path / "model" / "vocabulary.json").read_text())
    assert {"ada", "the sea", "\t ad", "艾"} <= set(terms) and len(terms) == len(set(terms))
    again = TfidfClassifier.load(tmp_path / "model")
    assert again.predict(SINGLE) == tagger.predict(SINGLE)
