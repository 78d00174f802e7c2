"""What a broker refuses, in a sentence: features, limits and reason codes of MQTT 5."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from protocols.errors import ProtocolError
from protocols.mqtt.address import Address, unreachable

NEVER_AGAIN: Final = {133, 134, 135, 138, 140, 142, 144, 149, 153, 154, 155, 162}
"""Reason codes of CONNACK and DISCONNECT after which connecting again would end the same way."""
TAKEN_OVER: Final = 142
CUT_OFF: Final = (5, 2.0)
"""So many connections in a row that the broker ended within so many seconds are no accident."""
_NAMES: Final = {
    128: "unspecified error",
    131: "implementation specific error",
    135: "not authorized",
    144: "topic name invalid",
    145: "packet identifier in use",
    149: "packet too large",
    151: "quota exceeded",
    153: "payload format invalid",
}


class Limits(NamedTuple):
    """What a broker of MQTT 5 says of itself when it accepts a connection; the defaults are those of the standard."""

    retain: bool = True
    qos: int = 2
    wildcards: bool = True
    packet: int | None = None
    """Bytes of the largest packet that it takes."""
    receive: int = 65_535
    """Unacknowledged publishes that it takes."""

    @classmethod
    def of(cls, properties: Any) -> Limits:
        """Read the properties of a CONNACK; None has the defaults."""
        return cls(
            retain=bool(getattr(properties, "RetainAvailable", True)),
            qos=int(getattr(properties, "MaximumQoS", 2)),
            wildcards=bool(getattr(properties, "WildcardSubscriptionAvailable", True)),
            packet=getattr(properties, "MaximumPacketSize", None),
            receive=int(getattr(properties, "ReceiveMaximum", 65_535)),
        )

    def check(self, address: Address) -> None:
        """Raise ProtocolError for a broker that lacks what the bus needs."""
        if not self.retain:
            raise ProtocolError(no_retain(address))
        if self.qos < 1:
            raise ProtocolError(no_qos(address))
        if not self.wildcards:
            raise ProtocolError(
                f"the broker at {address.shown} has no subscriptions with wildcards, which the bus needs: "
                "turn them on there, or use another broker"
            )

    def admit(self, address: Address, topic: str, raw: bytes) -> None:
        """Raise ProtocolError for a publish whose packet is larger than the broker takes."""
        if self.packet is None:
            return
        rest = 2 + len(topic.encode()) + 2 + 1 + len(raw)  # topic with its length, packet identifier, no properties
        size = 1 + max(1, -(-rest.bit_length() // 7)) + rest  # the length has seven bits a byte
        if size > self.packet:
            raise ProtocolError(too_large(address, size, topic, self.packet))


class Judge:
    """Tells connections that break by accident from those that would break again."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._in_a_row = 0

    def verdict(self, error: Exception, lasted: float | None, largest: int) -> ProtocolError | None:
        """Return why connecting again cannot help; None where it may.

        Args:
            error: what the broker ended the connection with.
            lasted: seconds; None if there was no connection.
            largest: bytes of the largest message without an acknowledgement.
        """
        reason, (most, soon) = code(error), CUT_OFF
        if isinstance(error, ProtocolError):
            return error
        if lasted is not None and reason == TAKEN_OVER:
            return ProtocolError(taken_over(self.address))
        if reason in NEVER_AGAIN:
            return ProtocolError(sentence(self.address, error, reason, largest))
        self._in_a_row = 0 if lasted is None or lasted > soon else self._in_a_row + 1
        return ProtocolError(cut_off(self.address, self._in_a_row, largest)) if self._in_a_row >= most else None


def sentence(address: Address, error: Exception, reason: int, largest: int = 0) -> str:
    """Say why a broker could not be reached, or ended a connection; `reason` is its code, 0 if it gave none."""
    if reason == 149:
        return too_large(address, largest)
    if reason == 154:
        return no_retain(address)
    if reason == 155:
        return no_qos(address)
    if reason == TAKEN_OVER:
        return taken_over(address)
    if reason >= 0x80 and reason not in (134, 135):
        why = str(error).partition("] ")[2] or str(error)
        return f"the broker at {address.shown} refuses this connection (code {reason}, {why}): see its log"
    return unreachable(address, error, reason)


def no_retain(address: Address) -> str:
    """Say that retained messages are off."""
    return (
        f"the broker at {address.shown} keeps no retained messages, by which hosts and seats find each other: "
        "turn them on there (mosquitto: retain_available true), or use another broker"
    )


def no_qos(address: Address) -> str:
    """Say that messages are not acknowledged."""
    return (
        f"the broker at {address.shown} acknowledges no messages (its maximum QoS is 0), and the bus needs QoS 1: "
        "raise it there (mosquitto: max_qos 1), or use another broker"
    )


def too_large(address: Address, size: int, topic: str = "", limit: int | None = None) -> str:
    """Say that a message is over the broker's limit."""
    on = f" on {topic}" if topic else ""
    most = f"packets of at most {limit} bytes" if limit is not None else "no packets of this size"
    return (
        f"the broker at {address.shown} takes {most}, and a message{on} needs {size}: "
        "raise its limit (mosquitto: max_packet_size, message_size_limit), or make what is sent shorter"
    )


def taken_over(address: Address) -> str:
    """Say that another connection has the same client id."""
    return (
        f"another connection to the broker at {address.shown} has the same client id, so the broker ended this one: "
        "give each host and agent a user of its own, or let the broker take the client's id "
        "(mosquitto: use_username_as_clientid false)"
    )


def publish_refused(address: Address, topic: str, size: int, code: int) -> str:
    """Say why a publish was refused, by the reason code of its PUBACK."""
    who = "a user without a name" if address.user is None else f"the user {address.user!r}"
    if code == 149:
        return too_large(address, size, topic)
    if code == 135:
        return (
            f"the broker at {address.shown} does not let {who} publish on {topic}: "
            "allow it in the broker's access list, or give another user in mqtt://USER:PASSWORD@HOST:PORT"
        )
    why = _NAMES.get(code, "reason unknown")
    return (
        f"the broker at {address.shown} refused a message of {size} bytes by {who} on {topic} "
        f"(code {code}, {why}): see the broker's limits and its log"
    )


def cut_off(address: Address, times: int, largest: int) -> str:
    """Say that the broker ends every connection; `largest` counts the bytes of a message it never acknowledged."""
    sizes = (
        f"it may take no messages as large as the {largest} bytes that wait here, or another connection has the same "
        "client id"
        if largest
        else "another connection may have the same client id"
    )
    return (
        f"the broker at {address.shown} ended {times} connections in a row soon after they began: {sizes}; see its log"
    )


def code(error: Exception) -> int:
    """Return the MQTT reason code of an error; 0 if the broker gave none."""
    return number(getattr(error, "rc", None) or 0)


def number(reason: Any) -> int:
    """Return a reason code as a number; paho has it as an int or as an object."""
    return int(getattr(reason, "value", reason))
