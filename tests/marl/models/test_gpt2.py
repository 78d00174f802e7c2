"""The lean forward pass of a GPT-2 gives what transformers gives: states and gradients, of all tokens or of some."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from marl.models.gpt2 import hidden_states, states_at
from marl.models.language_model import LanguageModel
from marl.models.tiny import tiny

WORDS = tuple(f"w{i}" for i in range(20))
CHOICES = {
    "one token of each row": torch.eye(9, dtype=torch.bool)[:6],
    "as many as there are": torch.ones(6, 9, dtype=torch.bool),
    "of one row more than of another, of one none": torch.arange(9) < torch.tensor([0, 3, 9, 1, 2, 5])[:, None],
    "here and there": torch.arange(54).view(6, 9) % 3 == 1,
    "none": torch.zeros(6, 9, dtype=torch.bool),
}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny(WORDS, width=32, layers=3, heads=4, context=16, init=0.3, seed=1)


@pytest.fixture(scope="module")
def ids() -> Tensor:
    return torch.randint(len(WORDS), (6, 9), generator=torch.Generator().manual_seed(1))


def test_all_states_are_those_of_transformers(lm: LanguageModel, ids: Tensor) -> None:
    torch.testing.assert_close(
        hidden_states(lm.model.base_model, ids, torch.arange(9)[None]), lm.model.base_model(ids).last_hidden_state
    )


def test_in_bfloat16_the_gradient_of_what_many_rows_share_stays_near_the_exact_one(lm: LanguageModel) -> None:
    trunk = lm.model.base_model
    ids = torch.ones(4096, 9, dtype=torch.int64)
    ids[:, -2] = torch.arange(4096) % len(WORDS)
    ids[:, -1] = torch.arange(4096) // len(WORDS) % len(WORDS)
    at = torch.arange(9).expand(4096, 9) == 8
    slopes = []
    for enabled in (False, True):
        trunk.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            states = states_at(trunk, ids, at)
        (states.float() * torch.linspace(0, 1, 32)).mean().backward()  # type: ignore[no-untyped-call]
        slopes.append(torch.cat([p.grad.flatten() for p in trunk.parameters() if p.grad is not None]))
    exact, approximate = slopes
    assert (approximate - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("words", [len(WORDS), 2])  # of two words, many rows begin alike
@pytest.mark.parametrize("at", CHOICES.values(), ids=CHOICES)
def test_chosen_states_and_their_gradients_are_those_of_transformers(
    lm: LanguageModel, ids: Tensor, at: Tensor, words: int
) -> None:
    trunk, ids = deepcopy(lm.model.base_model).double(), ids % words
    results: list[tuple[Tensor, list[Tensor]]] = []
    for states in (states_at(trunk, ids, at), trunk(ids).last_hidden_state[at]):
        trunk.zero_grad()
        (states * torch.linspace(-1, 1, 32).double()).sum().backward()
        results.append((states.detach(), [p.grad.clone() for p in trunk.parameters() if p.grad is not None]))
    (ours, slopes), (theirs, expected) = results
    torch.testing.assert_close(ours, theirs)
    assert len(slopes) == len(expected) == len(list(trunk.parameters()))
    for slope, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, other, atol=1e-12, rtol=1e-9)
