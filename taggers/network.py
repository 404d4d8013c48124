"""What our own networks have in common: their parts, training, inference and storage."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from corpus import Inference, Sentence
from corpus.tags import encode
from corpus.windows import windows
from taggers import base, encoders, training
from taggers.base import OnProgress, Progress, Tagger, no_progress
from taggers.dropout import KeyedDropout, derive, text_keys
from taggers.labels import bio_tags, exact_f1
from taggers.layers import WordEncoder, inside
from taggers.tag_decoders import TagDecoder
from taggers.warm_start import Axis, shrink_and_perturb
from taggers.word_features import FeatureOptions, WordFeatures
from taggers.word_pieces import within_budget

WORDS_AT_ONCE = {"cpu": 4096, "cuda": 65536}
"""Words read at once when tagging, padding included; in stochastic passes, words times passes."""
LONGEST_EXAMPLE = 512
"""Words learned from at once; longer texts are cut. (Tagging has no limit.)"""
STEPS_PER_EPOCH = 25
LARGEST_GRADIENT = 0.35
"""Its norm, of the mean loss of a word: a few texts do not throw the rest off (worth 1 F1 on CoNLL-2003)."""
WEIGHTS, FEATURES = "network.safetensors", "features.json"


class NetworkOptions(FeatureOptions):
    """Settings of the network and its training."""

    units: int = Field(200, ge=1)
    """LSTM units each way, or filters, in every layer of the encoder."""
    layers: int = Field(1, ge=1)
    """Of the encoder."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of the numbers of all words of a text that are dropped, before and between the encoder's layers and
    before the last layer."""
    word_dropout: float = Field(0.05, ge=0, lt=1)
    """Share of the words that are dropped as a whole."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of Adam, at its peak: it climbs over a tenth of all steps, then falls to 0, both linearly. (1e-3, which Kim 2020
    has, costs 3 to 4 F1 at 2% of CoNLL-2003.)"""
    epochs: int | None = Field(25, ge=1)
    """None: by the number of words to learn from, 15 for 20,000 and fewer for more (see `training.suited`)."""
    batch_size: int | None = Field(16, ge=1)
    """Texts a step at most, None: by the number of words; fewer, but at least 4, when an epoch would have fewer than
    25 steps."""
    patience: int = Field(5, ge=1)
    """Stop after so many epochs in a row that were worse on the dev set than the best."""


class Network(nn.Module):
    """Features of words, an encoder that reads them in context, and a decoder that gives their tags."""

    def __init__(self, features: WordFeatures, encoder: WordEncoder, decoder: TagDecoder) -> None:
        super().__init__()
        self.features, self.encoder, self.decoder = features, encoder, decoder

    def read(self, texts: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """(B, T, E) features of the words, zero in the padding, and (B,) lengths."""
        rows_NE = self.features(texts)
        lengths_B = torch.tensor([len(text) for text in texts], device=rows_NE.device)
        words_BTE = rows_NE.new_zeros(len(texts), max(map(len, texts)), rows_NE.shape[1])
        words_BTE[inside(lengths_B, words_BTE.shape[1])] = rows_NE
        return words_BTE, lengths_B

    def loss(self, texts: Sequence[Sequence[str]], tags_BT: Tensor) -> Tensor:
        """() mean over all words of −log P(tags|x) in nats."""
        words_BTE, lengths_B = self.read(texts)
        return self.decoder.loss(self.encoder(words_BTE, lengths_B), lengths_B, tags_BT)

    def warm(self, earlier: Network, tags: Axis) -> None:
        """Start from what an earlier network has learned, see `warm_start`; `tags` are those of both."""
        axes = {f"features.{name}": of for name, of in self.features.axes(earlier.features.card()).items()}
        axes |= {f"decoder.{name}": of for name, of in self.decoder.tag_axes(tags).items()}
        shrink_and_perturb(self, earlier.state_dict(), axes)

    @contextmanager
    def dropping(self, dropout: str) -> Iterator[None]:
        """With those parts in training mode that this dropout means, and with no other."""
        last, locked, word = self.decoder.last_dropout, self.encoder.locked_dropout, self.encoder.word_dropout
        parts: dict[str, list[nn.Module]] = {
            "last": [last],
            "locked": [locked, last],
            "word": [word],
            "all": [word, locked, last],
        }
        try:
            for part in parts[dropout]:
                part.train()
            yield
        finally:
            self.eval()


class NetworkTagger(Tagger):
    """A network of our own, trained by Adam with a linear schedule; of a dev set, if it is given one, the best epoch is
    kept."""

    Options = NetworkOptions
    uses_dev: ClassVar[bool] = False
    """A schedule that ends at a rate of 0 needs none, and the labels are worth more to learn from."""
    dropouts: ClassVar[tuple[str, ...]] = ("last", "locked", "word", "all")
    warm_starts: ClassVar[bool] = True

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        super().__init__(options, seed=seed)
        self._device = encoders.best_device()
        self._network: Network | None = None

    @abstractmethod
    def _new(self, features: WordFeatures, tags: int) -> Network:
        """A fresh network."""

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """See `Tagger.fit`; an interrupted fit leaves the tagger without a model."""
        base.check_fit(self, train, dev, start)
        earlier = (start._fitted(), start.tags) if isinstance(start, NetworkTagger) else None  # `start` may be `self`
        with training.whole_or_none(self):
            self.tags = bio_tags(train)
            examples = self._examples(train)
            features = WordFeatures.of([words for words, _ in examples], self.options)
            self._network = self._new(features, len(self.tags)).to(self._device).eval()
            if earlier:
                self._network.warm(earlier[0], Axis(self.tags, earlier[1]))
            self._learn(examples, dev, on_progress)

    def _examples(self, train: Sequence[Sentence]) -> list[tuple[list[str], Tensor]]:
        """Words and their tags."""
        number = {tag: i for i, tag in enumerate(self.tags)}
        examples = []
        for sentence in train:
            encoded = encode(sentence, "BIO")
            for part in windows([1] * len(encoded.words), LONGEST_EXAMPLE, 0):
                words = [word.text for word in encoded.words[part.start : part.stop]]
                first, *others = encoded.tags[part.start : part.stop]
                tags = [first.replace("I-", "B-", 1) if first.startswith("I-") else first, *others]  # a span was cut
                examples.append((words, torch.tensor([number[tag] for tag in tags])))
        if not examples:
            raise ValueError("nothing to learn from: no text of `train` has a word")
        return examples

    def _learn(
        self, examples: list[tuple[list[str], Tensor]], dev: Sequence[Sentence], on_progress: OnProgress
    ) -> None:
        network = self._fitted()
        lengths = [len(words) for words, _ in examples]
        suited_epochs, suited_size = training.suited(sum(lengths))
        epochs = self.options.epochs or suited_epochs
        size, passes = training.epoch_plan(len(examples), self.options.batch_size or suited_size, STEPS_PER_EPOCH)
        steps = epochs * passes * math.ceil(len(examples) / size)
        rng = np.random.default_rng(self.seed)
        optimiser = torch.optim.Adam(network.parameters(), self.options.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: training.warm_up_and_decay(step, steps))
        best = training.BestEpoch(network, self.options.patience)
        for epoch in range(1, epochs + 1):
            network.train()
            total = 0.0
            for batch in [b for _ in range(passes) for b in training.bucketed(lengths, size, rng)]:
                total += self._step([examples[i] for i in batch], optimiser) * sum(lengths[i] for i in batch)
                schedule.step()
            network.eval()
            f1 = exact_f1(dev, self.predict(dev)) if dev else None
            ends = best.ends(f1)
            on_progress(Progress(epoch, epochs, total / (passes * sum(lengths)), f1))
            if ends:
                break
        best.restore()

    def _step(self, examples: list[tuple[list[str], Tensor]], optimiser: torch.optim.Optimizer) -> float:
        network = self._fitted()
        tags_BT = pad_sequence([tags for _, tags in examples], batch_first=True).to(self._device)
        loss = network.loss([words for words, _ in examples], tags_BT)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        return loss.item()

    def _fitted(self) -> Network:
        if self._network is None:
            raise RuntimeError("this tagger has no model yet: call `fit` or `load` first")
        return self._network

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """See `Tagger.infer`. Texts are read whole, however long they are.

        Dropout "last" drops units before the last layer (the encoder runs once), "locked" those before and between
        the encoder's layers as well (Gal and Ghahramani 2016), "word" words; "all" does all of that.
        """
        self._fitted()
        dropout = self._dropout(passes, dropout)
        order = np.argsort([len(sentence) for sentence in sentences], kind="stable").astype(np.int64)
        for group in within_budget([len(sentences[i]) for i in order], WORDS_AT_ONCE[self._device.type]):
            indices = order[group.start : group.stop]
            texts = [[word.text for word in sentences[i].words] for i in indices]
            yield self._infer_batch(indices, texts, passes, dropout)

    @torch.inference_mode()
    def _infer_batch(
        self, indices: NDArray[np.int64], texts: list[list[str]], passes: int, dropout: str | None
    ) -> Inference:
        network = self._fitted()
        lengths = np.array([len(text) for text in texts], np.int64)
        if not lengths.any():
            return self._of_no_words(indices, passes)
        words_BTE, lengths_B = network.read(texts)
        encoded_BTE = network.encoder(words_BTE, lengths_B)
        said = network.decoder.decode(encoded_BTE, lengths_B)
        inside_BT = inside(lengths_B, words_BTE.shape[1])
        inside_BT1 = inside_BT[:, :, None]
        arrays = [said.path_BT * inside_BT, said.log_prob_B.clamp(max=0)]
        arrays += [said.marginals_BTC * inside_BT1, said.hidden_BTH * inside_BT1]
        if dropout:
            keys_B = text_keys(self.seed, texts).to(self._device)
            samples_BMTC, paths_BMT = self._samples(words_BTE, encoded_BTE, lengths_B, keys_B, passes, dropout)
            arrays += [samples_BMTC * inside_BT1[:, None], paths_BMT * inside_BT[:, None]]
        return Inference(indices, lengths, self.tags, *(array.cpu().numpy() for array in arrays))

    def _samples(
        self, words_BTE: Tensor, encoded_BTE: Tensor, lengths_B: Tensor, keys_B: Tensor, passes: int, dropout: str
    ) -> tuple[Tensor, Tensor]:
        """(B, M, T, C) probabilities and (B, M, T) paths; several passes are read at once, as rows of one batch."""
        network, (B, T, _) = self._fitted(), words_BTE.shape
        at_once = max(1, WORDS_AT_ONCE[self._device.type] // (B * T))
        samples, paths = [], []
        for first in range(0, passes, at_once):
            some = range(first, min(first + at_once, passes))
            lengths_R = lengths_B.repeat(len(some))
            with network.dropping(dropout), KeyedDropout(torch.cat([derive(keys_B, m) for m in some])):
                if dropout == "last":
                    encoded_RTE = encoded_BTE.repeat(len(some), 1, 1)
                else:
                    encoded_RTE = network.encoder(words_BTE.repeat(len(some), 1, 1), lengths_R)
                said = network.decoder.decode(encoded_RTE, lengths_R)
            samples.append(said.marginals_BTC.unflatten(0, (len(some), B)))
            paths.append(said.path_BT.unflatten(0, (len(some), B)))
        return torch.cat(samples).transpose(0, 1), torch.cat(paths).transpose(0, 1)

    def _of_no_words(self, indices: NDArray[np.int64], passes: int) -> Inference:
        B, C, H = len(indices), len(self.tags), self._fitted().decoder.head.in_features
        path_BT, marginals_BTC = np.zeros((B, 0), np.int64), np.zeros((B, 0, C), np.float32)
        hidden_BTH = np.zeros((B, 0, H), np.float32)
        samples = (np.zeros((B, passes, 0, C), np.float32), np.zeros((B, passes, 0), np.int64)) if passes else ()
        lengths = np.zeros(B, np.int64)
        return Inference(indices, lengths, self.tags, path_BT, np.zeros(B), marginals_BTC, hidden_BTH, *samples)

    def _write(self, folder: Path) -> None:
        network = self._fitted()
        save_file({name: weight.contiguous() for name, weight in network.state_dict().items()}, folder / WEIGHTS)
        (folder / FEATURES).write_text(json.dumps(network.features.card()))

    def _read(self, folder: Path) -> None:
        features = WordFeatures.stored(json.loads((folder / FEATURES).read_text()), self.options)
        with torch.random.fork_rng(devices=[]):
            network = self._new(features, len(self.tags))
        network.load_state_dict(load_file(folder / WEIGHTS))
        self._network = network.to(self._device).eval()
