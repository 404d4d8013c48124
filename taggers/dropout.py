"""Dropout whose masks depend on the seed and a text's words alone, never on the batch that the text stands in.

A mask is no stream of random numbers but a hash of its place: SplitMix64 (Steele, Lea and Flood 2014, OOPSLA) of the
seed, the words, the pass, the layer and the position. So padding and company cannot shift it, it needs no loop over
texts, and every device gives the same.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
"""SplitMix64's constants, as the signed numbers that torch computes with."""
_UNKEYED = {
    *("alpha_dropout", "feature_alpha_dropout", "feature_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d"),
    *("bernoulli", "multinomial", "normal", "rand", "rand_like", "randint", "randn", "randn_like"),
    *("normal_", "random_", "uniform_", "multi_head_attention_forward"),
}
"""Names of torch's functions that draw random numbers and that no key can be given to."""
_ONLY_LAST = "passes with all its dropout on cannot be repeated: use dropout='last'"


def text_keys(seed: int, texts: Iterable[Sequence[str]]) -> Tensor:
    """(B,) int64: one key for each text, made of the seed and the words; equal texts have equal keys."""
    digests = [
        hashlib.blake2b("\0".join([str(seed), *words]).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for words in texts
    ]
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)


def derive(keys: Tensor, place: int | Tensor) -> Tensor:
    """A key for the `place`-th part of what each of `keys` stands for; shapes broadcast."""
    z = keys + (torch.as_tensor(place) + 1) * _STEP
    z ^= (z >> 30).bitwise_and_(2**34 - 1)  # torch shifts the sign in: the mask takes it out again
    z *= _FIRST
    z ^= (z >> 27).bitwise_and_(2**37 - 1)
    z *= _SECOND
    z ^= (z >> 31).bitwise_and_(2**33 - 1)
    return z


def places(keys: Tensor, count: int) -> Tensor:
    """(…, count): the keys of `count` parts, along a new last axis."""
    return derive(keys[..., None], torch.arange(count, device=keys.device))


def kept(keys: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """float32 (*keys.shape, *shape): 0 with probability p (to the nearest 2⁻¹⁶), else 1, each place on its own.

    A larger `shape` has the smaller one's numbers in its corner.
    """
    *outer, size = shape
    for count in outer:
        keys = places(keys, count)
    numbers = places(keys, math.ceil(size / 16)).view(torch.int16).int() + 2**15
    # Conversions and look-ups of bytes are vectorised; those of booleans are ten times slower.
    tosses = _four_tosses(p, keys.device).index_select(0, numbers.flatten()).view(torch.uint8)
    return tosses.view(*keys.shape, 4 * numbers.shape[-1])[..., :size].float()


@functools.lru_cache(maxsize=32)
def _four_tosses(p: float, device: torch.device) -> Tensor:
    """(2¹⁶,) four bytes packed in each number: of a random one of them, each byte is 0 with probability p, else 1.

    Four tosses for one random number of 16 bits: a quarter of the hashing, and no comparisons.
    """
    outcomes = np.array(list(itertools.product([1, 0], repeat=4)), np.uint8)
    chances = np.where(outcomes, 1 - p, p).prod(axis=1)
    edges = np.round(np.cumsum(chances) * 2**16).astype(int)
    table = np.repeat(outcomes, np.diff(edges, prepend=0), axis=0)
    return torch.from_numpy(table.view(np.int32).ravel()).to(device)


class KeyedDropout(TorchFunctionMode):
    """Within this context modules in training mode drop by the keys of their texts, not by torch's generator.

    It answers for whatever draws a mask: `nn.Dropout` and its functional form, the dropout that is hidden in
    scaled dot-product attention, and `Tensor.bernoulli_` (Flair's word and locked dropout). So it needs to know no
    architecture, only that the first axis of what is dropped are the texts. A table without such an axis (DeBERTa's
    relative positions) gets one mask for all texts.
    """

    def __init__(self, keys_R: Tensor, common: Tensor | None = None) -> None:
        """`keys_R`: a key for each row of the batch in this pass; `common`: () one for tables without rows."""
        super().__init__()
        self._keys_R, self._common, self._calls = keys_R, common, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is torch.Tensor.bernoulli_:
            return self._bernoulli(*args, **kwargs)
        if getattr(func, "__name__", "") in _UNKEYED:
            raise ValueError(f"this encoder draws random numbers by `{func.__name__}`; {_ONLY_LAST}")
        return func(*args, **kwargs)

    def _kept(self, shape: torch.Size, p: float) -> Tensor:
        """A mask of `shape`, another one for every call."""
        self._calls += 1
        if len(shape) == 2 and self._common is not None:
            return kept(derive(self._common, self._calls), shape, p)
        if len(shape) == 2 or shape[0] != len(self._keys_R):
            raise ValueError(
                f"this encoder drops from an array of shape {tuple(shape)}, whose first axis are not the "
                f"{len(self._keys_R)} texts; {_ONLY_LAST}"
            )
        return kept(derive(self._keys_R, self._calls), shape[1:], p)

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return input
        mask = self._kept(input.shape, p).div_(1 - p) if p < 1 else torch.zeros_like(input)
        return input.mul_(mask) if inplace else (input * mask).to(input.dtype)

    def _bernoulli(self, target: Tensor, p: float = 0.5) -> Tensor:
        return target.copy_(self._kept(target.shape, 1 - p))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """As torch documents it, in the open, so that the probabilities can be dropped."""
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._dropout(scores.softmax(dim=-1), dropout_p) @ value
