"""The named games pay what their sources say, and end where they are known to end."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import arenas
from arenas.games.social.matrix import Matrix, classics, equilibrium, kind

KNOWN: dict[str, tuple[str, set[tuple[int, int]], float | None]] = {
    # name: (kind, pure Nash equilibria, the score of the only equilibrium)
    "prisoners_dilemma": ("mixed", {(1, 1)}, 1.0),
    "stag_hunt": ("mixed", {(0, 0), (1, 1)}, None),
    "chicken": ("mixed", {(0, 1), (1, 0)}, None),
    "battle_of_the_sexes": ("mixed", {(0, 0), (1, 1)}, None),
    "matching_pennies": ("competitive", set(), 0.0),
    "rock_paper_scissors": ("competitive", set(), 0.0),
    "climbing": ("cooperative", {(0, 0), (1, 1)}, None),
    "penalty": ("cooperative", {(0, 0), (1, 1), (2, 2)}, None),
}


def pure_nash(pay: NDArray[np.float64]) -> set[tuple[int, int]]:
    """Cells in which neither player gains by changing its own action."""
    best = (pay[..., 0] >= pay[..., 0].max(0)[None, :]) & (pay[..., 1] >= pay[..., 1].max(1)[:, None])
    return {(int(i), int(j)) for i, j in np.argwhere(best)}


@pytest.mark.parametrize("game", classics())
def test_classics(game: str) -> None:
    tag, nash, value = KNOWN[game]
    arena = Matrix(game, rounds=3)
    assert arena.tags == (tag,)
    assert pure_nash(arena.payoffs) == nash
    assert arena.anchors().equilibrium == (None if value is None else 3 * value)


@pytest.mark.parametrize(
    ("game", "full"),
    [("climbing", 11), ("penalty", 10), ("stag_hunt", 4), ("prisoners_dilemma", 3), ("rock_paper_scissors", 0)],
)
def test_optimum(game: str, full: float) -> None:
    assert Matrix(game).anchors().full == full


def paid(arena: Matrix, first: str, second: str) -> tuple[float, ...]:
    arena.begin(0)
    return tuple(arena.advance({"player_0": (first,), "player_1": (second,)}).rewards.values())


def test_who_is_paid_what() -> None:
    assert paid(Matrix("prisoners_dilemma"), "defect", "cooperate") == (5, 0)
    assert paid(Matrix("matching_pennies"), "heads", "heads") == (1, -1)
    assert paid(Matrix("rock_paper_scissors"), "rock", "paper") == (-1, 1)
    assert paid(Matrix("chicken"), "dare", "chicken") == (4, 1)
    assert paid(Matrix("climbing"), "a1", "a0") == (-30, -30)
    assert paid(Matrix("penalty"), "a2", "a0") == (-100, -100)
    assert paid(Matrix("penalty", k=-3), "a0", "a2") == (-3, -3)


@pytest.mark.parametrize("game", ["prisoners_dilemma", "stag_hunt", "chicken", "rock_paper_scissors", "climbing"])
def test_symmetric_games_do_not_tell_the_players_apart(game: str) -> None:
    pay = Matrix(game).payoffs
    if game != "climbing":
        assert np.array_equal(pay[..., 0], pay[..., 1].T)
    assert kind(pay) == kind(pay.transpose(1, 0, 2)[..., ::-1])


def test_each_player_sees_its_own_last_action_first() -> None:
    arena = Matrix("prisoners_dilemma", rounds=2)
    arena.begin(0)
    assert arena.view("player_0") == arena.view("player_1") == "round t0"
    assert not arena.advance({"player_0": ("defect",), "player_1": ("cooperate",)}).done
    assert arena.view("player_0") == "round t1 last defect cooperate"
    assert arena.view("player_1") == "round t1 last cooperate defect"
    assert arena.advance({"player_0": None, "player_1": None}).done


def test_your_own_payoffs() -> None:
    arena = Matrix(payoffs=[[[1, 2], [0, 5], [3, -1]], [[9, 9], [2, 2], [1, 1]]])
    assert [spec[0].size for spec in arena.replies.values()] == [2, 3]
    assert paid(arena, "a1", "a0") == (9, 9)
    assert arena.anchors() == arenas.Anchors(random=17 / 6, silent=9, full=9, equilibrium=9)


@given(st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_a_proved_equilibrium_is_the_only_one(rows: int, columns: int, draw: Any) -> None:
    pay = np.array([[[draw.randint(-3, 3) for _ in range(2)] for _ in range(columns)] for _ in range(rows)], float)
    value = equilibrium(pay)
    if kind(pay) == "competitive":
        assert all(value == pytest.approx(pay[i, j].mean()) for i, j in product(range(rows), range(columns)))
    elif value is not None:
        [cell] = pure_nash(pay)
        assert value == pytest.approx(pay[cell].mean())


def test_iterated_dominance_goes_on_after_the_first_round() -> None:
    pay = np.array([[[1, 0], [1, 2], [0, 1]], [[0, 3], [0, 1], [2, 0]]], float)
    assert equilibrium(pay) == 1.5
