"""Attention without padding, against attention over one text at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from taggers.dropout import KeyedDropout
from taggers.unpadded import Unpadded, UnpaddedDropout

LENGTHS = [2, 5, 5, 1, 7]
R, P, HEADS, UNITS = len(LENGTHS), max(LENGTHS), 3, 4


def inputs(padding: float) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value with `padding` beyond each text's length."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, R, HEADS, P, UNITS, generator=generator)
    for row, length in enumerate(LENGTHS):
        drawn[:, row, :, length:] = padding
    return drawn[0], drawn[1], drawn[2]


def hiding(kind: type) -> Tensor:
    """(R, 1, P, P) the mask that hides the padding, of truths or of numbers to add."""
    inside = torch.arange(P) < torch.tensor(LENGTHS)[:, None]
    visible = inside[:, None, None].expand(R, 1, P, P)
    return visible if kind is bool else torch.where(visible, 0.0, torch.finfo(torch.float32).min)


def assert_same_inside(ours: Tensor, theirs: Tensor) -> None:
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(ours[row, :, :length], theirs[row, :, :length], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [bool, float, None])
def test_each_text_is_read_alone_whatever_stands_in_the_padding(kind: type | None, causal: bool) -> None:
    """Not even what is no number gets through."""
    if causal and kind:
        pytest.skip("torch takes one of the two")
    q, k, v = inputs(padding=float("nan"))
    with Unpadded(LENGTHS):
        together = scaled_dot_product_attention(q, k, v, hiding(kind) if kind else None, is_causal=causal)
    for row, n in enumerate(LENGTHS):
        one = [part[row : row + 1, :, :n] for part in (q, k, v)]
        alone = scaled_dot_product_attention(*one, is_causal=causal)
        torch.testing.assert_close(together[row, :, :n], alone[0], atol=1e-6, rtol=1e-5)
        assert not together[row, :, n:].any()


@pytest.mark.parametrize("shape", [(R, HEADS, P, P), (1, 1, P, P), (1, HEADS, 1, P)])
def test_a_mask_that_says_more_than_padding_is_kept(shape: tuple[int, ...]) -> None:
    """As the distances do that some encoders add."""
    q, k, v = inputs(padding=0)
    bias = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + hiding(float)
    with Unpadded(LENGTHS):
        ours = scaled_dot_product_attention(q, k, v, bias, scale=0.7)
    theirs = scaled_dot_product_attention(q, k, v, bias, scale=0.7)
    assert_same_inside(ours, theirs)
    assert (
        ours[1, :, :5] - scaled_dot_product_attention(q, k, v, hiding(float), scale=0.7)[1, :, :5]
    ).abs().max() > 0.1


def test_another_mask_is_looked_at_again() -> None:
    q, k, v = inputs(padding=0)
    bias = torch.randn(R, 1, P, P, generator=torch.Generator().manual_seed(1)) + hiding(float)
    masks = [hiding(float), bias, None, bias, hiding(bool)]
    with Unpadded(LENGTHS):
        found = [scaled_dot_product_attention(q, k, v, mask) for mask in masks]
    for ours, mask in zip(found, masks, strict=True):
        assert_same_inside(ours, scaled_dot_product_attention(q, k, v, hiding(bool) if mask is None else mask))


def test_attention_over_something_else_is_left_alone() -> None:
    q, k, v = (torch.randn(R, HEADS, P + 1, UNITS) for _ in range(3))
    with Unpadded(LENGTHS):
        ours = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(ours, scaled_dot_product_attention(q, k, v), atol=0, rtol=0)


def test_dropout_drops_the_same_with_and_without_padding() -> None:
    """Twice, because the second call's masks are others."""
    q, k, v = inputs(padding=0)
    keys_R, common = torch.arange(R), torch.tensor(7)

    def twice() -> list[Tensor]:
        return [scaled_dot_product_attention(q, k, v, hiding(bool), dropout_p=0.5) for _ in range(2)]

    with KeyedDropout(keys_R, common):
        theirs = twice()
    with UnpaddedDropout(keys_R, common, LENGTHS):
        ours = twice()
    for one, other in zip(ours, theirs, strict=True):
        assert_same_inside(one, other)
    assert (ours[0] - ours[1]).abs().max() > 0.1
