"""Configuration of a scenario: an arena, and the protocol under which its agents talk."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import arenas
from marl.context.memory import MemoryConfig
from marl.intervention.config import InterventionConfig
from marl.tools import ToolConfig
from protocols import Floor
from protocols.channel import ChannelConfig
from protocols.effects import EffectConfig
from protocols.floor import FloorConfig
from protocols.settings import Settings
from protocols.topology import Named, TopologyConfig


class ArenaConfig(BaseModel):
    """The name of an arena; every other key is one of its parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    def make(self) -> arenas.Arena:
        """Build the arena; raises ArenaError."""
        return arenas.make(self.name, **(self.model_extra or {}))


class Latency(BaseModel):
    """Thinking time of an agent in seconds of the episode's clock; its reply takes effect that much later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    constant: float = Field(default=0.0, ge=0)
    per_token: float = Field(default=0.0, ge=0)
    jitter: float = Field(default=0.0, ge=0, description="up to this much more, drawn for each reply")

    @property
    def none(self) -> bool:
        """Whether replies take effect at once."""
        return not (self.constant or self.per_token or self.jitter)

    def seconds(self, tokens: int, draw: float) -> float:
        """Return the thinking time for a reply of `tokens` tokens; `draw` is uniform in [0, 1)."""
        return self.constant + self.per_token * tokens + self.jitter * draw


class Scenario(Settings):
    """Everything about an episode except which policies play."""

    later = frozenset({"channels", "closed", "interventions", "memory", "tools", "think_price"})

    arena: ArenaConfig
    topology: TopologyConfig = Named()
    channel: tuple[EffectConfig, ...] = ()
    """The effects of the public channel, in order."""
    channels: dict[str, ChannelConfig] = Field(default_factory=dict)
    """Channels beside the public one. The first word of a member's message names the channel."""
    closed: tuple[str, ...] = ()
    """Channels on which every message is lost: the control run without communication."""
    interventions: tuple[InterventionConfig, ...] = ()
    """Changes of what listeners hear, in every episode."""
    tools: dict[str, ToolConfig] = Field(default_factory=dict)
    """Tools that agents may call before they reply."""
    memory: dict[str, MemoryConfig] = Field(default_factory=dict)
    """Seat -> which part of its view it remembers; everything unless it is named here."""
    floor: FloorConfig = Floor.SIMULTANEOUS
    latency: Latency = Latency()
    think_price: float = Field(default=0.0, ge=0, description="what an agent pays for each token of private thought")
    deadline: float | None = Field(default=None, gt=0, description="seconds an agent has for a reply")

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The scenario as JSON values for logs: defaults included, because a later version may change them."""
        return self.model_dump(mode="json")
