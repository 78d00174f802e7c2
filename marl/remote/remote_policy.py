"""A seat whose agent is elsewhere, as a policy of the host: what its transcript hears goes out, its replies come in.

Everything else stays with the agent of `marl.agent` on the host: it takes the time that the scenario's latency says,
and gives up at the scenario's deadline. So an episode does not depend on where its agents are: while one of them thinks
elsewhere, virtual time stands still (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from arenas.spec import ReplySpec
from marl.context.transcript import Transcript
from marl.episode import Sample
from marl.policy.base import TextPolicy
from protocols.clock import episode_loop
from protocols.envelope import Envelope, Kind


class Line(Protocol):
    """The way to the agents of a host. It may be called from any thread."""

    def tell(self, seat: str, envelope: Envelope) -> None:
        """Send what a seat heard."""

    def ask(self, seat: str, view: Envelope) -> Future[Sample | None]:
        """Send a view; the future holds the reply, None where the seat ran out of patience, or raises UserError."""

    def close(self, seat: str, episode: str) -> None:
        """Forget an episode of a seat."""


class RemoteTranscript(Transcript):
    """Passes on what it hears. A view waits until it is known whether it asks anything."""

    __slots__ = ("episode", "late", "line", "seat", "view")

    def __init__(self, line: Line, seat: str) -> None:
        super().__init__()
        self.line = line
        self.seat = seat
        self.episode: str | None = None
        self.view: Envelope | None = None
        self.late = False

    def hear(self, envelope: Envelope) -> None:
        """Send it to the seat, or keep it if it is a view."""
        super().hear(envelope)
        self.episode = envelope.episode
        if envelope.kind is Kind.VIEW:
            self.view = envelope
        else:
            self.line.tell(self.seat, self.noted(envelope))

    def replied(self, tokens: Sequence[int]) -> None:
        """Send the view that was waiting, with the recorded reply to it."""
        super().replied(tokens)
        self._answered(list(tokens))

    def take_back(self, length: int) -> None:
        """Let the seat know with the next envelope that its reply came too late."""
        super().take_back(length)
        self._answered(None)
        self.late = True

    def _answered(self, tokens: list[int] | None) -> None:
        if self.view is not None:
            self.line.tell(self.seat, self.noted(self.view, replied=tokens))
            self.view = None

    def noted(self, envelope: Envelope, **data: Any) -> Envelope:
        """Return an envelope with what the seat must know beside it."""
        if self.late:
            data["late"] = True
            self.late = False
        return envelope._replace(data={**envelope.data, **data}) if data else envelope


class Remote(TextPolicy):
    """The policy of a seat whose agent is elsewhere; `name` is the name of the policy there."""

    def __init__(self, line: Line, seat: str, name: str) -> None:
        self.line = line
        self.seat = seat
        self.name = name

    def open(self) -> Transcript:
        """Return a transcript that passes on what it hears."""
        return RemoteTranscript(self.line, self.seat)

    async def reply(self, transcript: Transcript, *, spec: ReplySpec, seed: int, greedy: bool) -> Sample:
        """Ask, and hold virtual time until the reply is there."""
        assert isinstance(transcript, RemoteTranscript)
        assert transcript.view is not None
        view = transcript.noted(transcript.view, seed=seed, **({"greedy": True} if greedy else {}))
        transcript.view = None
        future = self.line.ask(self.seat, view)
        with episode_loop().holding():
            sample = await asyncio.wrap_future(future)
        if sample is None:
            await asyncio.get_running_loop().create_future()  # for ever: the scenario's deadline ends the wait
            raise AssertionError
        return sample

    def close(self, transcript: Transcript) -> None:
        """Forget the episode."""
        assert isinstance(transcript, RemoteTranscript)
        if transcript.episode is not None:
            self.line.close(self.seat, transcript.episode)
