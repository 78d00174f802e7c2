"""A scenario: an arena, and the protocol under which its agents talk. As configuration, and as live objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import arenas
from arenas.spec import UNKNOWN, ReplySpec, on
from marl import asides
from marl.intervention import Close, Intervention, InterventionConfig
from marl.memory import MemoryConfig, Overwrite, note_spec
from marl.tools import ToolConfig
from marl.tools.box import Toolbox
from protocols import Channel, Floor, ProtocolError, Topology, channel, topics
from protocols.channel import PUBLIC, ChannelConfig
from protocols.effects import EffectConfig
from protocols.floor import FloorConfig, Free, Moderator
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


class World:
    """A scenario come to life. Arenas are reused between episodes: `borrow` one, and `give_back`.

    A `sealed` one is for logs: it calls no tool, whatever a log says, and has only the answers that were recorded.
    Raises ArenaError, or ProtocolError for a protocol that does not fit the arena's seats.
    """

    def __init__(self, scenario: Scenario, *, sealed: bool = False) -> None:
        self.scenario = scenario
        self.arena = scenario.arena.make()
        self.agents = tuple(self.arena.possible_agents)
        self.channels = self._channels()
        floor = scenario.floor
        if isinstance(floor, Moderator) and floor.seat and floor.seat not in self.agents:
            raise ProtocolError(f"floor: no seat {floor.seat!r}; the seats are {', '.join(self.agents)}")
        self.box = Toolbox(scenario.tools, self.agents, self.speakable, sealed=sealed)
        self.notes = self._notes()
        if (scenario.tools or self.notes) and isinstance(floor, Free):
            what = "tools need" if scenario.tools else "a memory that is written needs"
            raise ProtocolError(f'{what} a floor on which agents are asked in turn: use floor = "rounds"')
        self.anchors = self.arena.anchors()
        self._idle: list[arenas.Arena] = []
        self._specs: dict[tuple[str, ReplySpec], ReplySpec] = {}
        self._symbols: dict[str | None, tuple[str, ...]] = {}
        for intervention in scenario.interventions:
            intervention.check(self)
        self.standing: Mapping[str, Sequence[Intervention]] = {
            "closed": [Close(channel=name) for name in scenario.closed],
            "scenario": scenario.interventions,
        }
        """What is changed in every episode, by where it is said."""

    @property
    def channel(self) -> Channel:
        """The public channel."""
        return self.channels[PUBLIC]

    @property
    def topology(self) -> Topology:
        """Who hears whom on the public channel."""
        over = self.channel.topology
        assert over is not None  # every channel of a world has one
        return over

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the arena, and those that the protocol adds: what an agent may hear or reply."""
        named = tuple(name for name in self.channels if name != PUBLIC)
        added = [*((PUBLIC, *named) if named else ()), *(word for c in self.channels.values() for word in c.words)]
        asked = () if isinstance(self.scenario.floor, Floor) else self.scenario.floor.words
        aside = (*self.box.words, *asides.WORDS, UNKNOWN) if self.scenario.tools else ()
        if self.notes:
            aside = (*aside, *asides.WORDS, *(word for spec in self.notes.values() for word in spec.alphabet))
        return tuple(dict.fromkeys([*self.arena.vocabulary, *added, *asked, *aside]))

    def about(self, agent: str) -> str:
        """Tell an agent in words what it should know before anything else: the rules, and its tools."""
        return "\n\n".join(filter(None, [self.arena.rules, self.box.about(agent)]))

    def symbols(self, agent: str | None) -> tuple[str, ...]:
        """Return the words of which messages of an agent (None: of any) can consist when they are heard."""
        known = self._symbols.get(agent)
        if known is None:
            replies = self.arena.replies
            specs = [spec for seat in (replies if agent is None else (agent,)) for spec in replies[seat]]
            said = [word for spec in specs if spec.kind == "say" for word in spec.symbols]
            added = [word for channel in self.channels.values() for word in channel.words]
            known = self._symbols[agent] = tuple(dict.fromkeys([*said, *added]))
        return known

    def free(self, agent: str | None) -> bool:
        """Say whether an agent (None: anyone) may say any text."""
        replies = self.arena.replies
        return any(
            spec.free and spec.kind == "say"
            for seat in (replies if agent is None else (agent,))
            for spec in replies[seat]
        )

    def reply_spec(self, agent: str, spec: ReplySpec) -> ReplySpec:
        """Return what an agent may reply where the arena asks for `spec`.

        What the arena would have said in public may go out on any channel of the scenario that the agent is in.
        """
        if spec.kind != "say" or spec.channels or not self.scenario.channels:
            return spec
        known = self._specs.get((agent, spec))
        if known is None:
            mine = [name for name in self.scenario.channels if agent in self._members(name)]
            known = on(spec.places, spec.least, (PUBLIC, *mine), spec.free) if mine else spec
            self._specs[agent, spec] = known
        return known

    def _notes(self) -> dict[str, ReplySpec]:
        """Return for each seat that writes its memory what it may write."""
        notes = {}
        for seat, memory in self.scenario.memory.items():
            if seat not in self.agents:
                raise ProtocolError(f"memory: no seat {seat!r}; the seats are {', '.join(self.agents)}")
            if isinstance(memory, Overwrite):
                notes[seat] = note_spec(memory, self.speakable)
        return notes

    @property
    def speakable(self) -> tuple[str, ...]:
        """The words of the arena that can be said aside: to tools, and into a memory."""
        return tuple(word for word in self.arena.vocabulary if word not in (*self.agents, ":", UNKNOWN))

    def or_silent(self, spec: ReplySpec) -> ReplySpec:
        """Return a spec that allows silence too."""
        if spec.least == 0:
            return spec
        known = self._specs.get(("", spec))
        if known is None:
            known = self._specs["", spec] = replace(spec, least=0)
        return known

    def _members(self, name: str) -> tuple[str, ...]:
        over = self.channels[name].topology
        return () if over is None else over.seats

    def _channels(self) -> dict[str, Channel]:
        """Lay out the public channel, those of the arena's rules and those of the scenario."""
        scenario, rules = self.scenario, self.arena.channels
        public = ChannelConfig(topology=scenario.topology, effects=scenario.channel)
        channels = {PUBLIC: channel.build(PUBLIC, public, self.agents)}
        for name in dict.fromkeys([*rules, *scenario.channels]):
            config = scenario.channels.get(name, ChannelConfig())
            if name == PUBLIC:
                raise ProtocolError("channel public: its effects stand in scenario.channel, its graph in topology")
            if name in self.agents:
                raise ProtocolError(f"channel {name}: a seat has this name, so choose another")
            config = config if config.members else config.model_copy(update={"members": rules.get(name, ())})
            channels[topics.name(name)] = channel.build(name, config, self.agents)
        for name in scenario.closed:
            if name not in channels:
                raise ProtocolError(f"there is no channel {name!r} to close; there are {', '.join(channels)}")
        for agent, specs in self.arena.replies.items():
            if scenario.channels and any(spec.kind == "say" and (spec.pattern or spec.schema) for spec in specs):
                raise ProtocolError(
                    f"channels: what {agent} says has a form, which leaves no room for the name of a channel: leave "
                    "scenario.channels out"
                )
            for name in dict.fromkeys(name for spec in specs for name in spec.channels if name != PUBLIC):
                over = channels[name].topology if name in channels else None
                if over is None or agent not in over.seats:
                    raise ProtocolError(f"channel {name}: {agent} speaks there by the arena's rules but is no member")
        return channels

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
