"""The lobby: who sits on which seat of a host, for whom it vouches with a token, and whether it is there."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from marl.remote.rejections import Reason
from marl.remote.wire import JoinData


@dataclass(slots=True)
class Claim:
    """Somebody took a seat. `present` turns false when it left or may have died."""

    agent: str
    policy: str
    version: int
    present: bool = True
    proven: bool = True
    """False if all there is of it is an announcement that a broker kept: its agent may be long dead."""


class Lobby:
    """The seats that agents from elsewhere may take.

    Args:
        seats: their names.
        tokens: seat -> what its agent must show with every envelope; without tokens anyone may take a free seat.
        changed: called with the seat when it was taken or left.
    """

    def __init__(self, seats: Sequence[str], tokens: Mapping[str, str] | None, changed: Callable[[str], None]) -> None:
        self.began = False
        """Whether episodes are being played: from then on a seat keeps its policy."""
        self.claims: dict[str, Claim | None] = dict.fromkeys(seats)
        self._tokens = tokens
        self._changed = changed

    @property
    def missing(self) -> list[str]:
        """The seats on which nobody sits now."""
        return [seat for seat, claim in self.claims.items() if claim is None or not claim.present]

    def knows(self, seat: str, token: str) -> bool:
        """Whether a token is the one of the seat, compared in constant time."""
        return self._tokens is None or hmac.compare_digest(self._tokens[seat].encode(), token.encode())

    def join(self, seat: str, data: JoinData, *, proven: bool = True) -> tuple[Reason, str] | None:
        """Let an agent take a seat, or say why not. A seat can be taken over where no agent is proven to be there."""
        if not self.knows(seat, data.token):
            return Reason.TOKEN, f"the token for the seat {seat} is wrong: give the one its host printed (--token)"
        claim = self.claims[seat]
        if claim is not None and claim.present and claim.proven and claim.agent != data.agent:
            return Reason.TAKEN, f"the seat {seat} is taken by another agent: choose another seat, or stop that one"
        if self.began and claim is not None and claim.policy != data.policy:
            return Reason.TAKEN, (
                f"the seat {seat} began with the policy {claim.policy}, not {data.policy}: go on with the same one"
            )
        self.claims[seat] = Claim(data.agent, data.policy, data.version, proven=proven)
        self._changed(seat)
        return None

    def leave(self, agent: str) -> None:
        """Note that an agent is gone, from every seat it had."""
        for seat, claim in self.claims.items():
            if claim is not None and claim.agent == agent and claim.present:
                claim.present = False
                self._changed(seat)

    def doubt(self) -> None:
        """Believe nobody to be there until it says so again: the broker that would have told was down."""
        for claim in self.claims.values():
            if claim is not None:
                claim.present = False
