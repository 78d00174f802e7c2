"""Seat registry of a host: which agent holds each seat, checked by token, and whether it is present."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from marl.remote.rejections import Reason
from marl.remote.wire import JoinData


@dataclass(slots=True)
class Claim:
    """An agent's claim on a seat. `present` turns false when the agent left or may have died."""

    agent: str
    policy: str
    version: int
    count: int = 0
    """The agent's own count `n` of its last state: an older one never replaces it."""
    lead: str = ""
    """Seat whose last will speaks for this one too."""
    present: bool = True
    proven: bool = True
    """False if its only evidence is an announcement retained by a broker, whose agent may be dead."""


class Lobby:
    """The seats that remote agents may take.

    Args:
        seats: their names.
        tokens: seat -> token that its agent must send with every envelope; without tokens any agent may take a seat.
        changed: called with the seat after an agent took or left it.
    """

    def __init__(self, seats: Sequence[str], tokens: Mapping[str, str] | None, changed: Callable[[str], None]) -> None:
        self.began = False
        """Whether episodes are being played: from then on the policy of a seat is fixed."""
        self.claims: dict[str, Claim | None] = dict.fromkeys(seats)
        self._tokens = tokens
        self._changed = changed

    @property
    def missing(self) -> list[str]:
        """The seats without a present agent."""
        return [seat for seat, claim in self.claims.items() if claim is None or not claim.present]

    def knows(self, seat: str, token: str) -> bool:
        """Return whether a token is the seat's, compared in constant time."""
        return self._tokens is None or hmac.compare_digest(self._tokens[seat].encode(), token.encode())

    def join(self, seat: str, data: JoinData, count: int = 0, *, proven: bool = True) -> tuple[Reason, str] | None:
        """Give a seat to an agent, or return why not. A seat can be taken over if no agent is proven to be present.

        `count` is the `n` of the join. The same state may come again, as after a reconnect, but no older one.
        """
        if not self.knows(seat, data.token):
            return Reason.TOKEN, f"the token for the seat {seat} is wrong: give the one its host printed (--token)"
        claim = self.claims[seat]
        if claim is not None and claim.present and claim.proven and claim.agent != data.agent:
            return Reason.TAKEN, f"the seat {seat} is taken by another agent: choose another seat, or stop that one"
        if self.began and claim is not None and claim.policy != data.policy:
            return Reason.TAKEN, (
                f"the seat {seat} began with the policy {claim.policy}, not {data.policy}: go on with the same one"
            )
        if claim is not None and claim.agent == data.agent and count < claim.count:
            nameless = "agent" not in data.model_fields_set  # played by hand: a new session counts from 0
            if not nameless or claim.present:
                return Reason.REPLAYED, f"n {count} is older than the {claim.count} of this agent's last state"
        self.claims[seat] = Claim(data.agent, data.policy, data.version, count, data.lead, proven=proven)
        self._changed(seat)
        return None

    def leave(self, seat: str, agent: str, count: int = 0) -> tuple[Reason, str] | None:
        """Mark an agent as gone from its seat, and from the seats that this one leads, or return why not."""
        claim = self.claims[seat]
        if claim is None or claim.agent != agent:
            others = [name for name, other in self.claims.items() if other is not None and other.agent == agent]
            return (Reason.SENDER, f"{seat} leaves in the name of {others[0]}") if others else None
        claim.count = max(claim.count, count)
        for name, other in self.claims.items():
            if other is not None and other.agent == agent and other.present and seat in (name, other.lead):
                other.present = False
                self._changed(name)
        return None

    def doubt(self) -> None:
        """Mark all agents as absent until they announce themselves again, after the broker was down."""
        for claim in self.claims.values():
            if claim is not None:
                claim.present = False
