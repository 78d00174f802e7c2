"""Carrying messages: which channel one goes out on, what it costs, what each listener hears of it, and when.

One carrier serves one episode. It knows nothing of the arena: what is said comes in as words, and goes out as
envelopes to whoever hears them, in the order in which they fall due.
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
from protocols.envelope import EVERYONE, Envelope
from protocols.log import Heard, Log
from protocols.message import Message, Sent, Usage


class Outgoing(NamedTuple):
    """A message as it leaves its sender: the words said, and what the channel made of them."""

    channel: Channel
    words: Words
    message: Message
    seed: int
    round: int

    @property
    def to(self) -> str:
        """What its envelope says it is for: everyone, or the name of a channel beside the public one."""
        return EVERYONE if self.channel.name == PUBLIC else self.channel.name


class Carrier:
    """The messages of one episode. `told` counts the envelopes each agent was sent, `prices` what each one owes.

    Messages go through the interventions of the scenario, then through those of the episode (`do`).
    """

    def __init__(
        self, world: World, bus: MemoryBus, topics: Mapping[str, str], log: Log, do: Sequence[Intervention] = ()
    ) -> None:
        self.told = dict.fromkeys(topics, 0)
        self.prices = dict.fromkeys(topics, 0.0)
        self._world = world
        self._bus = bus
        self._topics = topics
        self._log = log
        self._changing: list[tuple[OnMessages, int]] = []
        self.injecting: list[Inject] = []
        """What is still to be heard that nobody said."""
        for whose, group in (*world.standing.items(), ("do", do)):
            for place, each in enumerate(group):
                if isinstance(each, OnMessages):
                    seed = key(log.seed, log.episode, "intervention", whose, place)
                    self._changing.append((each, seed))
                elif isinstance(each, Inject):
                    self.injecting.append(each)
        self._said: dict[tuple[str, str], int] = {}  # (channel, sender) -> messages
        self.due: list[tuple[float, int, int, str, Envelope]] = []
        """What is on its way, the next to arrive first: (time, seq, copy, listener, as heard)."""
        self._used: dict[tuple[str, str], tuple[int, Usage, Usage]] = {}  # (channel, sender): round, its use, all use

    @property
    def next_due(self) -> float | None:
        """When the next message on its way arrives, in seconds of the episode; None if there is none."""
        return self.due[0][0] if self.due else None

    def tell(self, agent: str, envelope: Envelope) -> None:
        """Put an envelope into an agent's inbox."""
        self.told[agent] += 1
        self._bus.deliver(self._topics[agent], envelope)

    def deliver(self, now: float) -> None:
        """Hand over every message that is due."""
        while self.due and self.due[0][0] <= now + 1e-9:
            _, _, _, listener, as_heard = heappop(self.due)
            self.tell(listener, as_heard)

    def send(self, agent: str, spec: ReplySpec, words: Words, seq: int, time: float, round_: int) -> Outgoing:
        """Put words on their channel as message number `seq` of the log, and charge their sender."""
        name, symbols = spec.route(words)
        channel = self._world.channels[name]
        if not channel.effects:
            return Outgoing(channel, symbols, Message(symbols, spec.symbols), 0, round_)
        seed = key(self._log.seed, self._log.episode, "channel", seq)
        last, turn, episode = self._used.get((name, agent), (round_, Usage(), Usage()))
        if last != round_:
            turn = Usage()
        message = channel.send(symbols, spec.symbols, seed, Sent(time, round_, turn, episode))
        if used := len(message.symbols):
            turn, episode = (Usage(each.messages + 1, each.symbols + used) for each in (turn, episode))
            self._used[name, agent] = (round_, turn, episode)
        self.prices[agent] += message.price
        return Outgoing(channel, symbols, message, seed, round_)

    def carry(self, entry: Envelope, out: Outgoing, near: Collection[str] | None = None) -> tuple[Heard, ...]:
        """Send a stamped message on its way (if given, only to those `near`), and return what everyone will hear."""
        channel, speaker, mask = out.channel, entry.sender, self._world.arena.heard_as
        audience = channel.audience(speaker, out.round)
        if near is not None:
            audience = tuple(seat for seat in audience if seat in near)
        if not channel.effects and not self._changing:
            said = " ".join(out.words)
            as_heard = entry.as_heard(said, sender=mask)
            for listener in audience:
                heappush(self.due, (entry.time, entry.seq, 0, listener, as_heard))
            return tuple([Heard(listener, entry.time, said, mask) for listener in audience])
        arriving = [(seat, each) for seat in audience for each in channel.carry(out.message, out.seed, seat)]
        for seat in channel.eavesdroppers(speaker, audience):
            arriving += [(seat, each) for each in channel.overhear(out.message, out.seed, seat)]
        heard = [self._heard(entry, seat, *delivery) for seat, delivery in arriving]
        return self._send_off(entry, self._changed(heard, entry, out))

    def _changed(self, heard: list[Heard], entry: Envelope, out: Outgoing) -> list[Heard]:
        """Apply the interventions that are for this message."""
        name, sender = out.channel.name, entry.sender
        place = self._said.get((name, sender), 0)
        self._said[name, sender] = place + 1
        message = MessageEvent(entry.seq, sender, name, out.round, place, out.message.alphabet)
        for intervention, seed in self._changing:
            if intervention.matches(message):
                heard = [intervention.alter(each, message, seed) for each in heard]
        return heard

    def injections(self, seq: int, round_: int | None = None) -> list[Inject]:
        """Return, once, what is to be heard as entry `seq` of the log, or as a round begins."""
        now: list[Inject] = []
        later: list[Inject] = []
        for each in self.injecting:
            due = each.round == round_ if each.seq is None else each.seq <= seq
            (now if due else later).append(each)
        self.injecting = later
        return now

    def inject(self, entry: Envelope, injection: Inject, round_: int) -> tuple[Heard, ...]:
        """Let a stamped message that nobody said be heard as someone's, at once."""
        channel = self._world.channels[injection.channel]
        audience = injection.to or channel.audience(injection.sender, round_)
        sender = self._world.arena.heard_as or injection.sender
        return self._send_off(entry, [Heard(seat, entry.time, entry.body, sender) for seat in audience])

    def _send_off(self, entry: Envelope, heard: Sequence[Heard]) -> tuple[Heard, ...]:
        copies: dict[str, int] = {}
        for listener, time, body, sender in heard:
            if body is not None:
                copy = copies[listener] = copies.get(listener, -1) + 1
                heappush(self.due, (time, entry.seq, copy, listener, entry.as_heard(body, copy, sender)))
        return tuple(heard)

    def _heard(self, entry: Envelope, listener: str, symbols: Words | None, delay: float) -> Heard:
        time = round(entry.time + delay, 9) if delay else entry.time
        return Heard(listener, time, None if symbols is None else " ".join(symbols), self._world.arena.heard_as)
