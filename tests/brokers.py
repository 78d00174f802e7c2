"""Brokers for tests: each is started once in a test process, on a free port of this machine, and ends with it."""

from __future__ import annotations

import atexit
from functools import cache
from typing import Final

from protocols.mqtt.broker import Amqtt, Broker, Mosquitto, mosquitto

BROKERS: Final = ("amqtt", "mosquitto")


@cache
def broker(name: str, of: str = "") -> Broker:
    """Return the running broker of this name; amqtt stands in for mosquitto where that is not installed.

    Tests that listen to everything want one of their own: others leave announcements behind.
    """
    if name == "mosquitto" and mosquitto() is None:
        return broker("amqtt", of)
    server: Broker = Mosquitto() if name == "mosquitto" else Amqtt()
    server.start()
    atexit.register(server.stop)
    return server
