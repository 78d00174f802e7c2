"""World: the live objects of a scenario (arena, channels, topology, floor, tools)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
        aside = (*self.box.words, *prompts.WORDS, UNKNOWN) if self.scenario.tools else ()
        if self.notes:
            aside = (*aside, *prompts.WORDS, *(word for spec in self.notes.values() for word in spec.alphabet))
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


def load_world(settings: dict[str, Any], source: str, *, sealed: bool = False) -> World:
    """Bring a scenario to life, from a configuration or (sealed) from a log; raises UserError."""
    try:
        return World(check(Scenario, settings, source), sealed=sealed)
    except (ArenaError, ProtocolError) as error:
        raise UserError(f"{source}: {error}") from None
