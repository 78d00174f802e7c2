"""The actor: hears, thinks at its own speed, replies. All it knows of the world are envelopes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from arenas.spec import ReplySpec, from_wire
from marl.context.memory import MemoryConfig, remembering
from marl.episode import Sample, Stop
from marl.errors import ContextFullError, UserError
from marl.policy.base import BatchedPolicy, PendingReply, Policy
from marl.policy.human import Human
from marl.scenario.config import Latency
from protocols import topics
from protocols.bus import MemoryBus, Subscription
from protocols.draws import key, uniform
from protocols.envelope import KINDS, NO_DATA, REFEREE, Envelope, Kind

logger = logging.getLogger(__name__)
GRACE: Final = 5e-7
"""Seconds: a reply at the very instant of the deadline still counts. Less than the referee's own grace."""


class Agent:
    """One seat of one episode. `salt` tells apart the futures of forks that share their past.

    It is handed what comes into its inbox, and hears on until it is asked. It needs a task only to wait: for a policy
    that answers no calls, for a latency or a deadline.
    """

    def __init__(
        self,
        seat: str,
        policy: Policy,
        bus: MemoryBus,
        run: str,
        episode: str,
        seed: int,
        latency: Latency,
        greedy: bool = False,
        salt: int = 0,
        memory: MemoryConfig | None = None,
    ) -> None:
        self.seat, self.policy, self.bus = seat, policy, bus
        self.latency, self.greedy, self.salt = latency, greedy, salt
        self._episode = episode
        self._place = (seed, episode, seat)
        self._topic = topics.sent_by(run, episode, seat)
        self._transcript = remembering(policy.open, None if isinstance(policy, Human) else memory)
        self._inbox: Subscription
        self._asked: tuple[str, int]  # for what kind of reply, and by which entry of the log
        self._thought: PendingReply | None = None
        self._over = False
        self._sent = self._seen = self._turn = 0

    def attend(self, inbox: Subscription) -> None:
        """Take part until the end of the episode; a failure is reported to the referee, not raised."""
        self._inbox = inbox
        inbox.call(self._hear)

    def leave(self) -> None:
        """Take no part any more, whatever the agent is thinking of."""
        if not self._over:
            self._over = True
            if self._thought is not None:
                self._thought.cancel()
            self.policy.close(self._transcript)

    def _hear(self, envelope: Envelope) -> bool:
        """Hear an envelope, and think if it asks; False from one who is thinking: then it waits."""
        if self._thought is not None or self._over:
            return False
        try:
            self._transcript.hear(envelope)
            if envelope.kind is Kind.END:
                self.leave()
            else:
                self._seen += 1
                if envelope.kind is Kind.VIEW:
                    self._think(envelope)
        except Exception as error:
            self._fail(error)
        return True

    def _think(self, view: Envelope) -> None:
        """Ask the policy."""
        spec = from_wire(view.data["reply"])
        transcript = self._transcript
        transcript.ask()
        self._asked = (spec.kind, view.seq)
        seed = key(*self._place, self._turn, self.salt)
        deadline = view.data.get("deadline")
        if deadline is None and isinstance(self.policy, BatchedPolicy) and self.latency.none:
            self._thought = self.policy.ask(transcript, spec=spec, seed=seed, greedy=self.greedy, done=self._answer)
        else:
            waiting = self._wait(spec, seed, deadline)
            self._thought = asyncio.get_running_loop().create_task(waiting, name=f"{self._episode}/{self.seat}")

    async def _wait(self, spec: ReplySpec, seed: int, deadline: float | None) -> None:
        """Reply after the time that thinking takes; if the deadline comes first, forget the thought."""
        length = len(self._transcript.ids)
        thinking = self._form(spec, seed)
        try:
            found: Sample | Exception | None = await (
                thinking if deadline is None else self._within(deadline, thinking)
            )
        except Exception as error:
            found = error
        if found is None:
            self._transcript.take_back(length)
            self._thought = None
            self._turn += 1
            self._inbox.offer()
        else:
            self._answer(found)

    def _answer(self, found: Sample | Exception) -> None:
        """Send a reply, and hear on."""
        self._thought = None
        self._turn += 1
        if isinstance(found, Exception):
            self._fail(found)
        else:
            self.bus.deliver(self._topic, self._reply(found))
            self._sent += 1
            self._inbox.offer()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, UserError):  # that is a sentence for the user, not an error of ours
            logger.error("%s in episode %s", self.seat, self._episode, exc_info=error)
        full = {"stop": Stop.OVERFLOW.value} if isinstance(error, ContextFullError) else NO_DATA
        text = str(error) if isinstance(error, UserError) else repr(error)
        self.bus.deliver(
            self._topic, Envelope(self._episode, self.seat, self._sent, Kind.END, REFEREE, body=text, data=full)
        )
        self.leave()

    async def _within(self, deadline: float, thinking: Coroutine[Any, Any, Sample]) -> Sample | None:
        """Return the reply; None if the deadline came first, at which the agent is free for what comes next."""
        limit = asyncio.timeout(deadline + GRACE)
        try:
            async with limit:
                return await thinking
        except TimeoutError:
            if limit.expired():
                return None
            raise

    async def _form(self, spec: ReplySpec, seed: int) -> Sample:
        """Ask the policy, and take the time that thinking takes."""
        sample = await self.policy.reply(self._transcript, spec=spec, seed=seed, greedy=self.greedy)
        # Thinking takes as long in every future of a fork, or the past that they share would differ.
        draw = uniform(key(*self._place, self._turn, "latency")) if self.latency.jitter else 0.0
        if wait := self.latency.seconds(len(sample.tokens), draw):
            await asyncio.sleep(wait)
        return sample

    def _reply(self, sample: Sample) -> Envelope:
        kind, reply_to = self._asked
        data = {"seen": self._seen, **sample.to_data()}
        return Envelope(
            self._episode, self.seat, self._sent, KINDS[kind], body=sample.text, data=data, reply_to=reply_to
        )
