"""Outgoing envelopes of a host: a queue per seat, in which what is sent again replaces what still waits.

No seat can make its queue longer than its running episodes are, however often it asks for them. Seats take turns.
"""

from __future__ import annotations

from protocols.envelope import Envelope

Key = tuple[str, object]


class Outbox:
    """Queues of (topic, envelope) by seat."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[Key, Envelope]] = {}

    def put(self, topic: str, envelope: Envelope) -> None:
        """Append an envelope, in place of an earlier copy that has not been taken."""
        queue = self._queues.setdefault(topic.rpartition("/")[2], {})
        key = topic, envelope.data.get("place", envelope.kind)
        queue.pop(key, None)
        queue[key] = envelope

    def take(self) -> tuple[str, Envelope]:
        """Remove and return the oldest envelope of the seat whose turn it is; raises IndexError when empty."""
        if not self._queues:
            raise IndexError("nothing to send")
        seat, queue = next(iter(self._queues.items()))
        key = next(iter(queue))
        envelope = queue.pop(key)
        del self._queues[seat]
        if queue:
            self._queues[seat] = queue  # to the end: the next seat's turn
        return key[0], envelope

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())
