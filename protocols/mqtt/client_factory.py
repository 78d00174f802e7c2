"""aiomqtt clients for the bus: protocol version, options, and messages by callback."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, Literal

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from typing_extensions import override

from protocols.envelope import Envelope
from protocols.mqtt.address import Address, trust

TIMEOUT: Final = 5.0
"""Seconds until an unanswered call counts as a broken connection."""
KEEPALIVE: Final = 15
"""Seconds between signs of life. After one and a half of them the broker publishes the last will."""
SESSION: Final = 300
"""Seconds for which an MQTT 5 broker keeps messages for a client that is away."""
PENDING: Final = 256
"""Calls to the broker that may be pending at once."""
_UNSUPPORTED_VERSION: Final = 132  # MQTT 5, table 2-6
_SILENT: Final = logging.getLogger("sabir.mqtt")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # errors that matter become a ProtocolError
Receiver = Callable[[aiomqtt.Message], None]


def _callback_queue(receive: Receiver) -> type[asyncio.Queue[aiomqtt.Message]]:
    """Return a queue class that passes each message to `receive` at once and holds none.

    aiomqtt takes the class of its queue, but has no callback for messages.
    """

    class CallbackQueue(asyncio.Queue[aiomqtt.Message]):
        @override
        def put_nowait(self, item: aiomqtt.Message) -> None:
            receive(item)

    return CallbackQueue


def make_client(
    address: Address,
    version: aiomqtt.ProtocolVersion,
    receive: Receiver,
    *,
    identifier: str = "",
    will: tuple[str, Envelope] | None = None,
    resume: bool = False,
) -> aiomqtt.Client:
    """Return a client that is not connected yet.

    Args:
        address: of the broker.
        version: of the protocol.
        receive: called with each message.
        identifier: of a session that outlives the connection; without one the session ends with it.
        will: topic and envelope that the broker publishes, retained, when the connection dies.
        resume: continue the session instead of starting a new one.
    """
    mqtt5 = version is aiomqtt.ProtocolVersion.V5
    clean_start: bool | Literal[3] = not resume if mqtt5 else 3  # 3: MQTT 3.1.1 has no such flag
    properties: Properties | None = None
    if mqtt5 and identifier:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION
    client = aiomqtt.Client(
        address.host,
        address.port,
        username=address.user,
        password=address.password,
        logger=_SILENT,
        identifier=identifier,
        queue_type=_callback_queue(receive),
        protocol=version,
        will=None if will is None else aiomqtt.Will(will[0], will[1].to_json(), qos=1, retain=True),
        clean_session=None if mqtt5 else True,
        clean_start=clean_start,
        timeout=TIMEOUT,
        keepalive=KEEPALIVE,
        max_inflight_messages=PENDING,
        properties=properties,
        tls_context=trust(address),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    client.pending_calls_threshold = PENDING
    return client


async def newest_version(address: Address) -> aiomqtt.ProtocolVersion:
    """Return MQTT 5 if the broker has it, else 3.1.1."""
    try:  # without properties: amqtt never answers a connection that has some
        async with make_client(address, aiomqtt.ProtocolVersion.V5, lambda message: None):
            return aiomqtt.ProtocolVersion.V5
    except aiomqtt.MqttError as error:
        if code(error) != _UNSUPPORTED_VERSION:
            raise
        return aiomqtt.ProtocolVersion.V311


def code(error: Exception) -> int:
    """Return the MQTT reason code of an error; 0 if the broker gave none."""
    return number(getattr(error, "rc", None) or 0)


def number(reason: Any) -> int:
    """Return a reason code as a number; paho has it as an int or as an object."""
    return int(getattr(reason, "value", reason))
