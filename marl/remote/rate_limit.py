"""Rate limit per seat: what a seat sends beyond it is dropped before it is parsed, so a flood costs the others little.

Replies that are awaited cost nothing, so no honest seat meets the limit. Lobby messages and whatever is rejected cost
by their size. A seat over its limit is still heard where a view of an episode awaits its reply.
"""

from __future__ import annotations

from typing import Final

RATE: Final = 200.0
"""Lobby messages and rejected envelopes per second that a seat may send, in the long run."""
BURST: Final = 1000.0
"""As many at once, such as replies that come again after a reconnect."""
BLOCK: Final = 16_384
"""Bytes that cost as much as one more message."""


class RateLimit:
    """A token bucket for each seat."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}
        self.dropped: dict[str, int] = {}
        """Seat -> messages dropped."""

    def spend(self, seat: str, size: int, now: float) -> None:
        """Charge a seat for a message of `size` bytes."""
        self._left[seat] = max(0.0, self._of(seat, now) - 1 - size / BLOCK), now

    def over(self, seat: str, now: float) -> bool:
        """Return whether a seat has used up what it may send."""
        return seat in self._left and self._of(seat, now) < 1

    def drop(self, seat: str) -> bool:
        """Count a dropped message; return whether it is the seat's first."""
        self.dropped[seat] = self.dropped.get(seat, 0) + 1
        return self.dropped[seat] == 1

    def _of(self, seat: str, now: float) -> float:
        left, before = self._left.get(seat, (BURST, now))
        return min(BURST, left + (now - before) * RATE)
