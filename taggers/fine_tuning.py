"""How the transformer tagger learns: how long, how fast, in what batches, and which epoch it keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from taggers import training
from taggers.base import OnProgress, Progress
from taggers.transformer_network import TransformerNetwork

STEPS_PER_EPOCH = 10
"""Steps that an epoch has at least: with few sentences it takes smaller batches, then several passes."""
WIDE = 512
"""Units of an encoder above which it is fine-tuned at the papers' learning rate; it leaves smaller ones untrained."""
CRF_RATE = 1e-2
FROZEN_STEPS = 1500
"""Steps that a head over frozen vectors takes at least, within its bounds of epochs."""

Example = tuple[Any, Tensor]
"""A part of a text, and the tags of the words that it answers for."""


@dataclass(frozen=True, slots=True)
class Course:
    """How to learn."""

    learning_rate: float
    """At the peak of a linear schedule."""
    crf_rate: float
    """That of the CRF's steps, which are few and start from nothing."""
    epochs: int
    batch_size: int
    """Passages a step."""
    passes: int
    """Through all passages, an epoch."""
    patience: int
    """Epochs in a row, worse on the dev set than the best, after which to stop."""

    @classmethod
    def suited(
        cls,
        passages: int,
        width: int,
        frozen: bool,
        *,
        narrow_rate: float,
        learning_rate: float | None,
        epochs: int | None,
        batch_size: int | None,
        patience: int | None,
    ) -> Course:
        """What is None by the rule of `TransformerTagger`, for so many passages and an encoder so wide.

        `narrow_rate` is that of an encoder of up to `WIDE` units that learns.
        """
        size, turns = training.epoch_plan(passages, batch_size or (32 if frozen else 16), STEPS_PER_EPOCH)
        steps = math.ceil(passages / size)
        if frozen:
            rate, usual, patient = 1e-3, min(80, max(20, math.ceil(FROZEN_STEPS / (turns * steps)))), 20
        else:
            rate, usual, patient = 5e-5 if width > WIDE else narrow_rate, 10, 5
        rate = learning_rate or rate
        return cls(rate, max(rate, CRF_RATE), epochs or usual, size, turns, patience or patient)


def learn(
    network: TransformerNetwork,
    examples: Sequence[Example],
    batch_of: Callable[[Sequence[Any]], Any],
    course: Course,
    rng: np.random.Generator,
    *,
    autocast: Callable[[], AbstractContextManager[object]],
    dev_f1: Callable[[], float] | None,
    on_progress: OnProgress,
) -> None:
    """AdamW with warm-up and decay; the epoch that is best on the dev set is kept, the last one without."""
    learning = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    crf = [weight for name, weight in learning.items() if name.startswith("crf.")]
    others = [weight for name, weight in learning.items() if not name.startswith("crf.")]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": crf, "lr": course.crf_rate, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, course.learning_rate, weight_decay=0.01, fused=True)
    steps = course.epochs * course.passes * math.ceil(len(examples) / course.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: training.warm_up_and_decay(step, steps))

    def step(batch: Sequence[Example]) -> float:
        read, tags_N = batch_of([part for part, _ in batch]), torch.cat([tags for _, tags in batch])
        device = network.head.weight.device
        with autocast():
            loss = network.loss(read.to(device), [len(tags) for _, tags in batch], tags_N.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(learning.values(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        return loss.item()

    best = training.BestEpoch(network, course.patience)
    lengths = [len(part) for part, _ in examples]
    for epoch in range(1, course.epochs + 1):
        network.train()
        batches = [b for _ in range(course.passes) for b in training.bucketed(lengths, course.batch_size, rng)]
        losses = [step([examples[i] for i in batch]) for batch in batches]
        network.eval()
        f1 = dev_f1() if dev_f1 else None
        ends = best.ends(f1)
        on_progress(Progress(epoch, course.epochs, float(np.mean(losses)), f1))
        if ends:
            break
    best.restore()
    network.eval()
