"""Open the bus that a URL names: memory, or an MQTT broker."""

from __future__ import annotations

from protocols.bus import Bus, MemoryBus
from protocols.errors import ProtocolError


def connect(url: str) -> Bus:
    """Return the bus that a URL names; raises ProtocolError for an unknown scheme."""
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return MemoryBus()
    if scheme in ("mqtt", "mqtts"):
        from protocols.mqtt.bus import MqttBus

        return MqttBus(url)
    raise ProtocolError(f"no bus for {url!r}: use memory://, mqtt:// or mqtts://")
