"""Policy and value losses over the N trained tokens of a batch: pure functions, each below its equation.

Each returns a *sum* of terms that carry their own weight in the mean, so that splitting a batch changes nothing (DAPO,
Yu et al. 2025; never a mean of means).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    """Policy loss, with the ratios and the clip count for its metrics."""

    loss: Tensor  # scalar, weighted sum over tokens
    ratio: Tensor  # [N] pi / pi_old, detached
    clipped: Tensor  # scalar, number of clipped tokens


class Clip(NamedTuple):
    """Clip bounds of the ratio: 1 - low, 1 + high, and the dual clip for negative advantages, if any."""

    low: float
    high: float
    dual: float | None = None


def surrogate(ratio: Tensor, advantage: Tensor, weight: Tensor, clip: Clip) -> PolicyLoss:
    """Clipped surrogate (Schulman et al. 2017, eq. 7) with separate bounds (clip-higher, DAPO) and dual clip.

    L = - sum_t w_t min(rho_t A_t, clip(rho_t, 1 - low, 1 + high) A_t);    where A_t < 0 and dual = c: at most -c A_t
    (Ye et al. 2020, eq. 5)
    """
    plain = ratio * advantage
    bounded = ratio.clamp(1 - clip.low, 1 + clip.high) * advantage
    least = torch.minimum(plain, bounded)
    if clip.dual is not None:
        least = torch.where(advantage < 0, torch.maximum(least, clip.dual * advantage), least)
    return PolicyLoss(-(weight * least).sum(), ratio.detach(), (bounded < plain).sum().detach())


def ppo_clip(logprobs: Tensor, behavior_logprobs: Tensor, advantage: Tensor, weight: Tensor, clip: Clip) -> PolicyLoss:
    """PPO loss, one ratio per token: rho_t = exp(log pi(a_t) - log pi_old(a_t))."""
    return surrogate((logprobs - behavior_logprobs).exp(), advantage, weight, clip)


def sequence_clip(
    logprobs: Tensor, behavior_logprobs: Tensor, advantage: Tensor, weight: Tensor, clip: Clip, reply: Tensor
) -> PolicyLoss:
    """GSPO loss, one ratio per reply of n tokens (Zheng et al. 2025, eq. 7): s = exp(1/n sum_t log rho_t)."""
    return surrogate(reply_mean(logprobs - behavior_logprobs, reply).exp(), advantage, weight, clip)


def geometric_clip(
    logprobs: Tensor, behavior_logprobs: Tensor, advantage: Tensor, weight: Tensor, clip: Clip, reply: Tensor
) -> PolicyLoss:
    """GMPO loss, the geometric mean of a reply's clipped ratios (Zhao et al. 2025, eq. 4).

    L = - sum_t w_t A exp(1/n sum_t' m_t')
    m_t = min(log rho_t, log(1 + high)) where A > 0, max(log rho_t, log(1 - low)) where A < 0
    """
    log_ratio = logprobs - behavior_logprobs
    upper = log_ratio.clamp(max=torch.tensor(1 + clip.high).log().item())
    lower = log_ratio.clamp(min=torch.tensor(1 - clip.low).log().item())
    kept = torch.where(advantage > 0, upper, lower)
    loss = -(weight * advantage * reply_mean(kept, reply).exp()).sum()
    return PolicyLoss(loss, log_ratio.detach().exp(), (kept != log_ratio).sum().detach())


def reply_mean(values: Tensor, reply: Tensor) -> Tensor:
    """Return for each token [N] the mean over the tokens of its reply; `reply` [N] numbers the replies."""
    index = torch.unique(reply, return_inverse=True)[1]
    count = torch.bincount(index).to(values.dtype)
    return (torch.zeros_like(count).index_add(0, index, values) / count)[index]


def divergence(logprobs: Tensor, reference: Tensor, behavior_logprobs: Tensor) -> Tensor:
    """KL(pi, reference) per token [N] by k3, importance-weighted so that its gradient holds off-policy too.

    k3 = rho_t (exp(d_t) - d_t - 1),    d_t = log ref(a_t) - log pi(a_t)
    (Schulman 2020; with the importance weight: DeepSeek-V3.2)
    """
    d = (reference - logprobs).clamp(-20, 20)
    return (logprobs - behavior_logprobs).exp() * (d.exp() - d - 1)


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Value loss L = 1/2 sum_p (V_p - target_p)^2 over P values; the targets are constants."""
    return 0.5 * (values - targets.detach()).square().sum()


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """Explained variance 1 - Var(target - V) / Var(target): 1 is a perfect critic, 0 a constant one.

    0 also where the targets do not vary.
    """
    spread = targets.var(unbiased=False)
    return float(1 - (targets - values).var(unbiased=False) / spread) if spread > 1e-12 else 0.0


def calibration(values: Tensor, targets: Tensor) -> float:
    """Calibration: the slope of targets over values; 1 is calibrated, below 1 exaggerates.

    0 where the values do not vary.
    """
    spread = values.var(unbiased=False)
    return float(((values - values.mean()) * (targets - targets.mean())).mean() / spread) if spread > 1e-12 else 0.0
