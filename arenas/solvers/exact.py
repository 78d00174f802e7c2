"""Exact expected returns of scripts over all deals and all draws, without sampling.

It needs an arena whose deals are counted (`cases`), that draws nothing besides, and whose replies can be listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from arenas.errors import ArenaError
from arenas.scripted import Script, Seen, chances
from arenas.solvers.play import ask, perceive
from arenas.spec import Words

if TYPE_CHECKING:
    from arenas.core import Arena


def deals(arena: Arena, split: str = "train") -> Sequence[int]:
    """Return a split's deals by number; raises ArenaError if they are not counted or do not determine the deal."""
    cases = arena.splits().get(split)
    if not cases:
        raise ArenaError(f"{arena.name} cannot number its deals, so there is no exact average: sample it")
    arena.begin(0, case=cases[0])
    state = arena._rng.bit_generator.state
    arena.begin(case=cases[0])
    if state != arena._rng.bit_generator.state:
        raise ArenaError(f"{arena.name} draws beside its numbered deals, so there is no exact average: sample it")
    return cases


def expected_returns(arena: Arena, scripts: Mapping[str, Script], split: str = "train") -> dict[str, float]:
    """Compute each seat's expected return over all deals of a split and all replies of the scripts."""
    total = dict.fromkeys(arena.possible_agents, 0.0)
    numbers = deals(arena, split)
    for case in numbers:
        arena.begin(0, case=case)
        _follow(arena, scripts, dict.fromkeys(arena.possible_agents, ()), 1 / len(numbers), total)
    return total


def _follow(
    arena: Arena, scripts: Mapping[str, Script], seen: Mapping[str, Seen], chance: float, total: dict[str, float]
) -> None:
    """Add the expected rewards from here on to `total`."""
    acting = ask(arena, seen)
    joint: list[tuple[dict[str, Words], float]] = [({}, chance)]
    for agent, memory in acting.items():
        probabilities = chances(scripts[agent], memory)
        joint = [(replies | {agent: words}, p * q) for replies, p in joint for words, q in probabilities.items() if q]
    memories = dict(seen) | {agent: memory.seen for agent, memory in acting.items()}
    specs = {agent: memory.spec for agent, memory in acting.items()}
    for replies, p in joint:
        after = arena.copy()
        outcome = after.advance(replies)
        for agent, reward in outcome.rewards.items():
            total[agent] += p * reward
        if not outcome.done:
            _follow(after, scripts, perceive(arena, memories, replies, specs), p, total)
