"""Flair's BiLSTM-CRF network, fed with the words of texts instead of Flair's sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from flair.data import Dictionary
from flair.models import SequenceTagger
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from taggers.crf_layer import log_partition
from taggers.crf_maths import Chains, Floats, Transitions, solve
from taggers.dropout import KeyedDropout
from taggers.flair_embeddings import FeatureEmbeddings
from taggers.warm_start import Axis, shrink_and_perturb
from taggers.word_features import WordFeatures

LABEL = "tag"
"""The name under which Flair's tokens carry their tag."""


class FlairNetwork(SequenceTagger):
    """Flair's layers, weights and dropout. What is done here in another way than there gives the same numbers.

    Axes: R texts, T words (padded), E features, H = 2 × units, C tags, N words of all texts in a row.
    """

    def __init__(self, features: WordFeatures, tags: Sequence[str], *, units: int, layers: int) -> None:
        dictionary = Dictionary(add_unk=False)
        for tag in tags:
            dictionary.add_item(tag)
        super().__init__(FeatureEmbeddings(features), dictionary, LABEL, hidden_size=units, rnn_layers=layers)
        self.predict_spans = False  # tokens carry their tags ready-made
        self._tags = len(tags)
        """START and STOP come after them."""
        self.eval()

    @property
    def features(self) -> WordFeatures:
        """What the words are read by."""
        return cast(FeatureEmbeddings, self.embeddings).features

    def padded(self, texts: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """(R, T, E) features of the words, zeros after them, and (R,) lengths on the CPU; every text has a word."""
        lengths = [len(text) for text in texts]
        rows = self.features(texts).split(lengths)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(lengths)

    def loss(self, texts: Sequence[Sequence[str]], tags_N: Tensor) -> Tensor:
        """−log P(tags|texts) in nats, the sum over texts: Flair's `forward_loss`.

        Flair adds up the paths by autograd along the words; what they weigh is known without (see `log_partition`).
        """
        words_RTE, lengths_R = self.padded(texts)
        _, emissions_RTC = self.read(words_RTE, lengths_R)
        lengths_R, tags_N = lengths_R.to(words_RTE.device), tags_N.to(words_RTE.device)
        log_z = log_partition(emissions_RTC, lengths_R, *self._transitions())
        r_N, t_N = (torch.arange(words_RTE.shape[1], device=tags_N.device) < lengths_R[:, None]).nonzero(as_tuple=True)
        before_N = tags_N.roll(1).masked_fill(t_N == 0, self.viterbi_decoder.start_tag)
        steps, last_R = self.crf.transitions, lengths_R.cumsum(0) - 1  # Flair's transitions stand as [to, from]
        score = emissions_RTC[r_N, t_N, tags_N].sum() + steps[tags_N, before_N].sum()
        return log_z - score - steps[self.viterbi_decoder.stop_tag, tags_N[last_R]].sum()

    def read(self, words_RTE: Tensor, lengths_R: Tensor) -> tuple[Tensor, Tensor]:
        """Flair's `forward`: (R, T, H) what enters the last layer, and (R, T, C) emissions.

        Its modules drop in training mode only, so which of them are in it says what is dropped.
        """
        words_RTE = self.embedding2nn(self.locked_dropout(self.word_dropout(words_RTE)))
        hidden_RTH = self.locked_dropout(_bilstm(cast(nn.LSTM, self.rnn), words_RTE, lengths_R))
        return hidden_RTH, self.linear(hidden_RTH)[:, :, : self._tags]

    def stochastic(self, words_RTE: Tensor, lengths_R: Tensor, keys_R: Tensor, dropout: str) -> Tensor:
        """(R, T, C) emissions with this dropout on: "locked", "word" or "all"."""
        on = {"locked": self.locked_dropout, "word": self.word_dropout, "all": self}[dropout]
        on.train()
        try:
            with KeyedDropout(keys_R.to(words_RTE.device)):
                return self.read(words_RTE, lengths_R)[1]
        finally:
            self.eval()

    def chains(self, emissions_RTC: Tensor, lengths_R: Tensor) -> Chains:
        """The best paths, their probabilities and all tags'."""
        weights = (_floats(part) for part in self._transitions())
        return solve(_floats(emissions_RTC), lengths_R.numpy(), Transitions(*weights))

    def _transitions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Those from START, among tags [from, to], and to STOP."""
        weights, C = self.crf.transitions, self._tags
        start, stop = self.viterbi_decoder.start_tag, self.viterbi_decoder.stop_tag
        return weights[:C, start], weights[:C, :C].T, weights[stop, :C]

    def weights(self) -> dict[str, Tensor]:
        """A copy of all of them."""
        return {name: weights.detach().clone() for name, weights in self.state_dict().items()}

    def start_from(self, earlier: FlairNetwork) -> None:
        """Draw the weights towards those of an earlier network with the same options (see `warm_start`)."""
        tags = Axis(self.label_dictionary.get_items(), earlier.label_dictionary.get_items())
        of_words: dict[str, Any] = self.features.axes(earlier.features.card())
        axes = {f"embeddings.features.{name}": named for name, named in of_words.items()}
        axes |= {"linear.weight": [tags], "linear.bias": [tags], "crf.transitions": [tags, tags]}
        shrink_and_perturb(self, earlier.state_dict(), axes)


def _bilstm(rnn: nn.LSTM, words_RTE: Tensor, lengths_R: Tensor) -> Tensor:
    """(R, T, H) what `rnn` makes of padded texts.

    Layer by layer, because the dropout between layers is out of reach when torch runs them all.
    """
    states, directions = words_RTE, 2 if rnn.bidirectional else 1
    start = words_RTE.new_zeros(directions, len(words_RTE), rnn.hidden_size)
    for layer in range(rnn.num_layers):
        if layer:
            states = nn.functional.dropout(states, rnn.dropout, rnn.training)
        of_layer = rnn.all_weights[layer * directions : (layer + 1) * directions]
        weights: list[Tensor] = [weight for of_direction in of_layer for weight in of_direction]
        data, sizes, *order = pack_padded_sequence(states, lengths_R, batch_first=True, enforce_sorted=False)
        data = torch.lstm(data, sizes, (start, start), weights, True, 1, 0.0, False, rnn.bidirectional)[0]
        states, _ = pad_packed_sequence(PackedSequence(data, sizes, *order), batch_first=True)
    return states


def _floats(numbers: Tensor) -> Floats:
    return numbers.detach().double().cpu().numpy()
