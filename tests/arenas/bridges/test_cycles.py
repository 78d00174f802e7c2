"""Rewards and action masks of PettingZoo environments, in all the forms that they come in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from arenas import ArenaError
from arenas.bridges.cycles import number, places
from arenas.spec import fill

SPEC = fill(("0", "1"), ("0", "1", "2"))


@pytest.mark.parametrize(
    "reward", [0.5, np.float32(0.5), np.array([0.5]), np.array([[0.5]]), np.array(0.5), Decimal("0.5"), [0.5]]
)
def test_a_reward_of_any_numeric_type_is_a_float(reward: Any) -> None:
    assert number("a_0", reward) == 0.5
    assert type(number("a_0", reward)) is float


@pytest.mark.parametrize("reward", [None, "much", np.array([0.5, 1.0]), {}])
def test_a_reward_that_is_no_number_is_named(reward: Any) -> None:
    with pytest.raises(ArenaError, match=r"the environment pays a_0 .*: a reward is one number"):
        number("a_0", reward)


@pytest.mark.parametrize(
    "mask",
    [
        (np.array([0, 1]), np.array([1, 0, 1])),
        [[False, True], [True, False, True]],
        np.array([0, 1, 1, 0, 1]),
        np.array([0, 0, 0, 1, 0, 1]),
    ],
)
def test_masks_of_several_places_are_read_in_every_shape(mask: Any) -> None:
    assert places("a_0", mask, [2, 3], SPEC) == [("1",), ("0", "2")]


def test_a_mask_without_legal_actions_allows_all() -> None:
    assert places("a_0", np.zeros(5), [2, 3], SPEC) == [("0", "1"), ("0", "1", "2")]


@pytest.mark.parametrize("mask", [np.ones(4), np.array([1, 0, 0, 0, 1, 0])])
def test_masks_that_cannot_be_read_by_place_are_refused(mask: Any) -> None:
    with pytest.raises(ArenaError, match="the action mask of a_0"):
        places("a_0", mask, [2, 3], SPEC)
