"""Publishes that the broker has not acknowledged, and announcements, in the order in which they were sent.

After a reconnect both are sent again in that order, so an old announcement never follows what was published after it.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple


class Publish(NamedTuple):
    """A message on its way to the broker."""

    topic: str
    raw: bytes
    retain: bool


class Outgoing:
    """Unacknowledged publishes by ticket; tickets count up in the order of sending."""

    def __init__(self) -> None:
        self._tickets = count()
        self._pending: dict[int, Publish] = {}
        self._announced: dict[str, tuple[int, Publish]] = {}

    def add(self, topic: str, raw: bytes, *, retain: bool, announced: bool = False) -> int:
        """Return the ticket of a new publish; an announced one is sent again at each reconnect until the next one."""
        ticket = next(self._tickets)
        publish = self._pending[ticket] = Publish(topic, raw, retain)
        if announced:
            self._announced[topic] = ticket, publish
        return ticket

    def get(self, ticket: int) -> Publish | None:
        """Return an unacknowledged publish; None once it is acknowledged."""
        return self._pending.get(ticket)

    def acknowledge(self, ticket: int) -> None:
        """Forget a publish that arrived."""
        self._pending.pop(ticket, None)

    def unsent(self) -> list[int]:
        """Return the tickets to send at a reconnect, in order, announcements among them."""
        self._pending |= dict(self._announced.values())
        self._pending = dict(sorted(self._pending.items()))
        return list(self._pending)

    @property
    def largest(self) -> int:
        """Bytes of the largest payload on its way."""
        return max((len(publish.raw) for publish in self._pending.values()), default=0)

    def __len__(self) -> int:
        return len(self._pending)
