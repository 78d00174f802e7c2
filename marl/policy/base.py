"""Policies: the protocol, and base classes for batched and text policies."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample


class Policy(Protocol):
    """Replies for one or more seats."""

    name: str

    def open(self) -> Transcript:
        """Return an empty transcript of the kind that this policy reads."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Reply, and append the sampled tokens, if any, to the transcript.

        `seed` is keyed by the coordinates of this decision; `greedy` asks for the most probable reply.
        """

    def close(self, transcript: Transcript) -> None:
        """Release the resources of a transcript, such as its rows of a KV cache."""


class PendingReply(Protocol):
    """A reply that a policy is still sampling."""

    def cancel(self) -> object:
        """Drop the request; without effect once the reply was handed over."""


Answered = Callable[[Sample | Exception], None]


class BatchedPolicy(ABC):
    """A policy that collects requests and calls back with the replies: a whole batch at once, without tasks."""

    @abstractmethod
    def ask(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool, done: Answered) -> PendingReply:
        """Request a reply; `done` is called with the sample after its tokens were appended to the transcript."""

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Wait for the reply that `ask` requests; see `Policy.reply`."""
        future: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

        def done(reply: Sample | Exception) -> None:
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        pending = self.ask(transcript, spec=spec, seed=seed, greedy=greedy, done=done)
        try:
            return await future
        finally:
            pending.cancel()


class TextPolicy(ABC):
    """A policy that reads envelopes, not tokens."""

    name = "text"

    def open(self) -> Transcript:
        """Return a transcript without token ids."""
        return Transcript()

    @abstractmethod
    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Reply to the last envelope of the transcript; see `Policy.reply`."""

    def close(self, transcript: Transcript) -> None:  # noqa: B027  most text policies hold nothing
        """Release nothing."""


Seats = Mapping[str, Policy]
