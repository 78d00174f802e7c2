"""Held-out attribute combinations are never dealt in training, and every value still is, equally often."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenas.games.signalling.reconstruction import Reconstruction


@given(st.integers(2, 4), st.integers(2, 6), st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=40)
def test_splits(attributes: int, values: int, held_out: float) -> None:
    arena = Reconstruction(attributes, values, held_out=held_out)
    train, held = (set(arena.splits()[split]) for split in ("train", "held_out"))
    assert not train & held
    assert train | held == set(range(arena.cases))
    assert abs(len(held) / arena.cases - held_out) <= 1 / values, "rounded to whole diagonals"
    naming = arena.replies["listener_0"][0]
    for cases in (train, held):
        counts = Counter(word for case in cases for word in naming.words(case))
        assert set(counts) == set(naming.alphabet), "every value occurs in each split"
        assert len(set(counts.values())) == 1, "and as often as any other"


def test_fractions_that_divide_are_kept() -> None:
    assert len(Reconstruction(held_out=0.25).splits()["held_out"]) == 16


def test_training_never_deals_what_is_held_out() -> None:
    arena = Reconstruction(values=4, held_out=0.5)
    seen: dict[str, set[str]] = {"train": set(), "held_out": set()}
    for split, hidden in seen.items():
        for seed in range(200):
            arena.begin(seed, split=split)
            hidden.add(arena.hidden())
    assert not seen["train"] & seen["held_out"]
    assert len(seen["train"]) == len(seen["held_out"]) == 8


def test_without_held_out_there_is_one_split() -> None:
    assert dict(Reconstruction().splits()) == {"train": range(64)}


@pytest.mark.parametrize(("partial", "reward"), [(True, 0.5), (False, 0.0)])
def test_reward_for_one_right_attribute_of_two(partial: bool, reward: float) -> None:
    arena = Reconstruction(partial=partial)
    arena.begin(case=10)  # a1 b2
    arena.advance({"speaker_0": ("m0", "m0", "m0")})
    outcome = arena.advance({"listener_0": ("a1", "b3")})
    assert outcome.rewards == {"speaker_0": reward, "listener_0": reward}
