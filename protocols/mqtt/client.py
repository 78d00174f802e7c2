"""A client of aiomqtt as the bus needs it: which protocol, which options, and no queue of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.envelope import Envelope
from protocols.mqtt.address import Address, trust

TIMEOUT: Final = 5.0
"""Seconds until an unanswered call counts as a broken connection."""
KEEPALIVE: Final = 15
"""Seconds between signs of life. After one and a half of them the broker publishes the last will."""
SESSION: Final = 300
"""Seconds for which an MQTT 5 broker keeps messages for a client that is away."""
PENDING: Final = 256
"""Calls that may be under way at once."""
_UNSUPPORTED_VERSION: Final = 132  # MQTT 5, table 2-6
_QUIET: Final = logging.getLogger("sabir.mqtt")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False  # what matters reaches the user as a sentence


class _Door(asyncio.Queue[aiomqtt.Message]):
    """Stands where aiomqtt would queue messages and hands each to the bus at once."""

    def __init__(self, take: Callable[[aiomqtt.Message], None]) -> None:
        super().__init__()
        self._take = take

    def put_nowait(self, item: aiomqtt.Message) -> None:
        self._take(item)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who connects, where, and what to do with what comes."""

    address: Address
    identifier: str
    will: tuple[str, Envelope] | None
    take: Callable[[aiomqtt.Message], None]

    def client(self, version: aiomqtt.ProtocolVersion, *, lasting: bool = True, again: bool = False) -> aiomqtt.Client:
        """Make a client, not yet connected.

        Args:
            version: of the protocol.
            lasting: with the will, and a session that outlives the connection.
            again: take up the session that is there.
        """
        address, five = self.address, version is aiomqtt.ProtocolVersion.V5
        properties: Properties | None = None
        if five and lasting:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION
        will = None
        if self.will is not None and lasting:
            topic, envelope = self.will
            will = aiomqtt.Will(topic, envelope.to_json(), qos=1, retain=True)
        made = aiomqtt.Client(
            address.host,
            address.port,
            username=address.user,
            password=address.password,
            logger=_QUIET,
            identifier=self.identifier if lasting else "",
            queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", lambda maxsize: _Door(self.take)),
            protocol=version,
            will=will,
            clean_session=None if five else True,
            clean_start=cast("Any", not again) if five else 3,  # 3: 3.1.1 has no such flag
            timeout=TIMEOUT,
            keepalive=KEEPALIVE,
            max_inflight_messages=PENDING,
            properties=properties,
            tls_context=trust(address),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        made.pending_calls_threshold = PENDING
        return made

    async def newest(self) -> aiomqtt.ProtocolVersion:
        """Find out whether the broker has MQTT 5. Asked without properties: amqtt stumbles over them in silence."""
        try:
            async with self.client(aiomqtt.ProtocolVersion.V5, lasting=False):
                return aiomqtt.ProtocolVersion.V5
        except aiomqtt.MqttError as error:
            if code(error) != _UNSUPPORTED_VERSION:
                raise
            return aiomqtt.ProtocolVersion.V311


def code(error: Exception) -> int:
    """Return the broker's reason code, 0 if it gave none."""
    return number(getattr(error, "rc", None) or 0)


def number(reason: Any) -> int:
    """Return a reason code as a number, whichever way the library holds it."""
    return int(getattr(reason, "value", reason))
