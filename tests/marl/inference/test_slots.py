"""Draws from large vocabularies: forbidden tokens never, others as often as they are likely."""

from __future__ import annotations

import math

import pytest
import torch

from marl.inference.kv_cache import BLOCK, draw, forbid


@pytest.mark.parametrize("alike", [True, False])
def test_only_what_is_not_allowed_is_forbidden(alike: bool) -> None:
    logits = torch.randn(3, 600, generator=torch.Generator().manual_seed(1))
    allowed = torch.rand(1 if alike else 3, 600, generator=torch.Generator().manual_seed(2)) < 0.3
    before = logits.clone()
    forbid(logits, allowed)
    assert torch.equal(logits, torch.where(allowed, before, -torch.inf))


def test_draws_invert_the_cumulative_distribution() -> None:
    logits = torch.full((1, 3 * BLOCK + 7), -torch.inf)
    places, chances = [5, BLOCK - 1, BLOCK, 3 * BLOCK + 6], [0.125, 0.25, 0.125, 0.5]
    logits[0, places] = torch.tensor(chances).log()
    for u, token in ((0.0, 0), (0.1249, 0), (0.13, 1), (0.374, 1), (0.376, 2), (0.51, 3), (1 - 2.0**-53, 3)):
        tokens, logp = draw(logits.clone(), torch.tensor([u], dtype=torch.float64))
        assert tokens.tolist() == [places[token]]
        assert float(logp) == pytest.approx(math.log(chances[token]), abs=1e-6)


def test_rounding_draws_nothing_that_is_forbidden() -> None:
    logits = torch.zeros(2, BLOCK)
    logits[0, 1:] = -torch.inf
    tokens, _ = draw(logits, torch.tensor([1.0, 0.5], dtype=torch.float64))
    assert tokens.tolist() == [0, BLOCK // 2]
