"""Plan of an episode: its seats, seed, deal and interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from marl.intervention.base import Intervention
from marl.policy.base import Seats
from marl.scenario.world import World
from protocols.log import Log


@dataclass(frozen=True, slots=True)
class Plan:
    """One episode to be played: the header of its log, and the policies."""

    episode: str
    seats: Seats
    seed: int
    deal: dict[str, Any] = field(default_factory=dict)
    """May name a `case` and a `split` of the arena, and in `like` another episode, whose deal it repeats."""
    greedy: bool = False
    do: Sequence[Intervention] = ()
    salt: int = 0
    """Tells apart the draws of forks that share their past."""
    answers: Mapping[int, str] = field(default_factory=dict)
    """Index of a call in the log -> answer of the tool, which is then not run again."""


def header(world: World, plan: Plan) -> Log:
    """Return the log of a planned episode: its header, and no entries."""
    return Log(
        plan.episode,
        plan.seed,
        world.scenario.wire,
        {seat: policy.name for seat, policy in plan.seats.items()},
        plan.deal,
        plan.greedy,
        [intervention.model_dump(mode="json") for intervention in plan.do],
    )
