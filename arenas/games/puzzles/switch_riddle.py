"""Switch riddle: prisoners who communicate through one light."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import comb
from typing import ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import Words, choose, symbols

KEEP, SWITCH, DECLARE = MOVES = ("keep", "switch", "declare")
LIGHT: Final = ("off", "on")
LISTED: Final = 1 << 16
Rule = frozenset[tuple[int, int]]


def covered(n: int, days: int) -> float:
    """Return the probability that n prisoners have all visited when one is drawn on each of `days` days."""
    ways: int = sum((-1) ** k * comb(n, k) * (n - k) ** days for k in range(n + 1))
    return float(ways / n**days)


def dark_score(n: int, days: int, rule: Rule) -> float:
    """Return the score of declaring on these (day, own visits so far), whatever the light shows."""
    score, chances = 0.0, {(0,) * n: 1.0}  # by everyone's visits, ascending, before a declaration
    for day in range(1, days + 1):
        after: dict[tuple[int, ...], float] = {}
        for visits, p in chances.items():
            for own in set(visits):
                q, i = p * visits.count(own) / n, visits.index(own)
                now = tuple(sorted((*visits[:i], own + 1, *visits[i + 1 :])))
                if (day, own + 1) in rule:
                    score += q if now[0] else -q
                else:
                    after[now] = after.get(now, 0.0) + q
        chances = after
    return score


@lru_cache
def in_the_dark(n: int, days: int) -> tuple[Rule, float]:
    """Return the best known rule without light (see `dark_score`) and its exact score.

    Local search from declaring on the last day, where own visit number m leaves days - m days to the others: that pays
    2 covered(n - 1, days - m) - 1 if it is declared, and m - 1 is binomial. With up to four prisoners and 12 days, one
    (day, visits) after the other is changed for as long as it helps.
    """
    gain = {m: 2 * covered(n - 1, days - m) - 1 for m in range(1, days + 1)}
    rule = frozenset((days, m) for m, paid in gain.items() if paid > 0)
    odds = {m: comb(days - 1, m - 1) * (n - 1) ** (days - m) / n ** (days - 1) for _, m in rule}
    best = sum(odds[m] * gain[m] for m in odds)
    places = [(day, m) for day in range(1, days + 1) for m in range(1, day + 1)] if n <= 4 and days <= 12 else []
    improved = True
    while improved:
        improved = False
        for place in places:
            if (score := dark_score(n, days, rule ^ {place})) > best + 1e-9:
                rule, best, improved = rule ^ {place}, score, True
    return rule, best


def at_least(memory: Memory, n: int) -> int:
    """Return a lower bound on the visitors so far, today's included, by the code of `scripts`.

    A light that is on means that at least min(day, n - 1) had been there on the day before.
    """
    visitors = 0
    for visit, (_, day, _, light) in enumerate(memory.views, 1):
        lit = min(int(day) - 1, n - 1) if light == "on" else 0
        others = int(day) > visit  # on some day somebody else visited
        visitors = max(lit, others) + 1 if visit == 1 else max(visitors, lit, 1 + others)
    return visitors


class SwitchRiddle(Arena):
    """Switch riddle with n prisoners and `days` days (None: 4n - 6).

    A case is an order of visitors, if n to the power of days is at most 2^16.
    """

    rules = """
    Switch riddle: each day one of n prisoners, drawn at random, is led into a room with a light and may switch it.

    All know the day, and nobody sees who else is led there: the light is the only channel. Whoever is in the room may
    declare that all have been there: all get 1 if that is so, else -1, and the riddle ends. After the last day all get 0.
    The light is off at first. It is a move that the next visitor sees, not a message: no bus carries it.

    Foerster et al. 2016, "Learning to communicate with deep multi-agent reinforcement learning", with their horizon of
    4n - 6 days; moves and the order of a day (the visit counts before the declaration) as in JaxMARL's `switch_riddle`.
    There all agents reply every day, and only the visitor's reply has an effect; here only the visitor is asked.

    n prisoners, `days` days (None: 4n - 6); where n to the power of days is at most 2^16, a case is an order.
    """
    metadata = Arena.metadata | {"name": "switch_riddle_v0"}
    tags = ("cooperative", "memory")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"n": (2, 20)}

    def __init__(self, n: int = 3, days: int | None = None) -> None:
        if not 2 <= n <= 100 or not (days is None or n <= days <= 1000):
            raise ArenaError(f"switch_riddle needs 2 to 100 prisoners n, and days from n to 1000, not {n=}, {days=}")
        self.n, self.days = n, 4 * n - 6 if days is None else days
        self.cases = n**self.days if n**self.days <= LISTED else 0
        prisoners = symbols("prisoner_", n)
        words = ("day", *map(str, range(1, self.days + 1)), "light", *LIGHT, "visited", "now")
        super().__init__(dict.fromkeys(prisoners, choose(MOVES)), words, view_words=n + 8)

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        if self.cases:
            super().deal(rng, split)
        else:
            self._start(tuple(rng.integers(self.n, size=self.days).tolist()))

    @override
    def lay(self, case: int) -> None:
        # The digits of `case` in base n are the visitors, the last day counting fastest.
        self._start(tuple(case // self.n**place % self.n for place in reversed(range(self.days))))

    def _start(self, order: tuple[int, ...]) -> None:
        self.order, self.day, self.light = order, 1, 0

    @override
    def acting(self) -> tuple[str, ...]:
        return (self.possible_agents[self.order[self.day - 1]],)

    @override
    def view(self, agent: str) -> str:
        # The day and the light.
        return f"day {self.day} light {LIGHT[self.light]}"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        [(move,)] = replies.values()
        if move == DECLARE:
            right = len(set(self.order[: self.day])) == self.n
            return Outcome(dict.fromkeys(self.possible_agents, 1.0 if right else -1.0), done=True)
        if self.day == self.days:
            return Outcome(done=True)
        self.light ^= move == SWITCH
        self.day += 1
        return Outcome()

    @override
    def hidden(self) -> str:
        before = sorted(set(self.order[: self.day - 1]))
        visited = " ".join(self.possible_agents[i] for i in before)
        return " ".join(["visited", *visited.split(), "now", self.acting()[0], self.view("")])

    @override
    def anchors(self) -> Anchors:
        # Random: a declaration with probability 1/3 a day. Silent: `in_the_dark`.
        # Full is the probability that all have visited by the last day, as if everyone saw the visitors. With two or
        # three prisoners the light suffices for that; with more it is a bound that one light is not known to reach.
        random = sum((2 / 3) ** (day - 1) / 3 * (2 * covered(self.n, day) - 1) for day in range(1, self.days + 1))
        return Anchors(random, in_the_dark(self.n, self.days)[1], covered(self.n, self.days))

    @override
    def scripts(self) -> Mapping[str, Script]:
        # The light is on while its last visitor knew of min(day, n - 1) visitors; who knows of n declares.
        # With n <= 3 the light then always counts right. With more it loses count, and who knows of fewer declares as
        # if in the dark; that is little better than silence.
        n, (rule, _) = self.n, in_the_dark(self.n, self.days)

        def silent(memory: Memory) -> Words:
            return (DECLARE,) if (int(memory.view[1]), len(memory.views)) in rule else (KEEP,)

        def light(memory: Memory) -> Words:
            known, (_, day, _, lit) = at_least(memory, n), memory.view
            if known == n or (n > 3 and silent(memory) == (DECLARE,)):
                return (DECLARE,)
            return (KEEP,) if (lit == "on") == (known >= min(int(day), n - 1)) else (SWITCH,)

        return {"silent": silent, "full" if n <= 3 else "best": light}
