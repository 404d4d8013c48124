"""Models that read texts without having learned from any label: the pre-trained encoder, a masked-language model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from corpus import Inference, Sentence
from learning.settings import MODELS, ProjectSettings
from learning.steps import OnStep, silently
from taggers import TAGGERS

if TYPE_CHECKING:
    from taggers.masked_lm import MaskedLanguageModel

ADAPTED = "adapted"
"""The encoder after it has read the project's own texts, as settings and folders call it."""


class Reader(Protocol):
    """What a strategy measures where it does not read the tagger."""

    def infer(self, sentences: Sequence[Sentence]) -> Iterator[Inference]:
        """Read `sentences` in batches; every one occurs in exactly one batch."""
        ...


class Readers:
    """A project's readers, opened when they are needed. torch is not imported before."""

    def __init__(self, settings: ProjectSettings, folder: Path | None = None) -> None:
        """`folder` keeps the adapted encoder for later rounds; without one it lives as long as this object."""
        self.settings = settings
        self.adaptation: dict[str, Any] | None = None
        """What adapting has brought, if it was done here."""
        self._opened: dict[str, Reader] = {}
        self._temporary = TemporaryDirectory() if folder is None else None
        self._folder = folder or Path(self._temporary.name if self._temporary else "")

    def open(self, reads: str, sentences: Sequence[Sentence], on_step: OnStep = silently) -> Reader:
        """The "encoder" or the "masked-lm"; the latter may first have to read `sentences`, the project's own.

        Raises ValueError if its files are not within reach.
        """
        if reads not in self._opened:
            self._opened[reads] = self._load(reads, sentences, on_step)
        return self._opened[reads]

    def named(self, reads: str) -> str:
        """Which "encoder" or "masked-lm" is opened: its name or folder, `ADAPTED` if it is to read the texts first."""
        return self._pretrained if reads == "encoder" else self.settings.masked_lm or ADAPTED

    def _load(self, reads: str, sentences: Sequence[Sentence], on_step: OnStep) -> Reader:
        name = self.named(reads)
        if reads == "encoder":
            from taggers.pretrained import PretrainedEncoder

            return PretrainedEncoder(name)
        from taggers.masked_lm import MaskedLanguageModel

        if name == ADAPTED:
            name = str(self._adapted(sentences, on_step))
        return MaskedLanguageModel.load(name, seed=self.settings.seed)

    def for_fitting(self, sentences: Sequence[Sentence], on_step: OnStep = silently) -> ProjectSettings:
        """The settings to train with: where they say `adapt`, the encoder of the tagger, and of the other models that
        start from the same one, is the adapted one."""
        if not self.settings.adapt:
            return self.settings
        adapted = {"encoder": str(self._adapted(sentences, on_step))}
        changes = {}
        for model, options in (*MODELS.values(), ("acquisition", "acquisition_options")):
            name, given = getattr(self.settings, model), getattr(self.settings, options)
            if name is not None and TAGGERS[name].encoder and _encoder(name, given) == self._pretrained:
                changes[options] = {**given, **adapted}
        return self.settings.model_copy(update=changes)

    @property
    def _pretrained(self) -> str:
        return _encoder(self.settings.tagger, self.settings.tagger_options)

    def _adapted(self, sentences: Sequence[Sentence], on_step: OnStep) -> Path:
        """The folder of the adapted encoder, made if it is not there yet."""
        from taggers.masked_lm import MaskedLanguageModel

        key = f"{self._pretrained} {self.settings.adapt_seconds} {self.settings.seed}"
        kept = self._folder / f"{ADAPTED}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        if not kept.is_dir():
            model: MaskedLanguageModel = MaskedLanguageModel.tied(self._pretrained, seed=self.settings.seed)
            on_step("adapt", seconds=0, of=self.settings.adapt_seconds)
            self.adaptation = model.adapt(sentences, seconds=self.settings.adapt_seconds, on_progress=on_step)
            model.save(kept)
        return kept


def _encoder(tagger: str, options: Mapping[str, Any]) -> str:
    """The pre-trained encoder of a tagger, by name; the packaged one of a tagger that has none."""
    from taggers.encoders import PACKAGED

    return str(options.get("encoder") or PACKAGED) if TAGGERS[tagger].encoder else PACKAGED
