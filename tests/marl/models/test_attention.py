"""Attention of Sabir's own: what torch computes, and no less exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marl.models import attention
from marl.models.attention import attend, sight
from marl.models.packed_linear import packable

BF16 = torch.bfloat16
needed = pytest.mark.skipif(
    not packable(torch.device("cpu"), BF16), reason="this processor's oneDNN has no bfloat16, so torch's own is taken"
)


def drawn(size: int, heads: int, shared: int, length: int, keys: int, dtype: torch.dtype) -> list[Tensor]:
    """Return q, k, v and the gradient of what is read, the same for every dtype but for rounding to bf16."""
    generator = torch.Generator().manual_seed(length)
    shapes = [(size, heads, length, 16), (size, shared, keys, 16), (size, shared, keys, 16), (size, heads, length, 16)]
    tensors = [torch.randn(shape, generator=generator).to(BF16).to(dtype) for shape in shapes]
    return [tensor.requires_grad_() for tensor in tensors[:3]] + tensors[3:]


def seen(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    return attend(q, k, v, sight(visible, q.transpose(1, 2), q.dtype, q.shape[1], k.shape[1]))


def read(given: list[Tensor], visible: Tensor | None) -> list[Tensor]:
    """Return what is read, and the gradients of q, k and v, in fp32."""
    q, k, v, slope = given
    out = seen(q, k, v, visible)
    return [out.detach().float(), *(gradient.float() for gradient in torch.autograd.grad(out, (q, k, v), slope))]


@needed
@pytest.mark.parametrize(("heads", "shared"), [(6, 2), (4, 4), (3, 1)])
@pytest.mark.parametrize(("length", "keys"), [(7, 7), (5, 19), (1, 12)])
@pytest.mark.parametrize("rows", [1, 2])
def test_as_exact_as_torch(
    monkeypatch: pytest.MonkeyPatch, heads: int, shared: int, length: int, keys: int, rows: int
) -> None:
    ends = torch.tensor([[keys], [keys - 1]])[:rows] - torch.arange(length).flip(0)
    visible = None if length == keys else (torch.arange(keys) < ends[..., None])[:, None]
    shape = (2, heads, shared, length, keys)
    ours = read(drawn(*shape, BF16), visible)
    monkeypatch.setattr(attention, "MAX_SCORES", 0)
    theirs = read(drawn(*shape, BF16), visible)
    truth = read(drawn(*shape, torch.float32), visible)
    for one, other, right in zip(ours, theirs, truth, strict=True):
        scale = float(right.abs().max())
        assert float((one - right).abs().max()) <= max(1.5 * float((other - right).abs().max()), 0.01 * scale)


@needed
def test_what_is_not_seen_moves_nothing() -> None:
    q, k, v, slope = drawn(2, 6, 2, 3, 8, BF16)
    visible = (torch.arange(8) < torch.tensor([[4], [5], [6]]))[None, None]
    before = seen(q, k, v, visible)
    _, keys, values = torch.autograd.grad(before, (q, k, v), slope)
    assert not keys[:, :, 6:].any()
    assert not values[:, :, 6:].any()
    with torch.no_grad():
        k[:, :, 6:], v[:, :, 6:] = 9.0, -9.0
    torch.testing.assert_close(seen(q, k, v, visible), before, rtol=0, atol=0)


@needed
@pytest.mark.parametrize("visible", [True, False])
def test_in_parts_and_without_gradients_it_is_the_same(monkeypatch: pytest.MonkeyPatch, visible: bool) -> None:
    q, k, v, _ = drawn(5, 6, 2, 7, 7, BF16)
    sees = torch.rand(5, 1, 7, 7, generator=torch.Generator().manual_seed(1)) < 0.5
    sees[..., 0] = True
    inputs = (q, k, v, sees if visible else None)
    whole = seen(*inputs)
    monkeypatch.setattr(attention, "MAX_SCORES_PER_CHUNK", 7 * 21 * 3)
    with torch.no_grad():
        torch.testing.assert_close(seen(*inputs), whole, rtol=0, atol=0)
