"""Observations as words: all declared, none too many, and near what was observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from arenas.bridges.rendering import rendering

SPACES: list[spaces.Space[Any]] = [
    spaces.Discrete(7, start=-2),
    spaces.MultiDiscrete([3, 5, 2]),
    spaces.MultiDiscrete(np.array([[3, 5], [2, 9]])),
    spaces.MultiBinary(12),
    spaces.Box(-np.inf, np.inf, (5,), np.float32),
    spaces.Box(0, np.inf, (2,), np.float64),
    spaces.Box(np.array([-1.0, 0.5]), np.array([3.0, 0.5]), dtype=np.float64),
    spaces.Box(0, 1, (3, 3, 2), np.int8),
    spaces.Box(0, 1, (9,), np.float32),
    spaces.Box(0, 255, (2, 2), np.uint8),
    spaces.Box(-(2**31), 2**31 - 1, (2,), np.int32),
    spaces.Box(0, 1, (4,), np.bool_),
    spaces.Dict({"a b": spaces.Discrete(3), "rest": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1)])}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
@given(seed=st.integers(0, 2**31), bins=st.integers(2, 60))
def test_every_value_is_written_in_declared_words(space: spaces.Space[Any], seed: int, bins: int) -> None:
    rendered = rendering(space, bins, limit=1.5)
    space.seed(seed)
    words = rendered.text(space.sample()).split(" ")
    assert set(words) <= set(rendered.words)
    assert len(words) <= rendered.length
    assert all(word and word.split() == [word] for word in rendered.words)


@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=5, max_size=5), st.integers(2, 60))
def test_numbers_are_rounded_to_the_nearest_bin(values: list[float], bins: int) -> None:
    text = rendering(SPACES[4], bins, limit=1.5).text(np.array(values, np.float32))
    half = 1.5 / (bins - 1)
    for value, word in zip(values, text.split(), strict=True):
        assert abs(float(word) - value) <= 1.21 * half  # a word may be a tenth of a bin away from its value


def test_numbers_are_cut_off_at_the_limit_and_whole_ones_are_exact() -> None:
    assert rendering(SPACES[4], 41, 2.0).text([-1e9, 0.04, -0.01, 0.06, np.inf]) == "-2 0 0 0.1 2"
    assert rendering(spaces.Box(0, 255, (2,), np.uint8), 3, 2.0).text([17, 255]) == "17 255"


def test_planes_of_zeros_and_ones_are_the_places_that_are_one() -> None:
    board = np.zeros((3, 3, 2), np.int8)
    rendered = rendering(SPACES[7], 41, 2.0)
    assert rendered.text(board) == "none"
    board[1, 2, 0] = 1
    assert rendered.text(board) == "x10"
    assert rendering(SPACES[8], 5, 2.0).text([0, 1, 0, 0.5, 0, 0.1, 0, 0, 0]) == "x1 x3 0.5"
