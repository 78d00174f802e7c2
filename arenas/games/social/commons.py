"""Commons dilemma: fishers share a lake, with optional talk (GovSim)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, say, symbols

COLLAPSE: Final = 5
GROWTH: Final = 2
FREE: Final = 200
TALK: Final = ("take", "each", "more", "less", "all", "yes", "no")


def regrown(left: int, full: int) -> int:
    """Return the stock a month after `left` fish remained; 0 if the lake collapsed."""
    return 0 if left < COLLAPSE else min(GROWTH * left, full)


def caught(asked: Sequence[int], stock: int) -> list[float]:
    """Return each agent's catch: its request, or its share of the stock if the requests exceed it."""
    enough = min(1.0, stock / max(sum(asked), 1))
    return [request * enough for request in asked]


@lru_cache(maxsize=1 << 16)
def plan(months: int, stock: int, full: int, step: int) -> tuple[int, int]:
    """Return the maximum total catch in some months, and the first month's part of it (the smallest)."""
    if not months or not stock:
        return 0, 0
    wholes = range(0, stock + step, step)
    totals = [
        min(requested, stock) + plan(months - 1, regrown(stock - requested, full), full, step)[0]
        for requested in wholes
    ]
    return max(totals), wholes[totals.index(max(totals))]


@lru_cache(maxsize=1 << 16)
def expected(months: int, stock: int, full: int, step: int, agents: int) -> float:
    """Return the expected total catch in some months if everyone requests a random amount."""
    if not months or not stock:
        return 0.0
    return sum(
        chance * (min(asked, stock) + expected(months - 1, regrown(stock - asked, full), full, step, agents))
        for asked, chance in asked_at_random(full // agents, step, agents).items()
    )


@lru_cache
def greed_dominates(agents: int, full: int, step: int) -> bool:
    """Say whether the maximum is the only best reply in every month if everyone takes it in the next.

    This holds for every stock and all requests of the others; where they request nothing, other amounts may be as good
    as the most, but not nothing. The fish that remain regrow, and are then shared equally.
    """
    most = full // agents
    stock = np.arange(COLLAPSE, full + 1)[:, None, None]
    others = np.arange(0, most * (agents - 1) + 1, step)[:, None]
    mine = np.arange(0, most + 1, step)
    requested = mine + others
    left = np.maximum(stock - requested, 0)
    grown = np.where(left < COLLAPSE, 0, np.minimum(GROWTH * left, full))
    worth = mine * np.minimum(1.0, stock / np.maximum(requested, 1)) + grown / agents
    ahead = worth[..., -1:] - worth[..., :-1]  # [stock, others, mine]
    return bool((ahead[:, 1:] > 1e-9).all() and (ahead[:, 0] > -1e-9).all() and (ahead[:, 0, 0] > 1e-9).all())


@lru_cache
def asked_at_random(most: int, step: int, agents: int) -> dict[int, float]:
    """Return the distribution of the sum of everyone's uniformly random requests."""
    chances = {0: 1.0}
    amounts = range(0, most + step, step)
    for _ in range(agents):
        after: dict[int, float] = {}
        for asked, chance in chances.items():
            for amount in amounts:
                after[asked + amount] = after.get(asked + amount, 0.0) + chance / len(amounts)
        chances = after
    return chances


def survival(asked: Sequence[int], full: int = 100) -> int:
    """Return GovSim's survival time: the number of months with fish, from all requests of each month."""
    stock, months = full, 0
    for total in asked:
        if not stock:
            break
        months, stock = months + 1, regrown(stock - min(total, stock), full)
    return months


def equality(returns: Sequence[float]) -> float:
    """Return 1 - Gini = 1 - sum_ij |x_i - x_j| / (2 n sum_i x_i); 1 if all have nothing (Perolat et al. 2017)."""
    total = sum(returns)
    apart = sum(abs(a - b) for a in returns for b in returns)
    return 1.0 - apart / (2 * len(returns) * total) if total else 1.0


class Commons(Arena):
    """Commons dilemma; catches are multiples of `step`, messages have at most `talk` words, 0 for no talk."""

    rules = """
    Commons: fishers share a lake, may talk, and choose at once how much to catch; what is left doubles, or collapses.

    Each month everyone may say something, if there is `talk`, then catches 0 to its fair share of a full lake (stock /
    agents). Who asks for more fish together than there are gets them in proportion. Of fewer than 5 fish left none come
    back, and the game is over; else they double, up to the full lake, and everyone is shown what each took. The last month
    is known to be the last. A catch is paid in fair shares of a full lake: 20 fish of 100 pay each of five fishers 1. (The
    fishery of GovSim, Piatti et al. 2024, whose constants are the defaults; there what is over-asked for is dealt out at
    random, catches are whole fish, `step = 1`, and the fishers talk after each month's catch.)

    So many agents and months; catches are multiples of `step`; messages have at most `talk` words, 0 for no talk.
    """
    metadata = Arena.metadata | {"name": "commons_v0", "is_parallelizable": True}
    cases = 1  # no random draws
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"months": (1, 24), "talk": (0, 3)}

    def __init__(self, agents: int = 5, stock: int = 100, months: int = 12, step: int = 5, talk: int = 0) -> None:
        if agents < 2 or not 1 <= months <= 60 or step < 1 or talk < 0:
            raise ArenaError(
                "commons needs agents >= 2, 1 to 60 months, step >= 1 and talk >= 0, "
                f"not {agents=}, {months=}, {step=}, {talk=}"
            )
        if not 2 * COLLAPSE <= stock <= 200 or stock % (agents * step):
            raise ArenaError(
                f"commons needs a stock of {2 * COLLAPSE} to 200 fish, a multiple of agents * step = {agents * step}, "
                f"not {stock=}"
            )
        self.full, self.months, self.unit, self.talk = stock, months, step, talk
        self.tags = ("mixed", "planning", *(("communication",) if talk else ()))
        self.amounts = tuple(map(str, range(0, stock // agents + step, step)))
        talks = (say((*self.amounts, *TALK), talk, 0, free=FREE),) if talk else ()
        fishers = symbols("fisher_", agents)
        numbers = map(str, range(max(stock, months) + 1))
        message_words = months * (agents - 1) * (2 + talk)
        super().__init__(
            dict.fromkeys(fishers, (*talks, choose(self.amounts))),
            ("month", "stock", "took", *numbers),
            view_words=message_words + agents + 8,
        )

    @override
    def lay(self, case: int) -> None:
        self.month, self.stock, self.talking = 1, self.full, self.talk > 0
        self.took: Words = ()

    @override
    def acting(self) -> tuple[str, ...]:
        return tuple(self.possible_agents)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][0 if self.talking else -1]

    @override
    def view(self, agent: str) -> str:
        # Everyone's catch of last month, in seat order; the month, and the number of fish.
        now = f"month {self.month} stock {self.stock}"
        if self.talk and not self.talking:
            return now
        return " ".join([*(("took", *self.took) if self.took else ()), now])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if self.talking:
            self.talking = False
            return Outcome()
        self.took = tuple(replies[agent][0] for agent in self.possible_agents)
        requests = [int(amount) for amount in self.took]
        fair = self.full / len(requests)
        paid = [catch / fair for catch in caught(requests, self.stock)]
        self.stock = regrown(self.stock - min(sum(requests), self.stock), self.full)
        self.month += 1
        self.talking = self.talk > 0
        over = not self.stock or self.month > self.months
        return Outcome(dict(zip(self.possible_agents, paid, strict=True)), done=over)

    @override
    def hidden(self) -> str:
        # Nothing is hidden: the number of fish lets the critic see it at once.
        return f"stock {self.stock}"

    @override
    def anchors(self) -> Anchors:
        # Random play and the optimum by dynamic programming over the stock; silent = full, and greed for equilibrium.
        # Catches can be settled in training, without a message. Where `greed_dominates`, rational play ends at once: by
        # backward induction everyone takes the most, as nobody leaves anything later. Then each gets its fair share of
        # the first month, and that is the only (subgame perfect) equilibrium.
        agents = len(self.possible_agents)
        full = plan(self.months, self.full, self.full, self.unit)[0] / self.full
        random = expected(self.months, self.full, self.full, self.unit, agents) / self.full
        greed = 1.0 if self.months == 1 or greed_dominates(agents, self.full, self.unit) else None
        return Anchors(random, full, full, greed, None if greed is None else (greed,) * agents)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Everyone takes its share of the best plan, silently; or everyone takes the most.
        scripts: dict[str, Script] = {"silent": self._planned, "full": self._planned}
        return scripts | ({} if self.anchors().equilibrium is None else {"equilibrium": self._greedy})

    def _planned(self, memory: Memory) -> Words:
        if memory.spec.kind == "say":
            return ()
        month, stock = int(memory.view[-3]), int(memory.view[-1])
        units = plan(self.months + 1 - month, stock, self.full, self.unit)[1] // self.unit
        share, rest = divmod(units, len(self.possible_agents))
        return (str(self.unit * (share + (self.possible_agents.index(memory.agent) < rest))),)

    def _greedy(self, memory: Memory) -> Words:
        return () if memory.spec.kind == "say" else (self.amounts[-1],)
