"""From uniform numbers to tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marl.inference.draws import BLOCK_TOKENS, draw, draw_blockwise, forbid, uniforms
from protocols.draws import uniform

NEVER = -torch.inf
LAST = 1 - 2.0**-53  # the largest number `uniform` can return


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), st.integers(1, 99))
def test_the_vectorised_numbers_are_those_of_the_coordinates(seeds: list[int], count: int) -> None:
    expected = [[uniform(seed, index) for index in range(count)] for seed in seeds]
    assert uniforms(np.array(seeds, np.uint64), count).tolist() == expected


def drawn(probabilities: list[float], u: float) -> int:
    logp = torch.tensor(probabilities).log()
    return int(draw(logp[None], torch.tensor([u], dtype=torch.float64)))


@pytest.mark.parametrize(
    ("probabilities", "u", "token"),
    [
        ([0.25, 0.25, 0.5], 0.0, 0),
        ([0.25, 0.25, 0.5], 0.2499, 0),
        ([0.25, 0.25, 0.5], 0.25, 1),
        ([0.25, 0.25, 0.5], 0.5, 2),
        ([0.25, 0.25, 0.5], LAST, 2),
        ([0.0, 0.0, 1.0], 0.0, 2),
        ([0.0, 0.5, 0.0, 0.5, 0.0], 0.0, 1),
        ([0.0, 0.5, 0.0, 0.5, 0.0], 0.5, 3),
        ([0.0, 0.5, 0.0, 0.5, 0.0], LAST, 3),
        ([1.0, 0.0, 0.0], LAST, 0),
        ([0.0, 1.0], LAST, 1),
    ],
)
def test_intervals_are_closed_on_the_left_and_what_is_masked_has_none(
    probabilities: list[float], u: float, token: int
) -> None:
    assert drawn(probabilities, u) == token


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-30, 1)), min_size=1, max_size=12).filter(any),
    st.one_of(st.sampled_from([0.0, LAST, 0.5]), st.floats(0, LAST)),
)
def test_a_token_of_no_probability_is_never_drawn(weights: list[float], u: float) -> None:
    logp = torch.tensor(weights).log().log_softmax(-1)
    token = int(draw(logp[None], torch.tensor([u], dtype=torch.float64)))
    assert logp[token] > NEVER


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.floats(0, LAST), st.floats(0, LAST))
def test_a_larger_number_never_gives_an_earlier_token(weights: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert drawn(weights, low) <= drawn(weights, high)


def test_rows_are_drawn_each_with_its_own_number() -> None:
    logp = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]).log()
    assert draw(logp, torch.tensor([0.1, 0.9, 0.1001], dtype=torch.float64)).tolist() == [0, 1, 1]


@pytest.mark.parametrize("alike", [True, False])
def test_forbid_masks_only_tokens_that_are_not_allowed(alike: bool) -> None:
    logits = torch.randn(3, 600, generator=torch.Generator().manual_seed(1))
    allowed = torch.rand(1 if alike else 3, 600, generator=torch.Generator().manual_seed(2)) < 0.3
    before = logits.clone()
    forbid(logits, allowed)
    assert torch.equal(logits, torch.where(allowed, before, -torch.inf))


def test_blockwise_draws_invert_the_cumulative_distribution() -> None:
    logits = torch.full((1, 3 * BLOCK_TOKENS + 7), -torch.inf)
    places, chances = [5, BLOCK_TOKENS - 1, BLOCK_TOKENS, 3 * BLOCK_TOKENS + 6], [0.125, 0.25, 0.125, 0.5]
    logits[0, places] = torch.tensor(chances).log()
    for u, token in ((0.0, 0), (0.1249, 0), (0.13, 1), (0.374, 1), (0.376, 2), (0.51, 3), (1 - 2.0**-53, 3)):
        tokens, logp = draw_blockwise(logits.clone(), torch.tensor([u], dtype=torch.float64))
        assert tokens.tolist() == [places[token]]
        assert float(logp) == pytest.approx(math.log(chances[token]), abs=1e-6)


def test_rounding_never_draws_a_forbidden_token() -> None:
    logits = torch.zeros(2, BLOCK_TOKENS)
    logits[0, 1:] = -torch.inf
    tokens, _ = draw_blockwise(logits, torch.tensor([1.0, 0.5], dtype=torch.float64))
    assert tokens.tolist() == [0, BLOCK_TOKENS // 2]
