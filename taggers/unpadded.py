"""Attention that reads each text of a padded batch by itself, so that neither padding nor company changes a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from taggers.dropout import KeyedDropout

Attend = Callable[..., Tensor]


class Unpadded(TorchFunctionMode):
    """Within this context scaled dot-product attention leaves out the padding of a batch of R texts.

    Attention is the only place where an encoder's text meets its padding. In float32 that moves the last digits; in
    bfloat16 a last digit is a hundredth, so a text's answer would show in whose company it was read. Neighbours of
    one length are read together: sort by length. Other attention than torch's is left as it is.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        """`lengths`: word pieces of each of the R texts, the padded width being the largest of them."""
        super().__init__()
        self._attention = Splitting(lengths)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._attention(lambda rows, *a, **k: func(*a, **k), *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class UnpaddedDropout(KeyedDropout):
    """`KeyedDropout` whose attention leaves out the padding: a mask has that of the shorter text in its corner."""

    def __init__(self, keys_R: Tensor, common: Tensor, lengths: Sequence[int]) -> None:
        super().__init__(keys_R, common)
        self._split = Splitting(lengths)

    def _attention(self, *args: Any, **kwargs: Any) -> Tensor:
        keys_R, calls = self._keys_R, self._calls

        def attend(rows: slice, *args: Any, **kwargs: Any) -> Tensor:
            self._keys_R, self._calls = keys_R[rows], calls
            return super(UnpaddedDropout, self)._attention(*args, **kwargs)

        try:
            return self._split(attend, *args, **kwargs)
        finally:
            self._keys_R = keys_R


class Splitting:
    """Attention over the texts of each length by themselves."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._shape = (len(lengths), max(lengths))
        self._groups: list[tuple[slice, int]] = []
        start = 0
        for length, of_length in groupby(lengths):
            stop = start + len(list(of_length))
            self._groups.append((slice(start, stop), length))
            start = stop
        self._mask: Tensor | None = None
        self._masks: list[Tensor | None] = [None] * len(self._groups)

    def __call__(
        self,
        attend: Attend,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Arguments as `scaled_dot_product_attention` has them; `attend` has the rows before them."""
        R, P = self._shape
        if query.shape[0] != R or query.shape[-2] != P or key.shape[-2] != P:
            return attend(slice(R), query, key, value, attn_mask, *args, **kwargs)
        self._part(attn_mask)
        # Laid out as torch's own attention lays it out: the encoder reads it by words next.
        attended = query.new_zeros((R, P, query.shape[1], value.shape[-1])).transpose(1, 2)
        for (rows, length), mask in zip(self._groups, self._masks, strict=True):
            of_rows = (tensor[rows, :, :length] for tensor in (query, key, value))
            attended[rows, :, :length] = attend(rows, *of_rows, mask, *args, **kwargs)
        return attended

    def _part(self, mask: Tensor | None) -> None:
        """What `mask` says of each group, None where it hides nothing but padding; all layers ask with the same one."""
        if mask is self._mask:
            return
        self._mask, self._masks = mask, [None] * len(self._groups)
        if mask is None:
            return
        whole = mask.expand(self._shape[0], -1, self._shape[1], -1)
        for g, (rows, length) in enumerate(self._groups):
            part = whole[rows, :, :length, :length]
            hidden = ~part if part.dtype == torch.bool else part != 0
            self._masks[g] = part if hidden.any() else None
