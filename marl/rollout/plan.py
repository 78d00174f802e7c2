"""Plan of an episode: who sits where, its seed, and its interventions."""

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
    """One episode to be played: what its log's header will say, and who sits where.

    `deal` may name a `case` and a `split` of the arena, and in `like` another episode: it is dealt as that one.
    `answers` of tools stand in the log already: to the call that is entry number so and so.
    """

    episode: str
    seats: Seats
    seed: int
    deal: dict[str, Any] = field(default_factory=dict)
    greedy: bool = False
    do: Sequence[Intervention] = ()
    salt: int = 0
    answers: Mapping[int, str] = field(default_factory=dict)


def header(world: World, plan: Plan) -> Log:
    """Return the log of a planned episode before anything has happened."""
    return Log(
        plan.episode,
        plan.seed,
        world.scenario.wire,
        {seat: policy.name for seat, policy in plan.seats.items()},
        plan.deal,
        plan.greedy,
        [intervention.model_dump(mode="json") for intervention in plan.do],
    )
