"""The relation classifier: what relates two entities of a text, by a pre-trained encoder or decoder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from corpus import Inference, Mark, Sentence
from taggers import base, encoders
from taggers.base import OnProgress, Tagger
from taggers.fine_tuning import Example
from taggers.forms import Form
from taggers.pair_network import PairNetwork
from taggers.pair_reading import Input, PairReader, kind_names
from taggers.pairs import UNRELATED, Candidates, Pair, candidates, classes, relations_of
from taggers.reading import SORTED_AT_ONCE, TextBatch
from taggers.transformer import Precision, TransformerTagger
from taggers.warm_start import Axis
from taggers.word_pieces import Passage, within_budget

PAIRS_AT_ONCE = 256
"""In one `Inference`: enough for batches of one length each."""
_log = logging.getLogger(__name__)


class RelationOptions(base.Options):
    """Settings of the relation classifier; those that are None follow the rule of `RelationClassifier`."""

    encoder: str = "minilm"
    """"minilm" (packaged, 22 million weights, for English), a local folder, or a Hugging Face Hub name; a decoder is as
    good."""
    input: Input = "markers"
    """"markers": marks around both entities in the text; "distre": the entities in front of it."""
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


class RelationClassifier(TransformerTagger):
    """Each two entities of a text are one decision: "O", not related, or what relates them, in which direction.

    The network of DISTRE (Alt, Hübner and Hennig 2019, as Seo et al. use it) for single sentences: both entities
    and the text through a pre-trained model, and a linear layer over the state of the pair. Marks in the text (Baldini
    Soares et al. 2019) say which two are meant: with `minilm` and 300 sentences of SemEval-2010 Task 8, one draw, that
    is an F1 of 66, with DISTRE's order 50. "O" is learned from the pairs that the annotator left unrelated.

    Learning follows the rule of `TransformerTagger` for what is fine-tuned, at 2e-4 up to 512 units: a pair gives one
    answer to learn from, not one for each word, and of two starts with 150 sentences of CoNLL-04 5e-4
    left one with next to nothing learned.
    """

    name: ClassVar[str] = "relation-classifier"
    kind = "relations"
    narrow_rate = 2e-4
    Options = RelationOptions
    options: Any
    _labels: tuple[str, ...]
    """Of the entities, in alphabetical order."""

    def _learn_labels(self, train: Sequence[Sentence]) -> None:
        """Without any relation in `train` the tagger is one that knows none."""
        pairs = [self._candidates(sentence).pairs for sentence in train]
        found = {name for s, of in zip(train, pairs, strict=True) for name in classes(of, s.relations or ())[0]}
        self.tags = (UNRELATED, *sorted(found - {UNRELATED}))
        self._labels = tuple(sorted({span.label for of in pairs for pair in of for span in (pair.first, pair.second)}))

    @property
    def _names(self) -> tuple[tuple[str, ...], ...]:
        return self.tags, kind_names(self._labels)

    def _axes(self, before: tuple[tuple[str, ...], ...]) -> dict[str, Sequence[Axis]]:
        return {**super()._axes(before), "kinds.weight": [Axis(kind_names(self._labels), before[1])]}

    def _assemble(self, encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer, options = tokenizer, self.options
        limit = encoders.longest_input(encoder, tokenizer)
        self._reader = PairReader(tokenizer, limit, self._labels, options.input, options.max_pieces)
        network = PairNetwork(encoder, len(self.tags), len(self._labels), options.input)
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

    def _learn(self, train: Sequence[Sentence], dev: Sequence[Sentence], on_progress: OnProgress) -> None:
        if len(self.tags) > 1:
            super()._learn(train, dev, on_progress)

    def _examples(self, train: Sequence[Sentence], rng: np.random.Generator) -> list[Example]:
        """Pairs with their classes; of unrelated ones as many as the options allow, weighted for the rest."""
        pairs, number = self._pairs(train), {name: i for i, name in enumerate(self.tags)}
        examples: list[Example] = [
            (passage, torch.tensor([number[name]]))
            for sentence, of, passages in zip(train, pairs, self._reader.read_pairs(train, pairs), strict=True)
            for passage, name in zip(passages, _classes(sentence, of), strict=True)
        ]
        unrelated = [i for i, (_, tag) in enumerate(examples) if not tag]
        if self.options.unrelated is None:
            return examples
        most = max(1, round(self.options.unrelated * (len(examples) - len(unrelated))))
        if len(unrelated) <= most:
            return examples
        cast(PairNetwork, self._fitted()).weights[0] = len(unrelated) / most
        left = {int(i) for i in rng.permutation(unrelated)[most:]}
        return [example for i, example in enumerate(examples) if i not in left]

    def infer(
        self, sentences: Sequence[Sentence], *, passes: int = 0, dropout: str | None = None
    ) -> Iterator[Inference]:
        """See `Tagger.infer`; T counts the pairs of a text, in the order of `candidates`, and H is the state of a pair.

        Dropouts are those of `TransformerTagger`. Masks go by a text's words and entities, and by the pair.
        """
        return super().infer(sentences, passes=passes, dropout=dropout)

    def _batches(self, sentences: Sequence[Sentence]) -> Iterator[TextBatch[Passage]]:
        """Texts with like numbers of pairs together, of these the ones of like length."""
        pairs = self._pairs(sentences)
        by_size = sorted(range(len(sentences)), key=lambda i: (len(pairs[i]), len(sentences[i].text)))
        for start in range(0, len(by_size), SORTED_AT_ONCE):
            chosen = by_size[start : start + SORTED_AT_ONCE]
            for group in within_budget([max(1, len(pairs[i])) for i in chosen], PAIRS_AT_ONCE):
                some = chosen[group.start : group.stop]
                passages = self._reader.read_pairs([sentences[i] for i in some], [pairs[i] for i in some])
                yield TextBatch(np.array(some), np.array([len(pairs[i]) for i in some], np.int64), passages)

    def _key(self, sentence: Sentence) -> list[str]:
        entities = sorted({span for pair in self._candidates(sentence).pairs for span in (pair.first, pair.second)})
        return [*super()._key(sentence), *(f"{s.start} {s.end} {s.label}" for s in entities)]

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
        super()._write(folder)
        (folder / "entities.json").write_text(json.dumps(self._labels))

    def _read(self, folder: Path) -> None:
        self._labels = tuple(json.loads((folder / "entities.json").read_text()))
        super()._read(folder)

    def export(self, folder: Path) -> Form:
        """In this project's own form: no class of transformers' reads pairs."""
        return Tagger.export(self, folder)


def _classes(sentence: Sentence, pairs: Sequence[Pair]) -> list[str]:
    """Of each pair; a warning tells of a relation between others."""
    names, homeless = classes(pairs, sentence.relations or ())
    for relation in homeless:
        _log.warning(
            "task %s: %r from [%d, %d) to [%d, %d) is not learned from: these are no two entities of the text that "
            "may be related",
            *(sentence.id, relation.label, relation.head.start, relation.head.end),
            *(relation.tail.start, relation.tail.end),
        )
    return names
