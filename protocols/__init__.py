"""Who may say what to whom, and how it travels: envelopes, the log, the bus, clocks, topologies, channels, floors."""

from protocols.bus import Bus, MemoryBus, Subscription
from protocols.channel import Channel
from protocols.connect import connect
from protocols.envelope import Envelope, Kind
from protocols.errors import ProtocolError
from protocols.floor import Floor
from protocols.log import Entry, Heard, Log
from protocols.topology import Topology

__all__ = [
    "Bus",
    "Channel",
    "Entry",
    "Envelope",
    "Floor",
    "Heard",
    "Kind",
    "Log",
    "MemoryBus",
    "ProtocolError",
    "Subscription",
    "Topology",
    "connect",
]
