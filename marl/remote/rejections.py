"""Rejected envelopes, counted by reason; the first `MOST_LINES` are logged."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Final

MOST_LINES: Final = 10_000
EXCERPT: Final = 300  # bytes of a payload that are logged
HIDDEN: Final = "***"
_TOKEN: Final = re.compile(r"""("(?:t|\\u0074)[^"]{2,40}"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^,}\s]+)""")
"""A JSON member whose key begins as `token` does, also one with escaped letters, or one that is cut off."""


class Reason(StrEnum):
    """Why an envelope was rejected."""

    TOPIC = "not a topic of this grammar"
    MALFORMED = "not an envelope"
    OVERSIZE = "too large"
    SENDER = "forged sender"
    EPISODE = "wrong episode"
    SEAT = "no such seat"
    TAKEN = "seat is taken"
    TOKEN = "wrong token"
    REPLAYED = "replayed id"
    UNASKED = "not asked, or too late"
    KIND = "wrong kind"
    DATA = "bad data"
    UNTRUE = "untrue data"
    """The only one that does not reject the envelope: its words count, what its sender says of them does not."""
    RATE = "over the rate limit"


class Rejections:
    """Counter of rejections by reason; with a path it also writes the first `MOST_LINES` as JSON lines."""

    def __init__(self, path: Path | None = None, secrets: Iterable[str] = ()) -> None:
        self.path = path
        self.secrets = tuple(sorted(filter(None, secrets), key=len, reverse=True))
        """Tokens of the seats, which are never logged."""
        self.counts: Counter[Reason] = Counter()
        self.total = 0
        self._lines = 0

    def add(self, reason: Reason, topic: str, raw: bytes, why: str = "", *, line: bool = True) -> None:
        """Count one rejection, and log it as a line unless `MOST_LINES` are logged already."""
        self.counts[reason] += 1
        self.total += 1
        if self.path is None or not line or self._lines >= MOST_LINES:
            return
        self._lines += 1
        fields = {
            "reason": reason.value,
            "why": self._hide(why),
            "topic": self._hide(topic)[:EXCERPT],
            "bytes": len(raw),
            "payload": self._hide(raw[: 4 * EXCERPT].decode(errors="replace"))[:EXCERPT],
        }
        with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
            file.write(json.dumps(fields) + "\n")

    def _hide(self, text: str) -> str:
        """Return text without tokens: the values of `token` members, and the seats' tokens wherever they stand."""
        text = _TOKEN.sub(rf'\1"{HIDDEN}"', text)
        for secret in chain(self.secrets, (json.dumps(secret)[1:-1] for secret in self.secrets)):
            text = text.replace(secret, HIDDEN)
        return text

    def __str__(self) -> str:
        """Return the counts as text, most frequent first."""
        return ", ".join(f"{count} {reason.value}" for reason, count in self.counts.most_common()) or "nothing"
