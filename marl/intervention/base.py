"""Base classes of interventions: the message they match, and what its listeners hear instead."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import Field

from marl.errors import UserError
from protocols.envelope import REFEREE, Kind
from protocols.errors import ProtocolError
from protocols.log import Heard, Log
from protocols.message import Symbols
from protocols.settings import Settings

if TYPE_CHECKING:
    from marl.scenario.world import World


class Said(NamedTuple):
    """A message, as interventions look at it. `place` counts what its sender said on this channel before it."""

    seq: int
    sender: str
    channel: str
    round: int = 0
    place: int = 0
    alphabet: Symbols = ()


class Intervention(Settings):
    """What all interventions have in common."""

    type: str

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat, a channel or a word that the world does not have."""

    def placed(self, log: Log, at: int) -> Self:
        """Return it for another future of a log that keeps what stands before entry `at`; raises UserError."""
        return self

    def _seat(self, world: World, *seats: str) -> None:
        for seat in seats:
            if seat not in world.agents:
                raise ProtocolError(f"{self.type}: no seat {seat!r}; the seats are {', '.join(world.agents)}")

    def _channel(self, world: World, channel: str) -> None:
        if channel not in world.channels:
            raise ProtocolError(f"{self.type}: there is no channel {channel!r}; there are {', '.join(world.channels)}")

    def _words(self, world: World, sender: str | None, words: Iterable[str]) -> None:
        if world.free(sender):
            return
        known = world.symbols(sender)
        if foreign := [word for word in words if word not in known]:
            who = f"{sender} does not say" if sender else "nobody says"
            others = f"; there are {', '.join(known)}" if known else " or anything else"
            raise ProtocolError(f"{self.type}: {who} {foreign[0]!r}{others}")


class OnMessages(Intervention):
    """For every message, or for those that fit all that is given here."""

    later = frozenset({"seq", "since", "sender", "channel", "round"})  # None is no condition, and stays so

    seq: int | None = Field(default=None, ge=0)
    """Its entry in the log."""
    since: int | None = Field(default=None, ge=0)
    """The first entry of the log that counts."""
    sender: str | None = None
    channel: str | None = None
    round: int | None = Field(default=None, ge=0)
    """The stage of the arena."""

    def concerns(self, said: Said) -> bool:
        """Say whether a message fits."""
        return (
            (self.seq is None or self.seq == said.seq)
            and (self.since is None or self.since <= said.seq)
            and (self.sender is None or self.sender == said.sender)
            and (self.channel is None or self.channel == said.channel)
            and (self.round is None or self.round == said.round)
        )

    @abstractmethod
    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Return what a listener hears instead; `seed` names this intervention in this episode."""

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat or a channel that the world does not have."""
        if self.sender is not None:
            self._seat(world, self.sender)
        if self.channel is not None:
            self._channel(world, self.channel)

    def placed(self, log: Log, at: int) -> Self:
        """Return it for what is said from entry `at` on; raises UserError for a message that is none, or is past."""
        if self.seq is None:
            return self.model_copy(update={"since": max(at, self.since or 0)})
        if self.seq < at:
            raise UserError(f"{self.type}: entry {self.seq} of {log.episode} stands before entry {at}: fork there")
        entry = log.entries[self.seq].envelope if self.seq < len(log.entries) else None
        if self.seq == at and (entry is None or entry.kind is not Kind.SAY or entry.sender == REFEREE):
            raise UserError(f"{self.type}: entry {self.seq} of {log.episode} is no message; {_messages(log)}")
        return self


def _messages(log: Log) -> str:
    said = [str(envelope.seq) for envelope in log.replies() if envelope.kind is Kind.SAY]
    return f"its messages are entries {', '.join(said)}" if said else "nothing is said there"
