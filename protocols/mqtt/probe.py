"""See what a broker can do: reach it, and hear oneself through it."""

from __future__ import annotations

import asyncio
import secrets
from statistics import median
from time import perf_counter
from typing import Final, NamedTuple

from protocols import topics
from protocols.envelope import REFEREE, Envelope, Kind
from protocols.errors import ProtocolError
from protocols.mqtt.bus import MqttBus
from protocols.topics import LOBBY

TRIES: Final = 20
WAIT: Final = 5.0  # seconds for one message to come back


class Found(NamedTuple):
    """What a broker showed of itself."""

    address: str
    version: int
    """5, or 4 for MQTT 3.1.1."""
    round_trip: float
    """Median, in seconds, of a message to oneself."""


async def probe(url: str) -> Found:
    """Try a broker; raises ProtocolError where it cannot be reached or lets nothing through."""
    topic = topics.sent_by(f"probe-{secrets.token_hex(4)}", LOBBY, REFEREE)
    async with MqttBus(url) as bus:
        inbox = await bus.subscribe(topic)
        seconds = []
        for n in range(TRIES):
            began = perf_counter()
            await bus.publish(topic, Envelope(LOBBY, REFEREE, n, Kind.VIEW))
            try:
                await asyncio.wait_for(inbox.get(), WAIT)
            except TimeoutError:
                raise ProtocolError(
                    f"the broker at {bus.address.shown} takes messages and gives none back: "
                    "its access list does not let this user read what it writes"
                ) from None
            seconds.append(perf_counter() - began)
        return Found(bus.address.shown, bus.version, median(seconds))
