"""The switch riddle: what the visitor sees, what a declaration pays, and how much silence and one light are worth."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from arenas.games.puzzles.switch_riddle import SwitchRiddle, covered, dark_score, in_the_dark
from arenas.solvers.play import play


def laid(order: str, n: int = 3) -> SwitchRiddle:
    """The riddle in which the prisoners with these numbers are led into the room."""
    arena = SwitchRiddle(n, days=len(order))
    arena.begin(0, case=int(order, n))
    return arena


def test_the_light_waits_for_the_next_visitor() -> None:
    arena = laid("0212")
    assert (arena.acting(), arena.view("prisoner_0")) == (("prisoner_0",), "day 1 light off")
    assert not arena.advance({"prisoner_0": ("switch",)}).done
    assert (arena.acting(), arena.view("prisoner_2")) == (("prisoner_2",), "day 2 light on")
    assert arena.hidden() == "visited prisoner_0 now prisoner_2 day 2 light on"
    arena.advance({"prisoner_2": None})  # no reply leaves the light alone
    assert arena.view("prisoner_1") == "day 3 light on"
    outcome = arena.advance({"prisoner_1": ("declare",)})
    assert (dict(outcome.rewards), outcome.done) == (dict.fromkeys(arena.possible_agents, 1.0), True)


def test_a_wrong_declaration_costs_one_and_too_late_pays_nothing() -> None:
    arena = laid("0110")
    for _ in range(3):
        late = arena.copy()
        assert set(arena.copy().advance({arena.acting()[0]: ("declare",)}).rewards.values()) == {-1.0}
        arena.advance({arena.acting()[0]: ("keep",)})
    outcome = arena.advance({"prisoner_0": ("keep",)})
    assert (outcome.done, outcome.truncated, dict(outcome.rewards)) == (True, False, {})
    assert late.view("prisoner_1") == "day 3 light off"


@pytest.mark.parametrize(("n", "days"), [(2, 3), (3, 3), (3, 6), (4, 5)])
def test_the_chance_that_all_have_been_there(n: int, days: int) -> None:
    orders = list(product(range(n), repeat=days))
    assert covered(n, days) == pytest.approx(sum(len(set(order)) == n for order in orders) / len(orders))


def test_three_prisoners_reach_540_of_729() -> None:
    """Foerster et al. play n = 3 for six days; all have been there in 540 of the 729 orders."""
    arena = SwitchRiddle()
    play_full = arena.scripts()["full"]
    seats = dict.fromkeys(arena.possible_agents, play_full)
    scores = [play(arena, seats, 0, case)["prisoner_0"] for case in range(729)]
    assert (scores.count(1.0), scores.count(0.0)) == (540, 189)
    assert arena.anchors().full == pytest.approx(540 / 729)


def paid(order: tuple[int, ...], declares: set[tuple[int, ...]]) -> int:
    """What a rule without light pays, by which a visitor declares that has been there on just these days."""
    for day in range(1, len(order) + 1):
        if tuple(d for d in range(1, day + 1) if order[d - 1] == order[day - 1]) in declares:
            return 1 if len(set(order[:day])) == 3 else -1
    return 0


def test_in_the_dark_no_single_change_of_the_rule_helps() -> None:
    """Not even one that tells on which days a prisoner has been there; waiting for the last day is not the best."""
    orders = list(product(range(3), repeat=6))
    days = [own for n in range(1, 7) for own in combinations(range(1, 7), n)]
    counts, score = in_the_dark(3, 6)
    rule = {own for own in days if (own[-1], len(own)) in counts}
    assert (5,) in rule
    best = sum(paid(order, rule) for order in orders)
    assert best == 390
    assert best / 729 == pytest.approx(score)
    assert all(sum(paid(order, rule ^ {own}) for order in orders) <= best for own in days)


def test_a_rule_pays_what_play_by_it_pays() -> None:
    orders = list(product(range(3), repeat=5))
    rule = frozenset({(3, 1), (4, 2), (5, 1), (5, 3)})
    own = {d for n in range(1, 6) for d in combinations(range(1, 6), n) if (d[-1], len(d)) in rule}
    assert dark_score(3, 5, rule) == pytest.approx(sum(paid(order, own) for order in orders) / 243)
