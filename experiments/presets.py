"""The papers' experiments by name: the settings that they give, and what differs here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

from experiments.plan import Plan
from learning.readers import ADAPTED


@dataclass(frozen=True)
class Preset:
    """An experiment of a paper."""

    plan: Plan
    strategies: tuple[str, ...]
    seeds: int
    """How often it is repeated."""
    source: str
    """Paper, and where in it the settings and results stand."""
    needs: str | None = None
    """What it takes besides the code and a corpus that anybody may fetch; None = nothing."""
    note: str = ""
    """What differs from the paper."""


GLOVE = "GloVe vectors (requirements-glove.txt, or the tagger's option word_vectors)"
LICENCE = "OntoNotes 5.0, by licence of the Linguistic Data Consortium"


def _hub(*models: str) -> str:
    return f"{' and '.join(dict.fromkeys(models))} of the Hugging Face Hub"


# Shelmanov et al. 2021, "Active Learning for Sequence Tagging with Deep Pre-trained Models and Bayesian Uncertainty
# Estimates"

DISTILBERT, BERT, ELECTRA = "distilbert-base-cased", "bert-base-cased", "google/electra-base-discriminator"
ENCODERS = {"distilbert": DISTILBERT, "bert": BERT, "electra": ELECTRA}
MISMATCHES = list(permutations(ENCODERS, 2))
"""Successor and acquisition: fig. 3 and 4 have every pair."""
STOCHASTIC = ("variation-ratio", "bald")
FLAIR = {"units": 128, "layers": 1, "learning_rate": 0.1, "epochs": 30, "batch_size": 32, "patience": 3}
"""Appendix C.2."""
EPOCHS = "With few texts an epoch has 10 steps at least (the paper: 50), and the best epoch on the dev share is kept."
BY_DROPOUT = "The paper's other dropouts (tables 5, 6) are the strategies' option dropout."


def _fine_tuned(encoder: str) -> dict[str, Any]:
    """Appendix C.3."""
    return {
        "encoder": encoder,
        "freeze": "none",
        "capitalisation": False,
        "learning_rate": 5e-5,
        "epochs": 4,
        "batch_size": 16,
        "patience": 4,
        "precision": "fp32",
    }


def _shelmanov(
    corpus: str,
    tagger: str,
    options: dict[str, Any],
    *,
    dropout: str | None,
    where: str,
    needs: str | None = None,
    note: str = "",
    **settings: Any,
) -> Preset:
    """Sec. 5.1. `dropout` is that of the 10 stochastic passes, None for a tagger that has none."""
    ontonotes = corpus == "ontonotes"
    return Preset(
        Plan(
            data="ontonotes" if ontonotes else "conll2003",
            tagger=tagger,
            tagger_options=options,
            strategy_options={name: {"passes": 10, "dropout": dropout} for name in STOCHASTIC if dropout},
            start="2%",
            budget="2%",
            rounds=24,
            pool_share=0.5 if ontonotes else 1,
            dev_share=0.25,
            **settings,
        ),
        ("random", "mnlp", *(STOCHASTIC if dropout else ())),
        seeds=3 if ontonotes else 5,
        source=f"Shelmanov et al. 2021, sec. 5.1, {where}",
        needs="; ".join(filter(None, (LICENCE if ontonotes else None, needs))) or None,
        note=note.strip(),
    )


def _shelmanov_taggers(corpus: str) -> dict[str, Preset]:
    table = 6 if corpus == "ontonotes" else 5
    found = {
        "": _shelmanov(
            corpus,
            "transformer",
            {},
            dropout="last",
            where=f"table {table} (DistilBERT)",
            note="MiniLM, the packaged encoder, trained by its own rule, has DistilBERT's role: at 5e-5 it hardly "
            "learns. " + BY_DROPOUT,
        ),
        "crf": _shelmanov(
            corpus,
            "crf",
            {"l1": 0.1, "l2": 0.1, "iterations": 100},
            dropout=None,
            where="app. B, C.1, fig. 2",
            note="Parts of speech are no features here. It learns from the quarter that others stop by, too.",
        ),
        "flair-bilstm-crf": _shelmanov(
            corpus,
            "flair-bilstm-crf",
            {"word_vectors": "glove", "word_units": 0, "characters": "cnn", "capitalisation": True, **FLAIR},
            dropout="locked",
            where="app. C.2, fig. 2 (CNN-BiLSTM-CRF)",
            needs=GLOVE,
            note="The packaged vectors have 50 numbers; the paper does not say how many its own have.",
        ),
        "flair-contextual": _shelmanov(
            corpus,
            "flair-contextual",
            {"encoder": "minilm", "capitalisation": True, **FLAIR},
            dropout="locked",
            where=f"app. C.2, table {table} (ELMo-BiLSTM-CRF)",
            note="MiniLM, frozen, has ELMo's role and, as it cannot see them, is told of capitals. " + BY_DROPOUT,
        ),
    }
    for name, encoder in ENCODERS.items():
        found[name] = _shelmanov(
            corpus,
            "transformer",
            _fine_tuned(encoder),
            dropout="last",
            where=f"app. C.3, fig. 2, table {table}",
            needs=_hub(encoder),
            note=EPOCHS + " " + BY_DROPOUT,
        )
    return {"-".join(filter(None, ("shelmanov", corpus, name))): one for name, one in found.items()}


def _mismatch(successor: str, acquisition: str) -> Preset:
    return _shelmanov(
        "conll",
        "transformer",
        _fine_tuned(ENCODERS[successor]),
        dropout=None,
        where="fig. 3, 4",
        needs=_hub(ENCODERS[successor], ENCODERS[acquisition]),
        note=EPOCHS,
        acquisition="transformer",
        acquisition_options=_fine_tuned(ENCODERS[acquisition]),
    )


# Kim 2020, "Deep Active Learning for Sequence Labeling Based on Diversity and Uncertainty in Gradient" (W-BADGE)


def _kim(corpus: str, decoder: bool, *, amount: str, units: int, batch_size: int, epochs: int) -> Preset:
    """Sec. 5.2 and 5.3."""
    passes = {"passes": 100, "dropout": "locked"}
    options: dict[str, Any] = {
        "word_vectors": "glove",
        "word_units": 100,
        "characters": "none",
        "capitalisation": False,
        "units": units,
        "layers": 1,
        "dropout": 0.5,
        "word_dropout": 0.0,
        "learning_rate": 1e-3,
        "epochs": epochs,
        "batch_size": batch_size,
    }
    return Preset(
        Plan(
            data=corpus,
            tagger="bilstm-encoder-decoder" if decoder else "bilstm",
            tagger_options={**options, "decoder_units": 100} if decoder else options,
            strategy_options={"sequence-variation-ratio": passes, "bald": passes},
            start=amount,
            budget=amount,
            rounds=14,
            dev_share=0,
        ),
        ("random", "mnlp", "sequence-variation-ratio", "coreset", "badge", "w-badge"),
        seeds=5,
        source=f"Kim 2020, sec. 5, fig. {3 if corpus == 'conll2003' else 2}",
        needs=GLOVE,
        note="What the paper calls BALD is sequence-variation-ratio (its eq. 2). GloVe beside 100 numbers that are "
        "learned has the role of its 300 of GloVe and 100 of Kazuma. The learning rate climbs and falls. The last "
        "epoch counts, where the paper takes the best F1. It does not say how many rounds it has.",
    )


# Shen et al. 2017, "Deep Active Learning for Named Entity Recognition"


def _shen(corpus: str, *, budget: str, rounds: int, note: str, needs: str | None = None) -> Preset:
    """Sec. 4."""
    return Preset(
        Plan(
            data=corpus,
            tagger="cnn-cnn-lstm",
            tagger_options={"layers": 2, "word_dropout": 0.5, "capitalisation": False, "epochs": 50},
            strategy_options={"variation-ratio": {"passes": 100, "dropout": "locked"}},
            start="1%",
            budget=budget,
            rounds=rounds,
            dev_share=0,
            warm_start=True,
        ),
        ("random", "lc", "mnlp", "variation-ratio"),
        seeds=3,
        source="Shen et al. 2017, sec. 4, fig. 4",
        needs=needs,
        note="What the paper calls BALD is variation-ratio. It trains on by plain SGD; here it is Adam, from weights "
        "drawn towards fresh ones. The network's sizes, the rounds and the repetitions are not in it. " + note,
    )


# Yuan et al. 2020, "Cold-start Active Learning through Self-supervised Language Modeling" (ALPS)

UNCASED, SCIBERT, GPT = "bert-base-uncased", "allenai/scibert_scivocab_uncased", "openai-gpt"
OWN_ENCODER = (
    "MiniLM, the packaged encoder, trained by its own rule, has BERT's role: at 2e-5 it hardly learns. alps reads it "
    "after 5 minutes of masked-language training on the pool's texts; another model: --set masked_lm=FOLDER."
)
LONGER = (
    "Texts of more than 128 word pieces, which the paper cuts, are read whole, in passages. The table of word pieces "
    "does not learn."
)
YUAN_HERE = ("sst2", "ag_news", "imdb", "pubmed", "csabstruct", "trec")
"""The paper's corpora, and the last two besides."""


def _classifier(encoder: str) -> dict[str, Any]:
    """Yuan et al. 2020, sec. 5.2."""
    return {
        "encoder": encoder,
        "frozen": False,
        "pooling": "cls",
        "learning_rate": 2e-5,
        "epochs": 3,
        "batch_size": 32,
        "precision": "fp32",
    }


def _yuan(corpus: str, encoder: str | None = UNCASED) -> Preset:
    """Sec. 5. Without an encoder's name, the packaged one, trained by its own rule."""
    own = encoder is None
    return Preset(
        Plan(
            data=corpus,
            tagger="transformer-classifier",
            tagger_options={"frozen": False} if encoder is None else _classifier(encoder),
            start="100 sentences",
            start_by="strategy",
            budget="100 sentences",
            rounds=9,
            dev_share=0,
            masked_lm=encoder or ADAPTED,
        ),
        ("random", "entropy", "badge", "bert-km", "ft-bert-km", "alps"),
        seeds=5,
        source="Yuan et al. 2020, sec. 5, fig. 2",
        needs=None if encoder is None else _hub(encoder),
        note=OWN_ENCODER if own else LONGER,
    )


# Seo et al. 2022, "Active Learning on Pre-trained Language Model with Task-Independent Triplet Loss" (BATL)

BASELINES = ("random", "lc", "entropy", "discriminative", "batch-bald", "coreset", "badge", "alps")


def _batl(
    corpus: str,
    tagger: str,
    options: dict[str, Any],
    size: int,
    *,
    where: str,
    masked_lm: str,
    needs: str | None,
    note: str = "",
) -> Preset:
    """ "Experiment Setup"."""
    return Preset(
        Plan(
            data=corpus,
            tagger=tagger,
            tagger_options=options,
            strategy_options={"batl": {"weight": 1.0}},
            start=f"{size} sentences",
            budget=f"{size} sentences",
            rounds=10,
            dev_share=0,
            masked_lm=masked_lm,
        ),
        (*BASELINES, "batl"),
        seeds=5,
        source=f"Seo et al. 2022, experiments{where}",
        needs=needs,
        note=f"The paper does not say how much is labelled at first, nor how many rounds there are. {note}".strip(),
    )


def _distre(corpus: str, size: int, figure: int) -> Preset:
    options = {"encoder": GPT, "input": "distre", "freeze": "none", "learning_rate": 2e-5, "precision": "fp32"}
    needs = _hub(GPT, UNCASED)
    note = "The paper scores bags, which are the sentences of one pair of entities; here each sentence counts."
    return _batl(
        corpus,
        "relation-classifier",
        options,
        size,
        where=f", fig. {figure}",
        masked_lm=UNCASED,
        needs=needs,
        note=note,
    )


def _related(corpus: str, size: int) -> Preset:
    """Of corpora that the paper does not have, with the packaged encoder."""
    note = f"Not one of the paper's corpora. {OWN_ENCODER}"
    return _batl(corpus, "relation-classifier", {}, size, where="", masked_lm=ADAPTED, needs=None, note=note)


def _batl_texts(corpus: str, encoder: str) -> Preset:
    return _batl(
        corpus,
        "transformer-classifier",
        _classifier(encoder),
        100,
        where=", fig. 4",
        masked_lm=encoder,
        needs=_hub(encoder),
        note=LONGER,
    )


PRESETS: dict[str, Preset] = {
    **_shelmanov_taggers("conll"),
    **_shelmanov_taggers("ontonotes"),
    **{f"shelmanov-{one}-by-{other}": _mismatch(one, other) for one, other in MISMATCHES},
    "kim-atis": _kim("atis", False, amount="2%", units=200, batch_size=20, epochs=50),
    "kim-atis-decoder": _kim("atis", True, amount="2%", units=200, batch_size=20, epochs=50),
    "kim-conll": _kim("conll2003", False, amount="2%", units=200, batch_size=16, epochs=25),
    "kim-conll-decoder": _kim("conll2003", True, amount="2%", units=200, batch_size=16, epochs=25),
    "kim-fmtod": _kim("fmtod", False, amount="1%", units=256, batch_size=32, epochs=50),
    "kim-fmtod-decoder": _kim("fmtod", True, amount="1%", units=256, batch_size=32, epochs=50),
    "shen-ontonotes": _shen("ontonotes", budget="20000 words", rounds=26, needs=LICENCE, note=""),
    "shen-ontonotes-chinese": _shen("ontonotes-chinese", budget="20000 words", rounds=18, needs=LICENCE, note=""),
    "shen-conll": _shen(
        "conll2003",
        budget="1.84%",
        rounds=26,
        note="It has OntoNotes only: a round here labels the same share of the pool as its 20,000 words.",
    ),
    "yuan-ag-news": _yuan("ag_news"),
    "yuan-imdb": _yuan("imdb"),
    "yuan-pubmed": _yuan("pubmed", SCIBERT),
    "yuan-sst2": _yuan("sst2"),
    **{f"yuan-{name.replace('_', '-')}-minilm": _yuan(name, None) for name in YUAN_HERE},
    "batl-nyt10": _distre("nyt10", 500, figure=2),
    "batl-nyt10-2000": _distre("nyt10", 2000, figure=2),
    "batl-wiki-kbp": _distre("wiki-kbp", 50, figure=3),
    "batl-wiki-kbp-200": _distre("wiki-kbp", 200, figure=3),
    "batl-ag-news": _batl_texts("ag_news", UNCASED),
    "batl-pubmed": _batl_texts("pubmed", SCIBERT),
    "batl-semeval": _related("semeval2010-task8", 200),
    "batl-conll04": _related("conll04-relations", 50),
}
"""By name."""
