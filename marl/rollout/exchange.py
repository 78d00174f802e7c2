"""The exchange between a referee and its agents: asks for replies, accepts them, delivers messages, stamps the log.

It knows neither the order in which agents are asked (`floors`, `asides`) nor what they are paid (`referee`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from arenas.core import Arena
from arenas.spec import PUBLIC, ReplySpec, Words
from marl.episode import MISSING, Sample, Stop, Turn
from marl.intervention.base import Intervention
from marl.rollout.delivery import MessageDelivery
from marl.rollout.turn_request import TurnRequest
from marl.scenario.world import World
from protocols import topics
from protocols.bus import MemoryBus, Subscription
from protocols.clock import episode_loop
from protocols.envelope import EVERYONE, KINDS, NO_DATA, NOBODY, REFEREE, Envelope, Kind
from protocols.log import Entry, Log


class ParticipantError(RuntimeError):
    """An agent failed, or its context was full (`stop`); the message is its error."""

    def __init__(self, text: str, stop: Stop = Stop.ERROR) -> None:
        super().__init__(text)
        self.stop = stop


class Exchange:
    """The referee's side of one episode on a bus. `log` comes in with its header and no entries."""

    inbox: Subscription
    """Where replies of agents and tools arrive."""

    def __init__(
        self, world: World, arena: Arena, bus: MemoryBus, run: str, log: Log, do: Sequence[Intervention] = ()
    ) -> None:
        self.world = world
        self.arena = arena
        self.log = log
        self.stage = 0
        self.now = 0.0
        """Seconds of the episode. It changes only while the exchange waits: what lies between is one instant."""
        self.turns: list[Turn] = []
        self.replied: set[str] = set()
        """Agents that have replied to the arena."""
        self.drift = 0
        """Replies that did not count: late, repeated, or not asked for."""
        self.agent_topics = {agent: topics.to(run, log.episode, agent) for agent in world.agents}
        self.tool_topics = {tool: topics.to(run, log.episode, tool) for tool in world.box.configs}
        self.delivery = MessageDelivery(world, bus, self.agent_topics, log, do)
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()  # the log counts from here: it does not depend on when the episode is played
        self._calls: list[Envelope] = []  # not passed to their tools yet
        self._seen = dict.fromkeys(world.agents, 0)  # envelopes an agent had been sent when it was last asked
        self._sent = 0

    def begin_stage(self) -> None:
        """Deliver the injections that are due as this stage begins."""
        if self.delivery.injections:
            self._inject(self.stage)

    def end(self, stop: Stop, data: dict[str, Any] | None = None) -> None:
        """Stamp the end of the episode, and send it to all agents."""
        end = self.stamp(Kind.END, EVERYONE, stop.value, data)
        for topic in self.agent_topics.values():
            self._bus.deliver(topic, end)

    async def ask(self, requests: Mapping[str, TurnRequest]) -> dict[str, Words | None]:
        """Ask agents at the same time, and accept their replies in this order; None for one that is not legal.

        Messages that become due meanwhile are delivered.
        """
        self.deliver()
        agents = {self.show(agent, request): agent for agent, request in requests.items()}
        replies: dict[str, Envelope] = {}
        deadline = self.reply_deadline()
        while len(replies) < len(agents):
            envelope = await self._receive(deadline)
            if envelope is not None:
                self._sort(envelope, agents, replies)
            elif deadline is not None and self.now >= deadline:
                break
        accepted = {agent: self.accept(agent, request, replies.get(agent)) for agent, request in requests.items()}
        if self._calls:
            await self._answer_calls()
        return accepted

    def show(self, agent: str, request: TurnRequest) -> int:
        """Send an agent a view that asks for a reply, and return its index in the log."""
        if self.delivery.injections:
            self._inject()
        data, deadline = request.data, self.world.scenario.deadline
        if deadline is not None:
            data["deadline"] = deadline
        view = self.stamp(Kind.VIEW, agent, request.view, data)
        self.delivery.send_to(agent, view)
        self._seen[agent] = self.delivery.sent[agent]
        return view.seq

    def has_news(self, agent: str) -> bool:
        """Return whether an agent was sent anything since it was last asked."""
        return self.delivery.sent[agent] > self._seen[agent]

    async def _answer_calls(self) -> None:
        """Pass the calls to their tools, wait for all answers, and send these on in the order of the calls."""
        calls, self._calls = self._calls, []
        tools = {call.seq: call.to for call in calls}
        for call in calls:
            self._bus.deliver(self.tool_topics[call.to], call)
        answers: dict[int, Envelope] = {}
        while len(answers) < len(tools):
            envelope = await self._receive(None)
            if envelope is None:
                continue
            if envelope.kind is Kind.END:
                raise ParticipantError(f"{envelope.sender}: {envelope.body}")
            seq = -1 if envelope.reply_to is None else envelope.reply_to
            if tools.get(seq) != envelope.sender or seq in answers:
                self.drift += 1
            else:
                answers[seq] = envelope
        self.deliver()
        for call in calls:
            answer = answers[call.seq]
            result = self.stamp(Kind.RESULT, call.sender, answer.body, sender=call.to, reply=answer)
            self.delivery.send_to(call.sender, result)

    async def next_replies(
        self, agents: Mapping[int, str], deadlines: Mapping[int, float | None]
    ) -> dict[str, Envelope | None]:
        """Wait for the next replies: all that come at one instant, because their order among each other is chance.

        Both arguments are keyed by the index of the view. Returns None for an agent whose time is up, and an empty
        dictionary if messages became due first.
        """
        replies: dict[str, Envelope] = {}
        envelope = await self._receive(min((t for t in deadlines.values() if t is not None), default=None))
        if envelope is None:
            return {agents[seq]: None for seq, t in deadlines.items() if t is not None and self.now >= t}
        self._sort(envelope, agents, replies)
        await episode_loop().settled()
        self._update_clock()
        while len(self.inbox):
            self._sort(await self.inbox.get(), agents, replies)
        return {**replies}

    async def _receive(self, deadline: float | None) -> Envelope | None:
        """Wait for an envelope; None after the deadline, or if messages became due first, which are then delivered."""
        envelope = None
        if deadline is None and not self.delivery.in_transit:
            envelope = await self.inbox.get()
        else:
            wake = min(t for t in (deadline, self.delivery.next_due) if t is not None)
            with suppress(TimeoutError):
                # A reply at the very instant of the deadline still counts.
                async with asyncio.timeout_at(self._began + wake + 1e-6):
                    envelope = await self.inbox.get()
        self._update_clock()
        if envelope is None:
            self.deliver()
        return envelope

    def _sort(self, envelope: Envelope, agents: Mapping[int, str], replies: dict[str, Envelope]) -> None:
        """Put an envelope among the replies; raises ParticipantError if its sender failed, drops what was not asked."""
        agent = agents.get(-1 if envelope.reply_to is None else envelope.reply_to)
        if envelope.kind is Kind.END:
            full = envelope.data.get("stop") == Stop.OVERFLOW
            raise ParticipantError(f"{envelope.sender}: {envelope.body}", Stop.OVERFLOW if full else Stop.ERROR)
        if agent is None or agent != envelope.sender or agent in replies:
            self.drift += 1
        else:
            replies[agent] = envelope

    def reply_deadline(self) -> float | None:
        """Return until when an agent asked now may reply; None if the scenario has no deadline."""
        deadline = self.world.scenario.deadline
        return None if deadline is None else round(self.now + deadline, 9)

    async def wait(self) -> bool:
        """Wait until the next messages in transit are delivered; False if there are none."""
        due = self.delivery.next_due
        if due is None:
            return False
        await asyncio.sleep(max(due - self.now, 0.0))
        self._update_clock()
        self.deliver()
        return True

    def accept(self, agent: str, request: TurnRequest, reply: Envelope | None) -> Words | None:
        """Stamp a reply, send it if it is a message, and record the turn; None if it was not legal or never came."""
        delivery = self.delivery
        if delivery.injections:
            self._inject()
        spec = request.spec
        data: dict[str, Any]
        if reply is None:
            words, sample = None, MISSING
            data = {**sample.to_data(), "seen": self._seen[agent]}
        else:
            words = request.effective(spec.parse(reply.body))
            sample = Sample.from_data(reply.body, reply.data)
            data = {**reply.data}
            data.pop("logprobs", None)  # their last digits depend on the batch: they stay out of the log
            if words is None:
                data["legal"] = False
        kind = request.aside or KINDS[spec.kind]
        tool = words[0] if kind is Kind.CALL and words else ""
        if price := self._price(request, words, sample, tool):
            data["price"] = price
            delivery.prices[agent] += price
        if kind is Kind.SAY and words is not None and (words or not request.optional) and spec.route(words)[0]:
            entry = self._say(agent, spec, sample.text, words, data, reply)
        else:
            # The arena shows moves, not the bus; and nobody hears a silence that was a choice.
            entry = self.stamp(kind, tool or NOBODY, sample.text, data, agent, reply)
            if tool:
                self._calls.append(entry)
        if request.aside is None:
            self.replied.add(agent)
        effect = spec.default if words is None else words
        self.turns.append(Turn(agent, entry.seq, self.stage, spec, effect, words is not None, sample))
        return words

    def _price(self, request: TurnRequest, words: Words | None, sample: Sample, tool: str) -> float:
        """Return what a reply costs: to speak or be silent, its thought, and the call of a tool."""
        price = request.speaking_cost if words else request.silence_cost
        if sample.thinking:
            price += self.world.scenario.think_price * sample.thinking
        return price + (self.world.box.configs[tool].price if tool else 0.0)

    def _say(
        self, agent: str, spec: ReplySpec, text: str, words: Words, data: dict[str, Any], reply: Envelope | None
    ) -> Envelope:
        """Put a message on its channel: price it, stamp it with what each listener will hear, and send it."""
        delivery, entries = self.delivery, self.log.entries
        message = delivery.charge(agent, spec, words, len(entries), self.now, self.stage)
        if message.sent.price:
            data["price"] = data.get("price", 0.0) + message.sent.price
        body = " ".join(message.words) if len(spec.channels) > 1 else text  # without the name of the channel
        entry = self.stamp(Kind.SAY, message.to, body, data, agent, reply)
        entries[entry.seq] = Entry(entry, delivery.send(entry, message, self.arena.audience(agent)))
        self.deliver()
        return entry

    def _inject(self, stage: int | None = None) -> None:
        """Deliver the injections due at this index of the log, or at the beginning of a stage."""
        entries = self.log.entries
        for injection in self.delivery.due_injections(len(entries), stage):
            to = EVERYONE if injection.channel == PUBLIC else injection.channel
            entry = self.stamp(Kind.SAY, to, injection.body)
            entries[entry.seq] = Entry(entry, self.delivery.inject(entry, injection, self.stage))
            self.deliver()

    def deliver(self) -> None:
        """Deliver every message that is due."""
        if self.delivery.in_transit:
            self.delivery.deliver(self.now)

    def _update_clock(self) -> None:
        """Set `now` from the event loop, after a wait."""
        self.now = round(self._loop.time() - self._began, 9)

    def stamp(
        self,
        kind: Kind,
        to: str,
        body: str,
        data: dict[str, Any] | None = None,
        sender: str = REFEREE,
        reply: Envelope | None = None,
    ) -> Envelope:
        """Append an envelope to the log with its index and time; a `reply` keeps its sender's own count."""
        entries = self.log.entries
        if sender == REFEREE:
            n = self._sent
            self._sent += 1
        else:
            n = reply.n if reply is not None else 0
        reply_to = None if reply is None else reply.reply_to
        envelope = Envelope(
            self.log.episode, sender, n, kind, to, len(entries), self.now, body, data or NO_DATA, reply_to
        )
        entries.append(Entry(envelope))
        return envelope
