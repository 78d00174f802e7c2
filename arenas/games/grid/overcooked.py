"""Overcooked: two cooks, one of whom knows the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations_with_replacement, product
from typing import ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.games.grid.kitchen import (
    BOXES,
    DISH,
    INGREDIENTS,
    LAYOUTS,
    MOVES,
    NOTHING,
    SOUP,
    TILES,
    Cell,
    Kitchen,
    Rows,
    ahead,
    named,
    opened,
    seen,
    stepped,
    store_cells,
    tile,
    worth,
)
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, say

COOKS: Final = ("cook_0", "cook_1")
SAMPLED: Final = 2_000  # episodes from which the score of random replies is estimated


def recipes(size: int) -> list[Words]:
    """Return all recipes: every multiset of `size` ingredients, in alphabetical order."""
    return list(combinations_with_replacement(INGREDIENTS, size))


def sensible(rows: Rows, kitchen: Kitchen, cook: int, recipe: Words) -> list[str]:
    """Return a cook's moves without those into walls, and those that take a thing the recipe does not need.

    Pruning loses no plan: a wrong ingredient only fills hands, counters and pots.
    """
    useless = {"X", *(built for built, content in BOXES.items() if content not in (DISH, *recipe))}
    return [move for move in MOVES if tile(rows, ahead(kitchen.cells[cook], move)) not in useless]


@lru_cache(maxsize=64)
def quickest(rows: Rows, recipe: Words, horizon: int) -> tuple[tuple[Words, ...], int]:
    """Return the shortest joint plan to the greatest progress in `horizon` steps, and that progress: exact.

    Both cooks know the recipe. Breadth-first search over reachable kitchens; a plan has two moves per step.
    """
    start = opened(rows)
    came: dict[Kitchen, tuple[Kitchen, Words]] = {}
    layer, goal = [start], start
    for _ in range(horizon):
        following = []
        for kitchen in layer:
            for moves in product(*(sensible(rows, kitchen, cook, recipe) for cook in (0, 1))):
                after, served = stepped(rows, kitchen, moves, recipe)
                if after in came or after == start or (served and served[1:] != recipe):
                    continue
                came[after] = (kitchen, moves)
                following.append(after)
                goal = after if after.progress > goal.progress else goal
        layer = following if goal.progress < len(recipe) + 2 else []
    plan, progress = [], goal.progress
    while goal != start:
        goal, moves = came[goal]
        plan.append(moves)
    return tuple(reversed(plan)), progress


def response(rows: Rows, recipe: Words, helper: Words, horizon: int) -> tuple[Words, int]:
    """Return cook 0's best response to cook 1's moves, after which cook 1 stays, and its progress: exact."""
    layer: dict[Kitchen, Words] = {opened(rows): ()}
    best: Words = ()
    progress, visited = 0, set[Kitchen]()
    for step in range(horizon):
        other = helper[step] if step < len(helper) else "stay"
        following: dict[Kitchen, Words] = {}
        for kitchen, moves in layer.items():
            for mine in sensible(rows, kitchen, 0, recipe):
                after, served = stepped(rows, kitchen, (mine, other), recipe)
                if served and served[1:] != recipe:
                    continue
                following.setdefault(after, (*moves, mine))
                if after.progress > progress:
                    best, progress = following[after], after.progress
        if progress == len(recipe) + 2:
            break
        # once cook 1 stays for good, a visited kitchen leads to nothing new
        layer = {kitchen: moves for kitchen, moves in following.items() if kitchen not in visited}
        visited.update(layer if step >= len(helper) else ())
    return best, progress


@lru_cache(maxsize=32)
def in_silence(
    rows: Rows, size: int, horizon: int, soup: float, shaping: float
) -> tuple[Words, dict[Words, Words], float]:
    """Return cook 1's moves, cook 0's for each recipe, and their score.

    Cook 1 always stays, or makes the moves of the quickest plan for one recipe, whichever was drawn; cook 0, which
    knows the recipe and these moves, plays its best response. The best pair counts; better blind moves may exist.
    """
    best: tuple[Words, dict[Words, Words], float] = ((), {}, float("-inf"))
    guesses = [quickest(rows, recipe, horizon)[0] for recipe in recipes(size)]
    for helper in [(), *(tuple(moves[1] for moves in plan) for plan in guesses)]:
        answers = {recipe: response(rows, recipe, helper, horizon) for recipe in recipes(size)}
        score = sum(worth(progress, size, soup, shaping) for _, progress in answers.values()) / len(answers)
        if score > best[2] + 1e-9:
            best = helper, {recipe: moves for recipe, (moves, _) in answers.items()}, score
    return best


@lru_cache(maxsize=64)
def at_random(rows: Rows, size: int, horizon: int, soup: float, shaping: float, penalty: float) -> float:
    """Estimate the score of uniformly random moves from SAMPLED episodes with a fixed seed."""
    rng, total, names = np.random.default_rng(0), 0.0, tuple(MOVES)
    for drawn in rng.integers(len(MOVES), size=(SAMPLED, horizon, 2)).tolist():
        recipe = recipes(size)[int(rng.integers(size + 1))]
        kitchen = opened(rows)
        for first, second in drawn:
            kitchen, served = stepped(rows, kitchen, (names[first], names[second]), recipe)
            if served:
                total -= penalty * (served[1:] != recipe)
                break
        total += worth(kitchen.progress, size, soup, shaping)
    return total / SAMPLED


class Overcooked(Arena):
    """Overcooked with a private recipe; a case is a recipe.

    `layout` is window (cook_1 reaches only the ingredients, cook_0 all else) or cramped_room.
    """

    rules = """
    Overcooked in words: two cooks in a kitchen, only one of whom knows the recipe, as in OvercookedV2.

    A recipe is `size` ingredients, onions and tomatoes. cook_0 alone sees it, and may say as many words, or any text of 100
    characters, before each of the first `talk` steps. In a step both act at once: they stay or walk, or use what they walk
    into. A box gives its content to empty hands and takes nothing back. A counter holds one thing. A pot takes ingredients
    until there are `size` of them, which are soup at once; a dish takes the soup out. Cooks see their own hands and what is
    next to them: everything at first and wherever they walk, and else only what may change.

    The first soup that is handed out through the hatch ends the episode: both get `soup` if it is right, or else lose
    `penalty`. After `horizon` steps it is cut off. On the way both get Overcooked's shaped rewards times `shaping`, once: 3
    for each more right ingredient in a pot without wrong ones, and 5 for the right soup on a dish.

    After Overcooked-AI (Carroll et al. 2019), where soup has to cook, cooks turn and interact, see everything, and serve on
    for 400 steps. OvercookedV2 (Gessler et al. 2025) hides the recipe, which may change, and narrows the view.

    `layout` is window (cook_1 reaches only the ingredients, cook_0 all else) or cramped_room; a case is a recipe.
    """
    metadata = Arena.metadata | {"name": "overcooked_v0"}
    tags = ("cooperative", "communication", "planning")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"size": (1, 2), "horizon": (10, 30), "talk": (0, 3)}

    def __init__(
        self,
        layout: str = "window",
        size: int = 1,
        horizon: int = 10,
        talk: int = 1,
        soup: float = 20.0,
        penalty: float = 0.0,
        shaping: float = 1.0,
    ) -> None:
        if layout not in LAYOUTS:
            raise ArenaError(f"overcooked has the layouts {', '.join(LAYOUTS)}, not {layout!r}")
        if not (1 <= size <= 3 and 1 <= horizon <= 100 and 0 <= talk <= horizon):
            raise ArenaError(
                "overcooked needs 1 to 3 ingredients (size), a horizon of 1 to 100 steps and talk before 0 to horizon "
                f"of them, not {size=}, {horizon=}, {talk=}"
            )
        if soup <= 0 or penalty < 0 or shaping < 0:
            raise ArenaError(
                f"overcooked needs soup > 0, penalty >= 0 and shaping >= 0, not {soup=}, {penalty=}, {shaping=}"
            )
        self.rows, self.size, self.horizon, self.talk = LAYOUTS[layout], size, horizon, talk
        self.soup, self.penalty, self.shaping = soup, penalty, shaping
        self.cases = size + 1
        self.places = {(x, y): f"{'abcde'[x]}{y + 1}" for y, row in enumerate(self.rows) for x in range(len(row))}
        words = ("recipe", "left", *map(str, range(1, horizon + 1)), "at", *self.places.values(), "hold", NOTHING)
        move = choose(tuple(MOVES))
        super().__init__(
            {COOKS[0]: (say(INGREDIENTS, size, least=0, free=100), move), COOKS[1]: move},
            words=(*words, *INGREDIENTS, DISH, SOUP, *TILES.values()),
            view_words=talk * (size + 2) + 24 + 6 * size,
        )

    @override
    def lay(self, case: int) -> None:
        self.recipe, self.kitchen = recipes(self.size)[case], opened(self.rows)
        self.taken = 0  # steps so far
        self.asked = self.talk > 0  # whether cook 0 talks now
        self.came_from: tuple[Cell | None, ...] = (None, None)

    @override
    def acting(self) -> tuple[str, ...]:
        return COOKS[:1] if self.asked else COOKS

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][0 if self.asked else -1]

    @override
    def view(self, agent: str) -> str:
        # The recipe when cook 0 is first asked; then the steps left, the cell if it is new, surroundings and hands.
        first = agent == COOKS[0] and self.taken == 0
        recipe = ["recipe", *self.recipe] if first and self.asked == (self.talk > 0) else []
        if first and self.asked:
            return " ".join(recipe)
        cook, kitchen = COOKS.index(agent), self.kitchen
        new = kitchen.cells[cook] != self.came_from[cook]
        place = ["at", self.places[kitchen.cells[cook]]] if new else []
        around = seen(self.rows, kitchen, cook, new)
        steps_left = ["left", str(self.horizon - self.taken)]
        return " ".join([*recipe, *steps_left, *place, *around, "hold", *named(kitchen.hands[cook])])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if self.asked:
            self.asked = False
            return Outcome()
        before, self.came_from = self.kitchen.progress, self.kitchen.cells
        moves = tuple(replies[cook][0] for cook in COOKS)
        self.kitchen, served = stepped(self.rows, self.kitchen, moves, self.recipe)
        self.taken += 1
        self.asked = self.taken < self.talk
        paid = self._worth(self.kitchen.progress) - self._worth(before)
        if served and served[1:] != self.recipe:
            paid -= self.penalty
        cut = not served and self.taken == self.horizon
        return Outcome(dict.fromkeys(COOKS, paid), done=bool(served) or cut, truncated=cut)

    def _worth(self, progress: int) -> float:
        return worth(progress, self.size, self.soup, self.shaping)

    @override
    def hidden(self) -> str:
        words = ["recipe", *self.recipe]
        if self.taken < self.horizon:
            words += ["left", str(self.horizon - self.taken)]
        for cook, cell, hand in zip(COOKS, self.kitchen.cells, self.kitchen.hands, strict=True):
            words += [cook, self.places[cell], *named(hand)]
        for cell, held in zip(store_cells(self.rows), self.kitchen.stores, strict=True):
            words += [TILES[tile(self.rows, cell)], *named(held)]
        return " ".join(words)

    @override
    def anchors(self) -> Anchors:
        # Random is an estimate (`at_random`), silent the best known (`in_silence`), full exact (`quickest`).
        # Full is the score of two cooks who know the recipe; cook_1 knows it if it is told before the first step. In
        # silence cook_1 ignores what it sees, for moves can signal: with two ingredients, the time when cook_0 takes
        # the first can encode the second. In the window kitchen with one ingredient no moves help
        # (tests/arenas/games/grid/test_overcooked.py checks all up to 30 steps); elsewhere a score above silent does
        # not prove talk.
        settings = (self.rows, self.size, self.horizon, self.soup, self.shaping)
        full = [self._worth(quickest(self.rows, recipe, self.horizon)[1]) for recipe in recipes(self.size)]
        return Anchors(at_random(*settings, self.penalty), in_silence(*settings)[2], sum(full) / len(full))

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Silent: the moves of `in_silence`. Full: cook_0 says the recipe, and both follow the quickest plan for it.
        helper, answers, _ = in_silence(self.rows, self.size, self.horizon, self.soup, self.shaping)

        plans = {recipe: quickest(self.rows, recipe, self.horizon)[0] for recipe in recipes(self.size)}

        def follow(memory: Memory, moves: Words) -> Words:
            step = sum(reply[:1] != () and reply[0] in MOVES for reply in memory.replied)
            return (moves[step] if step < len(moves) else "stay",)

        def silent(memory: Memory) -> Words:
            if memory.spec.kind == "say":
                return ()
            return follow(memory, answers[self._told(memory)] if memory.agent == COOKS[0] else helper)

        def full(memory: Memory) -> Words:
            if memory.spec.kind == "say":
                return () if memory.replied else self._told(memory)
            if memory.agent == COOKS[0]:
                return follow(memory, tuple(mine for mine, _ in plans[self._told(memory)]))
            return follow(memory, tuple(other for _, other in plans[memory.heard[0][1]]))

        return {"silent": silent, "full": full} if self.talk else {"silent": silent}

    def _told(self, memory: Memory) -> Words:
        """Return the recipe, which cook 0 sees first."""
        return memory.views[0][1 : 1 + self.size]
