"""Requests of seats for what they missed: joined into one, and served at most every `PERIOD` seconds a seat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PERIOD: Final = 0.25
"""Seconds between two answers to one seat."""


class Resends:
    """Requests that wait, by seat; None asks for every episode from its start."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, int] | None] = {}
        self._next: dict[str, float] = {}

    def request(self, seat: str, have: Mapping[str, int] | None) -> None:
        """Add a request: episode -> number of envelopes received."""
        waiting = self._waiting.get(seat, {})
        if have is None or waiting is None:
            self._waiting[seat] = None
            return
        for episode, first in have.items():
            waiting[episode] = min(first, waiting.get(episode, first))
        if waiting:
            self._waiting[seat] = waiting

    def due(self, now: float) -> list[tuple[str, dict[str, int] | None]]:
        """Take the requests of the seats whose turn has come."""
        seats = [seat for seat in self._waiting if now >= self._next.get(seat, 0.0)]
        for seat in seats:
            self._next[seat] = now + PERIOD
        return [(seat, self._waiting.pop(seat)) for seat in seats]
