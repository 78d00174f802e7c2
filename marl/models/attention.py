"""Attention for short sequences in bf16 on a CPU, up to four times as fast as torch's; elsewhere torch's own.

Scores are in fp32, as in torch; products of values that are rounded to bf16 anyway are computed in bf16.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from marl.models.packed_linear import packable

MAX_SCORES: Final = 1 << 22
"""Above this many scores in a layer torch's own attention is used: it reads less memory then."""
MAX_SCORES_PER_CHUNK: Final = 1 << 18
"""Without gradients this many scores are computed at once: they stay in a processor's cache."""


class Sight(NamedTuple):
    """Attention mask of a pass, built once for all layers."""

    visible: Tensor | None
    """Which keys each token sees [B or 1, 1, q, n]; None: causal."""
    bias: Tensor | None
    """0 or -inf for every score [B * kv heads, groups * q, n]; None where torch's attention is used."""


def sight(visible: Tensor | None, x: Tensor, dtype: torch.dtype, heads: int, shared: int) -> Sight:
    """Build the mask for tokens with states x [B, q, ...], for `heads` query heads and `shared` key-value heads."""
    size, length = x.shape[:2]
    keys = length if visible is None else visible.shape[-1]
    if size * heads * length * keys > MAX_SCORES or not packable(x.device, dtype):
        return Sight(visible, None)
    seen = torch.ones(1, 1, length, keys, dtype=torch.bool).tril() if visible is None else visible
    bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)
    bias = bias.expand(-1, heads // shared, -1, -1).reshape(len(seen), 1, -1, keys)
    bias = bias[0] if len(seen) == 1 else bias.expand(-1, shared, -1, -1).flatten(0, 1)
    return Sight(visible, bias.expand(size * shared, -1, -1))


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Sight) -> Tensor:
    """Return the output of queries [B, heads, q, d] on keys and values [B, kv heads, n, d]: [B, heads, q, d]."""
    size, heads, length, width = q.shape
    shared, keys = k.shape[1], k.shape[2]
    groups = heads // shared
    if seen.bias is not None:
        q = q.reshape(size * shared, groups * length, width)
        k, v = (x.reshape(size * shared, keys, width) for x in (k, v))
        if torch.is_grad_enabled():
            out: Tensor = Attention.apply(q, k, v, seen.bias)  # type: ignore[no-untyped-call]
        else:
            most = max(MAX_SCORES_PER_CHUNK // seen.bias[0].numel(), 1)
            parts = zip(*(torch.split(x, most) for x in (q, k, v, seen.bias)), strict=True)
            out = torch.cat([torch.bmm(_weights(q, k, bias), v) for q, k, v, bias in parts])
        return out.view(size, heads, length, width)
    if seen.visible is None:
        k, v = (x.repeat_interleave(groups, 1) for x in (k, v)) if groups > 1 else (k, v)
        return scaled_dot_product_attention(q, k, v, is_causal=length > 1)
    q = q.reshape(size, shared, groups * length, width)
    mask = seen.visible.expand(-1, groups, -1, -1).reshape(seen.visible.shape[0], 1, groups * length, -1)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask).view(size, heads, length, width)


def _weights(q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    scores = torch.baddbmm(bias, q.float(), k.float().transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return scores.softmax(-1).to(q.dtype)


class Attention(torch.autograd.Function):
    """Queries [H, q, d], keys and values [H, n, d] to O = P V [H, q, d], P = softmax(Q K^T / sqrt(d) + bias).

    dV = P^T dO,  dS = P (dO V^T - rowsum(P dO V^T)),  dQ = dS K / sqrt(d),  dK = dS^T Q / sqrt(d)
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Compute O; keeps P."""
        p = _weights(q, k, bias)
        ctx.save_for_backward(q, k, v, p)
        return torch.bmm(p, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of queries, keys and values."""
        q, k, v, p = ctx.saved_tensors
        wide = torch.bmm(out_, v.transpose(1, 2))
        slope = torch._softmax_backward_data(wide, p, -1, p.dtype).mul_(q.shape[-1] ** -0.5)
        return torch.bmm(slope, k), torch.bmm(slope.transpose(1, 2), q), torch.bmm(p.transpose(1, 2), out_), None
