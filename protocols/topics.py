"""The topic grammar of the bus; no other file writes topic strings.

`sabir/{run}/{episode}/to/{agent}` carries what an agent hears, `sabir/{run}/{episode}/from/{agent}` what it sends.
A host and the agents of other processes meet in the lobby, whose topics have `lobby` in place of the episode.
Patterns are MQTT's: `+` stands for one level, `#` for all that follow.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from protocols.errors import ProtocolError

ROOT: Final = "sabir"
LOBBY: Final = "lobby"
_LEVEL: Final = re.compile(r"[A-Za-z0-9_.:\-]+\Z")


class Topic(NamedTuple):
    """The parts of a topic; `run` may not hold `/`, `+` or `#`, and neither may the others."""

    run: str
    episode: str
    direction: Literal["to", "from"]
    agent: str


def to(run: str, episode: str, agent: str) -> str:
    """Return the topic on which `agent` hears."""
    return f"{ROOT}/{run}/{episode}/to/{agent}"


def sent_by(run: str, episode: str, agent: str = "+") -> str:
    """Return the topic on which `agent` (or, as a pattern, anyone) speaks to the referee."""
    return f"{ROOT}/{run}/{episode}/from/{agent}"


def name(text: str) -> str:
    """Return `text` if it is a valid level of a topic; raises ProtocolError if not."""
    if not _LEVEL.match(text):
        raise ProtocolError(f"{text!r} cannot be a name: use letters, digits and _ . : -")
    return text


def parse(topic: str) -> Topic:
    """Return the parts of a topic; raises ProtocolError if it is not of this grammar."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != ROOT or parts[3] not in ("to", "from"):
        raise ProtocolError(f"not a topic of this grammar: {topic!r}")
    for level in (parts[1], parts[2], parts[4]):
        name(level)
    return Topic(parts[1], parts[2], "to" if parts[3] == "to" else "from", parts[4])


def pattern(text: str) -> str:
    """Return `text` if it is a valid pattern; raises ProtocolError for a misplaced wildcard."""
    levels = text.split("/")
    if "#" in levels[:-1]:
        raise ProtocolError(f"`#` may stand only at the end of a pattern: {text!r}")
    if not text or any(len(level) > 1 and ("+" in level or "#" in level) for level in levels):
        raise ProtocolError(f"not a pattern: {text!r}: `+` and `#` stand for whole levels")
    return text


def concrete(text: str) -> str:
    """Return `text` if it is a topic to publish to; raises ProtocolError if it is empty or has a wildcard."""
    if not text or "+" in text or "#" in text:
        raise ProtocolError(f"cannot publish to {text!r}: `+` and `#` are for subscriptions")
    return text


def matches(pattern: str, topic: str) -> bool:
    """Return whether a topic matches a pattern (MQTT 5, section 4.7)."""
    levels = topic.split("/")
    parts = pattern.split("/")
    for i, part in enumerate(parts):
        if part == "#":
            return True
        if i >= len(levels) or part not in ("+", levels[i]):
            return False
    return len(parts) == len(levels)
