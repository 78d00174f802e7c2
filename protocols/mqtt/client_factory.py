"""aiomqtt clients for the bus: protocol version, options, limits, reason codes, and messages by callback."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, Literal

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from typing_extensions import override

from protocols.envelope import Envelope
from protocols.mqtt.address import Address, trust
from protocols.mqtt.refusal import Limits, code, number

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


class BrokerClient(aiomqtt.Client):
    """A client that keeps what aiomqtt drops: the properties of CONNACK, and the reason codes of PUBACK."""

    limits = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._acknowledgements: dict[int, asyncio.Future[int]] = {}
        self._room = asyncio.Semaphore(PENDING)

    async def send(self, topic: str, raw: bytes, *, retain: bool) -> int:
        """Publish at QoS 1, and return the reason code of the acknowledgement; raises MqttError if none comes."""
        async with self._room:
            info = self._client.publish(topic, raw, 1, retain)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                raise aiomqtt.MqttCodeError(info.rc, "Could not publish message")
            acknowledgement = asyncio.get_running_loop().create_future()
            self._acknowledgements[info.mid] = acknowledgement
            try:
                return await asyncio.wait_for(acknowledgement, self.timeout)
            except TimeoutError:
                raise aiomqtt.MqttError("Operation timed out") from None
            finally:
                self._acknowledgements.pop(info.mid, None)

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the connection has ended, with the error that ended it."""
        return self._disconnected

    @override
    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        self.limits = Limits.of(properties)
        self._room = asyncio.Semaphore(max(1, min(PENDING, self.limits.receive)))
        super()._on_connect(client, userdata, flags, reason_code, properties)

    @override
    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if (acknowledgement := self._acknowledgements.pop(mid, None)) is None:
            super()._on_publish(client, userdata, mid, reason_code, properties)
        elif not acknowledgement.done():
            acknowledgement.set_result(number(reason_code))


def make_client(
    address: Address,
    version: aiomqtt.ProtocolVersion,
    receive: Receiver,
    *,
    identifier: str = "",
    will: tuple[str, Envelope] | None = None,
    resume: bool = False,
) -> BrokerClient:
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
    client = BrokerClient(
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
    """Return MQTT 5 if the broker has it, else 3.1.1; raises ProtocolError if it lacks what the bus needs."""
    try:  # without properties: amqtt never answers a connection that has some
        async with make_client(address, aiomqtt.ProtocolVersion.V5, lambda message: None) as client:
            client.limits.check(address)
            return aiomqtt.ProtocolVersion.V5
    except aiomqtt.MqttError as error:
        if code(error) != _UNSUPPORTED_VERSION:
            raise
        return aiomqtt.ProtocolVersion.V311
