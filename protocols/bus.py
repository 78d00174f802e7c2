"""The bus: publish and subscribe, with bounded inboxes, de-duplication and loss counters.

Delivery guarantees: a subscription receives the envelopes of one publisher under one topic in the order in which they
were sent, each at most once. A full inbox drops new envelopes and counts them in `dropped`; an envelope that arrives
again is counted in `duplicates`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import Final, Self

from protocols import topics
from protocols.envelope import Envelope
from protocols.errors import ProtocolError

CAPACITY: Final = 1024
_REMEMBERED: Final = 4096  # at least so many of the last identities, and at most twice as many, are kept


class Subscription:
    """An inbox with one reader, which takes envelopes by `async for` or `get()`; the bus puts them in by `put`.

    A reader without a task of its own can be called with each envelope instead (`call`).
    """

    __slots__ = ("_before", "_closed", "_queue", "_reader", "_seen", "_waiter", "capacity", "dropped", "duplicates")

    def __init__(self, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ProtocolError(f"an inbox needs room for at least one envelope, not {capacity}")
        self.capacity = capacity
        self.dropped = 0
        self.duplicates = 0
        self._queue: list[Envelope] = []  # short, and there are thousands: a deque takes half a kilobyte
        self._seen: set[tuple[str, str, int]] = set()
        self._before: Collection[tuple[str, str, int]] = ()  # identities seen before those
        self._waiter: asyncio.Future[None] | None = None
        self._reader: Callable[[Envelope], bool] | None = None
        self._closed = False

    def put(self, envelope: Envelope, identity: tuple[str, str, int]) -> None:
        """Append an envelope, or count it as dropped or as a duplicate."""
        seen = self._seen
        if identity in seen or identity in self._before:
            self.duplicates += 1
            return
        queue = self._queue
        if len(queue) >= self.capacity or self._closed:
            self.dropped += 1
            return
        seen.add(identity)
        if len(seen) >= _REMEMBERED:
            self._before, self._seen = seen, set()
        if self._reader is not None and not queue and self._reader(envelope):
            return
        queue.append(envelope)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def call(self, reader: Callable[[Envelope], bool] | None) -> None:
        """Call `reader` with each waiting and each new envelope; None ends that.

        The reader returns whether it took the envelope. If not, this envelope and all later ones wait until `offer`.
        """
        self._reader = reader
        self.offer()

    def offer(self) -> None:
        """Call the reader with the waiting envelopes until it refuses one."""
        queue = self._queue
        while queue and self._reader is not None and self._reader(queue[0]):
            del queue[0]

    async def get(self) -> Envelope:
        """Take the oldest envelope, waiting for one; raises StopAsyncIteration once closed and empty."""
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            if self._waiter is not None and not self._waiter.done():
                raise ProtocolError("an inbox has one reader, and it waits already: subscribe once for each reader")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._queue.pop(0)

    @property
    def closed(self) -> bool:
        """Whether new envelopes are dropped; earlier ones can still be read."""
        return self._closed

    def close(self) -> None:
        """Drop new envelopes from now on, and wake a waiting reader."""
        self._closed = True
        self._reader = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> Self:
        return self

    __anext__ = get


class Bus(ABC):
    """Interface of bus backends. Use a bus with `async with`; leaving it closes every subscription."""

    @abstractmethod
    async def publish(self, topic: str, envelope: Envelope) -> None:
        """Send an envelope to every subscription whose pattern matches the topic."""

    @abstractmethod
    async def subscribe(self, pattern: str, capacity: int = CAPACITY) -> Subscription:
        """Open an inbox for all topics under a pattern (`+` and `#` as in MQTT)."""

    @abstractmethod
    async def unsubscribe(self, pattern: str, subscription: Subscription) -> None:
        """Close an inbox opened under `pattern`; harmless once that was done, or the bus was left."""

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Node:
    """A level of the subscription trie."""

    __slots__ = ("children", "inboxes")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.inboxes: list[Subscription] = []


_Inboxes = dict[str, tuple[Subscription, ...]]


class MemoryBus(Bus):
    """The bus within one process: no copies, no serialisation.

    Plain topics, and patterns whose only wildcard is a `+` at the end, take one dictionary look-up; a trie of topic
    levels has the other patterns.
    """

    def __init__(self) -> None:
        self._inboxes: _Inboxes = {}  # under a topic
        self._below: _Inboxes = {}  # under all topics one level below
        self._root = _Node()
        self._others = 0  # subscriptions in the trie

    def _table(self, pattern: str) -> tuple[_Inboxes, str] | None:
        """Return the table and the key of a pattern's inboxes; None if they are in the trie."""
        if pattern and "#" not in pattern:
            if "+" not in pattern:
                return self._inboxes, pattern
            stem, _, last = pattern.rpartition("/")
            if last == "+" and stem and "+" not in stem:
                return self._below, stem
        return None

    async def publish(self, topic: str, envelope: Envelope) -> None:
        """Deliver at once; readers run when the publisher next awaits."""
        self.deliver(topic, envelope)

    def deliver(self, topic: str, envelope: Envelope) -> None:
        """Put an envelope into every inbox whose pattern matches the topic."""
        identity = envelope[:3]
        inboxes = self._inboxes.get(topic)
        if inboxes is None:
            topics.concrete(topic)
        else:
            for inbox in inboxes:
                inbox.put(envelope, identity)
        for inbox in self._below.get(topic.rpartition("/")[0], ()):
            inbox.put(envelope, identity)
        if self._others:
            for inbox in self._match(topic):
                inbox.put(envelope, identity)

    def _match(self, topic: str) -> Iterator[Subscription]:
        nodes = [self._root]
        for level in topic.split("/"):
            below: list[_Node] = []
            for node in nodes:
                children = node.children
                below += [children[part] for part in (level, "+") if part in children]
                if (rest := children.get("#")) is not None:
                    yield from rest.inboxes
            nodes = below
        for node in nodes:
            yield from node.inboxes
            if (rest := node.children.get("#")) is not None:  # `a/#` also matches `a`
                yield from rest.inboxes

    async def subscribe(self, pattern: str, capacity: int = CAPACITY) -> Subscription:
        """Open an inbox; raises ProtocolError for a misplaced wildcard."""
        return self.open(pattern, capacity)

    async def unsubscribe(self, pattern: str, subscription: Subscription) -> None:
        """Close an inbox and delete the trie levels that nothing else uses."""
        self.shut(pattern, subscription)

    def open(self, pattern: str, capacity: int = CAPACITY) -> Subscription:
        """Open an inbox at once."""
        inbox = Subscription(capacity)
        if (entry := self._table(pattern)) is not None:
            table, key = entry
            table[key] = (*table.get(key, ()), inbox)
            return inbox
        node = self._root
        for part in topics.pattern(pattern).split("/"):
            node = node.children.setdefault(part, _Node())
        node.inboxes.append(inbox)
        self._others += 1
        return inbox

    def shut(self, pattern: str, subscription: Subscription) -> None:
        """Close an inbox at once."""
        if (entry := self._table(pattern)) is not None and subscription in (old := entry[0].get(entry[1], ())):
            subscription.close()
            table, key = entry
            table[key] = tuple([inbox for inbox in old if inbox is not subscription])
            if not table[key]:
                del table[key]
            return
        path: list[tuple[_Node, str]] = []
        node = self._root
        for part in pattern.split("/"):
            path.append((node, part))
            node = node.children.get(part, _Node())
        if subscription not in node.inboxes:
            if subscription.closed:
                return
            raise ProtocolError(f"this inbox was not opened under {pattern!r}")
        subscription.close()
        node.inboxes.remove(subscription)
        self._others -= 1
        for parent, part in reversed(path):
            child = parent.children[part]
            if child.inboxes or child.children:
                break
            del parent.children[part]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every inbox."""
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            nodes.extend(node.children.values())
            for inbox in node.inboxes:
                inbox.close()
        for table in (self._inboxes, self._below):
            for inboxes in table.values():
                for inbox in inboxes:
                    inbox.close()
            table.clear()
        self._root = _Node()
        self._others = 0
