"""A policy that replays the recorded replies of a log, then hands over to a live policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import Policy, TextPolicy


class Recorded:
    """Replays the replies of one seat of a log, then asks the live policy.

    Args:
        samples: the recorded replies; None where the seat missed the deadline.
        live: the policy that replies after the last of them.
        name: of the policy, for the log.
    """

    def __init__(self, samples: Sequence[Sample | None], live: Policy, name: str) -> None:
        self.samples = samples
        self.live = live
        self.name = name
        self._next = 0

    def open(self) -> Transcript:
        """Return an empty transcript of the live policy."""
        return self.live.open()

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Return the next recorded reply, or ask the live policy."""
        if self._next == len(self.samples):
            return await self.live.reply(transcript, spec=spec, seed=seed, greedy=greedy)
        sample = self.samples[self._next]
        self._next += 1
        if sample is None:
            await asyncio.get_running_loop().create_future()  # never done: the deadline ends the wait
            raise AssertionError
        transcript.replied(sample.tokens)
        transcript.answered(sample.text)
        return sample

    def close(self, transcript: Transcript) -> None:
        """Close the live policy's transcript."""
        self.live.close(transcript)


class NoPolicy(TextPolicy):
    """The live policy of a replay that must not need one: asking it raises LookupError."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Raise LookupError."""
        raise LookupError("the recorded replies ended before the episode did: the log is incomplete or was changed")
