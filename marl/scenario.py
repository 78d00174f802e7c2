"""A scenario: an arena, and the protocol under which its agents talk. As configuration, and as live objects."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import arenas
from protocols import Channel, Floor, Topology, topology
from protocols.channel import EffectConfig
from protocols.topology import Named, TopologyConfig


class ArenaConfig(BaseModel):
    """The name of an arena; every other key is one of its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    def make(self) -> arenas.Arena:
        """Build the arena; raises ArenaError."""
        return arenas.make(self.name, **(self.model_extra or {}))


class Latency(BaseModel):
    """How long an agent thinks, in seconds of the episode's clock: the reply takes effect that much later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    constant: float = Field(default=0.0, ge=0)
    per_token: float = Field(default=0.0, ge=0)
    jitter: float = Field(default=0.0, ge=0, description="up to this much more, drawn for each reply")

    def seconds(self, tokens: int, draw: float) -> float:
        """Return the time for a reply of so many tokens; `draw` is uniform in [0, 1)."""
        return self.constant + self.per_token * tokens + self.jitter * draw


class Scenario(BaseModel):
    """Everything about an episode except who plays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arena: ArenaConfig
    topology: TopologyConfig = Named()
    channel: tuple[EffectConfig, ...] = ()
    floor: Floor = Floor.SIMULTANEOUS
    latency: Latency = Latency()
    deadline: float | None = Field(default=None, gt=0, description="seconds an agent has for a reply")

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The scenario as JSON values, as it stands in every log: defaults included, as they may change some day."""
        return self.model_dump(mode="json")


class World:
    """A scenario come to life. Arenas are reused between episodes: `borrow` one, and `give_back`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.arena = scenario.arena.make()
        self.agents = tuple(self.arena.possible_agents)
        self.topology: Topology = topology.build(scenario.topology, self.agents)
        self.channel = Channel(scenario.channel)
        self.anchors = self.arena.anchors()
        self._idle: list[arenas.Arena] = []

    def borrow(self) -> arenas.Arena:
        """Return an arena that nobody else is using."""
        if self._idle:
            return self._idle.pop()
        made = self.scenario.arena.make()
        made.replies = self.arena.replies  # equal specs as one object, which look-ups by spec find at once
        return made

    def give_back(self, arena: arenas.Arena) -> None:
        """Take an arena back."""
        self._idle.append(arena)
