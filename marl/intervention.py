"""Interventions: what listeners hear is not what was said.

An intervention names the messages it is for and what their listeners hear instead, while their senders believe to have
said what they said. Those of a scenario hold for all its episodes; those of a plan for one, and its log's header keeps
them. Several act in order, each on what the one before left. The channel has done its work by then: what an
intervention makes heard is heard as it stands, at the time at which the message arrives.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from marl.errors import UserError
from protocols.channel import PUBLIC
from protocols.draws import below, key, uniform
from protocols.effects import REWRITERS
from protocols.envelope import REFEREE, Kind
from protocols.errors import ProtocolError
from protocols.log import Heard, Log
from protocols.message import Symbols
from protocols.settings import Settings

if TYPE_CHECKING:
    from marl.scenario import World


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


class Drop(OnMessages):
    """The listeners hear nothing, with probability `p` (for all of them alike)."""

    type: Literal["drop"] = "drop"
    p: float = Field(default=1.0, ge=0, le=1)

    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Lose it or not."""
        return heard._replace(body=None) if self.p == 1 or uniform(key(seed, said.seq)) < self.p else heard


class Close(OnMessages):
    """Everything on a channel is lost."""

    type: Literal["close"] = "close"
    channel: str

    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Lose it."""
        return heard._replace(body=None)


class Replace(OnMessages):
    """The listeners hear `body` instead, also those who would have heard nothing."""

    type: Literal["replace"] = "replace"
    body: str

    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Put other words in."""
        return heard._replace(body=self.body)

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat, a channel or a word that the world does not have."""
        super().check(world)
        self._words(world, self.sender, self.body.split())


class Rewrite(OnMessages):
    """What is heard is rewritten: word by word from a `table`, or `by` a function of `protocols.effects.REWRITERS`.

    A log names the function. Whoever replays it must have put the function there.
    """

    type: Literal["rewrite"] = "rewrite"
    by: str = ""
    table: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if bool(self.by) == bool(self.table):
            raise ValueError('a rewrite has either a table such as {m0 = "m1"}, or the name of a function in `by`')
        if self.by and self.by not in REWRITERS:
            raise ValueError(
                f"there is no rewriting function {self.by!r}, only {', '.join(REWRITERS)}: "
                f"add it first, as protocols.effects.REWRITERS[{self.by!r}]"
            )
        return self

    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Rewrite what arrived, the same way for all listeners."""
        if heard.body is None:
            return heard
        words = tuple(heard.body.split())
        if self.by:
            words = tuple(REWRITERS[self.by](words, said.alphabet, key(seed, said.seq)))
        return heard._replace(body=" ".join(self.table.get(word, word) for word in words))

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat, a channel or a word that the world does not have."""
        super().check(world)
        self._words(world, self.sender, [word for pair in self.table.items() for word in pair])


class Swap(OnMessages):
    """The listeners believe it to come from another seat. That seat itself is not fooled."""

    type: Literal["swap"] = "swap"
    seat: str

    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Put another name on it."""
        if heard.to == self.seat:
            return heard
        return heard._replace(sender="" if self.seat == said.sender else self.seat)

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat or a channel that the world does not have."""
        super().check(world)
        self._seat(world, self.seat)


class Spoken(NamedTuple):
    """A message of an episode, as each listener heard it; None, or a listener left out, where it was not heard."""

    episode: str
    sender: str
    channel: str
    heard: dict[str, str | None]


class Shuffle(OnMessages):
    """The listeners hear what they heard in an episode of the `pool`, drawn for each episode, at the same place.

    The same place is the same number of messages of this sender on this channel before it. Where that episode had none
    they hear nothing. So what is heard is as frequent as in the pool, and tells nothing about this episode.
    """

    type: Literal["shuffle"] = "shuffle"
    pool: tuple[Spoken, ...] = Field(min_length=1)

    @cached_property
    def _episodes(self) -> list[dict[tuple[str, str], list[Spoken]]]:
        found: dict[str, dict[tuple[str, str], list[Spoken]]] = {}
        for each in self.pool:
            found.setdefault(each.episode, {}).setdefault((each.sender, each.channel), []).append(each)
        return list(found.values())

    def instead(self, heard: Heard, said: Said, seed: int) -> Heard:
        """Let the other episode's message be heard."""
        spoken = self._episodes[below(len(self._episodes), key(seed, "episode"))]
        there = spoken.get((said.sender, said.channel), [])
        return heard._replace(body=there[said.place].heard.get(heard.to) if said.place < len(there) else None)

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat, a channel or a word that the world does not have."""
        super().check(world)
        for each in self.pool:
            self._seat(world, each.sender, *each.heard)
            self._channel(world, each.channel)
            self._words(world, each.sender, [word for body in each.heard.values() for word in (body or "").split()])


class Inject(Intervention):
    """A message that nobody said is heard as the `sender`'s: at the start of a `round`, or as entry `seq` of the log.

    It goes `to` the seats named, or to whoever would hear the sender on the channel. If no message can come just at
    that entry (a reward is booked there), it comes as soon after as one can. No other intervention touches it.
    """

    later: ClassVar[frozenset[str]] = frozenset({"seq", "round"})

    type: Literal["inject"] = "inject"
    sender: str
    body: str
    channel: str = PUBLIC
    to: tuple[str, ...] = ()
    seq: int | None = Field(default=None, ge=0)
    round: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.seq is None) == (self.round is None):
            raise ValueError("an injection comes at the start of a round, or as entry seq: give one of the two")
        if self.sender in self.to:
            raise ValueError(f"{self.sender} cannot hear a message of its own: leave it out of `to`")
        return self

    def check(self, world: World) -> None:
        """Raise ProtocolError for a seat, a channel or a word that the world does not have."""
        self._seat(world, self.sender, *self.to)
        self._channel(world, self.channel)
        self._words(world, self.sender, self.body.split())

    def placed(self, log: Log, at: int) -> Self:
        """Return it as it is; raises UserError where its place in the log is not known, or is past."""
        if self.seq is None:
            raise UserError("inject: a fork needs an entry of the log: give seq instead of round")
        if not at <= self.seq <= len(log.entries):
            raise UserError(f"inject: entry {self.seq} is not among {at} to {len(log.entries)} of {log.episode}")
        return self


InterventionConfig = Annotated[Drop | Close | Replace | Rewrite | Swap | Shuffle | Inject, Field(discriminator="type")]
_MANY: Final[TypeAdapter[tuple[Any, ...]]] = TypeAdapter(tuple[InterventionConfig, ...])


def read(log: Log) -> tuple[Intervention, ...]:
    """Return the interventions of a log's header; raises ProtocolError for one that is none, or has no function."""
    try:
        return _MANY.validate_python(log.do) if log.do else ()
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['loc'][-1]}: " if first["type"] == "missing" else ""
        reason = where + first["msg"].removeprefix("Value error, ")
        raise ProtocolError(f"the interventions of episode {log.episode}: {reason}") from None
