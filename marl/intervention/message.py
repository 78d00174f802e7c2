"""Interventions: what listeners hear is not what was said.

An intervention names the messages it is for and what their listeners hear instead, while their senders believe to have
said what they said. Those of a scenario hold for all its episodes; those of a plan for one, and its log's header keeps
them. Several act in order, each on what the one before left. The channel has done its work by then: what an
intervention makes heard is heard as it stands, at the time at which the message arrives.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from marl.intervention.base import OnMessages, Said
from protocols.draws import below, key, uniform
from protocols.effects import REWRITERS
from protocols.log import Heard

if TYPE_CHECKING:
    from marl.scenario.world import World


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
