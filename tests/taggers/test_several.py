"""A model of several kinds: each part learns from its own labels, and relations join the spans that were found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from corpus import KINDS, Choice, Relation, Sentence, Span, kind_of
from taggers import TAGGERS, Damaged, load
from taggers.base import Progress
from taggers.several import Part, Several, SeveralOptions
from tests.taggers.tiny import NAMES, TOWNS
from tests.taggers.tiny import encoder as tiny_encoder  # noqa: F401  (a fixture)
from tests.taggers.tiny import one_thread as one_thread


def told(i: int, *, unlabelled: str | None = None) -> Sentence:
    """Person, town, where the person lives, and whether it is news or a question."""
    name, town = NAMES[i % 8], TOWNS[(i // 2) % 8]
    text = f"{name} met the sea in {town}" if i % 2 else f"saw {name} the sea near {town} ?"
    person, place = (Span(text.index(w), text.index(w) + len(w), label) for w, label in ((name, "PER"), (town, "LOC")))
    sentence = replace(
        Sentence.from_text(str(i), text, (person, place)),
        choices=(Choice("news" if i % 2 else "question"),),
        relations=(Relation(person, place, "in"),) if i % 2 else (),
    )
    return replace(sentence, **{unlabelled: None}) if unlabelled else sentence


@pytest.fixture(scope="module")
def train() -> list[Sentence]:
    return [told(i) for i in range(16)]


@pytest.fixture(scope="module")
def options(tiny_encoder: str) -> SeveralOptions:  # noqa: F811
    relations = {"encoder": tiny_encoder, "learning_rate": 5e-3, "epochs": 10, "freeze": "none", "max_pieces": 48}
    parts = {
        "relations": Part(tagger="relation-classifier", options=relations),
        "spans": Part(tagger="crf", options={"iterations": 40}),
        "choices": Part(tagger="tfidf-classifier"),
    }
    return SeveralOptions(models=parts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(options: SeveralOptions, train: list[Sentence]) -> Several:
    model = Several(options, seed=3)
    model.fit(train, [])
    return model


def test_finds_all_kinds_in_order(fitted: Several, train: list[Sentence]) -> None:
    found = fitted.predict([s.unlabelled() for s in train])
    for sentence, marks in zip(train, found, strict=True):
        assert marks == [*sorted(sentence.spans or ()), *(sentence.choices or ()), *(sentence.relations or ())]
        assert [kind_of(mark) for mark in marks] == sorted(map(kind_of, marks), key=KINDS.index)
        assert all(mark.confidence is not None for mark in marks)


def test_relations_join_the_spans_that_were_found_not_those_of_the_annotator(fitted: Several) -> None:
    sentence = told(1)
    astray = replace(sentence, spans=(Span(4, 7, "PER"),), relations=None, choices=None)
    [marks] = fitted.predict([astray])
    assert [m for m in marks if isinstance(m, Relation)] == [*(sentence.relations or ())]


def test_relations_join_the_entities_that_are_given(fitted: Several) -> None:
    [marks] = fitted.predict([replace(told(1), entities=()).unlabelled()])
    assert any(isinstance(mark, Span) for mark in marks)
    assert not any(isinstance(mark, Relation) for mark in marks)


def test_ready_gives_entities_to_relations_alone() -> None:
    sentence, span = told(1).unlabelled(), Span(0, 5, "PER")
    given = replace(sentence, entities=(Span(6, 9, "LOC"),))
    ready = Several.ready("relations", [sentence, given], [[span, Choice("news")], [span]])
    assert [s.entities for s in ready] == [(span,), given.entities]
    assert Several.ready("spans", [sentence], [[span]]) == [sentence]


def test_each_part_learns_from_what_is_labelled_so(options: SeveralOptions, train: list[Sentence]) -> None:
    mixed = [*train, told(16, unlabelled="choices"), told(17, unlabelled="spans"), told(18, unlabelled="relations")]
    model = Several(options)
    model.fit(mixed, [])
    assert set(model.parts) == set(KINDS)
    with pytest.raises(ValueError, match="labelled with choices"):
        Several(options).fit([told(1, unlabelled="choices")], [])


def test_learns_and_tells_as_its_parts_do_alone(options: SeveralOptions, train: list[Sentence]) -> None:
    heard: list[Progress] = []
    model = Several(options, seed=5)
    model.fit(train[:12], train[12:], on_progress=heard.append)
    alone: list[Progress] = []
    for kind, part in Several(options, seed=5).parts.items():
        held = train[12:] if part.uses_dev else []
        told: list[Progress] = []
        part.fit(train[:12] if part.uses_dev else train, held, on_progress=told.append)
        alone += [replace(progress, kind=kind) for progress in told]
        asked = [replace(s, entities=s.spans).unlabelled() for s in train]
        assert part.predict(asked) == model.parts[kind].predict(asked)
    assert heard == alone


def test_load_gives_everything_back(fitted: Several, train: list[Sentence], tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    stored = load(tmp_path / "model")
    assert isinstance(stored, Several)
    assert (stored.options, stored.seed) == (fitted.options, 3)
    assert [*stored.parts] == [*KINDS]
    asked = [s.unlabelled() for s in train]
    ours, theirs = fitted.predict(asked), stored.predict(asked)
    assert ours == theirs
    for one, other in zip(ours, theirs, strict=True):
        assert [m.confidence for m in one] == pytest.approx([m.confidence for m in other], abs=1e-5)


def test_damage_in_a_part_is_found_before_it_is_read(fitted: Several, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    file = next((tmp_path / "model" / "spans").glob("*.crfsuite"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Damaged, match=r"spans/model\.crfsuite"):
        load(tmp_path / "model")


def test_is_made_of_models_that_have_learned_already(fitted: Several, train: list[Sentence], tmp_path: Path) -> None:
    whole = Several.of(dict(reversed(fitted.parts.items())), seed=3)
    assert [*whole.parts] == [*KINDS] and whole.options.models["spans"].options == fitted.options.models[
        "spans"
    ].options | {name: value for name, value in whole.options.models["spans"].options.items() if name != "iterations"}
    asked = [s.unlabelled() for s in train]
    assert whole.predict(asked) == fitted.predict(asked)
    whole.save(tmp_path / "model")
    assert load(tmp_path / "model").predict(asked) == fitted.predict(asked)


def test_parts_go_on_from_their_own_kind(options: SeveralOptions, fitted: Several, train: list[Sentence]) -> None:
    model = Several(options)
    assert model.goes_on_from(fitted)
    model.fit(train, [], start=fitted)
    cold = Several(options)
    cold.fit(train, [])
    asked = [replace(s, entities=s.spans).unlabelled() for s in train]
    for kind in KINDS:
        same = [[m.confidence for m in marks] for marks in model.parts[kind].predict(asked)] == [
            [m.confidence for m in marks] for marks in cold.parts[kind].predict(asked)
        ]
        assert same == (kind != "relations")
    other = Several(SeveralOptions(models={"spans": Part(tagger="crf")}))
    assert not other.goes_on_from(fitted)
    with pytest.raises(ValueError, match="cannot start warm"):
        other.fit(train, [], start=fitted)


def test_refuses_models_of_another_kind(fitted: Several, train: list[Sentence]) -> None:
    with pytest.raises(ValueError, match="'crf' is no model of choices"):
        Several(SeveralOptions(models={"choices": Part(tagger="crf")}))
    with pytest.raises(ValueError, match="unknown tagger 'cfr'"):
        Several(SeveralOptions(models={"spans": Part(tagger="cfr")}))
    with pytest.raises(TypeError, match="one of its `parts`"):
        fitted.infer(train)


def test_nobody_names_it_in_settings() -> None:
    assert Several.name not in TAGGERS


def test_export_has_a_folder_for_each_part(fitted: Several, train: list[Sentence], tmp_path: Path) -> None:
    form = fitted.export(tmp_path)
    asked = [replace(s, entities=s.spans).unlabelled() for s in train]
    for kind, part in fitted.parts.items():
        assert f"`{kind}/`" in form.loading
        assert set(part.packages) <= set(form.packages)
        assert any((tmp_path / kind).iterdir())
    stored = load(tmp_path / "relations" / "model")
    assert stored.predict(asked) == fitted.parts["relations"].predict(asked)
