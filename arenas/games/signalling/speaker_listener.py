"""Speaker and listener on a grid: navigation by one message."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from math import perm
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import Words, choose, say, symbols

SPEAKER: Final = "speaker_0"
LISTENER: Final = "listener_0"
COLOURS: Final = ("red", "green", "blue", "yellow")
MOVES: Final = {"stay": (0, 0), "north": (0, 1), "east": (1, 0), "south": (0, -1), "west": (-1, 0)}
LARGEST: Final = 5  # larger grids have too many sets of four landmarks for an exact average

Cell = tuple[int, int]
Grids = NDArray[np.float64]  # [..., size, size]: a number for each cell, in any number of worlds


def moved(cell: Cell, move: str, size: int) -> Cell:
    """Return the cell to which a move leads; the edge of the grid stops it."""
    x, y = (min(max(at + step, 0), size - 1) for at, step in zip(cell, MOVES[move], strict=True))
    return x, y


def distances(size: int) -> Grids:
    """Return the number of steps between any two cells: [size * size, size, size]."""
    x, y = np.divmod(np.arange(size * size), size)
    apart: Grids = (np.abs(x[:, None] - x) + np.abs(y[:, None] - y)).astype(np.float64)
    return apart.reshape(-1, size, size)


def after_moves(grids: Grids) -> Grids:
    """Return the grid values that each move leads to, from each cell: [5, ..., size, size]."""
    size = grids.shape[-1]
    ahead = [[[moved((x, y), move, size) for y in range(size)] for x in range(size)] for move in MOVES]
    x, y = np.moveaxis(np.array(ahead), -1, 0)  # [5, size, size] each
    return np.moveaxis(grids[..., x, y], -3, 0)


def least_to_come(cost: Grids, steps: int) -> Grids:
    """Return the minimum sum of `cost` over the next steps, from each cell, by dynamic programming."""
    total = np.zeros_like(cost)
    for _ in range(steps):
        total = after_moves(cost + total).min(0)
    return total


@lru_cache
def layouts(size: int, landmarks: int, scattered: bool) -> NDArray[np.int64]:
    """Return the sets of landmark cells, by number: [layouts, landmarks]."""
    if scattered:
        return np.array(list(combinations(range(size * size), landmarks)))
    last = size - 1
    return np.array([[size * x + y for x, y in ((0, 0), (last, last), (0, last), (last, 0))[:landmarks]]])


def least_distance(cost: Grids, horizon: int) -> float:
    """Return the minimum expected sum of `cost` over an episode, the mean over worlds and first cells.

    The listener learns nothing after its first view and message, so a path fixed in advance is optimal. With a known
    goal, the cost of a cell is its distance; with an unknown one, the mean over the landmarks.
    """
    return float(least_to_come(cost, horizon).mean())


def mean_distance(cost: Grids, horizon: int) -> float:
    """Return the expected sum of `cost` over an episode for a listener who moves at random."""
    paid = 0.0
    for _ in range(horizon):
        cost = after_moves(cost).mean(0)
        paid += float(cost.mean())
    return paid


class SpeakerListener(Arena):
    """Speaker and listener on a grid of `size` x `size` cells: a2 is north of a1, b1 east of it.

    Landmarks stand in its corners, in this order: red in a1, green in the one opposite, blue in that north of a1,
    yellow in the last. `scattered`, they stand anywhere, and the listener sees where.
    """

    rules = """
    Speaker and listener: the speaker knows which landmark is the goal, the listener walks on a grid of cells.

    The speaker sees the goal's colour and says one symbol, once. The listener begins anywhere, sees where it is, knows
    where the landmarks are and takes `horizon` steps; it never learns what was paid. After each step both get minus its
    distance from the goal, in steps. (A text version on a grid of simple_speaker_listener, Lowe et al. 2017, mpe2: there
    space is continuous, the speaker talks on, and the distance is squared.)

    A grid of `size` x `size` cells: a1, a2 is north of it, b1 east of it.

    Landmarks stand in its corners, in this order: red in a1, green in the one opposite, blue in that north of a1,
    yellow in the last. `scattered`, they stand anywhere, and the listener is shown where.
    """
    metadata = Arena.metadata | {"name": "speaker_listener_v0"}
    tags = ("cooperative", "communication", "planning")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {
        "size": (2, LARGEST),
        "landmarks": (2, len(COLOURS)),
        "horizon": (1, 10),
        "alphabet": (4, 16),
    }

    def __init__(
        self, size: int = 3, landmarks: int = 3, horizon: int = 3, alphabet: int = 4, scattered: bool = False
    ) -> None:
        if not (2 <= size <= LARGEST and 2 <= landmarks <= min(len(COLOURS), alphabet) and horizon >= 1):
            raise ArenaError(
                f"speaker_listener needs size 2 to {LARGEST}, 2 to {len(COLOURS)} landmarks, a symbol for each of them "
                f"and horizon >= 1, not {size=}, {landmarks=}, {alphabet=} and {horizon=}"
            )
        self.size, self.landmarks, self.horizon, self.scattered = size, landmarks, horizon, scattered
        self.cases = (perm(size * size, landmarks) if scattered else 1) * landmarks * size * size
        self.cells = {(x, y): f"{'abcde'[x]}{y + 1}" for x in range(size) for y in range(size)}
        super().__init__(
            {SPEAKER: say(symbols("m", alphabet), 1), LISTENER: choose(tuple(MOVES))},
            words=("goal", "you", *COLOURS[:landmarks], *self.cells.values()),
        )

    @override
    def lay(self, case: int) -> None:
        case, place = divmod(case, self.size**2)
        case, self.goal = divmod(case, self.landmarks)
        cells = list(self.cells)
        self.place = cells[place]
        marks = [] if self.scattered else [cells[i] for i in layouts(self.size, self.landmarks, False)[0]]
        while len(marks) < self.landmarks:
            case, mark = divmod(case, len(cells))
            marks.append(cells.pop(mark))
        self.marks = tuple(marks)
        self.taken = -1  # steps so far; at -1 the speaker speaks

    @override
    def acting(self) -> tuple[str, ...]:
        return (SPEAKER,) if self.taken < 0 else (LISTENER,)

    @override
    def view(self, agent: str) -> str:
        # The speaker sees the goal's colour; the listener its cell, and once the landmarks if they are scattered.
        # Fixed landmarks are not shown: words after the message would drown it at first.
        if agent == SPEAKER:
            return f"goal {COLOURS[self.goal]}"
        here = f"you {self.cells[self.place]}"
        return f"{self._map()} {here}" if self.scattered and self.taken == 0 else here

    def _map(self) -> str:
        return " ".join(f"{colour} {self.cells[cell]}" for colour, cell in zip(COLOURS, self.marks, strict=False))

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        self.taken += 1
        if SPEAKER in replies:
            return Outcome()
        self.place = moved(self.place, replies[LISTENER][0], self.size)
        apart = sum(abs(a - b) for a, b in zip(self.place, self.marks[self.goal], strict=True))
        return Outcome(dict.fromkeys(self.replies, -float(apart)), done=self.taken == self.horizon)

    @override
    def hidden(self) -> str:
        return f"goal {COLOURS[self.goal]} {self._map()} you {self.cells[self.place]}"

    @override
    def anchors(self) -> Anchors:
        # Exact, over all deals: see `mean_distance` and `least_distance`.
        apart, sets = distances(self.size), layouts(self.size, self.landmarks, self.scattered)
        blind = np.mean([apart[cells] for cells in sets.T], axis=0)
        goals = apart[np.unique(sets)]  # every cell in use is the goal equally often
        return Anchors(
            -mean_distance(goals, self.horizon),
            -least_distance(blind, self.horizon),
            -least_distance(goals, self.horizon),
        )

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Symbols number the colours; the listener takes the best path for all landmarks, or for the one named.
        cells = {word: cell for cell, word in self.cells.items()}
        apart = distances(self.size)

        def step(memory: Memory, goals: Words) -> Words:
            cost = np.mean([apart[self.size * x + y] for x, y in map(cells.__getitem__, goals)], axis=0)
            steps_left = self.horizon - len(memory.replied)
            x, y = cells[memory.view[-1]]
            ahead = after_moves(cost + least_to_come(cost, steps_left - 1))[:, x, y]
            return memory.spec.words(int(ahead.argmin()))

        names = list(self.cells.values())
        corners = tuple(names[i] for i in layouts(self.size, self.landmarks, False)[0])

        def marks(memory: Memory) -> Words:
            return memory.views[0][1:-2:2] if self.scattered else corners

        def silent(memory: Memory) -> Words:
            return ("m0",) if memory.agent == SPEAKER else step(memory, marks(memory))

        def full(memory: Memory) -> Words:
            if memory.agent == SPEAKER:
                return (f"m{COLOURS.index(memory.view[1])}",)
            named = int(memory.heard[0][1][0][1:])
            return step(memory, marks(memory)[named : named + 1])

        return {"silent": silent, "full": full}
