"""Claim of a host on the name of a run: no two hosts can have one run, however close together they start.

A broker passes on the notices under one topic in one order, the same for all hosts. A host that starts sends a `view`
(who is there?), waits until it comes back, then sends its `join`, retained, and waits for that too. It has the run if

- no other host held it before its `view`, and
- no other host's `view` came between its own `view` and its own `join`.

Proof: were two hosts to have the run, their spans from `view` to `join` would not overlap, so one `join` would stand
before the other `view`, whose host heard it, live or retained. Losers know the winner, by the same order, or try again.
"""

from __future__ import annotations

import asyncio
from typing import Final

from protocols.envelope import Envelope, Kind

ATTEMPTS: Final = 20
SETTLE: Final = 0.3
"""Seconds in which a broker without a common order (amqtt) passes a word on to all who listen."""
PAUSE: Final = (0.02, 0.3)
"""Shortest and longest seconds between two attempts, drawn at random."""


class RunClaim:
    """What one host heard of itself and of others, in the broker's order."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.holder: str | None = None
        """The other host that has the run, as far as this one heard."""
        self.decided = False
        """Whether the holder said that it has the run; else it may still lose it to another one."""
        self.last_is_ours = False
        """Whether the last `join` is this host's own: the one that the broker retains."""
        self.contested = False
        """Whether another host may come first in this attempt."""
        self._awaited: int | None = None
        self._mirrored = asyncio.Event()
        self._asking = False
        self.ordered = True
        """Whether the broker has one order for all. If not, any `view` that is heard from `view` to `join` counts."""
        self._last_view: str | None = None

    def expect(self, notice: Envelope) -> None:
        """Prepare to wait for a notice of this host to come back."""
        self._awaited = notice.n
        self._mirrored.clear()
        if notice.kind is Kind.VIEW and not self.ordered:
            self._asking, self.contested = True, False

    async def mirrored(self, seconds: float) -> None:
        """Wait until the expected notice came back; raises TimeoutError."""
        await asyncio.wait_for(self._mirrored.wait(), seconds)

    def is_ours(self, envelope: Envelope) -> bool:
        """Return whether a notice is this host's own."""
        return envelope.data.get("host") == self.host

    def heard(self, envelope: Envelope) -> None:
        """Take note of a notice on the hosts' topic."""
        host, kind = str(envelope.data.get("host"))[:64], envelope.kind
        if kind is Kind.VIEW:
            self._last_view = host
        if self.is_ours(envelope):
            self._heard_own(envelope)
        elif kind is Kind.VIEW:
            self.contested |= self._asking
            if self.holder == host:
                self.holder = None  # it lost, and tries again
        elif kind is Kind.JOIN:
            self.last_is_ours = False
            if envelope.data.get("opened") or (self.ordered and self._last_view in (host, None)):
                self.holder = host  # None: retained, from before this host listened
                self.decided = bool(envelope.data.get("opened"))
        elif kind in (Kind.LEAVE, Kind.END):
            self.last_is_ours = False
            if self.holder == host:
                self.holder = None

    def _heard_own(self, envelope: Envelope) -> None:
        if envelope.n != self._awaited:
            return
        if envelope.kind is Kind.VIEW:
            self._asking, self.contested = True, self.holder is not None or (self.contested and not self.ordered)
        if envelope.kind is Kind.JOIN:
            self._asking, self.last_is_ours = not self.ordered, True
        self._mirrored.set()
