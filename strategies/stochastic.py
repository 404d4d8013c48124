"""Batches from one number a sentence: a stochastic top-k of any scalar strategy (Kirsch et al. 2021, arXiv 2106.12059).

The highest scores of a pool are often alike; drawn in proportion to their scores, a batch repeats itself less, at no
cost.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from corpus import Inference
from strategies.base import Measured, Ranking, Strategy
from strategies.ordering import highest_first
from strategies.uncertainty import Entropy, HighestFirst, LeastConfidence, Margin, NormalizedLogProbability
from strategies.variation import Bald, SequenceVariationRatio, VariationRatio

KINDS = ("power", "softmax", "soft-rank")


class StochasticTopK(Strategy):
    """Draws without replacement, the next sentence with a probability ∝ s^β (`power`), e^(β·s) (`softmax`) or
    rank^(−β) (`soft-rank`), s being the scalar strategy's score.

    All at once: Gumbel noise of scale 1/β is added to log s, s or −log rank, and the highest come first. A large `beta`
    is the scalar strategy itself, a small one `random`.
    """

    scalar: ClassVar[type[HighestFirst]]

    def __init__(self, *, kind: str = "power", beta: float = 1.0, **options: Any) -> None:
        """`options` are the scalar strategy's own."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r} of stochastic top-k; known: {', '.join(KINDS)}")
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < math.inf:
            raise ValueError(f"beta must be a number above 0, not {beta!r}; for any order take 'random'")
        self.kind = kind
        self.beta = float(beta)
        self._scalar = self.scalar(**options)
        self.passes, self.dropout = self._scalar.passes, self._scalar.dropout

    def measure(self, batch: Inference) -> NDArray[np.float64] | NDArray[np.float32]:
        """(B,) as the scalar strategy does."""
        return self._scalar.measure(batch)

    def rank(self, pool: Measured, labelled: Measured | None, limit: int | None, rng: np.random.Generator) -> Ranking:
        """A draw of the whole order; priority = the scalar strategy's, which is also the score s.

        (So it is 1 − P for `lc`, though that one ranks by −log P.) `power` never draws a score of 0 before a higher
        one; these come last, among themselves at random.
        """
        plain = self._scalar.rank(pool, labelled, limit, rng)
        noise = rng.gumbel(size=len(pool)) / self.beta
        return Ranking(highest_first(self._utility(plain) + noise, pool.lengths, rng), plain.priority)

    def _utility(self, plain: Ranking) -> NDArray[np.float64]:
        """(N,) the log of each sentence's weight, over β."""
        if self.kind == "softmax":
            return plain.priority
        if self.kind == "power":
            zero = plain.priority <= 0
            return np.where(zero, -np.inf, np.log(np.where(zero, 1.0, plain.priority)))
        standing = np.empty(len(plain.order))
        standing[plain.order] = np.arange(1, len(plain.order) + 1)
        return -np.log(standing)


def stochastic(scalar: type[HighestFirst]) -> type[StochasticTopK]:
    """The strategy `power-…` of a scalar one: a class whose options are the scalar's own, `kind` and `beta`."""
    name = f"Power{scalar.__name__}"
    own = [p for p in inspect.signature(StochasticTopK).parameters.values() if p.kind is p.KEYWORD_ONLY]
    options = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(scalar).parameters.values()]
    body = {
        "__module__": __name__,
        "__qualname__": name,
        "__doc__": f"A stochastic top-k of {scalar.__doc__}",
        "__signature__": inspect.Signature([*options, *own]),
        "scalar": scalar,
        "reads": scalar.reads,
        "needs": scalar.needs,
        "uses_labelled": scalar.uses_labelled,
    }
    return cast(type[StochasticTopK], type(name, (StochasticTopK,), body))


PowerLeastConfidence = stochastic(LeastConfidence)
PowerNormalizedLogProbability = stochastic(NormalizedLogProbability)
PowerEntropy = stochastic(Entropy)
PowerMargin = stochastic(Margin)
PowerVariationRatio = stochastic(VariationRatio)
PowerSequenceVariationRatio = stochastic(SequenceVariationRatio)
PowerBald = stochastic(Bald)
