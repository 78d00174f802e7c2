"""World: the live objects of a scenario (arena, channels, topology, floor, tools)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import arenas
from arenas import ArenaError
from arenas.spec import UNKNOWN, ReplySpec, on
from marl.context import prompts
from marl.context.memory import Overwrite, note_spec
from marl.errors import UserError
from marl.intervention.base import Intervention
from marl.intervention.message import Close
from marl.scenario.config import Scenario
from marl.settings import check
from marl.tools.toolbox import Toolbox
from protocols import Channel, Floor, ProtocolError, Topology, channel, topics
from protocols.channel import PUBLIC, ChannelConfig
from protocols.floor import Free, Moderator


class World:
    """The live objects of a scenario. Arenas are pooled between episodes: `acquire`, then `release`.

    A `sealed` world is for replaying logs: it never calls a tool, it only repeats recorded answers. Raises ArenaError,
    or ProtocolError for a protocol that does not fit the arena's seats.
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
            what = "tools need" if scenario.tools else "a memory that its agent writes needs"
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
        """The interventions of every episode, by the setting that asks for them."""

    @property
    def channel(self) -> Channel:
        """The public channel."""
        return self.channels[PUBLIC]

    @property
    def topology(self) -> Topology:
        """Who hears whom on the public channel."""
        topology = self.channel.topology
        assert topology is not None  # every channel of a world has one
        return topology

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word that an agent may hear or reply: the arena's, and those that the protocol adds."""
        named = tuple(name for name in self.channels if name != PUBLIC)
        words = [*self.arena.vocabulary, *((PUBLIC, *named) if named else ())]
        for channel_ in self.channels.values():
            words += channel_.words
        if not isinstance(self.scenario.floor, Floor):
            words += self.scenario.floor.words
        if self.scenario.tools:
            words += (*self.box.words, *prompts.WORDS, UNKNOWN)
        if self.notes:
            words += prompts.WORDS
        for spec in self.notes.values():
            words += spec.alphabet
        return tuple(dict.fromkeys(words))

    def about(self, agent: str) -> str:
        """Return the introduction of an agent's prompt: the rules, and its tools."""
        return "\n\n".join(filter(None, [self.arena.rules, self.box.about(agent)]))

    def symbols(self, agent: str | None) -> tuple[str, ...]:
        """Return the words that listeners may hear from an agent (None: from any agent)."""
        symbols = self._symbols.get(agent)
        if symbols is None:
            words = [word for spec in self._say_specs(agent) for word in spec.symbols]
            for channel_ in self.channels.values():
                words += channel_.words
            symbols = self._symbols[agent] = tuple(dict.fromkeys(words))
        return symbols

    def free(self, agent: str | None) -> bool:
        """Return whether an agent (None: any agent) may say any text."""
        return any(spec.free for spec in self._say_specs(agent))

    def _say_specs(self, agent: str | None) -> list[ReplySpec]:
        """Return the reply specs with which an agent (None: any agent) speaks."""
        replies = self.arena.replies
        specs = chain.from_iterable(replies.values()) if agent is None else replies[agent]
        return [spec for spec in specs if spec.kind == "say"]

    def reply_spec(self, agent: str, spec: ReplySpec) -> ReplySpec:
        """Return what an agent may reply where the arena asks for `spec`.

        What the rules send in public, the agent may send on any channel of the scenario that it is a member of.
        """
        if spec.kind != "say" or spec.channels or not self.scenario.channels:
            return spec
        widened = self._specs.get((agent, spec))
        if widened is None:
            own = [name for name in self.scenario.channels if agent in self._members(name)]
            widened = on(spec.places, spec.least, (PUBLIC, *own), spec.free) if own else spec
            self._specs[agent, spec] = widened
        return widened

    def _notes(self) -> dict[str, ReplySpec]:
        """Return what each agent may write into its memory, for those that write one."""
        notes = {}
        for seat, memory in self.scenario.memory.items():
            if seat not in self.agents:
                raise ProtocolError(f"memory: no seat {seat!r}; the seats are {', '.join(self.agents)}")
            if isinstance(memory, Overwrite):
                notes[seat] = note_spec(memory, self.speakable)
        return notes

    @property
    def speakable(self) -> tuple[str, ...]:
        """The words of the arena that agents may use in tool calls and in memories."""
        return tuple(word for word in self.arena.vocabulary if word not in (*self.agents, ":", UNKNOWN))

    def or_silent(self, spec: ReplySpec) -> ReplySpec:
        """Return the spec with silence allowed."""
        if spec.least == 0:
            return spec
        silent = self._specs.get(("", spec))
        if silent is None:
            silent = self._specs["", spec] = replace(spec, least=0)
        return silent

    def _members(self, name: str) -> tuple[str, ...]:
        topology = self.channels[name].topology
        return () if topology is None else topology.seats

    def _channels(self) -> dict[str, Channel]:
        """Build the public channel, those of the arena's rules and those of the scenario; raises ProtocolError."""
        scenario, rules = self.scenario, self.arena.channels
        public = ChannelConfig(topology=scenario.topology, effects=scenario.channel)
        channels = {PUBLIC: channel.build(PUBLIC, public, self.agents)}
        for name in dict.fromkeys([*rules, *scenario.channels]):
            config = scenario.channels.get(name, ChannelConfig())
            if name == PUBLIC:
                raise ProtocolError(
                    "channel public: set its effects in scenario.channel, its graph in scenario.topology"
                )
            if name in self.agents:
                raise ProtocolError(f"channel {name}: a seat has this name, so choose another")
            if not config.members:
                config = config.model_copy(update={"members": rules.get(name, ())})
            channels[topics.name(name)] = channel.build(name, config, self.agents)
        for name in scenario.closed:
            if name not in channels:
                raise ProtocolError(f"there is no channel {name!r} to close; there are {', '.join(channels)}")
        for agent in self.agents:
            self._check_speech(agent, channels)
        return channels

    def _check_speech(self, agent: str, channels: Mapping[str, Channel]) -> None:
        """Raise ProtocolError if the arena's rules let an agent speak where the scenario does not."""
        for spec in self._say_specs(agent):
            if self.scenario.channels and (spec.pattern or spec.schema):
                raise ProtocolError(
                    f"channels: what {agent} says has a form, which leaves no room for the name of a channel: leave "
                    "scenario.channels out"
                )
            for name in spec.channels:
                topology = channels[name].topology if name in channels else None
                if topology is None or agent not in topology.seats:
                    raise ProtocolError(
                        f"channel {name}: {agent} speaks there by the arena's rules but is not a member: add it to "
                        f"scenario.channels.{name}.members"
                    )

    def acquire(self) -> arenas.Arena:
        """Return an arena that no running episode uses."""
        if self._idle:
            return self._idle.pop()
        arena = self.scenario.arena.make()
        arena.replies = self.arena.replies  # look-ups by spec are faster with one object for equal specs
        return arena

    def release(self, arena: arenas.Arena) -> None:
        """Return an arena to the pool."""
        self._idle.append(arena)


def load_world(settings: dict[str, Any], source: str, *, sealed: bool = False) -> World:
    """Build the world of a scenario from a configuration or (sealed) from a log; raises UserError."""
    try:
        return World(check(Scenario, settings, source), sealed=sealed)
    except (ArenaError, ProtocolError) as error:
        raise UserError(f"{source}: {error}") from None
