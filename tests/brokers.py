"""Brokers for tests: each is started once in a test process, on a free port of this machine, and ends with it."""

from __future__ import annotations

import atexit
from functools import cache
from typing import Final

from protocols.broker import Amqtt, Broker, Mosquitto, mosquitto

BROKERS: Final = ("amqtt", "mosquitto")


@cache
def broker(name: str) -> Broker:
    """Return the running broker of this name; amqtt stands in for mosquitto where that is not installed."""
    if name == "mosquitto" and mosquitto() is None:
        return broker("amqtt")
    made: Broker = Mosquitto() if name == "mosquitto" else Amqtt()
    made.start()
    atexit.register(made.stop)
    return made
