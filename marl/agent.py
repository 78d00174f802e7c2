"""The actor: hears, thinks at its own speed, replies. All it knows of the world are envelopes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from arenas.spec import ReplySpec, from_wire
from marl.episode import Sample, Stop
from marl.errors import ContextFullError, UserError
from marl.memory import MemoryConfig, remembering
from marl.policy import Human, Policy
from marl.scenario import Latency
from marl.transcript import Transcript
from protocols import topics
from protocols.bus import Bus, Subscription
from protocols.draws import key, uniform
from protocols.envelope import KINDS, NO_DATA, REFEREE, Envelope, Kind

logger = logging.getLogger(__name__)
GRACE: Final = 5e-7
"""Seconds: a reply at the very instant of the deadline still counts. Less than the referee's own grace."""


@dataclass(slots=True)
class Agent:
    """One seat of one episode. `salt` tells apart the futures of forks that share their past."""

    seat: str
    policy: Policy
    bus: Bus
    run: str
    episode: str
    seed: int
    latency: Latency
    greedy: bool = False
    salt: int = 0
    memory: MemoryConfig | None = None

    async def act(self, inbox: Subscription) -> None:
        """Take part until the end of the episode; a failure is reported to the referee, not raised."""
        sent = 0
        seen = 0
        turn = 0
        transcript = remembering(self.policy.open, None if isinstance(self.policy, Human) else self.memory)
        topic = topics.sent_by(self.run, self.episode, self.seat)
        try:
            async for envelope in inbox:
                transcript.hear(envelope)
                if envelope.kind is Kind.END:
                    return
                seen += 1
                if envelope.kind is not Kind.VIEW:
                    continue
                spec = from_wire(envelope.data["reply"])
                transcript.ask()
                length = len(transcript.ids)
                deadline = envelope.data.get("deadline")
                thinking = self._form(transcript, spec, turn)
                sample = await (thinking if deadline is None else self._within(deadline, thinking))
                turn += 1
                if sample is None:
                    transcript.take_back(length)
                    continue
                await self.bus.publish(topic, self._reply(sample, spec.kind, sent, seen, envelope.seq))
                sent += 1
        except Exception as error:
            if not isinstance(error, UserError):  # that is a sentence for the user, not an error of ours
                logger.exception("%s in episode %s", self.seat, self.episode)
            full = {"stop": Stop.OVERFLOW.value} if isinstance(error, ContextFullError) else NO_DATA
            failure = Envelope(
                episode=self.episode,
                sender=self.seat,
                n=sent,
                kind=Kind.END,
                to=REFEREE,
                body=str(error) if isinstance(error, UserError) else repr(error),
                data=full,
            )
            await self.bus.publish(topic, failure)
        finally:
            self.policy.close(transcript)

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

    async def _form(self, transcript: Transcript, spec: ReplySpec, turn: int) -> Sample:
        """Ask the policy, and take the time that thinking takes."""
        place = (self.seed, self.episode, self.seat, turn)
        seed = key(*place, self.salt)
        sample = await self.policy.reply(transcript, spec=spec, seed=seed, greedy=self.greedy)
        # Thinking takes as long in every future of a fork, or the past that they share would differ.
        draw = uniform(key(*place, "latency")) if self.latency.jitter else 0.0
        if wait := self.latency.seconds(len(sample.tokens), draw):
            await asyncio.sleep(wait)
        return sample

    def _reply(self, sample: Sample, kind: str, n: int, seen: int, reply_to: int) -> Envelope:
        data = {
            "seen": seen,
            "tokens": sample.tokens,
            "logprobs": sample.logprobs,
            "version": sample.version,
            "finish": sample.finish.value,
        }
        if sample.usage:
            data["usage"] = dict(sample.usage)
        if sample.thinking:
            data |= {"thought": sample.thought, "thinking": sample.thinking}
        return Envelope(self.episode, self.seat, n, KINDS[kind], body=sample.text, data=data, reply_to=reply_to)
