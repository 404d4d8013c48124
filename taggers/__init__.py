"""Models that mark sentences (spans, choices, relations), by name."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path

from corpus import Kind
from taggers.base import Progress, Tagger, sealed_card, spans_of
from taggers.checksums import Damaged
from taggers.storage import LOADING

__all__ = ["TAGGERS", "Damaged", "Progress", "Registered", "Tagger", "load", "spans_of", "tagger_class"]


@dataclass(frozen=True, slots=True)
class Registered:
    """Where a tagger's class is and what it provides, known without importing torch or flair."""

    module: str
    class_name: str
    provides: frozenset[str]
    """Fields of `Inference` beyond the path: log_prob, marginals, hidden, samples. And per_text, where decisions
    are on a text, or on pairs in it, instead of on every word."""
    dropouts: tuple[str, ...] = ()
    """Its ways to make a pass stochastic, the usual one first."""
    warm_starts: bool = False
    """Whether it can go on from an earlier model."""
    encoder: bool = False
    """Whether it starts from a pre-trained encoder, by the option of that name."""
    kind: Kind = "spans"
    """What it marks."""


if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
    os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"] = "PASSIVE", "2000"
"""Before torch is imported: its threads wait asleep, after microseconds in which the next small operation may come.
Spinning for long, as they would, they take a busy machine's cores away from each other and train ten times slower."""

NEURAL = frozenset({"log_prob", "marginals", "hidden", "samples"})
DROPOUTS = ("last", "locked", "word", "all")

TAGGERS: dict[str, Registered] = {
    "auto": Registered("taggers.auto", "AutoTagger", NEURAL, DROPOUTS, warm_starts=True, encoder=True),
    "bilstm": Registered("taggers.bilstm", "BiLSTMTagger", NEURAL, DROPOUTS, warm_starts=True),
    "bilstm-encoder-decoder": Registered(
        "taggers.bilstm_encoder_decoder", "BiLSTMEncoderDecoderTagger", NEURAL, DROPOUTS, warm_starts=True
    ),
    "cnn-cnn-lstm": Registered("taggers.cnn_cnn_lstm", "CNNCNNLSTMTagger", NEURAL, DROPOUTS, warm_starts=True),
    "crf": Registered("taggers.crf", "CRFTagger", frozenset({"log_prob", "marginals"})),
    "flair-bilstm-crf": Registered(
        "taggers.flair_bilstm_crf", "FlairBiLSTMCRFTagger", NEURAL, ("locked", "word", "all"), warm_starts=True
    ),
    "flair-contextual": Registered(
        "taggers.flair_contextual",
        "FlairContextualTagger",
        NEURAL,
        ("locked", "word", "all"),
        warm_starts=True,
        encoder=True,
    ),
    "relation-classifier": Registered(
        "taggers.relation_classifier",
        "RelationClassifier",
        NEURAL | {"per_text"},
        ("last", "all"),
        warm_starts=True,
        encoder=True,
        kind="relations",
    ),
    "tfidf-classifier": Registered(
        "taggers.tfidf_classifier",
        "TfidfClassifier",
        frozenset({"log_prob", "marginals", "per_text"}),
        kind="choices",
    ),
    "transformer": Registered(
        "taggers.transformer", "TransformerTagger", NEURAL, ("last", "all"), warm_starts=True, encoder=True
    ),
    "transformer-classifier": Registered(
        "taggers.transformer_classifier",
        "TransformerClassifier",
        NEURAL | {"per_text"},
        ("last", "all"),
        warm_starts=True,
        encoder=True,
        kind="choices",
    ),
    "window": Registered("taggers.window", "WindowTagger", NEURAL, DROPOUTS, warm_starts=True, encoder=True),
}

SEVERAL = Registered("taggers.several", "Several", frozenset())
"""What a stored model of several kinds is; it follows from the project, so that nobody names it."""


def tagger_class(name: str) -> type[Tagger]:
    """The class registered under `name`. Raises ValueError with the known names if there is none."""
    if name not in TAGGERS:
        raise ValueError(f"unknown tagger {name!r}; known: {', '.join(sorted(TAGGERS))}")
    return _class(TAGGERS[name])


def _class(entry: Registered) -> type[Tagger]:
    return getattr(importlib.import_module(entry.module), entry.class_name)


def load(folder: Path) -> Tagger:
    """Read a stored model of whatever kind. Raises as `Tagger.load` does."""
    card = sealed_card(folder)
    cls = _class(SEVERAL) if card["tagger"] == "several" else tagger_class(card["tagger"])
    with LOADING:
        return cls._restored(folder, card)
