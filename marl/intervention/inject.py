"""Inject a message: listeners hear it from a sender who did not send it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from marl.errors import UserError
from marl.intervention.base import Intervention, MessageSpace
from protocols.channel import PUBLIC
from protocols.log import Log


class Inject(Intervention):
    """Deliver a message as the `sender`'s that it did not send: at the start of a `round`, or as log entry `seq`.

    It goes to the seats in `to`, by default to whoever hears the sender on the channel. If no message can be delivered
    as entry `seq` (a reward is logged there), it follows as soon as possible. No other intervention alters it.
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
    def _one_moment(self) -> Self:
        if (self.seq is None) == (self.round is None):
            raise ValueError(
                "an injection needs round (it comes at its start) or seq (its log entry): give one of them"
            )
        if self.sender in self.to:
            raise ValueError(f"{self.sender} cannot hear a message of its own: leave it out of `to`")
        return self

    @override
    def check(self, space: MessageSpace) -> None:
        self._check_seats(space, self.sender, *self.to)
        self._check_channel(space, self.channel)
        self._check_words(space, self.sender, self.body.split())

    @override
    def for_fork(self, log: Log, at: int) -> Self:
        if self.seq is None:
            raise UserError("inject: a fork needs an entry of the log: give seq instead of round")
        if not at <= self.seq <= len(log.entries):
            raise UserError(f"inject: entry {self.seq} is not among {at} to {len(log.entries)} of {log.episode}")
        return self
