"""Gridworld: rules worked by hand, and its anchors against a search and a count through all states by the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from arenas.games.grid.gridplay import Board, cells, distances, way
from arenas.games.grid.gridworld import MOVES, SYMBOLS, Gridworld, Layout, best_score, generate, plans, random_score
from arenas.solvers.exact import expected_returns
from arenas.spec import Words

#   3  .  #  D        D door, K key, P porter, S smith
#   2  P  .  .
#   1  K  #  S
#      a  b  c
BY_HAND = Layout(Board(3, frozenset({"b1", "b3"})), porter="a2", smith="c1", key="a1", door="c3")
SMALL = generate(3, 8, 6, 1)


def placed(layout: Layout, agents: int = 2, horizon: int = 8) -> Gridworld:
    arena = Gridworld(3, agents, horizon)
    arena.layouts = (layout,) * arena.cases
    arena.begin(0, case=0)
    return arena


def step(arena: Gridworld, porter: str, smith: str) -> float:
    """Everyone is silent, then both move; return what each is paid."""
    arena.advance(dict.fromkeys(arena.acting()))
    outcome = arena.advance({"porter_0": (porter,), "smith_0": (smith,)})
    (reward,) = set(outcome.rewards.values())
    return reward


def test_an_episode_by_hand() -> None:
    arena = placed(BY_HAND)
    assert arena.view("porter_0") == "walls b1 b3 key a1 you a2"
    assert arena.view("smith_0") == "walls b1 b3 door c3 you c1"
    assert step(arena, "east", "open") == 0.0, "the smith has no key, and is not at the door"
    assert step(arena, "take", "west") == 0.0, "there is no key in b2, and a wall is west of c1"
    assert arena.at == {"porter_0": "b2", "smith_0": "c1"}
    assert step(arena, "west", "north") == 0.0
    assert step(arena, "south", "stay") == 0.0
    assert arena.view("porter_0") == "you a1 key"
    assert step(arena, "take", "stay") == pytest.approx(4 / 8 / 4), "the fifth of eight steps: 1/4 of (8 - 5 + 1) / 8"
    assert arena.view("porter_0") == "you a1 holding"
    assert step(arena, "north", "west") == 0.0
    assert step(arena, "east", "stay") == pytest.approx(2 / 8 / 4), "they meet in b2"
    assert (arena.holder, arena.view("smith_0")) == ("smith_0", "you b2 holding")
    assert arena.hidden() == "step t7 porter b2 smith b2 holding smith_0 door c3 walls b1 b3"
    arena.advance(dict.fromkeys(arena.acting()))
    assert arena.advance({"porter_0": ("stay",), "smith_0": ("east",)}).truncated


def test_the_best_plan_by_hand() -> None:
    """Key in step 2; in step 3 both are in a2, and the door opens 3 + 1 steps later; by b2 they meet one step later."""
    assert plans(BY_HAND) >= {(2, 3, 7), (2, 4, 7)}
    assert min(opened for _, _, opened in plans(BY_HAND)) == 7
    assert best_score(BY_HAND, 8) == pytest.approx((7 / 8 + 6 / 8) / 4 + 2 / 8 / 2)
    arena = placed(BY_HAND)
    moves = [("south", "north"), ("take", "west"), ("north", "west"), ("stay", "east"), ("stay", "east")]
    paid = [step(arena, *move) for move in [*moves, ("stay", "north"), ("stay", "open")]]
    assert sum(paid) == pytest.approx(best_score(BY_HAND, 8))


def test_swapping_cells_is_no_meeting() -> None:
    arena = placed(Layout(Board(3, frozenset()), porter="a1", smith="b1", key="a1", door="c3"))
    assert step(arena, "take", "stay") > 0
    assert step(arena, "east", "west") == 0.0
    assert arena.holder == "porter_0"


State = tuple[str, str, str]
"""Cells of porter and smith, and who holds the key."""


def after(arena: Gridworld, state: State, time: int, moves: tuple[str, str]) -> tuple[State, float, bool]:
    """Return the next state by the arena's own rules, what is paid, and whether that is the end."""
    now = arena.copy()
    now.at, now.holder, now.time, now.talking = {"porter_0": state[0], "smith_0": state[1]}, state[2], time, False
    outcome = now.resolve(dict(zip(("porter_0", "smith_0"), ((moves[0],), (moves[1],)), strict=True)))
    return (now.at["porter_0"], now.at["smith_0"], now.holder), outcome.rewards["porter_0"], outcome.done


@pytest.mark.parametrize("layout", [BY_HAND, *SMALL[:3]], ids=["by hand", "0", "1", "2"])
def test_no_joint_plan_beats_the_optimum_and_random_play_is_counted(layout: Layout) -> None:
    """Forward through all states, by the rules: the best return on the way to each, and the chance of each."""
    horizon = 8
    arena = placed(layout, horizon=horizon)
    joint = list(product(MOVES["porter_0"], MOVES["smith_0"]))
    best: Mapping[State, float] = {(layout.porter, layout.smith, ""): 0.0}
    chance: Mapping[State, float] = dict.fromkeys(best, 1.0)
    top = mean = 0.0
    for time in range(horizon):
        reached: dict[State, float] = {}
        likely: dict[State, float] = defaultdict(float)
        for (state, value), moves in product(best.items(), joint):
            there, paid, done = after(arena, state, time, moves)
            top = max(top, value + paid)
            mean += chance[state] * paid / len(joint)
            if not done:
                reached[there] = max(reached.get(there, 0.0), value + paid)
                likely[there] += chance[state] / len(joint)
        best, chance = reached, likely
    assert top == pytest.approx(best_score(layout, horizon))
    assert mean == pytest.approx(random_score(layout, horizon))


@pytest.mark.parametrize(("size", "horizon"), [(3, 8), (4, 12), (8, 12)])
def test_layouts_differ_and_can_be_solved(size: int, horizon: int) -> None:
    found = generate(size, horizon, 30, 5)
    assert len(set(found)) == 30
    for layout in found:
        assert len({layout.porter, layout.smith, layout.key, layout.door} - layout.board.walls) == 4
        assert min(opened for _, _, opened in plans(layout)) <= horizon
    assert generate(size, horizon, 30, 5) == found != generate(size, horizon, 30, 6)


def test_held_out_layouts_are_never_dealt_in_training() -> None:
    arena = Gridworld(layouts=16, held_out=0.25)
    splits = arena.splits()
    assert (len(splits["train"]), len(splits["held_out"])) == (12, 4)
    assert not {arena.layouts[i] for i in splits["train"]} & {arena.layouts[i] for i in splits["held_out"]}


def test_ways() -> None:
    board = BY_HAND.board
    assert way(board, "c1", "a1") == ["c1", "c2", "b2", "a2", "a1"]
    assert distances(board, "a1") == {"a1": 0, "a2": 1, "a3": 2, "b2": 2, "c2": 3, "c3": 4, "c1": 4}
    assert cells(2) == ("a1", "b1", "a2", "b2")


@pytest.mark.parametrize("agents", [2, 3, 4])
def test_talk_comes_near_the_optimum_on_layouts_of_either_split(agents: int) -> None:
    arena = Gridworld(agents=agents, layouts=24)
    script = dict.fromkeys(arena.possible_agents, arena.scripts()["best"])
    for split, dealt in arena.splits().items():
        optimum = np.mean([best_score(arena.layouts[case], arena.horizon) for case in dealt])
        score = expected_returns(arena, script, split)["porter_0"]
        assert 0.9 * optimum < score <= optimum + 1e-9


@pytest.mark.parametrize(
    ("agents", "sees"),
    [
        (2, {"porter_0": {"porter", "key"}, "smith_0": {"smith", "door"}}),
        (3, {"porter_0": {"porter"}, "smith_0": {"smith"}, "scout_0": {"porter", "smith", "key", "door"}}),
        (4, {"porter_0": {"porter"}, "scout_0": {"key", "door"}, "scout_1": {"porter", "smith"}}),
    ],
)
def test_the_image_shows_what_the_agent_knows_by_itself(agents: int, sees: dict[str, set[str]]) -> None:
    layout = Layout(Board(3, frozenset({"b2"})), porter="a1", smith="c1", key="a3", door="c3")
    arena = placed(layout, agents)
    arena.reset(seed=0)
    for agent, shown in sees.items():
        image = arena.observe(agent)["image"]
        assert {SYMBOLS[i] for i in image.ravel()} == {"floor", "wall"} | shown
        where: dict[str, tuple[int, int]] = {"key": (0, 0), "door": (0, 2), "porter": (2, 0), "smith": (2, 2)}
        assert all(SYMBOLS[image[where[thing]]] == thing for thing in shown), "the north comes first"
        words: Words = tuple(arena.view(agent).split())
        assert {word for word in words if word in where} == shown - {"porter", "smith"} | (
            {"porter", "smith"} & shown if agent.startswith("scout") else set()
        )
