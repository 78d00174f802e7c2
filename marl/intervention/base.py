"""Base classes of interventions: which messages they match, and what listeners hear instead."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol, Self

from pydantic import Field
from typing_extensions import override

from marl.errors import UserError
from protocols.effects.message import Symbols
from protocols.envelope import REFEREE, Kind
from protocols.errors import ProtocolError
from protocols.log import Heard, Log
from protocols.settings import Settings


class MessageSpace(Protocol):
    """Which messages there can be: the agents, the channels, and the words of each agent."""

    @property
    def agents(self) -> Collection[str]:
        """All seats, in seat order."""

    @property
    def channels(self) -> Collection[str]:
        """The names of all channels."""

    def free(self, agent: str | None) -> bool:
        """Return whether an agent (None: any agent) may say any text."""

    def symbols(self, agent: str | None) -> Collection[str]:
        """Return the words that listeners may hear from an agent (None: from any agent)."""


class MessageEvent(NamedTuple):
    """A message as interventions match it: its log entry, sender, channel and stage."""

    seq: int
    sender: str
    channel: str
    round: int = 0
    """The stage of the arena."""
    position: int = 0
    """How many messages the same sender sent on this channel before."""
    alphabet: Symbols = ()


class Intervention(Settings):
    """Base of all interventions."""

    type: str

    def check(self, space: MessageSpace) -> None:
        """Raise ProtocolError for a seat, a channel or a word that is not in the space."""

    def for_fork(self, log: Log, at: int) -> Self:
        """Return the intervention for a fork of `log` at entry `at`; raises UserError if it cannot act there."""
        return self

    def _check_seats(self, space: MessageSpace, *seats: str) -> None:
        for seat in seats:
            if seat not in space.agents:
                raise ProtocolError(f"{self.type}: no seat {seat!r}; the seats are {', '.join(space.agents)}")

    def _check_channel(self, space: MessageSpace, channel: str) -> None:
        if channel not in space.channels:
            raise ProtocolError(f"{self.type}: there is no channel {channel!r}; there are {', '.join(space.channels)}")

    def _check_words(self, space: MessageSpace, sender: str | None, words: Iterable[str]) -> None:
        if space.free(sender):
            return
        symbols = space.symbols(sender)
        if foreign := [word for word in words if word not in symbols]:
            who = f"{sender} does not say" if sender else "nobody says"
            others = f"; there are {', '.join(symbols)}" if symbols else " or anything else"
            raise ProtocolError(f"{self.type}: {who} {foreign[0]!r}{others}")


class OnMessages(Intervention):
    """An intervention on the messages that match all of its conditions; without any, on every message."""

    later = frozenset({"seq", "since", "sender", "channel", "round"})  # None always means no condition

    seq: int | None = Field(default=None, ge=0)
    """The log entry of the message."""
    since: int | None = Field(default=None, ge=0)
    """The first log entry that may match."""
    sender: str | None = None
    channel: str | None = None
    round: int | None = Field(default=None, ge=0)
    """The stage of the arena."""

    def matches(self, message: MessageEvent) -> bool:
        """Return whether a message matches all conditions."""
        return (
            (self.seq is None or self.seq == message.seq)
            and (self.since is None or self.since <= message.seq)
            and (self.sender is None or self.sender == message.sender)
            and (self.channel is None or self.channel == message.channel)
            and (self.round is None or self.round == message.round)
        )

    @abstractmethod
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        """Return what a listener hears instead; `seed` names this intervention in this episode."""

    @override
    def check(self, space: MessageSpace) -> None:
        if self.sender is not None:
            self._check_seats(space, self.sender)
        if self.channel is not None:
            self._check_channel(space, self.channel)

    @override
    def for_fork(self, log: Log, at: int) -> Self:
        if self.seq is None:
            return self.model_copy(update={"since": max(at, self.since or 0)})
        if self.seq < at:
            raise UserError(f"{self.type}: entry {self.seq} of {log.episode} is before entry {at}: fork at {self.seq}")
        entry = log.entries[self.seq].envelope if self.seq < len(log.entries) else None
        if self.seq == at and (entry is None or entry.kind is not Kind.SAY or entry.sender == REFEREE):
            raise UserError(f"{self.type}: entry {self.seq} of {log.episode} is not a message; {_messages(log)}")
        return self


def _messages(log: Log) -> str:
    entries = [str(envelope.seq) for envelope in log.replies() if envelope.kind is Kind.SAY]
    return f"its messages are entries {', '.join(entries)}" if entries else "it has no messages"
