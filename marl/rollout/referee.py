"""The referee: plays one episode. It asks, takes replies, carries messages, steps the arena, and stamps the log.

What it stamps is the log, and what it did not accept never happened. Whatever it does at one instant it does in a fixed
order (messages that are due, then replies in seat order), so an episode does not depend on how tasks were scheduled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from arenas.core import Arena, Outcome
from arenas.spec import PUBLIC, ReplySpec, Words
from marl.episode import MISSING, Episode, Sample, Stop, Turn
from marl.intervention.base import Intervention
from marl.rollout import floors
from marl.rollout.asides import Question
from marl.rollout.delivery import Carrier
from marl.scenario.world import World
from protocols import topics
from protocols.bus import MemoryBus, Subscription
from protocols.clock import episode_loop
from protocols.draws import key
from protocols.envelope import EVERYONE, KINDS, NO_DATA, NOBODY, REFEREE, Envelope, Kind
from protocols.log import Entry, Log


class ParticipantError(RuntimeError):
    """An agent failed, or its context was full (`stop`); the message is its error."""

    def __init__(self, text: str, stop: Stop = Stop.ERROR) -> None:
        super().__init__(text)
        self.stop = stop


class Referee:
    """One episode of a world, over a bus. `log` comes in with its header and no entries."""

    def __init__(
        self, world: World, arena: Arena, bus: MemoryBus, run: str, log: Log, do: Sequence[Intervention] = ()
    ) -> None:
        self.world = world
        self.arena = arena
        self.log = log
        self._bus = bus
        self.to = {agent: topics.to(run, log.episode, agent) for agent in world.agents}
        self.tools = {tool: topics.to(run, log.episode, tool) for tool in world.box.configs}
        self.spoke: set[str] = set()  # who has replied to the arena
        self._calls: list[Envelope] = []  # that no tool was told of yet
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()  # the log counts from here, so it does not depend on when the episode is played
        self.now = 0.0  # seconds of the episode: what happens between two waits happens at one instant
        self._carrier = Carrier(world, bus, self.to, log, do)
        self._seen = dict.fromkeys(world.agents, 0)  # envelopes an agent had been sent when it was last asked
        self.stage = 0
        self._inbox: Subscription
        self._sent = 0
        self._turns: list[Turn] = []
        self._rewards: list[tuple[float, ...]] = []
        self._nothing = (0.0,) * len(world.agents)
        self._drift = 0

    async def play(self, inbox: Subscription) -> Episode:
        """Play to the end; a failing participant ends the episode with `stop = error`."""
        error, why = "", {}
        self._inbox = inbox
        try:
            stop = await self._stages()
        except ParticipantError as failure:
            stop, why = failure.stop, {"reason": str(failure)}
            error = str(failure) if stop is Stop.ERROR else ""
        end = self._stamp(Kind.END, EVERYONE, stop.value, why if stop is Stop.OVERFLOW else None)
        for topic in self.to.values():
            self._bus.deliver(topic, end)
        self._rewards += [self._nothing] * (len(self._turns) - len(self._rewards))
        return Episode(
            self.log,
            self.world.agents,
            tuple(self._turns),
            tuple(self._rewards),
            stop,
            error,
            self._drift + inbox.dropped + inbox.duplicates,
        )

    async def _stages(self) -> Stop:
        arena = self.arena
        deal = dict(self.log.deal)
        arena.begin(key(self.log.seed, deal.pop("like", self.log.episode), "deal"), **deal)
        hidden = arena.hidden()
        self._stamp(Kind.WORLD, NOBODY, hidden)
        while True:
            if self._carrier.injecting:
                self._interject(self.stage)
            outcome = arena.advance(await floors.hold(self))
            self._pay(outcome)
            if outcome.done:
                return Stop.TRUNCATED if outcome.truncated else Stop.TERMINATED
            if (now_hidden := arena.hidden()) != hidden:
                hidden = now_hidden
                self._stamp(Kind.WORLD, NOBODY, hidden)
            self.stage += 1

    async def ask(self, questions: Mapping[str, Question]) -> dict[str, Words | None]:
        """Ask several agents at once, and take in their replies in this order; None for one that was not legal.

        Messages that fall due meanwhile are carried.
        """
        self.deliver()
        asked = {self.show(agent, question): agent for agent, question in questions.items()}
        replies: dict[str, Envelope] = {}
        until = self.patience()
        while len(replies) < len(asked):
            envelope = await self._next(until)
            if envelope is not None:
                self._take(envelope, asked, replies)
            elif until is not None and self.now >= until:
                break
        accepted = {agent: self.accept(agent, each, replies.get(agent)) for agent, each in questions.items()}
        if self._calls:
            await self._consult()
        return accepted

    def show(self, agent: str, question: Question) -> int:
        """Send an agent a view that asks for a reply, and return its place in the log."""
        if self._carrier.injecting:
            self._interject()
        data, deadline = question.data, self.world.scenario.deadline
        if deadline is not None:
            data["deadline"] = deadline
        view = self._stamp(Kind.VIEW, agent, question.view, data)
        self._carrier.tell(agent, view)
        self._seen[agent] = self._carrier.told[agent]
        return view.seq

    def news(self, agent: str) -> bool:
        """Say whether an agent was sent anything since it was last asked."""
        return self._carrier.told[agent] > self._seen[agent]

    async def _consult(self) -> None:
        """Hand the calls to their tools, wait for all answers, and pass them on in the order of the calls."""
        calls, self._calls = self._calls, []
        asked = {call.seq: call.to for call in calls}
        for call in calls:
            self._bus.deliver(self.tools[call.to], call)
        answers: dict[int, Envelope] = {}
        while len(answers) < len(asked):
            envelope = await self._next(None)
            if envelope is None:
                continue
            if envelope.kind is Kind.END:
                raise ParticipantError(f"{envelope.sender}: {envelope.body}")
            seq = -1 if envelope.reply_to is None else envelope.reply_to
            if asked.get(seq) != envelope.sender or seq in answers:
                self._drift += 1
            else:
                answers[seq] = envelope
        self.deliver()
        for call in calls:
            answer = answers[call.seq]
            result = self._stamp(Kind.RESULT, call.sender, answer.body, sender=call.to, reply=answer)
            self._carrier.tell(call.sender, result)

    async def instant(self, asked: Mapping[int, str], until: Mapping[int, float | None]) -> dict[str, Envelope | None]:
        """Wait for the next replies: all that come at one instant, so that their order among each other is no matter.

        None stands for an agent whose time is up. Nothing at all comes back if messages fell due first.
        """
        replies: dict[str, Envelope] = {}
        envelope = await self._next(min((u for u in until.values() if u is not None), default=None))
        if envelope is None:
            return {asked[seq]: None for seq, u in until.items() if u is not None and self.now >= u}
        self._take(envelope, asked, replies)
        await episode_loop().settled()
        self._woken()
        while len(self._inbox):
            self._take(await self._inbox.get(), asked, replies)
        return {**replies}

    async def _next(self, until: float | None) -> Envelope | None:
        """Wait for an envelope; None if messages fell due first, which are then delivered, or the time was up."""
        envelope = None
        if until is None and not self._carrier.due:
            envelope = await self._inbox.get()
        else:
            wake = min(t for t in (until, self._carrier.next_due) if t is not None)
            with suppress(TimeoutError):
                # A reply at the very instant of the deadline still counts.
                async with asyncio.timeout_at(self._began + wake + 1e-6):
                    envelope = await self._inbox.get()
        self._woken()
        if envelope is None:
            self.deliver()
        return envelope

    def _take(self, envelope: Envelope, asked: Mapping[int, str], replies: dict[str, Envelope]) -> None:
        agent = asked.get(-1 if envelope.reply_to is None else envelope.reply_to)
        if envelope.kind is Kind.END:
            full = envelope.data.get("stop") == Stop.OVERFLOW
            raise ParticipantError(f"{envelope.sender}: {envelope.body}", Stop.OVERFLOW if full else Stop.ERROR)
        if agent is None or agent != envelope.sender or agent in replies:
            self._drift += 1
        else:
            replies[agent] = envelope

    def patience(self) -> float | None:
        """Return until when who is asked now may reply; None where there is no deadline."""
        deadline = self.world.scenario.deadline
        return None if deadline is None else round(self.now + deadline, 9)

    async def wait(self) -> bool:
        """Wait until messages on their way have arrived; False if there are none."""
        due = self._carrier.next_due
        if due is None:
            return False
        await asyncio.sleep(max(due - self.now, 0.0))
        self._woken()
        self.deliver()
        return True

    def accept(self, agent: str, question: Question, reply: Envelope | None) -> Words | None:
        """Stamp a reply, carry it if it was said, and record the turn; None if it was not a legal reply."""
        if self._carrier.injecting:
            self._interject()
        spec = question.spec
        data: dict[str, Any]
        if reply is None:
            words, sample = None, MISSING
            data = {**sample.to_data(), "seen": self._seen[agent]}
        else:
            words = question.legal(spec.parse(reply.body))
            sample = Sample.from_data(reply.body, reply.data)
            data = {**reply.data}
            data.pop("logprobs", None)  # their last digits depend on the batch: they stay out of the log
            if words is None:
                data["legal"] = False
        kind = question.aside or KINDS[spec.kind]
        tool = words[0] if kind is Kind.CALL and words else ""
        fee = question.speaking if words else question.silence
        if sample.thinking:
            fee += self.world.scenario.think_price * sample.thinking
        if fee := fee + (self.world.box.configs[tool].price if tool else 0.0):
            data["price"] = fee
            self._carrier.prices[agent] += fee
        if kind is Kind.SAY and words is not None and (words or not question.free) and spec.route(words)[0]:
            entry = self._say(agent, spec, sample.text, words, data, reply)
        else:
            # The arena shows moves, not the bus; and where silence is a choice nobody hears it.
            entry = self._stamp(kind, tool or NOBODY, sample.text, data, agent, reply)
            if tool:
                self._calls.append(entry)
        if question.aside is None:
            self.spoke.add(agent)
        effect = spec.default if words is None else words
        self._turns.append(Turn(agent, entry.seq, self.stage, spec, effect, words is not None, sample))
        return words

    def _say(
        self, agent: str, spec: ReplySpec, text: str, words: Words, data: dict[str, Any], reply: Envelope | None
    ) -> Envelope:
        """Put a message on its channel: price it, stamp it with what each listener will hear, and send it off."""
        carrier, entries = self._carrier, self.log.entries
        out = carrier.send(agent, spec, words, len(entries), self.now, self.stage)
        if out.message.price:
            data["price"] = data.get("price", 0.0) + out.message.price
        body = " ".join(out.words) if len(spec.channels) > 1 else text  # what is said does not hold where
        entry = self._stamp(Kind.SAY, out.to, body, data, agent, reply)
        entries[entry.seq] = Entry(entry, carrier.carry(entry, out, self.arena.audience(agent)))
        self.deliver()
        return entry

    def _interject(self, round_: int | None = None) -> None:
        """Let be heard what nobody said, where an intervention puts it: here, or as a round begins."""
        entries = self.log.entries
        for injection in self._carrier.injections(len(entries), round_):
            to = EVERYONE if injection.channel == PUBLIC else injection.channel
            entry = self._stamp(Kind.SAY, to, injection.body)
            entries[entry.seq] = Entry(entry, self._carrier.inject(entry, injection, self.stage))
            self.deliver()

    def deliver(self) -> None:
        """Hand over every message that is due."""
        if self._carrier.due:
            self._carrier.deliver(self.now)

    def _woken(self) -> None:
        """Look at the clock, after each wait."""
        self.now = round(self._loop.time() - self._began, 9)

    def _pay(self, outcome: Outcome) -> None:
        """Book what the stage paid, less what its messages cost, on the stage's last turn."""
        agents, prices, paid = self.world.agents, self._carrier.prices, self._nothing
        if outcome.rewards or any(prices.values()):
            paid = tuple([outcome.rewards.get(a, 0.0) - prices[a] for a in agents])
            for agent in agents:
                prices[agent] = 0.0
        self._rewards += [self._nothing] * (len(self._turns) - 1 - len(self._rewards)) + [paid]
        if paid != self._nothing:
            self._stamp(Kind.REWARD, NOBODY, "", dict(zip(agents, paid, strict=True)))

    def _stamp(
        self,
        kind: Kind,
        to: str,
        body: str,
        data: dict[str, Any] | None = None,
        sender: str = REFEREE,
        reply: Envelope | None = None,
    ) -> Envelope:
        """Give an envelope its place and time in the log; what agents sent keeps their own count."""
        entries = self.log.entries
        if sender == REFEREE:
            n = self._sent
            self._sent += 1
        else:
            n = reply.n if reply is not None else 0
        answered = None if reply is None else reply.reply_to
        envelope = Envelope(
            self.log.episode, sender, n, kind, to, len(entries), self.now, body, data or NO_DATA, answered
        )
        entries.append(Entry(envelope))
        return envelope
