"""Policy of a remote seat, on the host: sends what its transcript hears, and returns the replies that come back.

Latency and deadline are left to the host's `marl.rollout.agent`, so an episode does not depend on where its agents are:
virtual time stands still while a remote agent computes its reply (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from typing_extensions import override

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import TextPolicy
from protocols.clock import episode_loop
from protocols.envelope import Envelope, Kind


class SeatTransport(Protocol):
    """Transport between a host and its seats. Its methods may be called from any thread."""

    def tell(self, seat: str, envelope: Envelope) -> None:
        """Send a seat an envelope that it hears."""

    def ask(self, seat: str, view: Envelope) -> Future[Sample | None]:
        """Send a view; the future holds the reply, None if patience ran out, or raises UserError."""

    def close(self, seat: str, episode: str) -> None:
        """Drop an episode of a seat."""


class RemoteTranscript(Transcript):
    """Forwards what it hears. A view is held back until it is known whether a recorded reply follows it."""

    __slots__ = ("episode", "late", "seat", "transport", "view")

    def __init__(self, transport: SeatTransport, seat: str) -> None:
        super().__init__()
        self.transport = transport
        self.seat = seat
        self.episode: str | None = None
        self.view: Envelope | None = None
        self.late = False

    @override
    def hear(self, envelope: Envelope) -> None:
        super().hear(envelope)
        self.episode = envelope.episode
        if envelope.kind is Kind.VIEW:
            self.view = envelope
        else:
            self.transport.tell(self.seat, self.annotated(envelope))

    @override
    def replied(self, tokens: Sequence[int]) -> None:
        super().replied(tokens)
        self._send_view(list(tokens))

    @override
    def take_back(self, length: int) -> None:
        super().take_back(length)
        self._send_view(None)
        self.late = True

    def _send_view(self, tokens: list[int] | None) -> None:
        if self.view is not None:
            self.transport.tell(self.seat, self.annotated(self.view, replied=tokens))
            self.view = None

    def annotated(self, envelope: Envelope, **data: Any) -> Envelope:
        """Return an envelope with data for the seat, and with `late` if its last reply missed the deadline."""
        if self.late:
            data["late"] = True
            self.late = False
        return envelope._replace(data={**envelope.data, **data}) if data else envelope


class RemotePolicy(TextPolicy):
    """Policy of a remote seat; `name` is the name that the remote agent announced."""

    def __init__(self, transport: SeatTransport, seat: str, name: str) -> None:
        self.transport = transport
        self.seat = seat
        self.name = name

    @override
    def open(self) -> Transcript:
        return RemoteTranscript(self.transport, self.seat)

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask the seat, and hold virtual time until its reply arrives."""
        assert isinstance(transcript, RemoteTranscript)
        assert transcript.view is not None
        view = transcript.annotated(transcript.view, seed=seed, **({"greedy": True} if greedy else {}))
        transcript.view = None
        future = self.transport.ask(self.seat, view)
        with episode_loop().holding():
            sample = await asyncio.wrap_future(future)
        if sample is None:
            await asyncio.get_running_loop().create_future()  # for ever: the scenario's deadline ends the wait
            raise AssertionError
        return sample

    @override
    def close(self, transcript: Transcript) -> None:
        assert isinstance(transcript, RemoteTranscript)
        if transcript.episode is not None:
            self.transport.close(self.seat, transcript.episode)
