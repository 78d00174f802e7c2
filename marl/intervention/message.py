"""Interventions on messages: drop, replace, rewrite, swap or shuffle what listeners hear.

The sender believes that it said what it said; only what its listeners hear changes. The interventions of a scenario act
in all its episodes. Those of a plan act in one episode, and the header of its log records them. Several act in order,
each on the result of the one before. They act after the channel: its noise does not touch what they put in, and the
message arrives when it would have arrived.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator
from typing_extensions import override

from marl.intervention.base import MessageEvent, MessageSpace, OnMessages
from protocols.draws import below, key, uniform
from protocols.effects import REWRITERS
from protocols.log import Heard


class Drop(OnMessages):
    """Lose the message with probability `p`: one draw for all its listeners."""

    type: Literal["drop"] = "drop"
    p: float = Field(default=1.0, ge=0, le=1)

    @override
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        return heard._replace(body=None) if self.p == 1 or uniform(key(seed, message.seq)) < self.p else heard


class Close(OnMessages):
    """Lose every message on a channel."""

    type: Literal["close"] = "close"
    channel: str

    @override
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        return heard._replace(body=None)


class Replace(OnMessages):
    """Replace the message by `body`, also for listeners who would have heard nothing."""

    type: Literal["replace"] = "replace"
    body: str

    @override
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        return heard._replace(body=self.body)

    @override
    def check(self, space: MessageSpace) -> None:
        super().check(space)
        self._check_words(space, self.sender, self.body.split())


class Rewrite(OnMessages):
    """Rewrite the message: word by word from a `table`, or `by` a function of `protocols.effects.REWRITERS`.

    A log records only the function's name, so the function must be in `REWRITERS` when the log is replayed.
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

    @override
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        if heard.body is None:
            return heard
        words = tuple(heard.body.split())
        if self.by:
            words = tuple(REWRITERS[self.by](words, message.alphabet, key(seed, message.seq)))
        return heard._replace(body=" ".join(self.table.get(word, word) for word in words))

    @override
    def check(self, space: MessageSpace) -> None:
        super().check(space)
        self._check_words(space, self.sender, [word for pair in self.table.items() for word in pair])


class Swap(OnMessages):
    """Change the sender that listeners see to `seat`. The listener on that seat still sees the true one."""

    type: Literal["swap"] = "swap"
    seat: str

    @override
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        if heard.to == self.seat:
            return heard
        return heard._replace(sender="" if self.seat == message.sender else self.seat)

    @override
    def check(self, space: MessageSpace) -> None:
        super().check(space)
        self._check_seats(space, self.seat)


class Spoken(NamedTuple):
    """A message of another episode, by what each listener heard; None or missing if it heard nothing."""

    episode: str
    sender: str
    channel: str
    heard: dict[str, str | None]


class Shuffle(OnMessages):
    """Replace each message by one of another episode of the `pool`, so that it tells nothing about this episode.

    One pool episode is drawn for each episode. A message is replaced by the message at the same position, by the same
    sender on the same channel; listeners hear nothing if the pool episode has none. So words are heard as often as in
    the pool.
    """

    type: Literal["shuffle"] = "shuffle"
    pool: tuple[Spoken, ...] = Field(min_length=1)

    @cached_property
    def _episodes(self) -> list[dict[tuple[str, str], list[Spoken]]]:
        """The messages of each pool episode, by sender and channel."""
        episodes: dict[str, dict[tuple[str, str], list[Spoken]]] = {}
        for spoken in self.pool:
            by_source = episodes.setdefault(spoken.episode, {})
            by_source.setdefault((spoken.sender, spoken.channel), []).append(spoken)
        return list(episodes.values())

    @override
    def alter(self, heard: Heard, message: MessageEvent, seed: int) -> Heard:
        episode = self._episodes[below(len(self._episodes), key(seed, "episode"))]
        spoken = episode.get((message.sender, message.channel), [])
        body = spoken[message.position].heard.get(heard.to) if message.position < len(spoken) else None
        return heard._replace(body=body)

    @override
    def check(self, space: MessageSpace) -> None:
        super().check(space)
        for spoken in self.pool:
            self._check_seats(space, spoken.sender, *spoken.heard)
            self._check_channel(space, spoken.channel)
            words = [word for body in spoken.heard.values() for word in (body or "").split()]
            self._check_words(space, spoken.sender, words)
