"""The written gradient is that of the formula."""

import torch

from marl.models.masked_softmax import chosen


def formula(logits: torch.Tensor, allowed: torch.Tensor, drawn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logp = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    entropy = -(logp.exp() * logp.masked_fill(~allowed, 0.0)).sum(-1)
    return logp.gather(-1, drawn[:, None])[:, 0], entropy


def test_values_and_gradients_are_those_of_the_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(64, 50, generator=draw, dtype=torch.float64)
    logits[0] = torch.linspace(-2000, 2000, 50)  # most chances are exactly 0
    allowed = torch.rand(64, 50, generator=draw) < 0.5
    drawn = torch.randint(50, (64,), generator=draw)
    allowed[torch.arange(64), drawn] = True
    allowed[1] = torch.arange(50) == drawn[1]  # one token alone is certain
    for weight in (0.0, 0.7):
        results = []
        for compute in (formula, chosen):
            z = logits.clone().requires_grad_()
            logp, entropy = compute(z, allowed, drawn)
            total = (logp * torch.arange(64) + weight * entropy * (1 + torch.arange(64))).sum()
            total.backward()  # type: ignore[no-untyped-call]
            assert z.grad is not None
            results.append((logp.detach(), entropy.detach(), z.grad))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
