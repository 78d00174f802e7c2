"""Gridworld with a key and a door: agents with partial views must meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.games.grid import gridplay
from arenas.games.grid.gridplay import DIRECTIONS, Board, cells, distances, towards
from arenas.scripted import Script
from arenas.solvers.exact import expected_returns
from arenas.spec import ReplySpec, Words, choose, say, symbols

PORTER: Final = "porter_0"
SMITH: Final = "smith_0"
SCOUTS: Final = ("scout_0", "scout_1")
WALLS: Final = 0.2
"""The chance of a cell to be a wall."""
MOVES: Final = {PORTER: ("stay", *DIRECTIONS, "take"), SMITH: ("stay", *DIRECTIONS, "open")}
PAY: Final = {"take": 1 / 4, "hand": 1 / 4, "open": 1 / 2}
SYMBOLS: Final = ("floor", "wall", "key", "door", "porter", "smith")
"""What the numbers of an image stand for."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is at the beginning."""

    board: Board
    porter: str
    smith: str
    key: str
    door: str


def worth(step: int, horizon: int) -> float:
    """Return by how much what is paid in a step counts, the first one being 1."""
    return max(horizon - step + 1, 0) / horizon


def plans(layout: Layout) -> set[tuple[int, int, int]]:
    """Return the steps in which the key can be taken, change hands and open the door, for each cell m to meet in.

    The movers do not stop each other, so the porter carries the key there in d(porter, key) + 1 + d(key, m) steps, the
    smith walks there in d(smith, m), and opens the door d(m, door) + 1 steps after both are there.
    """
    board = layout.board
    to_key, to_door, walked = (distances(board, cell) for cell in (layout.key, layout.door, layout.smith))
    taken = to_key[layout.porter] + 1
    met = {m: max(taken + to_key[m], walked[m]) for m in to_key}
    return {(taken, met[m], met[m] + to_door[m] + 1) for m in met}


def best_score(layout: Layout, horizon: int) -> float:
    """Return the score of the best plan with full information, over all cells to meet in.

    It is that of a search through all joint states, by the rules (tests/arenas/games/grid/test_gridworld.py).
    """
    pay = tuple(PAY.values())
    return max(sum(p * worth(t, horizon) for p, t in zip(pay, plan, strict=True)) for plan in plans(layout))


@lru_cache(maxsize=64)
def generate(size: int, horizon: int, layouts: int, seed: int) -> tuple[Layout, ...]:
    """Draw different layouts that can be solved within the horizon."""
    found: dict[Layout, None] = {}
    draw = 0
    while len(found) < layouts:
        rng = np.random.default_rng((seed, draw))
        draw += 1
        names = cells(size)
        board = Board(size, frozenset(c for c, u in zip(names, rng.random(len(names)), strict=True) if u < WALLS))
        free = [cell for cell in names if cell not in board.walls]
        start = free[int(rng.integers(len(free)))] if free else ""
        joined = sorted(distances(board, start)) if free else []
        if len(joined) >= 4:
            chosen = (joined[i] for i in rng.choice(len(joined), 4, replace=False))
            layout = Layout(board, *chosen)
            if min(opened for _, _, opened in plans(layout)) <= horizon:
                found[layout] = None
    return tuple(found)


def random_score(layout: Layout, horizon: int) -> float:
    """Return the expected score of uniformly random replies, from the chances of all states, step by step.

    `floor`[p, s]: the key lies there, the porter is in cell p and the smith in s. `carried`[p, s]: the porter has it.
    `handed`[s]: the smith has it.
    """
    board, names = layout.board, cells(layout.board.size)
    number = {cell: i for i, cell in enumerate(names)}
    key, door = number[layout.key], number[layout.door]
    walk = np.eye(len(names)) * 2 / 6  # stay, and take or open
    for cell in names:
        for direction in DIRECTIONS:
            walk[number[cell], number[towards(board, cell, direction)]] += 1 / 6
    floor, carried, handed = np.zeros(walk.shape), np.zeros(walk.shape), np.zeros(len(names))
    floor[number[layout.porter], number[layout.smith]] = 1.0
    score: float = 0.0
    for step in range(1, horizon + 1):
        opened = float(handed[door]) / 6
        taken = floor[key] @ walk / 6
        floor, carried, handed = walk.T @ floor @ walk, walk.T @ carried @ walk, handed @ walk
        floor[key] -= taken
        carried[key] += taken
        handed[door] -= opened
        met = np.diag(carried).copy()
        handed += met
        np.fill_diagonal(carried, 0.0)
        paid = PAY["take"] * taken.sum() + PAY["hand"] * met.sum() + PAY["open"] * opened
        score += float(paid) * worth(step, horizon)
    return score


class Gridworld(Arena):
    """A layout is a case; the fraction `held_out` of them makes the split "held_out"."""

    rules = """
    Gridworld: a porter finds the key and carries it, a smith opens the door with it; they have to meet, and to talk.

    The cells of a square grid are called as on a chess board: a1 is the corner in the south-west, north is a2, east is b1.
    In each step everyone says one word or nothing, then the porter and the smith move at once (a wall or the edge stops
    them). The porter alone can `take` the key from its cell. When both are in one cell, the smith gets the key from the
    porter. The smith alone can `open` the door, from the door's cell, with the key. All are paid 1/4 when the key is taken,
    1/4 when it changes hands and 1/2 when the door opens, each times (H - t + 1) / H in step t of the horizon H.

    Movers know the walls, where they are themselves, and what lies in their cell. Who knows more:

        agents=2   the porter knows where the key is, the smith where the door is
        agents=3   a scout, who does not move, sees all: the key, the door and both movers
        agents=4   one scout sees the key and the door, another sees the movers

    Layouts are generated from `seed` and can all be solved within the horizon; some are held out of training. (Of our own
    making, in the manner of the gridworlds with keys and doors of MiniGrid, Chevalier-Boisvert et al. 2023.)

    A layout is a case; the fraction `held_out` of them makes the split "held_out".
    """
    metadata = Arena.metadata | {"name": "gridworld_v0"}
    tags = ("cooperative", "communication", "planning", "memory")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"size": (3, 8), "agents": (2, 4), "horizon": (8, 60)}

    def __init__(
        self,
        size: int = 4,
        agents: int = 3,
        horizon: int = 12,
        layouts: int = 64,
        held_out: float = 0.25,
        seed: int = 0,
    ) -> None:
        if not (3 <= size <= 8 and 2 <= agents <= 4 and 8 <= horizon <= 60 and 2 <= layouts <= 4096):
            raise ArenaError(
                "gridworld needs size 3 to 8, agents 2 to 4, horizon 8 to 60 and layouts 2 to 4096, "
                f"not {size=}, {agents=}, {horizon=}, {layouts=}"
            )
        held = round(held_out * layouts)
        if held_out < 0 or held >= layouts or seed < 0:
            raise ArenaError(
                f"gridworld needs held_out from 0 to below 1, leaving a layout, and seed >= 0, not {held_out=}, {seed=}"
            )
        self.settings = (size, agents, horizon, layouts, held_out, seed)
        self.horizon, self.cases = horizon, layouts
        self.layouts = generate(size, horizon, layouts, seed)
        names = cells(size)
        talk = say((*names, *DIRECTIONS), 1, least=0)
        seats = {seat: (talk, choose(MOVES[seat])) for seat in (PORTER, SMITH)} | dict.fromkeys(
            SCOUTS[: agents - 2], (talk,)
        )
        self._splits: dict[str, Sequence[int]] = {"train": range(layouts - held)}
        if held:
            self._splits["held_out"] = range(layouts - held, layouts)
        words = ("walls", "you", "key", "door", "holding", "porter", "smith", "move", "look", "step", *names)
        heard = (agents - 1) * 3 * horizon
        super().__init__(seats, (*words, *symbols("t", horizon + 1)), view_words=heard + size * size + 16)

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the layouts of "train" and, if some are held out, of "held_out"."""
        return self._splits

    def lay(self, case: int) -> None:
        """Set up the layout of a case."""
        self.layout = self.layouts[case]
        self.at = {PORTER: self.layout.porter, SMITH: self.layout.smith}
        self.holder = ""  # the key lies on the floor
        self.time = 0
        self.talking = True

    def acting(self) -> tuple[str, ...]:
        """All talk, then the movers move."""
        return tuple(self.possible_agents) if self.talking else (PORTER, SMITH)

    def spec(self, agent: str) -> ReplySpec:
        """First a word, then a move."""
        return self.replies[agent][0 if self.talking else 1]

    def view(self, agent: str) -> str:
        """What is new to the agent; the walls, and what else stays, only before the first step."""
        if not self.talking:
            return "move"
        known = self._map() if self.time == 0 else []
        if agent in self.at:
            here = self.at[agent]
            lying = [word for word, cell in self._things() if cell == here]
            if self.time == 0 and len(self.possible_agents) == 2:  # who lacks a scout knows its own goal
                known += ["key", self.layout.key] if agent == PORTER else ["door", self.layout.door]
            return " ".join([*known, "you", here, *lying, *(("holding",) if self.holder == agent else ())])
        if self.time == 0 and agent == SCOUTS[0]:
            known += ["key", self.layout.key, "door", self.layout.door]
        if len(self.possible_agents) == 3 or agent == SCOUTS[1]:
            known += ["porter", self.at[PORTER], "smith", self.at[SMITH]]
        return " ".join(known or ["look"])

    def _map(self) -> list[str]:
        return ["walls", *sorted(self.layout.board.walls)]

    def _things(self) -> list[tuple[str, str]]:
        """Return what lies where."""
        return [("key", self.layout.key)] * (not self.holder) + [("door", self.layout.door)]

    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        """Move both at once; hand the key over where they meet."""
        if self.talking:
            self.talking = False
            return Outcome()
        moves = {agent: replies[agent][0] for agent in (PORTER, SMITH)}
        opened = moves[SMITH] == "open" and self.holder == SMITH and self.at[SMITH] == self.layout.door
        paid = PAY["open"] if opened else 0.0
        if moves[PORTER] == "take" and not self.holder and self.at[PORTER] == self.layout.key:
            self.holder = PORTER
            paid += PAY["take"]
        self.at = {agent: towards(self.layout.board, self.at[agent], move) for agent, move in moves.items()}
        if self.holder == PORTER and self.at[PORTER] == self.at[SMITH]:
            self.holder = SMITH
            paid += PAY["hand"]
        self.time += 1
        self.talking = True
        reward = paid * worth(self.time, self.horizon)
        over = opened or self.time == self.horizon
        return Outcome(dict.fromkeys(self.possible_agents, reward), done=over, truncated=over and not opened)

    def hidden(self) -> str:
        """The step, where everything is, and who has the key."""
        holding = ["holding", self.holder] if self.holder else []
        things = [word for thing in self._things() for word in thing]
        movers = ["porter", self.at[PORTER], "smith", self.at[SMITH]]
        return " ".join(["step", f"t{self.time}", *movers, *holding, *things, *self._map()])

    def anchors(self) -> Anchors:
        """Exact over the layouts of "train": `random` by the chances of all states, `full` by `best_score`.

        `silent` is what the script of that name scores, the best known to us, not a proven bound.
        """
        return _anchors(*self.settings)

    def scripts(self) -> Mapping[str, Script]:
        """`silent`: meet in the middle. `best`: tell each other where to meet; near the optimum."""
        size, agents, horizon = self.settings[:3]
        return gridplay.scripts(size, agents, horizon)

    # --- the image -------------------------------------------------------------------------------------------

    @cached_property
    def observation_spaces(self) -> dict[str, spaces.Dict]:
        """Those of every arena, and an image: a number of `SYMBOLS` for each cell, the north first."""
        size = self.settings[0]
        image = spaces.Box(0, len(SYMBOLS) - 1, (size, size), np.int8)
        common: dict[str, spaces.Dict] = super().observation_spaces
        return {agent: spaces.Dict({**space.spaces, "image": image}) for agent, space in common.items()}

    def observe(self, agent: str) -> dict[str, Any]:
        """Return text, ids and mask as in every arena, and the image of what the agent knows by itself."""
        return {**super().observe(agent), "image": self.image(agent)}

    def image(self, agent: str) -> NDArray[np.int8]:
        """Draw what an agent sees now, or was shown before the first step, without what others told it: [size, size].

        Later symbols hide earlier ones in a cell. An agent that does not see the movers sees itself.
        """
        size, layout, count = self.settings[0], self.layout, len(self.possible_agents)
        shown = dict.fromkeys(cells(size), "floor") | dict.fromkeys(layout.board.walls, "wall")
        for thing, cell in self._things():
            told = agent == SCOUTS[0] or (count == 2 and agent == (PORTER if thing == "key" else SMITH))
            if told or self.at.get(agent) == cell:
                shown[cell] = thing
        for mover, cell in self.at.items():
            if agent == mover or (agent in SCOUTS and (count == 3 or agent == SCOUTS[1])):
                shown[cell] = mover.partition("_")[0]
        numbers = [SYMBOLS.index(shown[cell]) for cell in cells(size)]
        return np.array(numbers, np.int8).reshape(size, size)[::-1].copy()


@lru_cache(maxsize=64)
def _anchors(size: int, agents: int, horizon: int, layouts: int, held_out: float, seed: int) -> Anchors:
    arena = Gridworld(size, agents, horizon, layouts, held_out, seed)
    dealt = [arena.layouts[case] for case in arena.splits()["train"]]
    full = sum(best_score(layout, horizon) for layout in dealt) / len(dealt)
    silent = expected_returns(arena, dict.fromkeys(arena.possible_agents, arena.scripts()["silent"]))
    return Anchors(
        random=sum(random_score(layout, horizon) for layout in dealt) / len(dealt), silent=silent[PORTER], full=full
    )
