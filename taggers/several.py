"""A model for each kind of mark in one: what a project has that asks for spans, choices and relations together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

import taggers
from corpus import KINDS, Inference, Kind, Mark, Sentence, Span
from taggers import base
from taggers.base import OnProgress, Tagger, check_start, no_progress
from taggers.forms import Form


class Part(base.Options):
    """A model by its name in `taggers.TAGGERS`, with its own options; those left out are its defaults."""

    tagger: str
    options: dict[str, Any] = Field(default_factory=dict)


class SeveralOptions(base.Options):
    """Which model marks what."""

    models: dict[Kind, Part] = Field(default_factory=dict)


class Several(Tagger):
    """One model a kind, each learned from the sentences that have been labelled so.

    Relations are sought between the spans that the part for spans finds, where a text comes without entities. What a
    strategy measures is one part's: `infer` and `marks` are theirs, by `parts`, and their texts come from `ready`.
    """

    name: ClassVar[str] = "several"
    Options = SeveralOptions
    warm_starts: ClassVar[bool] = True
    options: SeveralOptions

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        """Raises ValueError for a model that is unknown, marks another kind or does not have these options."""
        super().__init__(options, seed=seed)
        self._parts: dict[Kind, Tagger] = {}
        for kind in KINDS:
            if (model := self.options.models.get(kind)) is not None:
                cls = taggers.tagger_class(model.tagger)
                if cls.kind != kind:
                    raise ValueError(f"{model.tagger!r} is no model of {kind}: it finds {cls.kind}")
                self._parts[kind] = cls(cls.Options(**model.options), seed=seed)

    @classmethod
    def of(cls, parts: Mapping[Kind, Tagger], *, seed: int = 0) -> Self:
        """Of models that have learned already."""
        models = {kind: Part(tagger=of.name, options=of.options.model_dump(mode="json")) for kind, of in parts.items()}
        whole = cls(SeveralOptions(models=models), seed=seed)
        whole._parts = {kind: parts[kind] for kind in KINDS if kind in parts}
        return whole

    @property
    def parts(self) -> dict[Kind, Tagger]:
        return dict(self._parts)

    def goes_on_from(self, earlier: Tagger) -> bool:
        """Whether any of its parts can, from a part of it or from the whole of it; the others learn from scratch."""
        return any(self._starts(earlier).values())

    def _starts(self, earlier: Tagger | None) -> dict[Kind, Tagger | None]:
        """What each part goes on from."""
        before = earlier.parts if earlier else {}
        return {
            kind: before[kind] if kind in before and part.goes_on_from(before[kind]) else None
            for kind, part in self._parts.items()
        }

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """See `Tagger.fit`: so each part in turn, each telling of its own epochs. What stops by no dev set, or would
        have nothing to learn from but that, learns from it too.

        Raises ValueError if there is nothing to learn from for one of them.
        """
        check_start(self, start)
        starts = self._starts(start)
        for kind, part in self._parts.items():
            labelled, held = ([s for s in some if s.marks(kind) is not None] for some in (train, dev))
            if not labelled + held:
                raise ValueError(f"nothing to learn from: no text of `train` has been labelled with {kind}")
            if not part.uses_dev or not labelled:
                labelled, held = labelled + held, []
            part.fit(labelled, held, start=starts[kind], on_progress=_telling(on_progress, kind))

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """Raises TypeError: decisions of several kinds have no array in common."""
        raise TypeError("a model of several kinds infers nothing by itself: ask one of its `parts`")

    @staticmethod
    def ready(kind: Kind, sentences: Sequence[Sentence], spans: Sequence[Sequence[Mark]]) -> list[Sentence]:
        """The texts as the part for `kind` reads them: relations are sought between the entities given with the text,
        else between these `spans` of it, be they known or found."""
        if kind != "relations":
            return [*sentences]
        return [
            s if s.entities is not None else replace(s, entities=tuple(m for m in of if isinstance(m, Span)))
            for s, of in zip(sentences, spans, strict=True)
        ]

    def predict(self, sentences: Sequence[Sentence]) -> list[list[Mark]]:
        """All marks of each sentence: spans, then choices, then relations."""
        marks: list[list[Mark]] = [[] for _ in sentences]
        for kind, part in self._parts.items():
            found = part.predict(self.ready(kind, sentences, marks))
            marks = [[*before, *more] for before, more in zip(marks, found, strict=True)]
        return marks

    def export(self, folder: Path) -> Form:
        """Each part in a folder of its own, in its own form."""
        told, packages = [], set[str]()
        for kind, part in self._parts.items():
            (folder / kind).mkdir()
            form = part.export(folder / kind)
            packages.update(form.packages)
            told.append(
                f"### {kind.capitalize()}\n\nIn `{kind}/`, with that as the working directory:\n\n{form.loading}"
            )
        return Form("active-tagger", tuple(sorted(packages)), "\n\n".join(told))

    def _write(self, folder: Path) -> None:
        for kind, part in self._parts.items():
            part.save(folder / kind)

    def _read(self, folder: Path) -> None:
        self._parts = {kind: taggers.load(folder / kind) for kind in self._parts}


def _telling(on_progress: OnProgress, kind: Kind) -> OnProgress:
    return lambda progress: on_progress(replace(progress, kind=kind))
