"""A message on a channel: as it is sent, and as it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

Symbols = tuple[str, ...]


class Usage(NamedTuple):
    """How much a sender has sent on a channel."""

    messages: int = 0
    symbols: int = 0


class Sent(NamedTuple):
    """When a message is sent, and how much its sender sent before it in this stage (`turn`) and in this episode."""

    time: float = 0.0
    round: int = 0
    turn: Usage = Usage()
    episode: Usage = Usage()


START: Final = Sent()
"""The beginning of an episode."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is sent."""

    symbols: Symbols
    alphabet: Symbols = ()  # the symbols that the sender may use; empty for free text
    price: float = 0.0  # charged to the sender's reward
    sent: Sent = START


class Delivery(NamedTuple):
    """A message as it arrives at one listener: None if it was lost; `delay` in seconds."""

    symbols: Symbols | None
    delay: float = 0.0
