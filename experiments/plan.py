"""What decides an experiment's result: data, models, budgets, rounds. A run is a plan with a strategy and a seed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from learning.settings import ProjectSettings

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
    tagger: str = Field("crf", description="Trained for use, and evaluated.")
    tagger_options: dict[str, Any] = Field(default_factory=dict, description="Its options.")
    acquisition: str | None = Field(None, description="Ranks the pool in its stead.")
    acquisition_options: dict[str, Any] = Field(default_factory=dict, description="Options of that one.")
    strategy_options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Options by strategy.")
    filter: str | None = Field(None, description="Filter that narrows the pool before the strategy.")
    filter_options: dict[str, Any] = Field(default_factory=dict, description="Its options.")
    start: AmountText = Field("2%", description="Labelled at random before the first round.")
    budget: AmountText = Field("2%", description="Labelled in each round.")
    rounds: int = Field(20, ge=0, description="Batches chosen by the strategy.")
    pool_share: float = Field(1, gt=0, le=1, description="Share of the pool, drawn anew each round, that it sees.")
    dev_share: float = Field(0.2, ge=0, le=0.5, description="Share of the labelled kept for early stopping.")
    warm_start: bool = Field(False, description="Train on from the last round's model.")
    pseudo_labels: PseudoLabels | None = Field(None, description="Teach the successor on the pool too.")
    masked_lm: str | None = Field(None, description="Masked-language model of `alps`.")
    adapt: bool = Field(False, description="Let the encoder read the unlabelled texts first.")
    adapt_seconds: int = Field(300, ge=1, description="How long.")

    def settings(self, strategy: str, seed: int) -> ProjectSettings:
        """The same as settings of a live project. Raises ValueError where they do not fit together."""
        return ProjectSettings(
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
