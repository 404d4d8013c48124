"""Starting warm: an earlier model's weights drawn towards those of a fresh one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SHARE = 0.6
"""Of the earlier model's weights; Ash and Adams find 0.2 to 0.6 as good as training from scratch."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What the rows along an axis stand for (tags, words), which may be others than in the earlier model."""

    now: Sequence[str]
    before: Sequence[str]

    def shared(self) -> tuple[list[int], list[int]]:
        """Positions now and before of the names that both know."""
        before = {name: i for i, name in enumerate(self.before)}
        pairs = [(i, before[name]) for i, name in enumerate(self.now) if name in before]
        return [i for i, _ in pairs], [j for _, j in pairs]


@torch.no_grad()
def shrink_and_perturb(
    fresh: nn.Module, earlier: Mapping[str, Tensor], axes: Mapping[str, Sequence[Axis]] | None = None
) -> None:
    """θ ← share · θ_earlier + (1 − share) · θ_fresh, in place, for every parameter that both have (Ash and Adams 2020,
    sec. 3.1, where the fresh weights are the perturbation; so a pre-trained encoder is drawn towards itself).

    `axes` names the leading axes of those parameters whose rows have names; rows that are new stay fresh.
    Raises ValueError if a parameter has another shape than before.
    """
    for name, weight in fresh.named_parameters():
        if name not in earlier:
            continue
        places: list[tuple[list[int], list[int]]] = [axis.shared() for axis in (axes or {}).get(name, ())]
        now = torch.meshgrid(*(torch.tensor(i) for i, _ in places), indexing="ij") if places else (...,)
        before = torch.meshgrid(*(torch.tensor(j) for _, j in places), indexing="ij") if places else (...,)
        old = earlier[name].to(weight)[before]
        if weight[now].shape != old.shape:
            raise ValueError(
                f"cannot start warm: {name!r} is {tuple(weight.shape)} now, {tuple(earlier[name].shape)} before"
            )
        weight[now] = SHARE * old + (1 - SHARE) * weight[now]
