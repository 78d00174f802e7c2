"""Losses over the N trained tokens of a batch: pure functions, the equation above each.

Each returns a *sum*; the caller divides once, by the number of trained tokens of the whole optimizer step, so that
splitting a batch changes nothing (DAPO, Yu et al. 2025; never a mean of means).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    """The loss, and what to watch."""

    loss: Tensor  # scalar, sum over tokens
    ratio: Tensor  # [N] pi / pi_old, detached
    clipped: Tensor  # scalar, number of tokens at which the clip took hold


def ppo_clip(logp: Tensor, logp_old: Tensor, advantage: Tensor, low: float, high: float) -> PolicyLoss:
    """Clipped surrogate (Schulman et al. 2017, eq. 7), with separate bounds (clip-higher, DAPO).

    L = - sum_t min(rho_t A_t, clip(rho_t, 1 - low, 1 + high) A_t),    rho_t = exp(log pi(a_t) - log pi_old(a_t))
    """
    ratio = (logp - logp_old).exp()
    plain = ratio * advantage
    bounded = ratio.clamp(1 - low, 1 + high) * advantage
    return PolicyLoss(-torch.minimum(plain, bounded).sum(), ratio.detach(), (bounded < plain).sum().detach())


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """L = 1/2 sum_p (V_p - target_p)^2 over P values; the targets are constants."""
    return 0.5 * (values - targets.detach()).square().sum()


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """1 - Var(target - V) / Var(target): 1 is a perfect critic, 0 a constant one; 0 where targets do not vary."""
    spread = targets.var(unbiased=False)
    return float(1 - (targets - values).var(unbiased=False) / spread) if spread > 1e-12 else 0.0
