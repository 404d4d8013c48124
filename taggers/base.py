"""The contract of every tagger: fit, predict, infer, save, load."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from corpus import Inference, Kind, Mark, Sentence, Span
from corpus.tags import decode
from taggers.checksums import damaged, seal, verify
from taggers.forms import OURS, OWN_FOLDER, Form
from taggers.storage import whole


@dataclass(frozen=True, slots=True)
class Progress:
    """Told to `on_progress` after each epoch (a tagger without epochs tells it once, at the end)."""

    epoch: int
    epochs: int
    loss: float | None = None
    dev_f1: float | None = None
    kind: Kind | None = None
    """What the part learns that tells this, where a model has several."""


CARD = "tagger.json"
"""What `load` reads first."""
ENCODER = "encoder"
"""Where an encoder lies in an export."""

OnProgress = Callable[[Progress], None]
"""Called after each epoch. What it raises ends the fit and passes through `fit` unchanged."""


def no_progress(progress: Progress) -> None:
    """Listen to nothing."""


class Options(BaseModel):
    """A tagger's settings; each tagger has its own subclass, unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tagger(ABC):
    """A model that marks sentences: spans in them or, by its `kind`, choices about them or relations.

    A subclass names itself as in `taggers.TAGGERS`, gives its `Options`, and implements `fit`,
    `infer`, `_write` and `_read`, and `marks` if it finds no spans; `predict`, `save` and `load` follow from those.
    Sentences with `spans == ()` are negatives and are learned from; `spans is None` is refused by `fit`. So it is with
    the other kinds.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "spans"
    """What it marks."""
    Options: ClassVar[type[Options]] = Options
    uses_dev: ClassVar[bool] = True
    """Whether `fit` profits from a dev set (early stopping). If not, it gets all data as `train`."""
    dropouts: ClassVar[tuple[str, ...]] = ()
    """Ways to make a pass stochastic, the usual one first; none if the tagger has no dropout."""
    warm_starts: ClassVar[bool] = False
    """Whether `fit` can go on from an earlier model."""
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    """Libraries, as pip names them, whose versions matter to who loads a stored model."""

    def __init__(self, options: BaseModel | None = None, *, seed: int = 0) -> None:
        self.options: Any = options or self.Options()
        self.seed = seed
        self.tags: tuple[str, ...] = ("O",)
        """Tags in BIO notation, set by `fit` from the labels of `train`."""

    @abstractmethod
    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """Learn from `train`; keep the epoch that is best on `dev` (the last one if `dev` is empty).

        From scratch, or warm from `start`, an earlier model, by `taggers.warm_start`.
        Raises ValueError if a sentence has no spans set (None), `train` is empty, or `start` cannot be gone on from.
        """

    @abstractmethod
    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """Tag `sentences` in batches of like length; every sentence occurs in exactly one batch.

        Texts longer than the model can read are windowed (`corpus.windows`) and merged.
        With `passes` = M > 0 each batch carries besides what M passes under `dropout` (one of `dropouts`, None = the
        first) say, in `samples_BMTC` and `sample_paths_BMT`; all else is as without.
        Deterministic: the passes draw from the tagger's seed and the words of each text alone, so that no number
        depends on how sentences are batched.
        Raises ValueError for a dropout that the tagger does not have.
        """

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write all that `_read` needs into an existing, empty folder."""

    @abstractmethod
    def _read(self, folder: Path) -> None:
        """Restore what `_write` wrote; `options`, `seed` and `tags` are set already."""

    def predict(self, sentences: Sequence[Sentence]) -> list[list[Mark]]:
        """The marks of each sentence, in the order given, each with a confidence.

        A span's confidence is the least of its words' probabilities of their tags.
        """
        marks: list[list[Mark]] = [[] for _ in sentences]
        for batch in self.infer(sentences):
            for i, found in zip(batch.indices, self.marks(batch, sentences), strict=True):
                marks[i] = found
        return marks

    def marks(self, batch: Inference, sentences: Sequence[Sentence]) -> list[list[Mark]]:
        """What a batch of `infer(sentences)` marks, one list per row of the batch."""
        return [list(spans) for spans in spans_of(batch, sentences)]

    @property
    def parts(self) -> dict[Kind, Tagger]:
        """The models that this one is made of, by what they mark, in the order in which they are asked."""
        return {self.kind: self}

    def goes_on_from(self, earlier: Tagger) -> bool:
        """Whether `fit` can start from this model: it must be of the same kind, with the same options."""
        return self.warm_starts and type(earlier) is type(self) and earlier.options == self.options

    def _dropout(self, passes: int, dropout: str | None) -> str | None:
        """The dropout in force for `passes`, None for no passes. Raises ValueError if the tagger has no such one."""
        if passes < 0:
            raise ValueError(f"passes={passes}: it cannot be negative")
        if not passes:
            return None
        if not self.dropouts:
            raise ValueError(f"tagger {self.name!r} has no dropout, so it has no stochastic passes")
        if dropout is not None and dropout not in self.dropouts:
            raise ValueError(f"tagger {self.name!r} has no dropout {dropout!r}; it has: {', '.join(self.dropouts)}")
        return dropout or self.dropouts[0]

    def save(self, folder: Path) -> None:
        """Write the model to `folder` so that it is there whole or not at all (temporary folder, fsync, rename).

        Raises FileExistsError if `folder` exists: a stored model is never overwritten.
        """
        with whole(folder) as unfinished:
            self._write(unfinished)
            card = {
                "tagger": self.name,
                "options": self.options.model_dump(mode="json"),
                "seed": self.seed,
                "tags": self.tags,
            }
            (unfinished / CARD).write_text(json.dumps(card, indent=1))
            seal(unfinished)

    def export(self, folder: Path) -> Form:
        """Write the model into an existing folder, in a form that others can load if there is one, and say how.

        This one is ours, for taggers that no library knows; an encoder that lies in a local folder comes along.
        """
        self.save(folder / OWN_FOLDER)
        encoder, notes = getattr(self.options, "encoder", None), []
        if (folder / OWN_FOLDER / ENCODER).is_dir():
            notes.append(f"`{OWN_FOLDER}/{ENCODER}/` is its encoder, which transformers' `AutoModel` loads by itself.")
        elif encoder is not None and Path(encoder).is_dir():
            shutil.copytree(encoder, folder / ENCODER)
            notes.append(f"Its encoder lies in `{ENCODER}/`: load it with this folder as the working directory.")
        elif encoder is not None:
            notes.append(
                f"Its encoder is {encoder!r}, which is not part of this folder and must be within reach, as it was."
            )
        if (vectors := getattr(self.options, "word_vectors", None)) is not None:
            notes.append(f"Its static vectors are {Path(vectors).name!r}, which are not part of this folder.")
        if encoder is not None:
            card = folder / OWN_FOLDER / CARD
            described = json.loads(card.read_text())
            described["options"]["encoder"] = portable(encoder)
            card.write_text(json.dumps(described, indent=1))
            seal(folder / OWN_FOLDER)
        return Form("active-tagger", self.packages, "\n\n".join([OURS.strip(), *notes]))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model that `save` wrote. Raises FileNotFoundError if there is no such folder, `taggers.Damaged` (a
        ValueError) if its files are not what `save` wrote: that is found before any of them is read."""
        return cls._restored(folder, sealed_card(folder))

    @classmethod
    def _restored(cls, folder: Path, card: dict[str, Any]) -> Self:
        tagger = cls(cls.Options(**card["options"]), seed=card["seed"])
        tagger.tags = tuple(card["tags"])
        tagger._read(folder)
        return tagger


def sealed_card(folder: Path) -> dict[str, Any]:
    """What `save` wrote of a model, once all its files are found to be what it wrote. Raises as `Tagger.load` does."""
    verify(folder)
    try:
        card = json.loads((folder / CARD).read_text())
    except (OSError, ValueError):
        raise damaged(folder, CARD, "cannot be read") from None
    if not isinstance(card, dict) or not card.keys() >= {"tagger", "options", "seed", "tags"}:
        raise damaged(folder, CARD, "does not describe a model")
    return card


def portable(encoder: str) -> str:
    """What an export calls its encoder: a folder of this machine comes along, other names mean the same elsewhere."""
    return ENCODER if Path(encoder).is_dir() else encoder


def spans_of(batch: Inference, sentences: Sequence[Sentence]) -> list[list[Span]]:
    """The spans that a batch's best paths mark, one list per row of the batch."""
    found = []
    for row, (index, length) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
        path = batch.path_BT[row, :length]
        confidences = batch.marginals_BTC[row, range(length), path]
        tags = [batch.tags[tag] for tag in path]
        found.append(decode(sentences[index].words, tags, "BIO", confidences=[float(c) for c in confidences]))
    return found


def check_start(tagger: Tagger, start: Tagger | None) -> None:
    """Raise ValueError if there is a `start` that `tagger` cannot go on from."""
    if start is not None and not tagger.goes_on_from(start):
        why = f"{start.name!r} is another model" if tagger.warm_starts else "it learns from scratch each time"
        raise ValueError(f"tagger {tagger.name!r} cannot start warm: {why}")


def check_fit(tagger: Tagger, train: Sequence[Sentence], dev: Sequence[Sentence], start: Tagger | None) -> None:
    """Raise ValueError for what `Tagger.fit` refuses."""
    require_labels(train, tagger.kind)
    if dev:
        require_labels(dev, tagger.kind)
    check_start(tagger, start)


def require_labels(sentences: Sequence[Sentence], kind: Kind = "spans") -> None:
    """Raise ValueError unless there is at least one sentence and all of them have been labelled so."""
    if not sentences:
        raise ValueError("nothing to learn from: `train` is empty")
    for sentence in sentences:
        if sentence.marks(kind) is None:
            raise ValueError(f"task {sentence.id} has not been labelled; label it or leave it out of `train`")
