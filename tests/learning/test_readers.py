"""The models that read without labels, made from the packaged encoder."""

from typing import ClassVar

import pytest

from corpus import Sentence
from learning.readers import Readers
from learning.settings import ProjectSettings
from taggers.masked_lm import MaskedLanguageModel
from taggers.pretrained import PretrainedEncoder
from tests.learning.texts import bare, texts


class FakeMaskedLanguageModel:
    """Stands in for the real one, whose adapting has its own tests; counts what is done to it."""

    made: ClassVar[list["FakeMaskedLanguageModel"]] = []

    def __init__(self, name, seed):
        self.name, self.seed, self.read = name, seed, None
        self.made.append(self)

    @classmethod
    def tied(cls, name, *, seed):
        return cls(name, seed)

    @classmethod
    def load(cls, name, *, seed):
        return cls(name, seed)

    def adapt(self, texts, *, seconds, on_progress):
        self.read = (list(texts), seconds)
        on_progress("adapt", seconds=0, of=seconds)
        return {"loss_before": 9.0, "loss_after": 3.0}

    def save(self, folder):
        folder.mkdir(parents=True)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(FakeMaskedLanguageModel, "made", [])
    monkeypatch.setattr("taggers.masked_lm.MaskedLanguageModel", FakeMaskedLanguageModel)
    return FakeMaskedLanguageModel.made


def test_the_encoder_is_the_taggers_own(monkeypatch):
    names = []
    monkeypatch.setattr("taggers.pretrained.PretrainedEncoder.__init__", lambda self, name: names.append(name))
    for settings in (
        ProjectSettings(tagger="transformer", tagger_options={"encoder": "some/encoder"}),
        ProjectSettings(tagger="transformer"),
        ProjectSettings(tagger="crf"),
    ):
        assert isinstance(Readers(settings).open("encoder", []), PretrainedEncoder)
    assert names == ["some/encoder", "minilm", "minilm"]


def test_a_named_masked_language_model_is_loaded_and_not_adapted(fake):
    Readers(ProjectSettings(tagger="crf", masked_lm="some/model", seed=3)).open("masked-lm", bare(texts(5)))
    assert [(model.name, model.seed, model.read) for model in fake] == [("some/model", 3, None)]


def test_adapting_happens_once_a_project_and_is_told(fake, tmp_path):
    settings = ProjectSettings(tagger="transformer", strategy="alps", adapt=True, adapt_seconds=7)
    steps = []
    for _ in range(2):
        readers = Readers(settings, tmp_path)
        readers.open("masked-lm", bare(texts(5)), lambda step, **detail: steps.append((step, detail["of"])))
        prepared = readers.for_fitting(bare(texts(6)))
        same_encoder = {"tagger_options", "classifier_options", "relation_options"}
        assert prepared.model_dump(exclude=same_encoder) == settings.model_dump(exclude=same_encoder)
    (kept,) = tmp_path.iterdir()
    assert all(getattr(prepared, options) == {"encoder": str(kept)} for options in same_encoder)
    assert [model.read for model in fake if model.read] == [(bare(texts(5)), 7)]
    assert set(steps) == {("adapt", 7)}
    assert [model.name for model in fake] == ["minilm", str(kept), str(kept)]


def test_other_settings_are_another_adaptation(fake, tmp_path):
    for settings in (
        ProjectSettings(tagger="transformer", adapt=True),
        ProjectSettings(tagger="transformer", adapt=True, adapt_seconds=7),
        ProjectSettings(tagger="transformer", adapt=True, tagger_options={"encoder": "other"}),
    ):
        Readers(settings, tmp_path).for_fitting(bare(texts(3)))
    assert len(list(tmp_path.iterdir())) == 3


def test_only_what_starts_from_the_same_encoder_gets_the_adapted_one(fake, tmp_path):
    settings = ProjectSettings(
        tagger="transformer",
        classifier="tfidf-classifier",
        relation_options={"encoder": "other"},
        acquisition="crf",
        adapt=True,
    )
    prepared = Readers(settings, tmp_path).for_fitting(bare(texts(3)))
    assert prepared == settings.model_copy(update={"tagger_options": prepared.tagger_options})
    assert prepared.tagger_options.keys() == {"encoder"}


def test_without_adapt_the_settings_stay(fake):
    settings = ProjectSettings(tagger="transformer")
    assert Readers(settings).for_fitting(bare(texts(3))) is settings
    assert fake == []


@pytest.mark.slow
def test_an_adapted_encoder_can_be_fitted_and_read_for_real(tmp_path):
    """The packaged encoder, adapted for a second: the tagger starts from it."""
    settings = ProjectSettings(tagger="transformer", adapt=True, adapt_seconds=1, tagger_options={"epochs": 1})
    readers = Readers(settings, tmp_path)
    own = [Sentence.from_text(str(i), f"The {word} stands by the harbour.") for i, word in enumerate(["crane", "pier"])]
    prepared = readers.for_fitting(own)
    assert isinstance(MaskedLanguageModel.load(prepared.tagger_options["encoder"]), MaskedLanguageModel)
    assert readers.adaptation is not None and readers.adaptation["texts"] >= 1
    assert isinstance(PretrainedEncoder(prepared.tagger_options["encoder"]), PretrainedEncoder)
