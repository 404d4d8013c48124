"""A linear-chain CRF on hand features: learns in seconds, and answers for a whole pool in seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pycrfsuite
from numpy.typing import NDArray
from pydantic import Field

from corpus import Inference, Sentence
from corpus.tags import encode
from taggers import base
from taggers.base import OnProgress, Progress, Tagger, no_progress, require_labels
from taggers.crf_features import FIRST, LAST, features_beside, own_features, sequence_features
from taggers.crf_maths import Floats, Transitions, batches, solve
from taggers.forms import OWN_FOLDER, Form
from taggers.labels import bio_tags

_MODEL_FILE = "model.crfsuite"
_IMPOSSIBLE = -10_000.0
"""Score of a tag that training never saw: its probability is 0."""


class CRFOptions(base.Options):
    """Settings of CRFsuite's L-BFGS training; the defaults are those of Shelmanov et al. 2021, appendix C.1."""

    l1: float = Field(0.1, ge=0)
    l2: float = Field(0.1, ge=0)
    iterations: int = Field(100, ge=1)


class CRFTagger(Tagger):
    """CRFsuite's linear-chain CRF (Lafferty et al. 2001) with the features of Shelmanov et al. 2021, appendix B.

    CRFsuite learns; probabilities come from its weights by `taggers.crf_maths`, whole texts at once.
    """

    name = "crf"
    Options = CRFOptions
    options: CRFOptions
    uses_dev: ClassVar[bool] = False
    packages = ("python-crfsuite",)

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        super().__init__(options, seed=seed)
        self._model: bytes | None = None

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """Learn from `train`; `dev` is not looked at. Progress is told once, at the end."""
        base.check_start(self, start)
        require_labels(train)
        self.tags = bio_tags(train)
        numbers = {tag: str(number) for number, tag in enumerate(self.tags)}
        trainer = pycrfsuite.Trainer(
            "lbfgs",
            {"c1": self.options.l1, "c2": self.options.l2, "max_iterations": self.options.iterations},
            verbose=False,
        )
        for sentence in train:
            encoded = encode(sentence, "BIO")
            if encoded.words:
                features = sequence_features([word.text for word in encoded.words])
                trainer.append(features, [numbers[tag] for tag in encoded.tags])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / _MODEL_FILE
            trainer.train(str(file))
            self._open(file.read_bytes())
        on_progress(Progress(epoch=1, epochs=1))

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """Tag whole texts of any length; gives no hidden states and has no dropout."""
        self._fitted()
        self._dropout(passes, dropout)
        for indices in batches([len(sentence) for sentence in sentences], len(self.tags)):
            texts = [[word.text for word in sentences[i].words] for i in indices]
            lengths = np.array([len(text) for text in texts], dtype=np.int64)
            chains = solve(self._emissions(texts, lengths), lengths, self._transitions)
            yield Inference(
                indices,
                lengths,
                self.tags,
                chains.path_BT,
                chains.log_prob_B,
                chains.marginals_BTC.astype(np.float32),
            )

    def _emissions(self, texts: list[list[str]], lengths: NDArray[np.int64]) -> Floats:
        """(B, T, C): each form's scores are summed once, then laid out along the sentences."""
        numbers = {form: n for n, form in enumerate({form: None for text in texts for form in text})}
        B, T = len(texts), int(lengths.max(initial=0))
        forms_BT = np.full((B, T), len(numbers))
        for row, text in enumerate(texts):
            forms_BT[row, : len(text)] = [numbers[form] for form in text]
        emissions_BTC = self._sum([own_features(form) for form in numbers])[forms_BT]
        before, after = (self._sum([features_beside(form)[side] for form in numbers]) for side in (0, 1))
        emissions_BTC[:, 1:] += before[forms_BT[:, :-1]]
        emissions_BTC[:, :-1] += after[forms_BT[:, 1:]]
        emissions_BTC[:, :1] += self._weights[self._rows.get(FIRST, -1)]
        emissions_BTC[np.arange(T) == lengths[:, None] - 1] += self._weights[self._rows.get(LAST, -1)]
        return emissions_BTC + self._unseen_C

    def _sum(self, features: Sequence[Sequence[str]]) -> Floats:
        """(len(features) + 1, C): the weights of each list summed, and zeros for the padding."""
        known = [[self._rows[name] for name in names if name in self._rows] for names in features]
        owners = np.repeat(np.arange(len(known)), [len(rows) for rows in known])
        sums = np.zeros((len(features) + 1, len(self.tags)))
        np.add.at(sums, owners, self._weights[[row for rows in known for row in rows]])
        return sums

    def _write(self, folder: Path) -> None:
        (folder / _MODEL_FILE).write_bytes(self._fitted())

    def export(self, folder: Path) -> Form:
        """CRFsuite reads the model itself; whose features they are, only we know."""
        form = super().export(folder)
        labels = ", ".join(f"{number} = {tag}" for number, tag in enumerate(self.tags))
        told = (
            f"`{OWN_FOLDER}/{_MODEL_FILE}` is CRFsuite's own file (`pycrfsuite.Tagger().open(...)`); its labels stand "
        )
        told += f"for tags ({labels}), and `taggers/crf_features.py` makes the features it expects."
        return replace(form, loading=f"{form.loading}\n\n{told}")

    def _read(self, folder: Path) -> None:
        self._open((folder / _MODEL_FILE).read_bytes())

    def _fitted(self) -> bytes:
        if self._model is None:
            raise RuntimeError("this tagger has no model yet: call `fit` or `load` first")
        return self._model

    def _open(self, model: bytes) -> None:
        """Lay out CRFsuite's weights as arrays; its labels are the numbers of our tags."""
        self._model = model
        tagger = pycrfsuite.Tagger()
        tagger.open_inmemory(model)
        weights = tagger.info()
        C = len(self.tags)
        self._rows = {name: row for row, name in enumerate(weights.attributes)}
        self._weights = np.zeros((len(self._rows) + 1, C))  # the last row: features without a weight
        for (name, tag), weight in weights.state_features.items():
            self._weights[self._rows[name], int(tag)] = weight
        between_CC = np.zeros((C, C))
        for (left, right), weight in weights.transitions.items():
            between_CC[int(left), int(right)] = weight
        self._transitions = Transitions(np.zeros(C), between_CC, np.zeros(C))
        self._unseen_C = np.full(C, _IMPOSSIBLE)
        self._unseen_C[[int(tag) for tag in weights.labels]] = 0.0
