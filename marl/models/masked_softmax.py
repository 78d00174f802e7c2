"""Masked log-softmax and entropy; the backward pass keeps one table over the vocabulary [N, V], not three."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class SelectiveSoftmax(torch.autograd.Function):
    """Logits z [N, V], allowed [N, V] and drawn tokens a [N] to log p_a [N] and entropies H [N]; p = softmax(z).

    d log p_a / dz = 1_a - p,  dH / dz = -p (log p + H)
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, allowed: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both; keeps log p."""
        logp = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        # 0 * -inf is nan, so forbidden tokens get the smallest finite number.
        entropy = -(logp.exp() * logp.clamp(min=torch.finfo(logp.dtype).min)).sum(-1)
        ctx.save_for_backward(logp, entropy, drawn)
        return logp.gather(-1, drawn[:, None]).squeeze(-1), entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, chosen: Tensor, entropy_: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the logits, given those of log p_a [N] and of H [N]."""
        logp, entropy, drawn = ctx.saved_tensors
        p = logp.exp()
        if bool(entropy_.any()):
            slope = (logp + entropy[:, None]).mul_(-entropy_[:, None]).sub_(chosen[:, None])
            grad = slope.nan_to_num_(0.0, 0.0, 0.0).mul_(p)
        else:
            grad = p.mul_(-chosen[:, None])
        grad.scatter_add_(-1, drawn[:, None], chosen[:, None].to(grad.dtype))
        return grad, None, None


def chosen(logits: Tensor, allowed: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [N] of tokens `drawn` [N] among those `allowed` [N, V], and entropies [N] in nats."""
    out: tuple[Tensor, Tensor] = SelectiveSoftmax.apply(logits, allowed, drawn)  # type: ignore[no-untyped-call]
    return out
