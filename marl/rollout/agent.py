"""Agent: one seat of one episode. It hears envelopes, asks its policy, and replies with the scenario's latency."""

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
"""Seconds: a reply at the very instant of the deadline still counts. Less than the grace of the exchange."""


class Agent:
    """One seat of one episode. `salt` tells apart the draws of forks that share their past.

    Its inbox calls it with each envelope, until it is asked; while it waits for its policy, envelopes wait in the
    inbox. It needs a task only for policies that are not batched, for a latency, or for a deadline.
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
        self._coordinates = (seed, episode, seat)
        self._topic = topics.sent_by(run, episode, seat)
        self._transcript = remembering(policy.open, None if isinstance(policy, Human) else memory)
        self._inbox: Subscription
        self._request: tuple[str, int]  # kind of the reply, and index of the view in the log
        self._pending: PendingReply | None = None
        self._over = False
        self._sent = self._seen = self._turn = 0

    def attend(self, inbox: Subscription) -> None:
        """Take part until the episode ends; a failure is reported to the referee, not raised."""
        self._inbox = inbox
        inbox.call(self._hear)

    def leave(self) -> None:
        """Stop taking part: drop a pending reply, and close the transcript."""
        if not self._over:
            self._over = True
            if self._pending is not None:
                self._pending.cancel()
            self.policy.close(self._transcript)

    def _hear(self, envelope: Envelope) -> bool:
        """Hear an envelope, and ask the policy if it is a view; False while a reply is pending: then it waits."""
        if self._pending is not None or self._over:
            return False
        try:
            self._transcript.hear(envelope)
            if envelope.kind is Kind.END:
                self.leave()
            else:
                self._seen += 1
                if envelope.kind is Kind.VIEW:
                    self._ask_policy(envelope)
        except Exception as error:
            self._fail(error)
        return True

    def _ask_policy(self, view: Envelope) -> None:
        """Ask the policy for a reply to a view."""
        spec = from_wire(view.data["reply"])
        transcript = self._transcript
        transcript.ask()
        self._request = (spec.kind, view.seq)
        seed = key(*self._coordinates, self._turn, self.salt)
        deadline = view.data.get("deadline")
        if deadline is None and isinstance(self.policy, BatchedPolicy) and self.latency.none:
            self._pending = self.policy.ask(transcript, spec=spec, seed=seed, greedy=self.greedy, done=self._answer)
        else:
            waiting = self._wait(spec, seed, deadline)
            self._pending = asyncio.get_running_loop().create_task(waiting, name=f"{self._episode}/{self.seat}")

    async def _wait(self, spec: ReplySpec, seed: int, deadline: float | None) -> None:
        """Reply after the policy's latency; drop the reply if the deadline comes first."""
        length = len(self._transcript.ids)
        sampling = self._sample(spec, seed)
        reply: Sample | Exception | None
        try:
            reply = await (sampling if deadline is None else self._within(deadline, sampling))
        except Exception as error:
            reply = error
        if reply is None:
            self._transcript.take_back(length)
            self._pending = None
            self._turn += 1
            self._inbox.offer()
        else:
            self._answer(reply)

    def _answer(self, reply: Sample | Exception) -> None:
        """Send a reply, and take further envelopes from the inbox."""
        self._pending = None
        self._turn += 1
        if isinstance(reply, Exception):
            self._fail(reply)
        else:
            self.bus.deliver(self._topic, self._envelope(reply))
            self._sent += 1
            self._inbox.offer()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, UserError):  # a UserError is a sentence for the user, not a bug
            logger.error("%s in episode %s", self.seat, self._episode, exc_info=error)
        full = {"stop": Stop.OVERFLOW.value} if isinstance(error, ContextFullError) else NO_DATA
        text = str(error) if isinstance(error, UserError) else repr(error)
        self.bus.deliver(
            self._topic, Envelope(self._episode, self.seat, self._sent, Kind.END, REFEREE, body=text, data=full)
        )
        self.leave()

    async def _within(self, deadline: float, sampling: Coroutine[Any, Any, Sample]) -> Sample | None:
        """Return the reply; None if the deadline came first."""
        limit = asyncio.timeout(deadline + GRACE)
        try:
            async with limit:
                return await sampling
        except TimeoutError:
            if limit.expired():
                return None
            raise

    async def _sample(self, spec: ReplySpec, seed: int) -> Sample:
        """Ask the policy, and sleep for the scenario's latency."""
        sample = await self.policy.reply(self._transcript, spec=spec, seed=seed, greedy=self.greedy)
        # The latency is the same in every future of a fork, or the past that they share would differ.
        draw = uniform(key(*self._coordinates, self._turn, "latency")) if self.latency.jitter else 0.0
        if wait := self.latency.seconds(len(sample.tokens), draw):
            await asyncio.sleep(wait)
        return sample

    def _envelope(self, sample: Sample) -> Envelope:
        kind, reply_to = self._request
        data = {"seen": self._seen, **sample.to_data()}
        return Envelope(
            self._episode, self.seat, self._sent, KINDS[kind], body=sample.text, data=data, reply_to=reply_to
        )
