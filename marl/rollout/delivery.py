"""Message delivery: on which channel a message is sent, what it costs, who receives which words of it, and when.

It knows nothing of the arena: words come in, envelopes go out to the listeners, in the order in which they are due.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from arenas.spec import ReplySpec, Words
from marl.intervention.base import Intervention, MessageEvent, OnMessages
from marl.intervention.inject import Inject
from marl.scenario.world import World
from protocols.bus import MemoryBus
from protocols.channel import PUBLIC, Channel
from protocols.draws import key
from protocols.effects.message import Message, Sent, Usage
from protocols.envelope import EVERYONE, Envelope
from protocols.log import Heard, Log


class Outgoing(NamedTuple):
    """A message as it leaves its sender: the words said, and what the channel made of them."""

    channel: Channel
    words: Words
    sent: Message
    seed: int
    stage: int

    @property
    def to(self) -> str:
        """Addressee of its envelope: everyone, or the name of a channel other than the public one."""
        return EVERYONE if self.channel.name == PUBLIC else self.channel.name


class MessageDelivery:
    """The messages of one episode.

    They pass the interventions of the scenario, then those of the episode (`do`).
    """

    def __init__(
        self, world: World, bus: MemoryBus, topics: Mapping[str, str], log: Log, do: Sequence[Intervention] = ()
    ) -> None:
        self.sent = dict.fromkeys(topics, 0)
        """Agent -> number of envelopes it was sent."""
        self.prices = dict.fromkeys(topics, 0.0)
        """Agent -> price of its messages that is not charged to its reward yet."""
        self.injections: list[Inject] = []
        """Injections not delivered yet."""
        self.in_transit: list[tuple[float, int, int, str, Envelope]] = []
        """Heap of messages on their way: (time, seq, copy, listener, as received)."""
        self._world = world
        self._bus = bus
        self._topics = topics
        self._log = log
        self._interventions: list[tuple[OnMessages, int]] = []
        self._messages: dict[tuple[str, str], int] = {}
        """(channel, sender) -> number of messages."""
        self._used: dict[tuple[str, str], tuple[int, Usage, Usage]] = {}
        """(channel, sender) -> last stage, usage in that stage, usage in the episode."""
        for owner, interventions in (*world.standing.items(), ("do", do)):
            for index, intervention in enumerate(interventions):
                if isinstance(intervention, OnMessages):
                    seed = key(log.seed, log.episode, "intervention", owner, index)
                    self._interventions.append((intervention, seed))
                elif isinstance(intervention, Inject):
                    self.injections.append(intervention)

    @property
    def next_due(self) -> float | None:
        """When the next message in transit is due, in seconds of the episode; None if there is none."""
        return self.in_transit[0][0] if self.in_transit else None

    def send_to(self, agent: str, envelope: Envelope) -> None:
        """Put an envelope into an agent's inbox."""
        self.sent[agent] += 1
        self._bus.deliver(self._topics[agent], envelope)

    def deliver(self, now: float) -> None:
        """Put every message that is due into the inbox of its listener."""
        while self.in_transit and self.in_transit[0][0] <= now + 1e-9:
            _, _, _, listener, received = heappop(self.in_transit)
            self.send_to(listener, received)

    def charge(self, agent: str, spec: ReplySpec, words: Words, seq: int, time: float, stage: int) -> Outgoing:
        """Put words on their channel as entry `seq` of the log, and charge their sender."""
        name, symbols = spec.route(words)
        channel = self._world.channels[name]
        if not channel.effects:
            return Outgoing(channel, symbols, Message(symbols, spec.symbols), 0, stage)
        seed = key(self._log.seed, self._log.episode, "channel", seq)
        last, in_stage, in_episode = self._used.get((name, agent), (stage, Usage(), Usage()))
        if last != stage:
            in_stage = Usage()
        message = channel.send(symbols, spec.symbols, seed, Sent(time, stage, in_stage, in_episode))
        if used := len(message.symbols):
            in_stage, in_episode = (Usage(u.messages + 1, u.symbols + used) for u in (in_stage, in_episode))
            self._used[name, agent] = (stage, in_stage, in_episode)
        self.prices[agent] += message.price
        return Outgoing(channel, symbols, message, seed, stage)

    def send(self, entry: Envelope, out: Outgoing, reach: Collection[str] | None = None) -> tuple[Heard, ...]:
        """Send a stamped message, and return what its listeners will hear; with `reach`, only to agents in it."""
        channel, speaker, mask = out.channel, entry.sender, self._world.arena.heard_as
        audience = channel.audience(speaker, out.stage)
        if reach is not None:
            audience = tuple(agent for agent in audience if agent in reach)
        if not channel.effects and not self._interventions:
            body = " ".join(out.words)
            received = entry.as_heard(body, sender=mask)
            for listener in audience:
                heappush(self.in_transit, (entry.time, entry.seq, 0, listener, received))
            return tuple([Heard(listener, entry.time, body, mask) for listener in audience])
        arrivals = [(agent, arrival) for agent in audience for arrival in channel.carry(out.sent, out.seed, agent)]
        for agent in channel.eavesdroppers(speaker, audience):
            arrivals += [(agent, arrival) for arrival in channel.overhear(out.sent, out.seed, agent)]
        heard = [self._heard(entry, agent, *arrival) for agent, arrival in arrivals]
        return self._dispatch(entry, self._intervened(heard, entry, out))

    def _intervened(self, heard: list[Heard], entry: Envelope, out: Outgoing) -> list[Heard]:
        """Apply the interventions on this message."""
        name, sender = out.channel.name, entry.sender
        ordinal = self._messages.get((name, sender), 0)
        self._messages[name, sender] = ordinal + 1
        message = MessageEvent(entry.seq, sender, name, out.stage, ordinal, out.sent.alphabet)
        for intervention, seed in self._interventions:
            if intervention.matches(message):
                heard = [intervention.alter(one, message, seed) for one in heard]
        return heard

    def due_injections(self, seq: int, stage: int | None = None) -> list[Inject]:
        """Remove and return the injections due before entry `seq` of the log, or as a stage begins."""
        due: list[Inject] = []
        later: list[Inject] = []
        for injection in self.injections:
            is_due = injection.round == stage if injection.seq is None else injection.seq <= seq
            (due if is_due else later).append(injection)
        self.injections = later
        return due

    def inject(self, entry: Envelope, injection: Inject, stage: int) -> tuple[Heard, ...]:
        """Deliver an injected message immediately as `sender`'s."""
        channel = self._world.channels[injection.channel]
        audience = injection.to or channel.audience(injection.sender, stage)
        sender = self._world.arena.heard_as or injection.sender
        return self._dispatch(entry, [Heard(agent, entry.time, entry.body, sender) for agent in audience])

    def _dispatch(self, entry: Envelope, heard: Sequence[Heard]) -> tuple[Heard, ...]:
        copies: dict[str, int] = {}
        for listener, time, body, sender in heard:
            if body is not None:
                copy = copies[listener] = copies.get(listener, -1) + 1
                heappush(self.in_transit, (time, entry.seq, copy, listener, entry.as_heard(body, copy, sender)))
        return tuple(heard)

    def _heard(self, entry: Envelope, listener: str, symbols: Words | None, delay: float) -> Heard:
        time = round(entry.time + delay, 9) if delay else entry.time
        return Heard(listener, time, None if symbols is None else " ".join(symbols), self._world.arena.heard_as)
