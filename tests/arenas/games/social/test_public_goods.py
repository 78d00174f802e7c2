"""The rules of public_goods by hand, and what each token is worth to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import arenas
from arenas.games.social.public_goods import payoffs


def test_a_round_by_hand() -> None:
    # Fehr & Gächter: 20 tokens, 0.4 back for each given. 40 given, 16 back for each.
    assert payoffs([20, 10, 10, 0], 20, 1.6) == pytest.approx([16 / 20, 26 / 20, 26 / 20, 36 / 20])


def test_everyone_is_shown_what_each_gave() -> None:
    arena = arenas.make("public_goods", rounds=2)
    arena.begin(0)
    assert arena.view("player_1") == "round 1"
    arena.advance(dict.fromkeys(arena.acting(), ("give", "all")))
    arena.advance({"player_0": ("20",), "player_1": ("0",), "player_2": ("5",), "player_3": ("15",)})
    assert arena.view("player_3") == "gave 20 0 5 15 round 2"
    arena.advance(dict.fromkeys(arena.acting(), ()))
    assert arena.view("player_3") == "round 2"
    assert arena.advance(dict.fromkeys(arena.acting(), ("0",))).done


@given(st.lists(st.integers(0, 19), min_size=2, max_size=8), st.floats(0.001, 0.999), st.data())
def test_a_token_given_is_lost_to_its_owner_and_a_gain_to_all(
    given_: list[int], where: float, data: st.DataObject
) -> None:
    multiplier = 1 + where * (len(given_) - 1)
    who = data.draw(st.integers(0, len(given_) - 1))
    more = [own + (i == who) for i, own in enumerate(given_)]
    before, after = payoffs(given_, 20, multiplier), payoffs(more, 20, multiplier)
    assert after[who] - before[who] == pytest.approx((multiplier / len(given_) - 1) / 20)
    assert sum(after) - sum(before) == pytest.approx((multiplier - 1) / 20)
    assert after[who] < before[who]
    assert sum(after) > sum(before)
