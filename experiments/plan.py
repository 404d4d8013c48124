"""What decides an experiment's result: data, models, budgets, rounds. A run is a plan with a strategy and a seed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from corpus import Kind
from learning.settings import ProjectSettings
from taggers import TAGGERS

FULL = "full data"
"""Stands in a strategy's place for the reference: everything labelled at once."""

BASELINE = "random"
"""What strategies are compared with."""

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(%|words?|sentences?)")


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is labelled: a share of the pool's words, a number of words, or of sentences. One of them is set."""

    words: int | None = None
    sentences: int | None = None

    @classmethod
    def of(cls, text: str, total_words: int) -> Amount:
        """Read "2%" (of `total_words`), "500 words" or "100 sentences". Raises ValueError for anything else."""
        match = _AMOUNT.fullmatch(text.strip())
        if match is None or float(match[1]) == 0 or (match[2] == "%" and float(match[1]) > 100):
            raise ValueError(f"{text!r} is no amount: write it as '2%' (of the words), '500 words' or '100 sentences'")
        number = float(match[1])
        if match[2] == "%":
            return cls(words=math.ceil(number / 100 * total_words))
        if match[2].startswith("word"):
            return cls(words=round(number))
        return cls(sentences=round(number))


def _amount(text: str) -> str:
    Amount.of(text, 100)
    return text


AmountText = Annotated[str, AfterValidator(_amount)]


class PseudoLabels(BaseModel):
    """A teacher, trained on what is labelled, labels the pool for the successor (PLASM: Tsvigun et al. 2022, findings
    of NAACL, paper 90)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tagger: str | None = Field(None, description="The teacher (default: the tagger itself).")
    tagger_options: dict[str, Any] = Field(default_factory=dict, description="Its options.")
    keep: float = Field(0.9, gt=0, le=1, description="Share of the pool kept: that of which the teacher is surest.")


class Plan(BaseModel):
    """All settings of a run but its strategy and its seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(description="Name of a corpus, or the path of a Label Studio export or of a CoNLL file.")
    tagger: str = Field("crf", description="Trained for use, and evaluated: a tagger, or a classifier of either kind.")
    tagger_options: dict[str, Any] = Field(default_factory=dict, description="Its options.")
    acquisition: str | None = Field(None, description="Ranks the pool in its stead.")
    acquisition_options: dict[str, Any] = Field(default_factory=dict, description="Options of that one.")
    strategy_options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Options by strategy.")
    filter: str | None = Field(None, description="Filter that narrows the pool before the strategy.")
    filter_options: dict[str, Any] = Field(default_factory=dict, description="Its options.")
    start: AmountText = Field("2%", description="Labelled before the first round.")
    start_by: Literal["random", "strategy"] = Field(
        "random",
        description="Who chooses that: with `strategy`, those that read an encoder or a masked-language model choose "
        "theirs (`ft-bert-km` as `bert-km`), and others start at random (Yuan et al. 2020).",
    )
    budget: AmountText = Field("2%", description="Labelled in each round.")
    rounds: int = Field(20, ge=0, description="Batches chosen by the strategy.")
    pool_share: float = Field(1, gt=0, le=1, description="Share of the pool, drawn anew each round, that it sees.")
    dev_share: float = Field(0.2, ge=0, le=0.5, description="Share of the labelled kept for early stopping.")
    own_dev: bool = Field(False, description="Stop by the corpus's own dev set, and learn from all that is labelled.")
    warm_start: bool = Field(False, description="Train on from the last round's model.")
    pseudo_labels: PseudoLabels | None = Field(None, description="Teach the successor on the pool too.")
    masked_lm: str | None = Field(None, description="Masked-language model of `alps`.")
    adapt: bool = Field(False, description="Let the encoder read the unlabelled texts first.")
    adapt_seconds: int = Field(300, ge=1, description="How long.")

    @property
    def kind(self) -> Kind:
        """What is learned. Raises ValueError if the tagger is unknown."""
        if self.tagger not in TAGGERS:
            raise ValueError(f"unknown tagger {self.tagger!r}; known: {', '.join(sorted(TAGGERS))}")
        return TAGGERS[self.tagger].kind

    @property
    def unit(self) -> Literal["words", "sentences"]:
        """What labels are counted in: that of the budget."""
        return "words" if Amount.of(self.budget, 100).sentences is None else "sentences"

    def settings(self, strategy: str, seed: int) -> ProjectSettings:
        """The same as settings of a live project. Raises ValueError where they do not fit together."""
        settings = ProjectSettings(
            tagger=self.tagger,
            tagger_options=self.tagger_options,
            acquisition=self.acquisition,
            acquisition_options=self.acquisition_options,
            strategy="random" if strategy == FULL else strategy,
            strategy_options=self.strategy_options.get(strategy, {}),
            filter=self.filter,
            filter_options=self.filter_options,
            warm_start=self.warm_start,
            masked_lm=self.masked_lm,
            adapt=self.adapt,
            adapt_seconds=self.adapt_seconds,
            dev_share=self.dev_share,
            holdout_share=0,
            seed=seed,
        )
        if self.kind == "spans":  # others are checked for their own kind already
            settings.check_for(["spans"])
        return settings
