"""Negotiation over items of private value (Deal or No Deal)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from math import prod
from statistics import fmean
from typing import ClassVar, Final, NamedTuple

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, fill, say

NEGOTIATORS: Final = ("negotiator_0", "negotiator_1")
ITEMS: Final = ("book", "hat", "ball")
TALK: Final = ("i", "you", "want", "give", "deal", "no")
FREE: Final = 200
POINTS: Final = 10
MOST: Final = 4  # pieces of one item
ALL: Final = (5, 7)  # pieces of all items: minimum, maximum
NUMBERS: Final = tuple(map(str, range(POINTS + 1)))

Amounts = tuple[int, ...]
"""One number for each of `ITEMS`: its quantity, its value per piece, or a share of it."""


class Deal(NamedTuple):
    """Quantities of the items, and each negotiator's value per piece."""

    counts: Amounts
    values: tuple[Amounts, Amounts]


def worth(values: Amounts, taken: Amounts) -> int:
    """Return the points of a negotiator's share."""
    return sum(value * number for value, number in zip(values, taken, strict=True))


@lru_cache
def deals() -> tuple[Deal, ...]:
    """Return all deals."""
    all_deals = []
    for counts in product(range(1, MOST + 1), repeat=len(ITEMS)):
        if ALL[0] <= sum(counts) <= ALL[1]:
            values = [v for v in product(range(POINTS + 1), repeat=len(ITEMS)) if worth(v, counts) == POINTS]
            all_deals += [Deal(counts, (a, b)) for a in values for b in values if _interesting(a, b)]
    return tuple(all_deals)


def _interesting(mine: Amounts, theirs: Amounts) -> bool:
    pairs = list(zip(mine, theirs, strict=True))
    return all(a or b for a, b in pairs) and any(a and b for a, b in pairs)


def splits(counts: Amounts) -> list[Amounts]:
    """Return all possible shares: every way to divide the items."""
    return list(product(*(range(count + 1) for count in counts)))


def rest(counts: Amounts, taken: Amounts) -> Amounts:
    """Return the remaining items."""
    return tuple(count - number for count, number in zip(counts, taken, strict=True))


def best_split(deal: Deal) -> Amounts:
    """Return negotiator_0's share in the split with the largest total: each item goes to whoever values it more."""
    return tuple(n if a >= b else 0 for n, a, b in zip(deal.counts, *deal.values, strict=True))


def joint(deal: Deal, taken: Amounts) -> int:
    """Return the total points of both if negotiator_0 takes this share."""
    return worth(deal.values[0], taken) + worth(deal.values[1], rest(deal.counts, taken))


def efficiency(deal: Deal, taken: Amounts) -> float:
    """Return the total points as a share of the largest possible total."""
    return joint(deal, taken) / joint(deal, best_split(deal))


def pareto_optimal(deal: Deal, taken: Amounts) -> bool:
    """Say whether no other split is better for one negotiator and no worse for the other."""

    def points(split: Amounts) -> tuple[int, int]:
        return worth(deal.values[0], split), worth(deal.values[1], rest(deal.counts, split))

    mine, theirs = points(taken)
    others = map(points, splits(deal.counts))
    return not any(a >= mine and b >= theirs and (a, b) != (mine, theirs) for a, b in others)


@lru_cache
def means() -> tuple[float, float]:
    """Return the mean score over all deals of a random split and of the best one, each per negotiator.

    A random proposal meets one matching answer among all, and then pays 5 of its 10 points on average.
    """
    random = fmean(POINTS / 2 / prod(n + 1 for n in deal.counts) for deal in deals())
    return random, fmean(joint(deal, best_split(deal)) / 2 for deal in deals())


class Negotiation(Arena):
    """Negotiation with `turns` of speaking, one negotiator after the other, and up to `words` words each."""

    rules = """
    Negotiation, Deal or No Deal: two negotiators divide books, hats and balls that they value differently.

    Both see how many of each there are (1 to 4, of all three 5 to 7), and each only its own values: 0 to 10 points a piece,
    10 for all there is. Everything is worth something to one of them, and something is to both. They speak in turn, then
    write down at once how many of each they take. If that gives out just what there is, each is paid its points; if not,
    both get 0. All such deals are equally likely. (Lewis, Yarats, Dauphin, Parikh & Batra 2017, section 2, after DeVault,
    Mell & Gratch 2015; there people could also walk away after ten turns. Here the number of turns is given.)

    So many `turns` of speaking, one negotiator after the other, with up to `words` words each.
    """
    metadata = Arena.metadata | {"name": "negotiation_v0"}
    cases = len(deals())
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"turns": (0, 10), "words": (1, 4)}

    def __init__(self, turns: int = 4, words: int = 3) -> None:
        if turns < 0 or not 1 <= words <= 4:
            raise ArenaError(f"negotiation needs turns >= 0 and 1 to 4 words, not {turns=}, {words=}")
        self.turns, self.words = turns, words
        self.tags = ("mixed", *(("communication",) if turns else ()))
        talks: tuple[ReplySpec, ...] = (say((*ITEMS, *NUMBERS, *TALK), words, 0, free=FREE),) if turns else ()
        self.talks = talks
        super().__init__(
            dict.fromkeys(NEGOTIATORS, (*talks, fill(*([NUMBERS[: MOST + 1]] * len(ITEMS))))),
            ("worth", "speak", "take", *ITEMS, *NUMBERS),
            view_words=6 * len(ITEMS) + 4 + turns * (words + 2),
        )

    @override
    def lay(self, case: int) -> None:
        self.dealt = deals()[case]
        self.turn = 0

    @override
    def acting(self) -> tuple[str, ...]:
        return NEGOTIATORS if self.turn == self.turns else (NEGOTIATORS[self.turn % 2],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        if self.turn < self.turns:
            return self.talks[0]
        return fill(*(NUMBERS[: count + 1] for count in self.dealt.counts))

    @override
    def view(self, agent: str) -> str:
        # At first the quantities of the items, and this negotiator's value per piece.
        seat = NEGOTIATORS.index(agent)
        prompt = "speak" if self.turn < self.turns else " ".join(("take", *ITEMS))
        if self.turn != min(seat, self.turns):
            return prompt
        shown = zip(ITEMS, self.dealt.counts, self.dealt.values[seat], strict=True)
        return " ".join([*(f"{item} {count} worth {value}" for item, count, value in shown), prompt])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # Both are paid their points if their shares add up to the items exactly.
        if self.turn < self.turns:
            self.turn += 1
            return Outcome()
        shares = [tuple(map(int, replies[agent])) for agent in NEGOTIATORS]
        agreed = rest(self.dealt.counts, shares[0]) == shares[1]
        paid = [float(worth(v, t)) if agreed else 0.0 for v, t in zip(self.dealt.values, shares, strict=True)]
        return Outcome(dict(zip(NEGOTIATORS, paid, strict=True)), done=True)

    @override
    def hidden(self) -> str:
        shown = zip(ITEMS, self.dealt.counts, *self.dealt.values, strict=True)
        return " ".join(f"{item} {count} worth {mine} {theirs}" for item, count, mine, theirs in shown)

    @override
    def anchors(self) -> Anchors:
        # Random splits; a split settled in training for every set of items; the best split of every deal.
        # The values of both have the same distribution, so any settled split pays 5 on average. A share can also depend
        # on one's own values, but then both seldom agree: searches for such plans gain less than one part in a hundred
        # (tests/arenas/games/social/test_negotiation.py), so silent is no proven optimum.
        random, full = means()
        return Anchors(random, POINTS / 2, full)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Silent: negotiator_0 takes the smaller half. Otherwise both say their values, then split best.
        scripts: dict[str, Script] = {"silent": self._halve}
        return scripts | ({"full": self._tell} if self.turns >= 2 and self.words >= len(ITEMS) else {})

    def _halve(self, memory: Memory) -> Words:
        if memory.spec.kind == "say":
            return ()
        counts = tuple(len(step) - 1 for step in memory.spec.steps)
        half = tuple(count // 2 for count in counts)
        return _written(half if memory.agent == NEGOTIATORS[0] else rest(counts, half))

    def _tell(self, memory: Memory) -> Words:
        first = memory.views[0]
        mine = tuple(int(first[4 * k + 3]) for k in range(len(ITEMS)))
        if memory.spec.kind == "say":
            return () if memory.replied else _written(mine)
        theirs = tuple(map(int, memory.heard[0][1]))
        counts = tuple(len(step) - 1 for step in memory.spec.steps)
        leading = memory.agent == NEGOTIATORS[0]
        taken = best_split(Deal(counts, (mine, theirs) if leading else (theirs, mine)))
        return _written(taken if leading else rest(counts, taken))


def _written(amounts: Amounts) -> Words:
    return tuple(map(str, amounts))
