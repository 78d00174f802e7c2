"""Board of `gridworld`, shortest paths on it, and scripted play."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from arenas.scripted import Memory, Script
from arenas.spec import Words

DIRECTIONS: Final = ("north", "south", "east", "west")
_SHIFT: Final = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}
_COLUMNS: Final = "abcdefgh"


@dataclass(frozen=True, slots=True)
class Board:
    """A square grid with walls."""

    size: int
    walls: frozenset[str]


@lru_cache
def cells(size: int) -> Words:
    """Return the names of a board's cells, row by row from the south-west."""
    return tuple(f"{column}{row}" for row in range(1, size + 1) for column in _COLUMNS[:size])


def towards(board: Board, cell: str, move: str) -> str:
    """Return the cell to which a move leads: the same one for other words, walls and the edge."""
    east, north = _SHIFT.get(move, (0, 0))
    column, row = _COLUMNS.index(cell[0]) + east, int(cell[1:]) + north
    if not (0 <= column < board.size and 1 <= row <= board.size):
        return cell
    there = f"{_COLUMNS[column]}{row}"
    return cell if there in board.walls else there


@lru_cache(maxsize=1 << 16)
def distances(board: Board, start: str) -> dict[str, int]:
    """Return the number of steps to every reachable cell, nearest first."""
    steps, queue = {start: 0}, deque([start])
    while queue:
        cell = queue.popleft()
        for direction in DIRECTIONS:
            there = towards(board, cell, direction)
            if there not in steps:
                steps[there] = steps[cell] + 1
                queue.append(there)
    return steps


def way(board: Board, start: str, goal: str) -> list[str]:
    """Return the first shortest path, both ends included; only the start if the goal is unreachable."""
    far, cells_on_it = distances(board, goal), [start]
    while far.get(start):
        start = next(c for c in (towards(board, start, d) for d in DIRECTIONS) if far[c] < far[start])
        cells_on_it.append(start)
    return cells_on_it


def step(board: Board, here: str, goal: str) -> Words:
    """Return the first move of the first shortest path."""
    ahead = way(board, here, goal)[1:2]
    return (next((d for d in DIRECTIONS if ahead and towards(board, here, d) == ahead[0]), "stay"),)


def middle(board: Board, here: str) -> str:
    """Return the reachable cell nearest to the centre: the same one for both movers."""
    centre = (board.size - 1) / 2

    def off(cell: str) -> tuple[float, str]:
        return abs(_COLUMNS.index(cell[0]) - centre) + abs(int(cell[1:]) - 1 - centre), cell

    return min(distances(board, here), key=off)


class Known(NamedTuple):
    """A mover's knowledge from its views."""

    board: Board
    time: int
    trail: tuple[str, ...]
    """The cells it has been in, the present one last."""
    things: Mapping[str, str]
    """key, door -> cell, as far as it was shown."""
    holding: bool


def known(size: int, memory: Memory) -> Known:
    """Parse a seat's views: `walls b2 key c3 you a1 key holding`, then `you a2` and so on."""
    first, *_ = views = [view for view in memory.views if view != ("move",)]
    end = next(i for i, word in enumerate(first) if word in ("key", "door", "you", "porter"))
    trail: list[str] = []
    things: dict[str, str] = {}
    for view in views:
        words = list(view)
        if "you" in words:
            place = words.index("you")
            trail.append(words[place + 1])
            things |= {word: words[place + 1] for word in words[place + 2 :] if word in ("key", "door")}
            words = words[:place]
        things |= {word: cell for word, cell in pairwise(words) if word in ("key", "door")}
    board = Board(size, frozenset(first[1:end]))
    return Known(board, len(views) - 1, tuple(trail), things, "holding" in views[-1])


def search(here: Known) -> Words:
    """Move towards the nearest cell not visited yet."""
    new = [cell for cell in distances(here.board, here.trail[-1]) if cell not in here.trail]
    return step(here.board, here.trail[-1], new[0]) if new else ("stay",)


def fetch(mine: Known, key: str | None) -> Words | None:
    """Return the porter's move until it has the key; None once it has had it."""
    if mine.holding:
        return None
    if key is None:
        return search(mine)
    return ("take",) if mine.trail[-1] == key else step(mine.board, mine.trail[-1], key)


def unlock(mine: Known, door: str | None) -> Words | None:
    """Return the smith's move with the key; None while it has none."""
    if not mine.holding:
        return None
    if door is None:
        return search(mine)
    return ("open",) if mine.trail[-1] == door else step(mine.board, mine.trail[-1], door)


def silently(size: int, horizon: int, memory: Memory) -> Words:
    """Say nothing; the porter brings the key to the middle, where the smith waits for it.

    A smith that does not know the door looks for it first, for a third of the time.
    """
    if memory.spec.kind == "say":
        return ()
    mine = known(size, memory)
    here, meeting = mine.trail[-1], middle(mine.board, mine.trail[-1])
    if memory.agent == "porter_0":
        return fetch(mine, mine.things.get("key")) or step(mine.board, here, meeting)
    if move := unlock(mine, mine.things.get("door")):
        return move
    looking = "door" not in mine.things and mine.time < horizon // 3
    return search(mine) if looking else step(mine.board, here, meeting)


def talking(size: int, agents: int, memory: Memory) -> Words:
    """Tell key and smith in step 0, the meeting cell or the door in step 1, the door in step 2.

    A single scout, who sees all, names a cell to meet in. Without one, the smith goes to the key, and the porter, who
    can compute the smith's path, comes towards it once it has the key.
    """
    mine = known(size, memory)
    if memory.spec.kind == "say":
        return tell(size, agents, mine, memory)
    messages = _said(memory, agents)
    here = mine.trail[-1]
    key, door = mine.things.get("key") or messages.get("key"), mine.things.get("door") or messages.get("door")
    if memory.agent == "smith_0":
        return unlock(mine, door) or step(mine.board, here, messages.get("meeting") or key or here)
    if move := fetch(mine, key):
        return move
    if "meeting" in messages:
        return step(mine.board, here, messages["meeting"])
    route = way(mine.board, messages["smith"], key or here)
    smith = route[min(mine.time, len(route) - 1)]
    return ("stay",) if distances(mine.board, here)[smith] <= 1 else step(mine.board, here, smith)


def tell(size: int, agents: int, mine: Known, memory: Memory) -> Words:
    """Return an agent's word in a step; nothing if the others do not need it."""
    now = dict(pairwise(memory.view))
    match memory.agent, mine.time:
        case ("porter_0", 0) if agents == 2:
            return (mine.things["key"],)
        case ("smith_0", 0) if agents == 2:
            return (mine.trail[0],)
        case ("scout_0", 0):
            return (mine.things["key"],)
        case ("scout_0", 1) if agents == 3:
            return (_meeting(mine.board, mine.things, now["porter"], now["smith"]),)
        case ("scout_0", 1 | 2):
            return (mine.things["door"],)
        case ("scout_1", 0):
            return (now["smith"],)
    return ()


def _said(memory: Memory, agents: int) -> dict[str, str]:
    """Return the messages so far: each speaker's words in order, and their meaning."""
    messages: dict[str, list[str]] = {}
    for who, words in memory.heard:
        messages.setdefault(who, []).extend(words)
    messages.setdefault(memory.agent, []).extend(word for words in memory.replied for word in words)
    meanings: Mapping[int, Mapping[str, Words]] = {
        2: {"porter_0": ("key",), "smith_0": ("smith",)},
        3: {"scout_0": ("key", "meeting", "door")},
        4: {"scout_0": ("key", "door"), "scout_1": ("smith",)},
    }
    meaning = meanings[agents]
    return {
        name: word for who, names in meaning.items() for name, word in zip(names, messages.get(who, ()), strict=False)
    }


def _meeting(board: Board, things: Mapping[str, str], porter: str, smith: str) -> str:
    """Return the cheapest cell to meet in, for a key still on the floor: the meeting counts more than the door."""
    to_key, to_door = distances(board, things["key"]), distances(board, things["door"])
    walked = distances(board, smith)
    met = {m: max(to_key[porter] + 1 + to_key[m], walked[m]) for m in to_key}
    return min(met, key=lambda m: 3 * met[m] + 2 * to_door[m])  # each step to the meeting costs 3/4, to the door 1/2


def scripts(size: int, agents: int, horizon: int) -> Mapping[str, Script]:
    """Return the scripts by name."""
    return {
        "silent": lambda memory: silently(size, horizon, memory),
        "best": lambda memory: talking(size, agents, memory),
    }
