"""Rules of `overcooked` as tables and pure functions: transitions and rewards.

They are those of Overcooked-AI (Carroll et al. 2019, "On the utility of learning about humans for human-AI
coordination"), but that soup needs no time to cook, that walls hold nothing, and that one uses a thing by walking into
it, and not by turning to it and interacting.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Final, NamedTuple

from arenas.spec import Words

LAYOUTS: Final = {
    "window": (  # the cook with the recipe cannot reach the ingredients, the other nothing else
        "XOXPX",
        "T1C0S",
        "XXXDX",
    ),
    "cramped_room": (  # Overcooked-AI's, with tomatoes in the place of the second onions
        "XXPXX",
        "O  1T",
        "X0  X",
        "XDXSX",
    ),
}
"""X wall, C counter for one item, O T D boxes of onions, tomatoes, dishes, P pot, S serving hatch, 0 1 the cooks."""
INGREDIENTS: Final = ("onion", "tomato")
BOXES: Final = {"O": "onion", "T": "tomato", "D": "dish"}
TILES: Final = {
    " ": "floor",
    "X": "wall",
    "C": "counter",
    "O": "onions",
    "T": "tomatoes",
    "D": "dishes",
    "P": "pot",
    "S": "hatch",
}
DISH, SOUP, NOTHING = "dish", "soup", "nothing"
MOVES: Final = {"stay": (0, 0), "north": (0, -1), "south": (0, 1), "east": (1, 0), "west": (-1, 0)}

Rows = tuple[str, ...]
Cell = tuple[int, int]  # column from the west, row from the north


class Kitchen(NamedTuple):
    """State of the kitchen. A thing is its words: none, an ingredient, a dish, or soup and its ingredients."""

    cells: tuple[Cell, ...]  # of the cooks
    hands: tuple[Words, ...]
    stores: tuple[Words, ...]  # contents of the counters and pots, in the order of `store_cells`
    progress: int = 0  # the largest `milestone` so far, plus one once the right soup is served


def tile(rows: Rows, cell: Cell) -> str:
    """Return the tile of a cell; the floor is a space."""
    built = rows[cell[1]][cell[0]]
    return " " if built in "01" else built


@lru_cache
def store_cells(rows: Rows) -> tuple[Cell, ...]:
    """Return the cells of the counters and the pots."""
    return tuple((x, y) for y, row in enumerate(rows) for x, built in enumerate(row) if built in "CP")


def opened(rows: Rows) -> Kitchen:
    """Return the kitchen before the first step, with hands, counters and pots empty."""
    cells = [(row.index(cook), y) for cook in "01" for y, row in enumerate(rows) if cook in row]
    return Kitchen(tuple(cells), ((), ()), ((),) * len(store_cells(rows)))


def ahead(cell: Cell, move: str) -> Cell:
    """Return the cell to which a move leads."""
    return cell[0] + MOVES[move][0], cell[1] + MOVES[move][1]


def used(built: str, hand: Words, held: Words, size: int) -> tuple[Words, Words]:
    """Return the contents of a cook's hands and of a counter or pot, once the cook has walked into it."""
    if built in BOXES and not hand:
        return (BOXES[built],), held
    if built == "C" and not (hand and held):
        return held, hand
    if built == "P" and hand[:1] and hand[0] in INGREDIENTS and len(held) < size:
        return (), tuple(sorted((*held, *hand)))
    if built == "P" and hand == (DISH,) and len(held) == size:
        return (SOUP, *held), ()
    if built == "S" and hand[:1] == (SOUP,):
        return (), held
    return hand, held


def replaced(things: tuple[Words, ...], place: int, thing: Words) -> tuple[Words, ...]:
    """Return the things with one of them replaced."""
    return (*things[:place], thing, *things[place + 1 :])


def walked(rows: Rows, cells: tuple[Cell, ...], moves: Words) -> tuple[Cell, ...]:
    """Return the cooks' cells after their moves; if they would collide or swap, neither moves."""
    there = [ahead(cell, move) for cell, move in zip(cells, moves, strict=True)]
    free = tuple(new if tile(rows, new) == " " else old for old, new in zip(cells, there, strict=True))
    return cells if free[0] == free[1] or free == cells[::-1] else free


def stepped(rows: Rows, kitchen: Kitchen, moves: Words, recipe: Words) -> tuple[Kitchen, Words]:
    """Return the kitchen after a step, and the soup served in it, if any.

    Cook 0 uses what it walks into, then cook 1 does, then both walk. Only the first soup counts.
    """
    served: Words = ()
    hands, stores = kitchen.hands, kitchen.stores
    for cook, move in enumerate(moves):
        there = ahead(kitchen.cells[cook], move)
        built = tile(rows, there)
        if built in " X" or served:
            continue
        i = store_cells(rows).index(there) if built in "CP" else -1
        hand, held = used(built, hands[cook], stores[i] if i >= 0 else (), len(recipe))
        served = hands[cook] if built == "S" and hand != hands[cook] else ()
        hands = replaced(hands, cook, hand)
        stores = replaced(stores, i, held) if i >= 0 else stores
    after = Kitchen(walked(rows, kitchen.cells, moves), hands, stores, kitchen.progress)
    reached = len(recipe) + 2 if served[1:] == recipe else milestone(rows, after, recipe)
    return after._replace(progress=max(after.progress, reached)), served


def milestone(rows: Rows, kitchen: Kitchen, recipe: Words) -> int:
    """Return the progress of the soup: the right ingredients in a pot without others, plus one once dished up."""
    if (SOUP, *recipe) in kitchen.hands:
        return len(recipe) + 1
    pots = [held for cell, held in zip(store_cells(rows), kitchen.stores, strict=True) if tile(rows, cell) == "P"]
    return max(right(held, recipe) for held in pots)


@lru_cache
def right(held: Words, recipe: Words) -> int:
    """Count the ingredients in a pot; 0 if one of them is too many."""
    return 0 if Counter(held) - Counter(recipe) else len(held)


def worth(progress: int, size: int, soup: float, shaping: float) -> float:
    """Return the total reward of a progress; 3 and 5 are Overcooked-AI's shaped rewards."""
    return shaping * (3 * min(progress, size) + 5 * (progress > size)) + soup * (progress > size + 1)


def seen(rows: Rows, kitchen: Kitchen, cook: int, all_around: bool) -> Words:
    """Return the tiles next to a cook, by direction: all, or only those that may change, which hold something."""
    words: list[str] = []
    for move in ("north", "east", "south", "west"):
        cell = ahead(kitchen.cells[cook], move)
        built = tile(rows, cell)
        if cell == kitchen.cells[1 - cook]:
            words += [move, f"cook_{1 - cook}", *named(kitchen.hands[1 - cook])]
        elif built in "CP":
            words += [move, TILES[built], *named(kitchen.stores[store_cells(rows).index(cell)])]
        elif all_around:
            words += [move, TILES[built]]
    return tuple(words)


def named(thing: Words) -> Words:
    """Return the words for a thing."""
    return thing or (NOTHING,)
