"""The bus over an MQTT broker."""

from protocols.mqtt.bus import BACKOFF, WINDOW, MqttBus, Watcher

__all__ = ["BACKOFF", "WINDOW", "MqttBus", "Watcher"]
