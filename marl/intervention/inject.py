"""Inject a message that nobody said."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from marl.errors import UserError
from protocols.channel import PUBLIC
from protocols.log import Log

if TYPE_CHECKING:
    from marl.scenario.world import World

from marl.intervention.base import Intervention


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
