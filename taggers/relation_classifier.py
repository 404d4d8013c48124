"""The relation classifier: what relates two entities of a text, by a pre-trained encoder or decoder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from corpus import Inference, Mark, Sentence
from taggers import base, encoders
from taggers.base import OnProgress, Tagger, check_fit, no_progress
from taggers.dropout import derive, places, text_keys
from taggers.fine_tuning import Course, Example, learn
from taggers.labels import exact_f1
from taggers.pair_network import PairNetwork
from taggers.pair_reading import Input, PairReader, kind_names
from taggers.pairs import UNRELATED, Candidates, Pair, candidates, classes, relations_of
from taggers.reading import BATCH_PIECES, SORTED_AT_ONCE, TextBatch, side_by_side, word_places
from taggers.training import whole_or_none
from taggers.transformer import Precision, dtype_of
from taggers.warm_start import Axis, shrink_and_perturb
from taggers.word_pieces import Passage, within_budget

PAIRS_AT_ONCE = 256
"""In one `Inference`: enough for batches of one length each."""
_log = logging.getLogger(__name__)


class RelationOptions(base.Options):
    """Settings of the relation classifier; those that are None follow the rule of `RelationClassifier`."""

    encoder: str = "minilm"
    """"minilm" (packaged, 22 million weights, for English), a local folder, or a Hugging Face Hub name; a decoder is as
    good."""
    input: Input = "distre"
    """"distre": both entities in front of the text; "markers": marks around them in it."""
    freeze: Literal["none", "embeddings"] | int = "embeddings"
    """What does not learn: nothing, the table of word pieces, or all but the layers above the n-th."""
    unrelated: float | None = Field(10.0, gt=0)
    """Unrelated pairs to learn from for each related one, None = all. Of more, so many are drawn, which then weigh the
    more in the loss: a probability stays one."""
    max_words_between: int | None = Field(None, ge=0)
    """Two entities with more words between them are never related. None = any distance."""
    max_pairs: int = Field(300, ge=1)
    """Pairs of one text that are asked about, the nearest first."""
    max_pieces: int = Field(128, ge=32)
    """Word pieces that are read for a pair; of longer texts those around it."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak of the linear schedule."""
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    """Pairs a step at most; smaller, but at least 4, when an epoch would have fewer than 10 steps."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs in a row that were worse on the dev set than the best."""
    precision: Precision = "auto"
    """What the encoder computes in: "auto" is bfloat16 where the processor has it. The head is always float32."""


class RelationClassifier(Tagger):
    """Each two entities of a text are one decision: "O", not related, or what relates them, in which direction.

    The network of DISTRE (Alt, Hübner and Hennig 2019, as Seo et al. use it) for single sentences: both entities
    and the text through a pre-trained model, and a linear layer over the state of the pair. "O" is learned from the
    pairs that the annotator left unrelated. Learning follows the rule of `TransformerTagger` for what is fine-tuned.
    """

    name: ClassVar[str] = "relation-classifier"
    kind = "relations"
    Options = RelationOptions
    dropouts: ClassVar[tuple[str, ...]] = ("last", "all")
    warm_starts: ClassVar[bool] = True
    packages = ("transformers", "tokenizers", "torch")
    options: RelationOptions

    def __init__(self, options: base.Options | None = None, *, seed: int = 0) -> None:
        super().__init__(options, seed=seed)
        self._device = encoders.best_device()
        self._network: PairNetwork | None = None

    def fit(
        self,
        train: Sequence[Sentence],
        dev: Sequence[Sentence],
        *,
        start: Tagger | None = None,
        on_progress: OnProgress = no_progress,
    ) -> None:
        """See `Tagger.fit`. An interrupted fit leaves the tagger without a model; without any relation in `train` it
        is one that knows none, and takes no time."""
        check_fit(self, train, dev, start)
        earlier = start if isinstance(start, RelationClassifier) else None
        before = (earlier._fitted(), earlier.tags, earlier._reader.labels) if earlier else None
        with whole_or_none(self):
            pairs = self._pairs(train)
            found = [self._classes(sentence, of) for sentence, of in zip(train, pairs, strict=True)]
            self.tags = (UNRELATED, *sorted({name for names in found for name in names} - {UNRELATED}))
            labels = sorted({span.label for of in pairs for pair in of for span in (pair.first, pair.second)})
            self._assemble(*encoders.load_encoder(self.options.encoder), labels)
            network = self._fitted()
            encoders.freeze(network.encoder, self.options.freeze)
            if before is not None:
                weights, tags, known = before[0].state_dict(), before[1], before[2]
                kinds = {"kinds.weight": [Axis(kind_names(labels), kind_names(known))]}
                shrink_and_perturb(network, weights, network.axes(self.tags, tags) | kinds)
            if len(self.tags) > 1:
                self._learn(train, pairs, found, dev, on_progress)

    def _assemble(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, labels: Sequence[str]) -> None:
        self._tokenizer, options = tokenizer, self.options
        limit = encoders.longest_input(encoder, tokenizer)
        self._reader = PairReader(tokenizer, limit, labels, options.input, options.max_pieces)
        network = PairNetwork(encoder, len(self.tags), len(labels), options.input)
        self._network = network.to(self._device).eval()

    def _candidates(self, sentence: Sentence) -> Candidates:
        return candidates(sentence, self.options.max_pairs, self.options.max_words_between)

    def _pairs(self, sentences: Sequence[Sentence]) -> list[tuple[Pair, ...]]:
        """The candidates of each text; a warning tells of those that have too many."""
        asked = [self._candidates(sentence) for sentence in sentences]
        if many := [(s.id, of.left_out) for s, of in zip(sentences, asked, strict=True) if of.left_out]:
            _log.warning(
                "%d texts have more than %d pairs of entities, of which only the nearest are looked at (task %s: %d "
                "are not); `max_pairs` is the limit",
                *(len(many), self.options.max_pairs, *many[0]),
            )
        return [of.pairs for of in asked]

    def _classes(self, sentence: Sentence, pairs: Sequence[Pair]) -> list[str]:
        names, homeless = classes(pairs, sentence.relations or ())
        for relation in homeless:
            _log.warning(
                "task %s: %r from [%d, %d) to [%d, %d) is not learned from: these are no two entities of the text that "
                "may be related",
                *(sentence.id, relation.label, relation.head.start, relation.head.end),
                *(relation.tail.start, relation.tail.end),
            )
        return names

    def _learn(
        self,
        train: Sequence[Sentence],
        pairs: Sequence[Sequence[Pair]],
        found: Sequence[Sequence[str]],
        dev: Sequence[Sentence],
        on_progress: OnProgress,
    ) -> None:
        network, options, rng = self._fitted(), self.options, np.random.default_rng(self.seed)
        number = {name: i for i, name in enumerate(self.tags)}
        examples: list[Example] = [
            (passage, torch.tensor([number[name]]))
            for passages, names in zip(self._reader.read_pairs(train, pairs), found, strict=True)
            for passage, name in zip(passages, names, strict=True)
        ]
        unrelated = [i for i, (_, tag) in enumerate(examples) if not tag]
        if options.unrelated is not None:
            most = max(1, round(options.unrelated * (len(examples) - len(unrelated))))
            if len(unrelated) > most:
                left = {int(i) for i in rng.permutation(unrelated)[most:]}
                network.weights[0] = len(unrelated) / most
                examples = [example for i, example in enumerate(examples) if i not in left]
        learn(
            network,
            examples,
            self._reader.batch,
            Course.suited(
                len(examples),
                network.encoder.config.hidden_size,
                frozen=False,
                learning_rate=options.learning_rate,
                epochs=options.epochs,
                batch_size=options.batch_size,
                patience=options.patience,
            ),
            rng,
            autocast=lambda: torch.autocast(self._device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16),
            dev_f1=(lambda: exact_f1(dev, self.predict(dev), "relations")) if dev else None,
            on_progress=on_progress,
        )

    @property
    def _dtype(self) -> torch.dtype:
        return dtype_of(self.options.precision, self._device)

    def _fitted(self) -> PairNetwork:
        if self._network is None:
            raise RuntimeError("this relation classifier has no model yet: call `fit` or `load` first")
        return self._network

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """See `Tagger.infer`; T counts the pairs of a text, in the order of `candidates`, and H is the state of a pair.

        Dropouts are those of `TransformerTagger`. Masks go by a text's words and entities, and by the pair.
        """
        self._fitted()
        dropout = self._dropout(passes, dropout)
        pairs = self._pairs(sentences)

        def read(batch: TextBatch[Passage]) -> Inference:
            texts = [_key(sentences[i], pairs[i]) for i in batch.indices] if passes else []
            return self._infer_batch(batch, texts, passes, dropout)

        # Dropout in the encoder is switched on and off for all threads.
        alone = self._device.type == "cuda" or dropout == "all"
        yield from (map if alone else side_by_side)(read, self._batches(sentences, pairs))

    def _batches(self, sentences: Sequence[Sentence], pairs: Sequence[Sequence[Pair]]) -> Iterator[TextBatch[Passage]]:
        """Texts with like numbers of pairs together, of these the ones of like length."""
        by_size = sorted(range(len(sentences)), key=lambda i: (len(pairs[i]), len(sentences[i].text)))
        for start in range(0, len(by_size), SORTED_AT_ONCE):
            chosen = by_size[start : start + SORTED_AT_ONCE]
            for group in within_budget([max(1, len(pairs[i])) for i in chosen], PAIRS_AT_ONCE):
                some = chosen[group.start : group.stop]
                passages = self._reader.read_pairs([sentences[i] for i in some], [pairs[i] for i in some])
                yield TextBatch(np.array(some), np.array([len(pairs[i]) for i in some], np.int64), passages)

    @torch.inference_mode()
    def _infer_batch(
        self, of: TextBatch[Passage], texts: list[list[str]], passes: int, dropout: str | None
    ) -> Inference:
        network = self._fitted()
        shape = (B, T) = (len(of.indices), int(of.lengths.max(initial=0)))
        hidden_BTH = np.zeros((*shape, network.head.in_features), np.float32)
        logits_BTC = np.zeros((*shape, len(self.tags)), np.float32)
        said_BMTC = np.zeros((B, passes, T, len(self.tags)), np.float32)
        rows = sorted(of.rows(), key=lambda row: len(row[1]))
        for group in within_budget([len(passage) for _, passage in rows], BATCH_PIECES[self._device.type]):
            some = rows[group.start : group.stop]
            b_R, t_R = word_places(some)
            batch = self._reader.batch([passage for _, passage in some]).to(self._device)
            hidden_RH = network.states(batch, self._dtype)
            hidden_BTH[b_R, t_R] = hidden_RH.cpu().numpy()
            logits_BTC[b_R, t_R] = network.head(hidden_RH).cpu().numpy()
            if passes:
                said_BMTC[b_R, :, t_R] = self._passes(batch, hidden_RH, some, texts, passes, dropout).cpu().numpy()
        decided = network.decode(logits_BTC, of.lengths)
        samples = network.decode_passes(said_BMTC, of.lengths) if passes else (None, None)
        return Inference(
            *(of.indices, of.lengths, self.tags, decided.path_BT, decided.log_prob_B),
            decided.marginals_BTC.astype(np.float32),
            hidden_BTH,
            samples_BMTC=samples[0],
            sample_paths_BMT=samples[1],
        )

    def _passes(
        self,
        batch: Any,
        hidden_RH: Tensor,
        rows: list[tuple[int, Passage]],
        texts: list[list[str]],
        passes: int,
        dropout: str | None,
    ) -> Tensor:
        """(R, M, C) the probabilities in each pass."""
        network = self._fitted()
        keys_R = derive(text_keys(self.seed, texts)[[b for b, _ in rows]], torch.tensor([p.start for _, p in rows]))
        keys_RM = places(derive(keys_R, 0).to(self._device), passes)
        if dropout == "last":
            return network.dropped_heads(hidden_RH, keys_RM)
        inside_R, common = derive(keys_R, 1), text_keys(self.seed, [[]])[0]
        said = []
        for m, keys_R1 in enumerate(keys_RM.split(1, dim=1)):
            hidden_RH = network.stochastic_states(batch, self._dtype, derive(inside_R, m), derive(common, m))
            said.append(network.dropped_heads(hidden_RH, keys_R1))
        return torch.cat(said, dim=1)

    def marks(self, batch: Inference, sentences: Sequence[Sentence]) -> list[list[Mark]]:
        """The relations that a batch of `infer(sentences)` finds; confidence is the probability of the pair's class."""
        pairs = [self._candidates(sentences[i]).pairs for i in batch.indices]
        return [
            [
                relation
                for t, pair in enumerate(of_text)
                for relation in relations_of(pair, batch.tags[path_T[t]], confidence=float(marginals_TC[t, path_T[t]]))
            ]
            for of_text, path_T, marginals_TC in zip(pairs, batch.path_BT, batch.marginals_BTC, strict=True)
        ]

    def _write(self, folder: Path) -> None:
        network = self._fitted()
        encoders.save_encoder(folder / "encoder", network.encoder, self._tokenizer)
        save_file(network.own_weights(), folder / "head.safetensors")
        (folder / "entities.json").write_text(json.dumps(self._reader.labels))

    def _read(self, folder: Path) -> None:
        with torch.random.fork_rng(devices=[]):
            labels = json.loads((folder / "entities.json").read_text())
            self._assemble(*encoders.load_encoder(str(folder / "encoder")), labels)
        stored = load_file(folder / "head.safetensors", device=str(self._device))
        for name, weight in self._fitted().own_weights().items():
            weight.copy_(stored[name])


def _key(sentence: Sentence, pairs: Sequence[Pair]) -> list[str]:
    """What a text's dropout masks depend on."""
    entities = sorted({span for pair in pairs for span in (pair.first, pair.second)})
    return [*(word.text for word in sentence.words), *(f"{s.start} {s.end} {s.label}" for s in entities)]
