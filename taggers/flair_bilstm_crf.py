"""Flair's BiLSTM-CRF tagger over words, their characters and their capitalisation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file

from corpus import Inference, Sentence
from corpus.tags import encode
from corpus.windows import Window, windows
from taggers import base, training
from taggers.base import OnProgress, Progress, Tagger, check_fit, no_progress
from taggers.crf_maths import Chains, batches
from taggers.dropout import derive, text_keys
from taggers.flair_network import FlairNetwork
from taggers.forms import Form
from taggers.labels import bio_tags, exact_f1
from taggers.word_features import FeatureOptions, WordFeatures
from taggers.word_pieces import within_budget

OVERLAP = 64
"""Words that neighbouring windows share."""
STEPS_PER_EPOCH = 50
HALVINGS = 4
"""Times the learning rate is halved; when that many have not helped, training stops early."""
WORDS_AT_ONCE = 4096
"""Words read at once when tagging, padding included."""


FLAIR_FILE = "model.pt"
LOADING = f"""\
`{FLAIR_FILE}` is a file of Flair's. How words are read is this project's part, so its folder must be on Python's path:

```python
import taggers.flair_embeddings  # tells Flair how words are read
from flair.data import Sentence
from flair.models import SequenceTagger

tagger = SequenceTagger.load("{FLAIR_FILE}")
sentence = Sentence("A text to tag")
tagger.predict(sentence)
sentence.get_spans("tag")
```

Such a file is a pickle: load it only if you trust where it comes from. The other form holds no code:
"""


class FlairOptions(FeatureOptions):
    """Settings of the network and its training; the defaults are those of Shelmanov et al. 2021, appendix C.2."""

    units: int = Field(128, ge=1)
    """LSTM units in each direction."""
    layers: int = Field(1, ge=1)
    learning_rate: float = Field(0.1, gt=0)
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(32, ge=1)
    """Texts a step at most; smaller, but at least 4, when an epoch would have fewer than 50 steps (the paper does
    that for transformers only; it helps here as much when labels are few)."""
    patience: int = Field(3, ge=1)
    """Epochs without a better dev F1 (train loss, without a dev set) before the learning rate is halved."""
    window: int = Field(512, ge=2)
    """Words read at once; longer texts are read in windows that overlap."""


class FlairBiLSTMCRFTagger(Tagger):
    """BiLSTM-CRF (Lample et al. 2016), Flair's `SequenceTagger`, trained by SGD with annealing and restarts.

    The log-probability of a text longer than `window` is the sum over its windows of log P(path | window),
    each scaled by the share of the window's words that it answers for: an approximation, exact for others.
    """

    name = "flair-bilstm-crf"
    Options = FlairOptions
    dropouts: ClassVar[tuple[str, ...]] = ("locked", "word", "all")
    warm_starts = True
    packages = ("flair", "torch")
    options: FlairOptions

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        super().__init__(options, seed=seed)
        self._network: FlairNetwork | None = None

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """Learn from scratch, or warm from `start`; an interrupted fit leaves no model. See `Tagger.fit`."""
        check_fit(self, train, dev, start)
        earlier = start._fitted() if isinstance(start, FlairBiLSTMCRFTagger) else None
        with training.whole_or_none(self):
            self.tags = bio_tags(train)
            examples = self._examples(train)
            self._build(WordFeatures.of([example.words for example in examples], self.options))
            if earlier is not None:
                self._fitted().start_from(earlier)
            self._learn(examples, dev, on_progress)

    def _examples(self, train: Sequence[Sentence]) -> list[_Example]:
        """The words and tags of `train`, no longer than a window."""
        numbers = {tag: n for n, tag in enumerate(self.tags)}
        examples = []
        for sentence in train:
            encoded = encode(sentence, "BIO")
            texts = [word.text for word in encoded.words]
            for window in windows([1] * len(texts), self.options.window, 0):
                part = slice(window.start, window.stop)
                examples.append(_Example(texts[part], [numbers[tag] for tag in encoded.tags[part]]))
        if not examples:
            raise ValueError("nothing to learn from: no text of `train` has a word")
        return examples

    def _build(self, features: WordFeatures) -> None:
        self._network = FlairNetwork(features, self.tags, units=self.options.units, layers=self.options.layers)

    def _learn(self, examples: list[_Example], dev: Sequence[Sentence], on_progress: OnProgress) -> None:
        network, rate = self._fitted(), self.options.learning_rate
        learning = [weights for weights in network.parameters() if weights.requires_grad]
        optimiser = torch.optim.SGD(learning, rate)
        rng = np.random.default_rng(self.seed)
        best_score, best, bad = (-1.0, 0.0), network.weights(), 0
        for epoch in range(1, self.options.epochs + 1):
            loss = self._epoch(examples, optimiser, rng)
            f1 = exact_f1(dev, self.predict(dev)) if dev else None
            score = (f1 or 0.0, -loss)
            if score > best_score:
                best_score, best, bad = score, network.weights(), 0
            else:
                bad += 1
            on_progress(Progress(epoch, self.options.epochs, loss, f1))
            if bad == self.options.patience:
                rate, bad = rate / 2, 0
                if rate < self.options.learning_rate / 2**HALVINGS:
                    break
                optimiser = torch.optim.SGD(learning, rate)
                if dev:
                    network.load_state_dict(best)
        if dev:
            network.load_state_dict(best)

    def _epoch(self, examples: list[_Example], optimiser: torch.optim.Optimizer, rng: np.random.Generator) -> float:
        """One pass over `examples` in random order; gives the mean loss of a word."""
        network = self._fitted().train()
        total, words = 0.0, 0
        order = rng.permutation(len(examples))
        size, _ = training.epoch_plan(len(examples), self.options.batch_size, STEPS_PER_EPOCH)
        for start in range(0, len(order), size):
            batch = [examples[i] for i in order[start : start + size]]
            tags_N = torch.tensor([tag for example in batch for tag in example.tags])
            loss = network.loss([example.words for example in batch], tags_N)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            total, words = total + loss.item(), words + len(tags_N)
        network.eval()
        return total / words

    def _fitted(self) -> FlairNetwork:
        if self._network is None:
            raise RuntimeError("this tagger has no model yet: call `fit` or `load` first")
        return self._network

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """Tag in batches of like length; hidden is the BiLSTM's output, H = 2 × units.

        The dropouts are those that Flair trains with: "locked" (Gal and Ghahramani 2016: for all words of a text the
        same units, before and after the BiLSTM), "word" (whole words), "all" (both, and that between LSTM layers if
        there are several). Words are embedded once.
        """
        self._fitted()
        dropout = self._dropout(passes, dropout)
        for indices in batches([len(s) for s in sentences], max(len(self.tags), 2 * self.options.units)):
            yield self._infer_batch(indices, [sentences[i] for i in indices], passes, dropout)

    def _infer_batch(
        self, indices: NDArray[np.int64], sentences: list[Sentence], passes: int, dropout: str | None
    ) -> Inference:
        B, C, H = len(sentences), len(self.tags), 2 * self.options.units
        lengths = np.array([len(sentence) for sentence in sentences], np.int64)
        T = int(lengths.max(initial=0))
        path_BT, log_prob_B = np.zeros((B, T), np.int64), np.zeros(B)
        marginals_BTC, hidden_BTH = np.zeros((B, T, C), np.float32), np.zeros((B, T, H), np.float32)
        samples_BMTC, paths_BMT = np.zeros((B, passes, T, C), np.float32), np.zeros((B, passes, T), np.int64)
        for part in self._windows(sentences, passes, dropout):
            for row, (b, window) in enumerate(part.places):
                core = slice(window.core_start, window.core_stop)
                inside = slice(window.core_start - window.start, window.core_stop - window.start)
                path_BT[b, core] = part.chains.path_BT[row, inside]
                marginals_BTC[b, core] = part.chains.marginals_BTC[row, inside]
                hidden_BTH[b, core] = part.hidden_RTH[row, inside]
                share = (window.core_stop - window.core_start) / (window.stop - window.start)
                log_prob_B[b] += share * part.chains.log_prob_B[row]
                for m, sample in enumerate(part.samples):
                    samples_BMTC[b, m, core] = sample.marginals_BTC[row, inside]
                    paths_BMT[b, m, core] = sample.path_BT[row, inside]
        samples = (samples_BMTC, paths_BMT) if passes else (None, None)
        return Inference(indices, lengths, self.tags, path_BT, log_prob_B, marginals_BTC, hidden_BTH, *samples)

    @torch.inference_mode()
    def _windows(self, sentences: list[Sentence], passes: int, dropout: str | None) -> Iterator[_Part]:
        """Read windows of all sentences, some R at a time."""
        limit = self.options.window
        overlap = min(OVERLAP, limit // 4)
        parts = [(b, w) for b, s in enumerate(sentences) for w in windows([1] * len(s), limit, overlap)]
        network = self._fitted()
        for group in within_budget([w.stop - w.start for _, w in parts], WORDS_AT_ONCE):
            places = parts[group.start : group.stop]
            texts = [[word.text for word in sentences[b].words[w.start : w.stop]] for b, w in places]
            words_RTE, lengths_R = network.padded(texts)
            hidden_RTH, emissions_RTC = network.read(words_RTE, lengths_R)
            samples = []
            if dropout:
                keys_R = derive(text_keys(self.seed, texts), torch.tensor([w.start for _, w in places]))
                passed = (network.stochastic(words_RTE, lengths_R, derive(keys_R, m), dropout) for m in range(passes))
                samples = [network.chains(emissions, lengths_R) for emissions in passed]
            yield _Part(places, network.chains(emissions_RTC, lengths_R), hidden_RTH.cpu().numpy(), samples)

    def _write(self, folder: Path) -> None:
        network = self._fitted()
        save_file(network.weights(), folder / "network.safetensors")
        (folder / "features.json").write_text(json.dumps(network.features.card()))

    def export(self, folder: Path) -> Form:
        """Besides our own form Flair's own file, which needs our word features only."""
        form = super().export(folder)
        self._fitted().save(folder / FLAIR_FILE)
        return replace(form, library="flair", loading=f"{LOADING}\n{form.loading}")

    def _read(self, folder: Path) -> None:
        card: dict[str, Any] = json.loads((folder / "features.json").read_text())
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            self._build(WordFeatures.stored(card, self.options))
        self._fitted().load_state_dict(load_file(folder / "network.safetensors"))


@dataclass(frozen=True, slots=True)
class _Example:
    """What is learned at once."""

    words: list[str]
    tags: list[int]


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of R windows at once."""

    places: list[tuple[int, Window]]
    """The sentence that each is of, and where."""
    chains: Chains
    hidden_RTH: NDArray[np.float32]
    samples: list[Chains]
    """One for each stochastic pass."""
