"""The transformer tagger: an encoder, fine-tuned or frozen, and a linear layer or a CRF over words' first pieces."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from corpus import Inference, Sentence
from corpus.tags import encode
from taggers import base, encoders
from taggers.base import OnProgress, Tagger, check_fit, no_progress
from taggers.dropout import derive, places, text_keys
from taggers.fine_tuning import Course, Example, learn
from taggers.forms import Form
from taggers.frozen_network import Frozen, FrozenReader
from taggers.frozen_vectors import FrozenVectors
from taggers.labels import bio_tags, exact_f1
from taggers.reading import BATCH_PIECES, Part, TextBatch, side_by_side, text_batches, word_places
from taggers.token_classification import FORM, token_classifier
from taggers.training import whole_or_none
from taggers.transformer_network import FineTuned, TransformerNetwork
from taggers.warm_start import Axis, shrink_and_perturb
from taggers.word_pieces import PieceReader, within_budget

Precision = Literal["auto", "fp32", "bf16"]
_BEST_DTYPE = {
    kind: torch.bfloat16 if encoders.computes_bf16(torch.device(kind)) else torch.float32
    for kind in ("cpu", "cuda")
    if kind == "cpu" or torch.cuda.is_available()
}
"""What this machine computes in quickest, by the type of device."""
FROZEN_WORDS = 8192
"""Words of frozen texts that go through the head at once."""


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """What an encoder computes in: of "auto" bfloat16 where the processor has it."""
    if precision == "auto":
        return _BEST_DTYPE[device.type]
    return torch.bfloat16 if precision == "bf16" else torch.float32


class TransformerOptions(base.Options):
    """Settings of the transformer tagger; those that are None follow the rule of `TransformerTagger`."""

    encoder: str = "minilm"
    """"minilm" (packaged, 22 million weights, for English), a local folder, or a Hugging Face Hub name."""
    freeze: Literal["none", "embeddings"] | int | bool = "embeddings"
    """What does not learn: nothing, the table of word pieces, or all but the layers above the n-th. True = nothing of
    the encoder learns: its vectors are computed once for each text, and the head learns over them in seconds."""
    crf: bool = False
    """Whether a linear-chain CRF stands over the linear layer, so that neighbouring tags are chosen together."""
    capitalisation: bool = True
    """Whether the network is told how each word is capitalised, which an uncased encoder cannot see."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak of the linear schedule."""
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    """Passages a step at most; smaller, but at least 4, when an epoch would have fewer than 10 steps."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs in a row that were worse on the dev set than the best."""
    precision: Precision = "auto"
    """What the encoder computes in: "auto" is bfloat16 where the processor has it. The head is always float32."""


class TransformerTagger(Tagger):
    """An encoder with one linear layer, fine-tuned as in BERT's section 5.3 (Devlin et al. 2019), or frozen.

    Without a CRF tags are independent given the text, so the best path takes the likeliest tag of each word and
    log_prob = Σ_t max_c log p(c | t). With one, all is the chain's over the whole text: emissions of a text that is
    read in several passages are merged first.

    The rule for what the options leave open, with linear warm-up over a tenth of the steps and linear decay:
    - fine-tuned: 10 epochs of batches of 16 passages of like length, at 5e-4 up to 512 units of the encoder and at
      the 5e-5 of Shelmanov et al. (2021) above, at which a small one stays untrained; patience 5;
    - frozen: batches of 32 at 1e-3, as many epochs as make 1,500 steps but 20 to 80; patience 20;
    - few sentences: smaller batches, but at least 4, so that an epoch has 10 steps (theirs has 50), then
      several passes an epoch;
    - the CRF's own weights at 1e-2, for there are few of them and they start from nothing.
    """

    name: ClassVar[str] = "transformer"
    Options: ClassVar[type[base.Options]] = TransformerOptions
    dropouts: ClassVar[tuple[str, ...]] = ("last", "all")
    warm_starts: ClassVar[bool] = True
    narrow_rate: ClassVar[float] = 5e-4
    """Peak of the schedule for an encoder of up to 512 units."""
    packages = ("transformers", "tokenizers", "torch")
    options: TransformerOptions

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        super().__init__(options, seed=seed)
        self._device = encoders.best_device()
        self._network: TransformerNetwork | None = None
        self._reader: Any
        """A `PieceReader`, or a `FrozenReader` for a frozen encoder."""

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """An interrupted fit leaves the tagger without a model. See `Tagger.fit`."""
        check_fit(self, train, dev, start)
        earlier = (start._fitted(), start._names) if isinstance(start, TransformerTagger) else None
        with whole_or_none(self):
            self._learn_labels(train)
            self._build()
            if earlier is not None:
                before, names = earlier
                shrink_and_perturb(self._fitted(), before.state_dict(), self._axes(names))
            self._learn(train, dev, on_progress)

    def _learn_labels(self, train: Sequence[Sentence]) -> None:
        self.tags = bio_tags(train)

    @property
    def _names(self) -> tuple[tuple[str, ...], ...]:
        """Of what the network's axes stand for: that of the last layer first."""
        return (self.tags,)

    def _axes(self, before: tuple[tuple[str, ...], ...]) -> dict[str, Sequence[Axis]]:
        """Of the network, for a start from one whose `_names` were these."""
        return self._fitted().axes(self._names[0], before[0])

    def _build(self) -> None:
        """A network that has learned nothing yet."""
        if self.options.freeze is True:
            self._assemble_frozen(self._frozen_vectors())
        else:
            encoder, tokenizer = encoders.load_encoder(self.options.encoder)
            encoders.freeze(encoder, self.options.freeze)
            self._assemble(encoder, tokenizer)

    def _assemble(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._reader = PieceReader(tokenizer, encoders.longest_input(encoder, tokenizer))
        parts = {"capitalisation": self.options.capitalisation, "crf": self.options.crf}
        self._network = FineTuned(encoder, len(self.tags), **parts).to(self._device).eval()

    def _assemble_frozen(self, vectors: FrozenVectors) -> None:
        self._vectors = vectors
        self._reader = FrozenReader(vectors)
        parts = {"capitalisation": self.options.capitalisation, "crf": self.options.crf}
        self._network = Frozen(vectors.width, len(self.tags), **parts).to(self._device).eval()

    def _learn(self, train: Sequence[Sentence], dev: Sequence[Sentence], on_progress: OnProgress) -> None:
        network, options, rng = self._fitted(), self.options, np.random.default_rng(self.seed)
        examples = self._examples(train, rng)
        if not examples:
            raise ValueError("nothing to learn from: no text of `train` has a word")
        if isinstance(network, Frozen):
            network.standardised.fit(part.vectors_TF for part, _ in examples)
        learn(
            network,
            examples,
            self._reader.batch,
            Course.suited(
                len(examples),
                network.width,
                isinstance(network, Frozen),
                narrow_rate=self.narrow_rate,
                learning_rate=options.learning_rate,
                epochs=options.epochs,
                batch_size=options.batch_size,
                patience=options.patience,
            ),
            rng,
            autocast=lambda: torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16),
            dev_f1=(lambda: exact_f1(dev, self.predict(dev), self.kind)) if dev else None,
            on_progress=on_progress,
        )

    def _examples(self, train: Sequence[Sentence], rng: np.random.Generator) -> list[Example]:
        """Parts of texts with the tags of the words that they answer for."""
        encoded = [encode(sentence, "BIO") for sentence in train]
        number = {tag: i for i, tag in enumerate(self.tags)}
        examples = []
        for parts, text in zip(self._reader.read([text.words for text in encoded]), encoded, strict=True):
            for part in parts:
                tags = text.tags[part.start : part.start + part.words]
                examples.append((part, torch.tensor([number[tag] for tag in tags])))
        return examples

    @property
    def _dtype(self) -> torch.dtype:
        return dtype_of(self.options.precision, self._device)

    def _fitted(self) -> TransformerNetwork:
        if self._network is None:
            raise RuntimeError("this tagger has no model yet: call `fit` or `load` first")
        return self._network

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """See `Tagger.infer`. H is the encoder's width, and that of the capitalisation's embedding if it is frozen.

        Dropout "last" is that before the last layer: the encoder runs once. "all" is on in the encoder too (word
        pieces, attention, hidden states), which then runs `passes` times more; a ValueError says so of the rare
        encoder that it cannot be had from. In a frozen encoder, or one configured without dropout, it is the same as
        "last".
        """
        network = self._fitted()
        dropout = self._dropout(passes, dropout)

        def read(batch: TextBatch[Any]) -> Inference:
            texts = [self._key(sentences[i]) for i in batch.indices] if passes else []
            return self._infer_batch(batch, texts, passes, dropout)

        batches = self._batches(sentences)
        # Dropout in the encoder is switched on and off for all threads.
        alone = self._device.type == "cuda" or dropout == "all" or isinstance(network, Frozen)
        yield from map(read, batches) if alone else side_by_side(read, batches)

    def _batches(self, sentences: Sequence[Sentence]) -> Iterator[TextBatch[Any]]:
        return text_batches(self._reader, sentences, self._budget)

    def _key(self, sentence: Sentence) -> list[str]:
        """What a text's dropout masks depend on."""
        return [word.text for word in sentence.words]

    @property
    def _budget(self) -> int:
        return FROZEN_WORDS if self.options.freeze is True else BATCH_PIECES[self._device.type]

    @torch.inference_mode()
    def _infer_batch(self, of: TextBatch[Any], texts: list[list[str]], passes: int, dropout: str | None) -> Inference:
        network = self._fitted()
        shape = (B, T) = (len(of.indices), int(of.lengths.max(initial=0)))
        hidden_BTH = np.zeros((*shape, network.head.in_features), np.float32)
        logits_BTS = np.zeros((*shape, network.head.out_features), np.float32)
        said_BMTS = np.zeros((B, passes, T, network.head.out_features), np.float32)
        rows = sorted(of.rows(), key=lambda row: len(row[1]))
        for group in within_budget([len(part) for _, part in rows], self._budget):
            some = rows[group.start : group.stop]
            b_N, t_N = word_places(some)
            batch = self._reader.batch([part for _, part in some]).to(self._device)
            hidden_NH = network.states(batch, self._dtype)
            hidden_BTH[b_N, t_N] = hidden_NH.cpu().numpy()
            logits_BTS[b_N, t_N] = network.head(hidden_NH).cpu().numpy()
            if passes:
                said_NMS = self._passes(batch, hidden_NH, some, texts, passes, dropout)
                said_BMTS[b_N, :, t_N] = said_NMS.cpu().numpy()
        chains = network.decode(logits_BTS, of.lengths)
        samples = network.decode_passes(said_BMTS, of.lengths) if passes else (None, None)
        marginals_BTC = chains.marginals_BTC.astype(np.float32)
        return Inference(
            of.indices, of.lengths, self.tags, chains.path_BT, chains.log_prob_B, marginals_BTC, hidden_BTH, *samples
        )

    def _passes(
        self,
        batch: Any,
        hidden_NH: Tensor,
        rows: list[tuple[int, Part]],
        texts: list[list[str]],
        passes: int,
        dropout: str | None,
    ) -> Tensor:
        """(N, M, S) what `dropped_heads` says in each pass; masks go by text and word, in the encoder by passage."""
        network, (b_N, t_N) = self._fitted(), word_places(rows)
        keys_B = text_keys(self.seed, texts)
        keys_N = derive(derive(keys_B[b_N], 0), torch.from_numpy(t_N))
        keys_NM = places(keys_N.to(self._device), passes)
        if dropout == "last" or not network.drops_inside:
            return network.dropped_heads(hidden_NH, keys_NM)
        starts_R = torch.tensor([part.start for _, part in rows])
        keys_R = derive(derive(keys_B[[b for b, _ in rows]], 1), starts_R)
        common = text_keys(self.seed, [[]])[0]
        said = []
        for m, keys_N1 in enumerate(keys_NM.split(1, dim=1)):
            hidden_NH = network.stochastic_states(batch, self._dtype, derive(keys_R, m), derive(common, m))
            said.append(network.dropped_heads(hidden_NH, keys_N1))
        return torch.cat(said, dim=1)

    def _write(self, folder: Path) -> None:
        network = self._fitted()
        if isinstance(network, FineTuned):
            encoders.save_encoder(folder / "encoder", network.encoder, self._tokenizer)
        else:
            (folder / "encoder.json").write_text(json.dumps({"fingerprint": self._vectors.fingerprint}))
        save_file(network.own_weights(), folder / "head.safetensors")

    def export(self, folder: Path) -> Form:
        """A Hugging Face token classifier, unless there is a CRF, or capitalisation that an encoder is not told of."""
        network = self._fitted()
        if isinstance(network, FineTuned) and (classifier := token_classifier(network, self.tags)) is not None:
            tokenizer = copy.deepcopy(self._tokenizer)
            tokenizer.model_max_length = encoders.longest_input(network.encoder, tokenizer)  # many are without
            encoders.save_encoder(folder, classifier, tokenizer)
            return FORM
        return super().export(folder)

    def _read(self, folder: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            if self.options.freeze is True:
                self._assemble_frozen(self._known_vectors(json.loads((folder / "encoder.json").read_text())))
            else:
                self._assemble(*encoders.load_encoder(str(folder / "encoder")))
        stored = load_file(folder / "head.safetensors", device=str(self._device))
        for name, weight in self._fitted().own_weights().items():
            weight.copy_(stored[name])

    def _frozen_vectors(self) -> FrozenVectors:
        return FrozenVectors(self.options.encoder)

    def _known_vectors(self, card: dict[str, str]) -> FrozenVectors:
        vectors = self._frozen_vectors()
        if vectors.fingerprint != card["fingerprint"]:
            raise ValueError(
                f"encoder {self.options.encoder!r} has other weights than when this model was fitted; "
                "bring those back or fit again"
            )
        return vectors
