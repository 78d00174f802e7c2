"""Hidden profiles: what is dealt, what look-ups show and cost, and that one base alone does not tell who is best."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from arenas.games.social.hidden_profile import HiddenProfile, alone, profiles
from arenas.solvers.exact import expected_returns

MEMBERS = ("member_0", "member_1")


@pytest.mark.parametrize(("members", "candidates", "points"), [(2, 3, 4), (2, 4, 4), (3, 3, 4)])
def test_half_of_the_profiles_are_hidden_and_half_are_manifest(members: int, candidates: int, points: int) -> None:
    tables = profiles(members, candidates, points)
    sums, first = tables.sum(1, dtype=int), tables.argmax(2)
    best = sums.argmax(1)
    assert ((sums == sums.max(1, keepdims=True)).sum(1) == 1).all(), "one is the best"
    assert ((tables == tables.max(2, keepdims=True)).sum(2) == 1).all(), "and one comes first in each base"
    half = len(tables) // 2
    assert (first[:half] != best[:half, None]).all()
    assert (first[half:] == best[half:, None]).all()


def test_by_hand_with_three_points_each() -> None:
    """The best has 2 + 2, the two that come first 3 + 0; nothing else fits, so 3 * 2 hidden profiles."""
    tables = profiles(2, 3, 3)
    assert len(tables) == 12
    assert {tuple(sorted(map(tuple, table.T.tolist()))) for table in tables[:6]} == {((0, 3), (2, 2), (3, 0))}
    assert {tuple(sorted(map(tuple, table.T.tolist()))) for table in tables[6:]} == {((0, 0), (2, 2), (3, 3))}


@pytest.mark.parametrize(("members", "candidates", "points"), [(2, 3, 4), (2, 4, 3), (3, 3, 4)])
def test_one_whole_base_leaves_even_odds(members: int, candidates: int, points: int) -> None:
    """Whoever sees only its own base is right half of the time by its own first, and by nothing more often."""
    tables = profiles(members, candidates, points)
    best = tables.sum(1, dtype=int).argmax(1)
    for member in range(members):
        counts: dict[tuple[int, ...], NDArray[np.int64]] = {}
        for base, winner in zip(map(tuple, tables[:, member].tolist()), best.tolist(), strict=True):
            counts.setdefault(base, np.zeros(candidates, np.int64))[winner] += 1
        for base, winners in counts.items():
            assert winners[np.argmax(base)] * 2 == winners.sum()
    assert alone(members, candidates, points, candidates, 0.0)[1] == pytest.approx(0.5)


def test_an_entry_is_shown_to_who_looked_it_up_and_paid_for_by_nobody_else() -> None:
    arena = HiddenProfile(points=3, lookups=2, price=0.1)
    arena.begin(0, case=0)
    assert arena.hidden() == "best ben 0 2 3 3 2 0"
    assert arena.view("member_0") == "left 2"
    paid = arena.advance({"member_0": ("lookup", "ben"), "member_1": ("lookup", "nothing")}).rewards
    assert dict(paid) == {"member_0": -0.1}
    assert (arena.view("member_0"), arena.view("member_1")) == ("ben 2 left 1", "left 1")
    arena.advance({"member_0": None, "member_1": ("lookup", "clara")})
    assert (arena.view("member_0"), arena.view("member_1")) == ("talk", "clara 0 talk")
    arena.advance({"member_0": ("3", "ben"), "member_1": ("words", "nobody", "listed")})
    assert (arena.view("member_0"), arena.spec("member_0").parse("emma")) == ("name", None)
    outcome = arena.advance({"member_0": ("ben",), "member_1": ("anna",)})
    assert (dict(outcome.rewards), outcome.done) == (dict.fromkeys(MEMBERS, 0.5), True)


@pytest.mark.parametrize(("price", "score"), [(0.05, 0.45), (0.5, 1 / 3)])
def test_look_ups_that_do_not_pay_are_left(price: float, score: float) -> None:
    """One look-up shows 3 (the best is that one, or else the 2), 2 (the same) or 0 (one of the two others is best).

    So it lifts 1/3 to 1/2, whatever it shows, and a second one lifts it no further.
    """
    arena = HiddenProfile(points=3, price=price)
    assert arena.anchors().silent == pytest.approx(score)
    silent = arena.scripts()["silent"]
    assert sum(expected_returns(arena, dict.fromkeys(MEMBERS, silent)).values()) / 2 == pytest.approx(score)
