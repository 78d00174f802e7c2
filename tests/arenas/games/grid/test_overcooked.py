"""The kitchen: what moves do, what is seen and paid, and that without talk the default kitchen gives no more."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest

from arenas.core import Outcome
from arenas.games.grid.kitchen import LAYOUTS, MOVES, Kitchen, Rows, opened, seen, stepped, used, worth
from arenas.games.grid.overcooked import Overcooked, quickest
from arenas.scripted import uniform
from arenas.solvers.exact import expected_returns
from arenas.solvers.play import sample
from arenas.spec import Words

WINDOW, ROOM = LAYOUTS["window"], LAYOUTS["cramped_room"]
ONION, TOMATO = ("onion",), ("tomato",)


def moved(rows: Rows, *steps: str, recipe: Words = ONION) -> Kitchen:
    """The kitchen after steps such as `west/stay`."""
    kitchen = opened(rows)
    for step in steps:
        kitchen, _ = stepped(rows, kitchen, tuple(step.split("/")), recipe)
    return kitchen


def played(arena: Overcooked, *steps: str) -> Outcome:
    """Play steps such as `west/stay`, without a word."""
    for step in steps:
        if arena.acting() == ("cook_0",):
            arena.advance({"cook_0": ()})
        outcome = arena.advance({f"cook_{i}": (move,) for i, move in enumerate(step.split("/"))})
    return outcome


@pytest.mark.parametrize(
    ("built", "hand", "held", "after"),
    [
        ("O", (), (), (ONION, ())),
        ("O", ONION, (), (ONION, ())),  # nothing is taken back
        ("D", (), (), (("dish",), ())),
        ("C", ONION, (), ((), ONION)),
        ("C", (), ONION, (ONION, ())),
        ("C", TOMATO, ONION, (TOMATO, ONION)),  # it holds one thing
        ("P", ONION, TOMATO, ((), ("onion", "tomato"))),
        ("P", ONION, ("onion", "tomato"), (ONION, ("onion", "tomato"))),  # full
        ("P", ("dish",), TOMATO, (("dish",), TOMATO)),  # not yet soup
        ("P", ("dish",), ("onion", "tomato"), (("soup", "onion", "tomato"), ())),
        ("P", (), TOMATO, ((), TOMATO)),
        ("S", ("soup", *ONION), (), ((), ())),
        ("S", ONION, (), (ONION, ())),
        ("X", ONION, (), (ONION, ())),
    ],
)
def test_what_a_cook_walks_into(built: str, hand: Words, held: Words, after: tuple[Words, Words]) -> None:
    assert used(built, hand, held, size=2) == after


def test_cooks_neither_collide_nor_swap() -> None:
    start = opened(ROOM)  # cook 0 in the south west, cook 1 in the north east of three by two cells
    assert start.cells == ((1, 2), (3, 1))
    assert moved(ROOM, "north/west").cells == ((1, 1), (2, 1))
    assert moved(ROOM, "north/west", "east/west").cells == ((1, 1), (2, 1))  # a swap
    assert moved(ROOM, "north/west", "east/stay").cells == ((1, 1), (2, 1))  # somebody is there
    assert moved(ROOM, "north/west", "east/east").cells == ((2, 1), (3, 1))  # who leaves makes room
    assert moved(ROOM, "north/stay", "east/west").cells == ((1, 1), (3, 1))  # the same cell: both stay


def test_cook_0_uses_things_first() -> None:
    """What cook 1 puts on the counter can be taken in the next step; what cook 0 takes off it makes room at once."""
    assert moved(WINDOW, "stay/north", "west/east").stores == ((), ONION)
    assert moved(WINDOW, "stay/north", "stay/east", "stay/west").hands == ((), TOMATO)
    swapped = moved(WINDOW, "stay/north", "stay/east", "stay/west", "west/east")
    assert (swapped.hands, swapped.stores) == ((ONION, ()), ((), TOMATO))


def test_an_onion_soup_step_by_step() -> None:
    arena = Overcooked()
    arena.begin(0, case=0)
    assert (arena.acting(), arena.view("cook_0")) == (("cook_0",), "recipe onion")
    arena.advance({"cook_0": ONION})
    assert (
        arena.view("cook_0")
        == "left 10 at d2 north pot nothing east hatch south dishes west counter nothing hold nothing"
    )
    assert (
        arena.view("cook_1") == "left 10 at b2 north onions east counter nothing south wall west tomatoes hold nothing"
    )
    paid = [played(arena, step).rewards["cook_1"] for step in ("stay/north", "stay/east", "west/stay", "north/stay")]
    assert arena.view("cook_0") == "left 6 north pot onion west counter nothing hold nothing"
    assert arena.hidden() == "recipe onion left 6 cook_0 d2 nothing cook_1 b2 nothing pot onion counter nothing"
    paid += [played(arena, step).rewards["cook_0"] for step in ("south/stay", "north/stay")]
    assert arena.view("cook_0") == "left 4 north pot nothing west counter nothing hold soup onion"
    outcome = played(arena, "east/stay")
    assert (outcome.done, outcome.truncated, dict(outcome.rewards)) == (True, False, {"cook_0": 20.0, "cook_1": 20.0})
    assert paid == [0, 0, 0, 3, 0, 5]


def test_a_wrong_soup_costs_the_penalty_and_ends_the_episode() -> None:
    arena = Overcooked(penalty=7.0)
    arena.begin(0, case=1)
    quick = ["stay/north", "stay/east", "west/stay", "north/stay", "south/stay", "north/stay"]
    assert not any(played(arena, step).rewards["cook_0"] for step in quick)
    outcome = played(arena, "east/stay")
    assert (outcome.done, outcome.truncated, set(outcome.rewards.values())) == (True, False, {-7.0})


def test_time_runs_out() -> None:
    arena = Overcooked(horizon=2)
    arena.begin(0, case=0)
    assert not played(arena, "stay/stay").done
    outcome = played(arena, "stay/stay")
    assert (outcome.done, outcome.truncated, set(outcome.rewards.values())) == (True, True, {0.0})


def test_progress_is_paid_once() -> None:
    """A second onion in the pot is no progress while there is soup on a dish."""
    dished = Kitchen(((1, 1), (2, 1)), (("soup", "onion"), ONION), ((),), progress=2)
    after, _ = stepped(ROOM, dished, ("stay", "north"), ONION)
    assert (after.stores, after.progress) == ((ONION,), 2)
    assert [worth(progress, 2, 20.0, 0.5) for progress in range(5)] == [0, 1.5, 3, 5.5, 25.5]


def test_talk_is_before_the_first_steps_only() -> None:
    arena = Overcooked(talk=2, horizon=4)
    arena.begin(0, case=1)
    kinds = []
    while True:
        kinds.append(arena.spec("cook_0").kind)
        if arena.advance(dict.fromkeys(arena.acting())).done:
            break
    assert kinds == ["say", "move", "say", "move", "move", "move"]


def test_the_quickest_soup() -> None:
    """By hand: box, counter, counter, pot, dishes, pot, hatch."""
    assert [len(quickest(WINDOW, recipe, 100)[0]) for recipe in (ONION, TOMATO)] == [7, 7]
    assert quickest(WINDOW, ONION, 6)[1] == 2
    arena = Overcooked()
    seats = dict.fromkeys(arena.possible_agents, arena.scripts()["full"])
    assert expected_returns(arena, seats) == {"cook_0": 28.0, "cook_1": 28.0}
    assert arena.anchors().random == pytest.approx(sample(arena, uniform, 600, seed=1).mean(), abs=0.1)


def test_without_talk_no_moves_help_in_the_default_kitchen() -> None:
    """Cook 1 acts alike in both worlds until it sees a difference; from there on, let it know everything.

    So an upper bound on all play without a word, which the silent script reaches: by the counter, the only thing that
    both see, cook 0 tells nothing without spoiling the soup.
    """

    @cache
    def after(kitchen: Kitchen, recipe: Words, helper: str) -> set[Kitchen]:
        steps = [stepped(WINDOW, kitchen, (mine, helper), recipe) for mine in MOVES]
        return {found for found, served in steps if not served or served[1:] == recipe}

    @cache
    def most(kitchen: Kitchen, recipe: Words, left: int) -> float:
        ends = [kitchen] if not left else [k for helper in MOVES for k in after(kitchen, recipe, helper)]
        return max(most(k, recipe, left - 1) if left else worth(k.progress, 1, 20.0, 1.0) for k in ends)

    def sight(kitchen: Kitchen) -> Words:
        return (*seen(WINDOW, kitchen, 1, False), "hold", *kitchen.hands[1])

    def bound(horizon: int) -> float:
        layer = {(opened(WINDOW), opened(WINDOW))}
        known, top = set(layer), 0.0
        for left in range(horizon, -1, -1):
            following: set[tuple[Kitchen, Kitchen]] = set()
            for one, other in layer:
                apart = sight(one) != sight(other)
                top = max(top, sum(most(k, r, left if apart else 0) for k, r in ((one, ONION), (other, TOMATO))) / 2)
                for helper in () if apart else MOVES:
                    following.update(product(after(one, ONION, helper), after(other, TOMATO, helper)))
            layer = following - known
            known |= layer
        return top

    silent = Overcooked().anchors().silent
    assert bound(10) == silent == 14.0
    assert bound(30) == Overcooked(horizon=30).anchors().silent == 14.0
