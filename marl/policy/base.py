"""Who answers: the Policy protocol, and the policies that need no model."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample


class Policy(Protocol):
    """Anything that can take a seat."""

    name: str

    def open(self) -> Transcript:
        """Return an empty transcript of the kind this policy reads."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Answer, appending the sampled tokens (if any) to the transcript.

        `seed` has this decision's coordinates; `greedy` asks for the most probable reply.
        """

    def close(self, transcript: Transcript) -> None:
        """Release what the policy keeps for a transcript."""


class Asked(Protocol):
    """A question on its way to a reply."""

    def cancel(self) -> object:
        """Want no reply any more; nothing happens if it was given."""


Answered = Callable[[Sample | Exception], None]


class Batched(ABC):
    """A policy that takes questions, and answers by a call: many of them at once, without a task for each."""

    @abstractmethod
    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> Asked:
        """Take a question as `reply` does; `done` gets the sample, whose tokens then stand in the transcript."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Wait for the answer."""
        future: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

        def done(found: Sample | Exception) -> None:
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

        asked = self.ask(transcript, spec=spec, seed=seed, greedy=greedy, done=done)
        try:
            return await future
        finally:
            asked.cancel()


class TextPolicy:
    """A policy that reads envelopes, not tokens."""

    name = "text"

    def open(self) -> Transcript:
        """Return a transcript without ids."""
        return Transcript()

    def close(self, transcript: Transcript) -> None:
        """Keep nothing."""


Seats = Mapping[str, Policy]
