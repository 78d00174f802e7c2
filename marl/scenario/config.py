"""A scenario: an arena, and the protocol under which its agents talk. As configuration, and as live objects."""

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
    """How long an agent thinks, in seconds of the episode's clock: the reply takes effect that much later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    constant: float = Field(default=0.0, ge=0)
    per_token: float = Field(default=0.0, ge=0)
    jitter: float = Field(default=0.0, ge=0, description="up to this much more, drawn for each reply")

    @property
    def none(self) -> bool:
        """Whether thinking takes no time."""
        return not (self.constant or self.per_token or self.jitter)

    def seconds(self, tokens: int, draw: float) -> float:
        """Return the time for a reply of so many tokens; `draw` is uniform in [0, 1)."""
        return self.constant + self.per_token * tokens + self.jitter * draw


class Scenario(Settings):
    """Everything about an episode except who plays."""

    later = frozenset({"channels", "closed", "interventions", "memory", "tools", "think_price"})

    arena: ArenaConfig
    topology: TopologyConfig = Named()
    channel: tuple[EffectConfig, ...] = ()
    """What happens to messages on the public channel."""
    channels: dict[str, ChannelConfig] = Field(default_factory=dict)
    """Channels beside the public one. Their members choose, with the first word of a message, where to say it."""
    closed: tuple[str, ...] = ()
    """Channels on which everything is lost: the control run without communication."""
    interventions: tuple[InterventionConfig, ...] = ()
    """What listeners hear that was not said."""
    tools: dict[str, ToolConfig] = Field(default_factory=dict)
    """Members of the bus that agents may call before they reply."""
    memory: dict[str, MemoryConfig] = Field(default_factory=dict)
    """Seat -> what it keeps of its view; everything unless it is named here."""
    floor: FloorConfig = Floor.SIMULTANEOUS
    latency: Latency = Latency()
    think_price: float = Field(default=0.0, ge=0, description="what an agent pays for each token of private thought")
    deadline: float | None = Field(default=None, gt=0, description="seconds an agent has for a reply")

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The scenario as JSON values, as it stands in every log: defaults included, as they may change some day."""
        return self.model_dump(mode="json")
