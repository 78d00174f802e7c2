"""A message on a channel: as it is sent, and as it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

Symbols = tuple[str, ...]


class Usage(NamedTuple):
    """How much a sender put on a channel."""

    messages: int = 0
    symbols: int = 0


class Sent(NamedTuple):
    """When a message leaves, and what its sender had put on the channel before it in this turn and this episode."""

    time: float = 0.0
    round: int = 0
    turn: Usage = Usage()
    episode: Usage = Usage()


START: Final = Sent()
"""The beginning of an episode, before anything was sent."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a sender puts on the channel."""

    symbols: Symbols
    alphabet: Symbols = ()  # the symbols the sender could have used; empty for free text
    price: float = 0.0  # charged to the sender's reward
    sent: Sent = START


class Delivery(NamedTuple):
    """What arrives at one listener: None for a message that was lost; `delay` in seconds."""

    symbols: Symbols | None
    delay: float = 0.0
