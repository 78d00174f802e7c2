"""MqttBus: the bus over an MQTT broker, at QoS 1, with MQTT 5 if the broker has it, else 3.1.1.

aiomqtt speaks to the broker; this module adds reconnecting and bounded inboxes. A bounded queue of aiomqtt would lose
messages that it has acknowledged, so every message goes straight into the inboxes of `protocols.bus`, which count what
they drop. Publishes that the broker has not acknowledged are sent again after a reconnect; inboxes drop the duplicates.
All subscriptions of a process share one connection, so further inboxes cost the broker nothing.

What connecting again cannot cure (a message that the broker refuses, a client id that another connection has) ends the
bus: `publish` and `flush` raise the reason, `broken` waits for it, and inboxes are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import aiomqtt

from protocols import topics
from protocols.bus import CAPACITY, Bus, MemoryBus, Subscription
from protocols.clock import EpisodeLoop
from protocols.envelope import MAX_BYTES, Envelope
from protocols.errors import ProtocolError
from protocols.mqtt import refusal
from protocols.mqtt.address import parse
from protocols.mqtt.client_factory import TIMEOUT, BrokerClient, make_client, newest_version
from protocols.mqtt.copies import Copies
from protocols.mqtt.outgoing import Outgoing
from protocols.mqtt.refusal import Judge, code, number, sentence

WINDOW: Final = 64
"""Unacknowledged publishes at most; the next publish waits."""
BACKOFF: Final = (0.05, 2.0)
"""Seconds before the first attempt to reconnect, doubled after each failure, and the longest wait."""
Watcher = Callable[[str, bytes], None]


class MqttBus(Bus):
    """The bus over a broker, for event loops in real time. Entering it connects, or raises ProtocolError.

    Args:
        url: mqtt://user:password@host:port, or mqtts:// with `?cafile=` for a certificate authority of one's own.
        will: topic and envelope that the broker publishes, retained, when this connection dies.
    """

    def __init__(self, url: str, will: tuple[str, Envelope] | None = None) -> None:
        self.address = parse(url)
        self.refused: Counter[str] = Counter()
        """Number of rejected payloads (not envelopes), by reason; watchers see them too."""
        self.connections = 0
        """Connections made so far: one more than the reconnects."""
        self.version = 0
        """Of the protocol: 5, or 4 for MQTT 3.1.1."""
        self._local = MemoryBus()
        self._patterns: Counter[str] = Counter()  # inboxes and watchers under each pattern
        self._watchers: list[tuple[str, Watcher]] = []
        self._outgoing = Outgoing()
        self._room: asyncio.Future[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._copies = Copies()
        self._identifier, self._will = f"sabir-{secrets.token_hex(8)}", will
        self._client: BrokerClient | None = None
        self._began = 0.0
        self._broken, self._up, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._judge = Judge(self.address)
        self._keeper: asyncio.Task[None] | None = None
        self.reconnected: list[Callable[[], None]] = []
        """Called after each reconnect."""
        self.failure: ProtocolError | None = None
        """Why the bus has ended, if it has: connecting again would not help."""

    # --- Bus

    async def publish(self, topic: str, envelope: Envelope) -> None:
        """Hand an envelope to the connection; waits while `WINDOW` publishes are unacknowledged."""
        await self._put(topics.concrete(topic), envelope.to_json(), retain=False)

    async def subscribe(self, pattern: str, capacity: int = CAPACITY) -> Subscription:
        """Open an inbox; returns when the broker has acknowledged the subscription. It is closed if the bus ends."""
        inbox = await self._local.subscribe(topics.pattern(pattern), capacity)
        await self._join(pattern)
        return inbox

    async def unsubscribe(self, pattern: str, subscription: Subscription) -> None:
        """Close an inbox; unsubscribe at the broker when it was the last one under the pattern."""
        closed = subscription.closed
        await self._local.unsubscribe(pattern, subscription)
        if not closed:
            await self._part(pattern)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if isinstance(loop, EpisodeLoop) and loop.clock == "virtual":
            raise ProtocolError("a broker needs real time: protocols.clock.run(main(), 'wall')")
        connected: asyncio.Future[None] = loop.create_future()
        self._keeper = asyncio.create_task(self._keep(connected), name="mqtt")
        try:
            await connected
        except BaseException:
            self._keeper.cancel()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None and self._outgoing and self.failure is None:
            with contextlib.suppress(TimeoutError, ProtocolError):
                async with asyncio.timeout(TIMEOUT):
                    await self.flush()
        while self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()  # asyncio.wait_for of Python 3.11 may swallow it
            await asyncio.wait((self._keeper,), timeout=1)
        for task in tuple(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._local.__aexit__(kind, error, trace)
        if self.failure is not None and kind is None:
            raise self.failure

    # --- only with a broker

    async def announce(self, topic: str, envelope: Envelope) -> None:
        """Publish retained, and again after every reconnect, because a restarted broker has lost it."""
        await self._put(topics.concrete(topic), envelope.to_json(), retain=True, announced=True)

    async def watch(self, pattern: str, watcher: Watcher) -> None:
        """Call `watcher(topic, payload)` for every message under a pattern: unparsed, duplicates included."""
        self._watchers.append((topics.pattern(pattern), watcher))
        await self._join(pattern)

    async def ignore(self, pattern: str, watcher: Watcher) -> None:
        """End a watch."""
        self._watchers.remove((pattern, watcher))
        await self._part(pattern)

    async def flush(self) -> None:
        """Wait until the broker has acknowledged all publishes; raises ProtocolError if it refused one."""
        while self._outgoing:
            await self._acknowledgement()
        self._check()

    async def broken(self) -> None:
        """Wait until the bus has ended, and raise the reason."""
        await self._over.wait()
        self._check()

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _fail(self, error: ProtocolError) -> None:
        """End the bus: wake all who wait for it."""
        if self.failure is None:
            self.failure = error
            self._over.set()
            self._up.set()
            self._broken.set()
            self._make_room()
            self._local.close()

    # --- connection

    async def _keep(self, connected: asyncio.Future[None]) -> None:
        """Stay connected until cancelled, or until that cannot help; `connected` raises the first failure."""
        least, most = BACKOFF
        wait = least
        version: aiomqtt.ProtocolVersion | None = None
        while self.failure is None:
            before = self.connections
            try:
                version = version or await newest_version(self.address)
                await self._session(version, connected)
            except Exception as error:  # whatever broke the connection, connect again
                if not connected.done():
                    connected.set_exception(ProtocolError(sentence(self.address, error, code(error))))
                    return
                lasted = None if self.connections == before else monotonic() - self._began
                if (verdict := self._judge.verdict(error, lasted, self._outgoing.largest)) is not None:
                    self._fail(verdict)
            wait = least if self.connections > before else min(2 * wait, most)
            await asyncio.sleep(wait)

    async def _session(self, version: aiomqtt.ProtocolVersion, connected: asyncio.Future[None]) -> None:
        """Run one connection until it breaks; raises what the broker ended it with."""
        client = make_client(
            self.address,
            version,
            self._take,
            identifier=self._identifier,
            will=self._will,
            resume=self.connections > 0,
        )
        async with client:
            client.limits.check(self.address)
            self._broken.clear()
            for pattern in self._patterns:
                await self._ask(client, pattern)
            self.version = int(version)
            self.connections += 1
            self._began = monotonic()
            self._client = client
            self._up.set()
            for ticket in self._outgoing.unsent():
                self._transmit(ticket)
            if connected.done():
                for call in self.reconnected:
                    call()
            else:
                connected.set_result(None)
            try:
                await self._until_broken(client)
            finally:
                client.timeout = 1.0  # seconds to disconnect from a broker that does not answer
                self._client = None
                self._up.clear()

    async def _until_broken(self, client: BrokerClient) -> None:
        """Wait until the connection breaks; raises what the broker ended it with."""
        broken = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait((broken, client.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._broken.set()
            broken.cancel()
            await asyncio.gather(broken, return_exceptions=True)
        if client.ended.done() and not client.ended.cancelled() and (error := client.ended.exception()) is not None:
            raise error

    # --- sending

    async def _put(self, topic: str, raw: bytes, *, retain: bool, announced: bool = False) -> None:
        while len(self._outgoing) >= WINDOW and self.failure is None:
            await self._acknowledgement()
        self._check()
        if self._client is not None:
            self._client.limits.admit(self.address, topic, raw)
        ticket = self._outgoing.add(topic, raw, retain=retain, announced=announced)
        if self._client is not None:
            self._transmit(ticket)

    def _transmit(self, ticket: int) -> None:
        assert self._client is not None
        task = asyncio.create_task(self._transmission(self._client, ticket))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _transmission(self, client: BrokerClient, ticket: int) -> None:
        if (publish := self._outgoing.get(ticket)) is None:
            return
        try:
            client.limits.admit(self.address, publish.topic, publish.raw)
            reason = await client.send(publish.topic, publish.raw, retain=publish.retain)
        except (aiomqtt.MqttError, OSError):
            if client is self._client:
                self._broken.set()
            return
        except ProtocolError as error:
            self._fail(error)
            return
        if reason >= 0x80:
            text = refusal.publish_refused(self.address, publish.topic, len(publish.raw), reason)
            self._fail(ProtocolError(text))
            return
        self._outgoing.acknowledge(ticket)
        self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _acknowledgement(self) -> None:
        """Wait for the next acknowledgement; raises ProtocolError if the bus has ended."""
        self._check()
        if self._room is None or self._room.done():
            self._room = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._room)
        self._check()

    # --- receiving

    async def _join(self, pattern: str) -> None:
        self._patterns[pattern] += 1
        if self._patterns[pattern] == 1:
            await self._asking(self._ask, pattern)

    async def _part(self, pattern: str) -> None:
        self._patterns[pattern] -= 1
        if not self._patterns[pattern]:
            del self._patterns[pattern]
            await self._asking(self._ask_no_more, pattern)

    async def _asking(self, ask: Callable[[BrokerClient, str], Coroutine[Any, Any, None]], pattern: str) -> None:
        """Call the broker. If the connection breaks meanwhile, wait for the next one, which subscribes again anyway."""
        self._check()
        client = self._client
        if client is not None:
            asked, broken = asyncio.create_task(ask(client, pattern)), asyncio.create_task(self._broken.wait())
            try:
                await asyncio.wait((asked, broken), return_when=asyncio.FIRST_COMPLETED)
                if asked.done():
                    return asked.result()
            except (aiomqtt.MqttError, OSError):
                if client is self._client:
                    self._broken.set()
            finally:
                for task in (asked, broken):
                    task.cancel()
                await asyncio.gather(asked, broken, return_exceptions=True)
        await self._up.wait()
        self._check()
        return None

    async def _ask(self, client: BrokerClient, pattern: str) -> None:
        codes = await client.subscribe(pattern, qos=1)
        if any(number(reason) >= 0x80 for reason in codes):
            raise ProtocolError(f"the broker at {self.address.shown} does not let this user read {pattern!r}")

    async def _ask_no_more(self, client: BrokerClient, pattern: str) -> None:
        await client.unsubscribe(pattern)

    def _take(self, message: aiomqtt.Message) -> None:
        """Deliver one message: the payload to watchers, the envelope to inboxes."""
        topic = str(message.topic)
        raw = message.payload
        if len(self._patterns) > 1 and self._copies.is_copy(self._patterns, topic, raw):
            return
        inboxes = len(self._patterns)
        for pattern, watcher in self._watchers:
            inboxes -= 1
            if topics.matches(pattern, topic):
                watcher(topic, raw)
        if inboxes <= 0:
            return
        try:
            envelope = Envelope.from_json(raw)
        except ProtocolError:
            self.refused["oversize" if len(raw) > MAX_BYTES else "malformed"] += 1
            return
        self._local.deliver(topic, envelope)
