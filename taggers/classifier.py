"""What classifiers of whole texts share: which labels there are, and how a text's choices are told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from corpus import Choice, Inference, Kind, Mark, Sentence
from taggers.base import Tagger

CARD = "choices.json"


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The L labels that a text may have: exactly one of them, or several, each of which is a decision of its own.

    Axes: B texts, M passes, L labels, T decisions (1, or L), C what each decides between (the labels, or no and yes).
    Scores are logits: of a softmax over the labels, or of each label's own sigmoid.
    """

    labels: tuple[str, ...]
    several: bool

    @classmethod
    def of(cls, train: Sequence[Sentence]) -> Alternatives:
        """In alphabetical order; one of them is chosen if each text of `train` has exactly one."""
        chosen = [{choice.label for choice in sentence.choices or ()} for sentence in train]
        return cls(tuple(sorted(set().union(*chosen))), any(len(labels) != 1 for labels in chosen))

    @property
    def tags(self) -> tuple[str, ...]:
        """The C tags of an `Inference`."""
        return ("O", "yes") if self.several else self.labels

    def targets(self, sentences: Sequence[Sentence]) -> NDArray[np.bool_]:
        """(N, L) which labels each text has."""
        chosen = [{choice.label for choice in sentence.choices or ()} for sentence in sentences]
        rows = [[label in labels for label in self.labels] for labels in chosen]
        return np.array(rows, bool).reshape(len(chosen), len(self.labels))

    def log_probabilities(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """(…, T, C), in nats, of scores (…, L or more: a network has at least one)."""
        wide = scores[..., : len(self.labels)].astype(np.float64)
        if self.several:
            return -np.logaddexp(0, np.stack([wide, -wide], axis=-1))
        relative = wide - wide.max(axis=-1, keepdims=True)
        told: NDArray[np.float64] = relative - np.log(np.exp(relative).sum(axis=-1, keepdims=True))
        return told[..., None, :]

    def told(
        self,
        indices_B: NDArray[np.int64],
        read_B: NDArray[np.bool_],
        scores_BL: NDArray[Any],
        *,
        state_BH: NDArray[np.float32] | None = None,
        scores_BML: NDArray[Any] | None = None,
    ) -> Inference:
        """What the scores say of a batch. `read_B`: which texts have words; there is nothing to decide of others.

        `state_BH` is zero there already.
        """
        decisions = len(self.labels) if self.several else 1
        lengths_B = read_B.astype(np.int64) * decisions
        T = int(lengths_B.max(initial=0))
        log_BTC = self.log_probabilities(scores_BL)[:, :T]
        inside_BT = np.arange(T) < lengths_B[:, None]
        samples_BMTC = paths_BMT = None
        if scores_BML is not None:
            log_BMTC = self.log_probabilities(scores_BML)[:, :, :T]
            paths_BMT = log_BMTC.argmax(axis=3) * inside_BT[:, None]
            samples_BMTC = (np.exp(log_BMTC) * inside_BT[:, None, :, None]).astype(np.float32)
        return Inference(
            indices_B,
            lengths_B,
            self.tags,
            path_BT=log_BTC.argmax(axis=2) * inside_BT,
            log_prob_B=(log_BTC.max(axis=2) * inside_BT).sum(axis=1),
            marginals_BTC=(np.exp(log_BTC) * inside_BT[:, :, None]).astype(np.float32),
            state_BH=state_BH,
            samples_BMTC=samples_BMTC,
            sample_paths_BMT=paths_BMT,
        )

    def marks(self, batch: Inference) -> list[list[Mark]]:
        """The choices that a batch tells of, one list per row, each with its probability."""
        found: list[list[Mark]] = []
        for path_T, marginals_TC, length in zip(batch.path_BT, batch.marginals_BTC, batch.lengths, strict=True):
            if self.several:
                chosen = [(t, float(marginals_TC[t, 1])) for t in np.flatnonzero(path_T[:length])]
            else:
                chosen = [(c, float(marginals_TC[0, c])) for c in path_T[:length]]
            found.append([Choice(self.labels[label], confidence) for label, confidence in chosen])
        return found


class Classifier(Tagger):
    """A model that says which labels a text has as a whole.

    Whether a text may have several is learned from `train`: if each of its texts has exactly one label, each text has.
    `log_prob_B` is Σ over a text's decisions of the natural log of the chosen side's probability.
    """

    kind: ClassVar[Kind] = "choices"
    alternatives = Alternatives((), several=True)
    """Set by `fit`."""

    def marks(self, batch: Inference, sentences: Sequence[Sentence]) -> list[list[Mark]]:
        """See `Tagger.marks`. A text without words has no choice."""
        return self.alternatives.marks(batch)

    def _learn_labels(self, train: Sequence[Sentence]) -> None:
        """A text without words teaches nothing, not even its label. Raises ValueError if all are such."""
        read = [sentence for sentence in train if sentence.words]
        if not read:
            raise ValueError("nothing to learn from: no text of `train` has a word")
        self.alternatives = Alternatives.of(read)
        self.tags = self.alternatives.tags

    def _write(self, folder: Path) -> None:
        (folder / CARD).write_text(json.dumps(asdict(self.alternatives)))

    def _read(self, folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        self.alternatives = Alternatives(tuple(card["labels"]), card["several"])
