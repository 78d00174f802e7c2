"""Hidden profile: group decision from distributed knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, fill, say, symbols

CANDIDATES: Final = ("anna", "ben", "clara", "david", "emma")
LOOKUP, NOTHING, TALK, NAME = "lookup", "nothing", "talk", "name"
MAX_TABLES: Final = 1 << 20
Known = tuple[int, ...]
"""Points of each candidate in a member's own base, -1 before they are looked up."""


@lru_cache(maxsize=32)
def profiles(members: int, candidates: int, points: int) -> NDArray[np.int8]:
    """Return all hidden profiles, then a manifest one for each: [case, member, candidate], 0 to `points` points.

    Hidden: one candidate has the largest sum of points, and every base puts another single one first. Its manifest twin
    keeps member 0's base; the others swap the points of their own first for those of member 0's. So each base, up to
    the names, occurs as often in hidden as in manifest profiles: given a whole base, the odds are even.
    """
    bases = np.indices((points + 1,) * candidates, np.int8).reshape(candidates, -1).T
    bases = bases[(bases == bases.max(1, keepdims=True)).sum(1) == 1]
    which = np.indices((len(bases),) * members, np.int32).reshape(members, -1).T
    tables = bases[which]
    first, sums = tables.argmax(2), tables.sum(1, dtype=np.int16)
    single = (sums == sums.max(1, keepdims=True)).sum(1) == 1
    is_hidden = single & (first != sums.argmax(1)[:, None]).all(1)
    hidden, first = tables[is_hidden], first[is_hidden]
    twins, cases, leader = hidden.copy(), np.arange(len(hidden)), first[:, 0]
    for i in range(1, members):
        twins[cases, i, first[:, i]] = hidden[cases, i, leader]
        twins[cases, i, leader] = hidden[cases, i, first[:, i]]
    return np.concatenate([hidden, twins])


@lru_cache(maxsize=32)
def alone(
    members: int, candidates: int, points: int, lookups: int, price: float
) -> tuple[dict[Known, tuple[int, int]], float]:
    """Return the optimal policy of a single member, and its score: known -> (look-up, or -1; candidate to name).

    V(known) = max(P(the likeliest candidate is best | known), max over entries of E[V(known + entry)] - price), the
    latter while look-ups are left. All members are alike: in silence, that is the best score of all of them.
    """
    tables = profiles(members, candidates, points)
    best = tables.sum(1, dtype=np.int16).argmax(1)
    bases, number = np.unique(tables[:, 0], axis=0, return_inverse=True)
    deals = np.zeros((len(bases), candidates))  # counts by own base and best candidate
    np.add.at(deals, (number.ravel(), best), 1)
    plan: dict[Known, tuple[int, int]] = {}

    @cache
    def value(known: Known) -> float:
        """V times the number of deals consistent with `known`."""
        entries = np.array(known)
        counts = deals[((bases == entries) | (entries < 0)).all(1)].sum(0)
        top, choice = float(counts.max()), -1
        unknown = [i for i, p in enumerate(known) if p < 0]
        for entry in unknown if candidates - len(unknown) < lookups and top else []:
            after: float = sum(value((*known[:entry], p, *known[entry + 1 :])) for p in range(points + 1))
            if after - price * counts.sum() > top + 1e-9:
                top, choice = after - price * float(counts.sum()), entry
        plan[known] = (choice, int(counts.argmax()))
        return top

    return plan, float(value((-1,) * candidates) / len(tables))


def looked_up(memory: Memory, candidates: Words) -> Known:
    """Return the entries that a member has looked up: views begin with the entry requested, as `anna 3`."""
    entries = {view[0]: int(view[1]) for view in memory.views if view[0] in candidates}
    return tuple(entries.get(name, -1) for name in candidates)


class HiddenProfile(Arena):
    """Hidden profile with `candidates` rated 0 to `points`, and look-ups at a `price`; a case is a profile.

    Members look up at most `lookups` entries (None: all), then all talk at once, `rounds` times: `length` words at most,
    or any text of 200 characters.
    """

    rules = """
    Hidden profile: whom your own facts recommend may be the wrong one; only the sum of everybody's facts tells.

    Every member of a committee has a knowledge base of its own: how many points each candidate gets there. The best
    candidate is the one with the most points over all bases. In half of the deals it comes first in no base (the profile is
    hidden), in the other half in all (it is manifest); one base alone does not tell which. Members look entries up, one at
    a time and at a price; then they talk; then each names a candidate. All get the fraction of members that are right, and
    each pays for its own look-ups.

    After Stasser & Titus 1985, "Pooling of unshared information in group decision making". There some facts were known to
    all; here all are unshared.

    Bases hold 0 to `points` for each of `candidates`; members look up at most `lookups` (None: all) at `price`.

    Then all talk at once, `rounds` times: `length` words at most, or any text of 200 characters. A case is a profile.
    """
    metadata = Arena.metadata | {"name": "hidden_profile_v0", "is_parallelizable": True}
    tags = ("cooperative", "communication", "memory", "tool")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"candidates": (3, 4), "points": (3, 5), "rounds": (0, 3)}

    def __init__(
        self,
        members: int = 2,
        candidates: int = 3,
        points: int = 4,
        lookups: int | None = None,
        price: float = 0.0,
        rounds: int = 1,
        length: int | None = None,
    ) -> None:
        self.names = CANDIDATES[:candidates]
        self.lookups = candidates if lookups is None else lookups
        length = candidates if length is None else length
        if members not in (2, 3) or not 3 <= candidates <= len(CANDIDATES) or points < 1:
            raise ArenaError(
                f"hidden_profile needs 2 or 3 members, 3 to {len(CANDIDATES)} candidates and points >= 1, "
                f"not {members=}, {candidates=}, {points=}"
            )
        if not 0 <= self.lookups <= candidates or not 0 <= price <= 1 or rounds < 0 or length < 1:
            raise ArenaError(
                f"hidden_profile needs 0 to {candidates} lookups (None: all), a price from 0 to 1, rounds >= 0 and "
                f"length >= 1, not {lookups=}, {price=}, {rounds=}, {length=}"
            )
        bases = candidates * sum(most ** (candidates - 1) for most in range(1, points + 1))
        if bases**members > MAX_TABLES:
            raise ArenaError(
                f"hidden_profile lists all tables, at most {MAX_TABLES}; {members=}, {candidates=}, {points=} make "
                f"{bases**members}"
            )
        self.members, self.points, self.price, self.rounds = members, points, price, rounds
        self.tables = profiles(members, candidates, points)
        self.cases = len(self.tables)
        if not self.cases:
            raise ArenaError(f"no hidden profile has {members=}, {candidates=}, {points=}: give more points")
        numbers = tuple(map(str, range(points + 1)))
        talk = say((*numbers, *self.names), length, least=0, free=200)
        specs = (fill((LOOKUP,), (NOTHING, *self.names)), talk, choose(self.names))
        message_words = rounds * (members - 1) * (length + 2)
        super().__init__(
            dict.fromkeys(symbols("member_", members), specs),
            words=("left", TALK, NAME, "best"),
            view_words=message_words + max(8, 2 + members * candidates),
        )

    @override
    def lay(self, case: int) -> None:
        self.bases: list[list[int]] = self.tables[case].tolist()
        self.stage = 0
        self.asked: Mapping[str, str] = {}

    @override
    def acting(self) -> tuple[str, ...]:
        return tuple(self.possible_agents)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][(self.stage >= self.lookups) + (self.stage >= self.lookups + self.rounds)]

    @override
    def view(self, agent: str) -> str:
        # The entry just looked up, then the look-ups left, or that it is time to talk or name.
        entry = self.asked.get(agent, NOTHING)
        base = self.bases[self.possible_agents.index(agent)]
        shown = [] if entry == NOTHING else [entry, str(base[self.names.index(entry)])]
        if self.stage < self.lookups:
            return " ".join([*shown, "left", str(self.lookups - self.stage)])
        return " ".join([*shown, TALK if self.stage < self.lookups + self.rounds else NAME])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        step, self.stage = self.stage, self.stage + 1
        if step < self.lookups:
            self.asked = {agent: entry for agent, (_, entry) in replies.items()}
            return Outcome({agent: -self.price for agent, entry in self.asked.items() if entry != NOTHING})
        self.asked = {}
        if step < self.lookups + self.rounds:
            return Outcome()
        right = [name == self.names[self._best()] for (name,) in replies.values()]
        return Outcome(dict.fromkeys(self.possible_agents, sum(right) / self.members), done=True)

    def _best(self) -> int:
        return int(np.sum(self.bases, 0).argmax())

    @override
    def hidden(self) -> str:
        return " ".join(["best", self.names[self._best()], *(str(p) for base in self.bases for p in base)])

    @override
    def anchors(self) -> Anchors:
        # Random and silent (`alone`) are exact, and full = 1 is reached if look-ups and talk cover whole bases free.
        # A price, fewer look-ups than candidates, or less talk than a word per candidate makes full a bound.
        size = len(self.names)
        random = 1 / size - self.price * self.lookups * size / (size + 1)
        return Anchors(random, self._alone()[1], full=1.0)

    def _alone(self) -> tuple[dict[Known, tuple[int, int]], float]:
        return alone(self.members, len(self.names), self.points, self.lookups, self.price)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # All look up all they may, say their points in the order of the candidates, and name the largest sum.
        names, plan = self.names, self._alone()[0]
        length = len(self.replies[self.possible_agents[0]][1].steps)

        def silent(memory: Memory) -> Words:
            entry, likeliest = plan[looked_up(memory, names)]
            if memory.spec.kind == "say":
                return ()
            if memory.spec.steps[0] == names:
                return (names[likeliest],)
            return (LOOKUP, names[entry] if entry >= 0 else NOTHING)

        def pooled(memory: Memory) -> Words:
            known = looked_up(memory, names)
            said = [words for words in memory.replied if words[:1] != (LOOKUP,)]
            if memory.spec.kind == "say":
                numbers = [str(p) for p in known if p >= 0]
                return tuple(numbers[len(said) * length : (len(said) + 1) * length])
            if memory.spec.steps[0] != names:
                return (LOOKUP, next(name for name, p in zip(names, known, strict=True) if p < 0))
            sums = [float(max(p, 0)) for p in known]
            for other in {who for who, _ in memory.heard}:
                points = [int(word) for who, words in memory.heard if who == other for word in words]
                sums = [total + p for total, p in zip(sums, points + [0] * len(sums), strict=False)]
            return (names[sums.index(max(sums))],)

        whole = self.lookups == len(names) <= self.rounds * length and not self.price
        return {"silent": silent, "full" if whole else "best": pooled}
