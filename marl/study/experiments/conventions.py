"""Conventions in the naming game: dynamics of a population, and tipping by committed minorities.

Agents are scripted, and play the arena `naming` over the real bus. A learner picks the name it met most often among the
last ones its partners picked, of equally frequent ones the latest; without memories it draws one. Committed agents
always pick their own. (Baronchelli et al. 2006; Centola et al. 2018; Ashery, Aiello & Baronchelli 2025.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from arenas.spec import ReplySpec
from marl.errors import UserError
from marl.metrics.measure import Frozen, Interval, Measure, measured, undefined
from marl.policy.base import Policy
from marl.policy.scripted import Scripted
from marl.rollout.collect import collect
from marl.rollout.plan import Plan
from marl.scenario.config import Scenario
from marl.scenario.world import World
from protocols.draws import below, key
from protocols.envelope import Envelope, Kind
from protocols.log import Log

AGREED: Final = 0.95
REPLICATIONS: Final = 2_000


class Dynamics(Frozen):
    """Dynamics of a population in one episode."""

    committed: int
    """How many agents never gave way."""
    agreement: list[float]
    """Share of meetings in which both picked the same name, window by window."""
    holding: list[float]
    """Share of the learners' picks that were the committed agents' name, window by window."""
    window: int
    """Meetings in a window."""
    consensus: int | None
    """After how many meetings 95 % of a window first agreed; None if that never came."""


class Tipping(Frozen):
    """Outcome of tipping experiments with minorities of several sizes."""

    agents: int
    share: list[float]
    """Committed agents as a share of all."""
    flipped: list[float]
    """Share of the episodes in which most learners ended with the committed agents' name."""
    holding: list[float]
    """The learners' share of picks of that name in the last window, mean over episodes."""
    critical: Measure
    """The smallest share tried from which on at least half of the episodes flipped."""


def learner(seat: str, seed: int, memory: int, convention: str = "") -> Policy:
    """Return an agent that follows its last `memory` meetings; with `convention`, all of them used that name."""

    def pick(heard: Sequence[Envelope], spec: ReplySpec) -> str:
        names = [convention] * memory if convention else []
        for envelope in heard:
            words = envelope.body.split() if envelope.kind is Kind.VIEW else []
            if len(words) == 4:  # you NAME they NAME
                names.append(words[3])
        names = names[-memory:]
        if not names:
            return spec.words(below(spec.size, key(seed, "first name", seat)))[0]
        counts = Counter(names)
        return max(reversed(names), key=counts.__getitem__)

    return Scripted(pick, "learner")


def committed(name: str) -> Policy:
    """Return an agent that always picks a name."""
    return Scripted(lambda heard, spec: name, "committed")


def population(
    *,
    agents: int = 24,
    names: int = 2,
    graph: str = "complete",
    minority: int = 0,
    memory: int = 6,
    meetings: int = 60,
    settled: bool = True,
    seeds: Sequence[int] = (1, 2, 3),
) -> list[Dynamics]:
    """Play naming games, one episode for each seed.

    Args:
        agents: how many, on the `graph` of the arena: complete, ring or chain.
        names: how many there are to choose from.
        graph: who meets whom.
        minority: so many agents, spread evenly over the seats, are committed to the last name.
        memory: meetings that a learner remembers.
        meetings: of each agent, on average.
        settled: whether learners begin with the convention of the first name; else they begin without any.
        seeds: of who meets, and of first picks.

    Raises ArenaError for a population the arena does not play, and UserError for a minority or memory that cannot be.
    """
    if not 0 <= minority <= agents or memory < 1 or meetings < 1:
        raise UserError(
            f"a minority is 0 to {agents} agents, memory and meetings are at least 1, not {minority=}, {memory=} "
            f"and {meetings=}"
        )
    rounds = max(agents * meetings // 2, 1)
    scene: dict[str, Any] = {"name": "naming", "agents": agents, "names": names, "graph": graph, "rounds": rounds}
    world = World(Scenario.model_validate({"arena": scene}))
    old, new = (world.arena.replies["agent_0"][0].words(i)[0] for i in (0, names - 1))
    firm = {world.agents[i * agents // minority] for i in range(minority)}
    plans = []
    for seed in seeds:
        seats: Mapping[str, Policy] = {
            seat: committed(new) if seat in firm else learner(seat, seed, memory, old if settled else "")
            for seat in world.agents
        }
        plans.append(Plan(f"population-{seed}", seats, seed))
    return [dynamics(episode.log, new, agents) for episode in collect(world, plans)]


def dynamics(log: Log, name: str, window: int) -> Dynamics:
    """Return the dynamics of a population from the log of a naming game, `window` meetings at a time."""
    picks = [(envelope.sender, envelope.body) for envelope in log.replies()]
    meetings = list(zip(picks[::2], picks[1::2], strict=True))
    agreement, holding = [], []
    for first in range(0, len(meetings) - window + 1, window):
        part = meetings[first : first + window]
        agreement.append(float(np.mean([a == b for (_, a), (_, b) in part])))
        free = [body == name for pair in part for who, body in pair if log.seats[who] != "committed"]
        holding.append(float(np.mean(free)) if free else 0.0)
    reached = next((i for i, share in enumerate(agreement) if share >= AGREED), None)
    return Dynamics(
        committed=sum(policy == "committed" for policy in log.seats.values()),
        agreement=agreement,
        holding=holding,
        window=window,
        consensus=None if reached is None else (reached + 1) * window,
    )


def tipping(
    minorities: Sequence[int], *, agents: int = 24, seeds: Sequence[int] = range(1, 11), **more: Any
) -> Tipping:
    """Find the size at which a committed minority overturns a convention; `more` is passed to `population`."""
    flips: list[list[bool]] = []
    holding: list[float] = []
    sizes = sorted(set(minorities))
    for minority in sizes:
        played = population(agents=agents, minority=minority, seeds=seeds, **more)
        ends = [trial.holding[-1] if trial.holding else 0.0 for trial in played]
        flips.append([end > 0.5 for end in ends])
        holding.append(float(np.mean(ends)))
    return Tipping(
        agents=agents,
        share=[minority / agents for minority in sizes],
        flipped=[float(np.mean(flip)) for flip in flips],
        holding=holding,
        critical=_critical(sizes, np.array(flips), agents),
    )


def _critical(sizes: Sequence[int], flips: Any, agents: int) -> Measure:
    """Return the smallest share from which on at least half of the episodes flip, with its bootstrap interval."""
    name, n = "critical mass", flips.size
    smallest = _smallest(flips)
    if smallest is None:
        why = f"not even {max(sizes, default=0)} of {agents} agents overturn the convention"
        return undefined(name, why, unit="share", n=n)
    rng = np.random.default_rng(key(0, "bootstrap", name))
    drawn = []
    for _ in range(REPLICATIONS):
        again = _smallest(np.array([rng.choice(row, len(row)) for row in flips]))
        drawn.append(sizes[again] / agents if again is not None else 1.0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    interval = Interval(low=float(low), high=float(high), of=f"bootstrap over {flips.shape[1]} episodes of each size")
    return measured(name, sizes[smallest] / agents, unit="share", n=n, interval=interval)


def _smallest(flips: Any) -> int | None:
    """Return the first row from which on all rows have a mean of at least a half."""
    often = flips.mean(1) >= 0.5
    last = [i for i, most in enumerate(often) if not most]
    first = last[-1] + 1 if last else 0
    return first if first < len(often) else None
