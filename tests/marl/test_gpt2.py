"""The lean forward pass of a GPT-2 gives what transformers gives: states and gradients, of all tokens or of some."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marl.gpt2 import hidden_states, states_at
from marl.lm import LanguageModel, tiny

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


@pytest.mark.parametrize("at", CHOICES.values(), ids=CHOICES)
def test_chosen_states_and_their_gradients_are_those_of_transformers(
    lm: LanguageModel, ids: Tensor, at: Tensor
) -> None:
    trunk = lm.model.base_model
    found: list[tuple[Tensor, list[Tensor]]] = []
    for states in (states_at(trunk, ids, at), trunk(ids).last_hidden_state[at]):
        trunk.zero_grad()
        (states * torch.linspace(-1, 1, 32)).sum().backward()
        found.append((states.detach(), [p.grad.clone() for p in trunk.parameters() if p.grad is not None]))
    (ours, slopes), (theirs, expected) = found
    torch.testing.assert_close(ours, theirs)
    assert len(slopes) == len(expected) == len(list(trunk.parameters()))
    for slope, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope, other, atol=1e-5, rtol=1e-4)
