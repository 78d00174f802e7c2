"""Rejected envelopes, counted by reason; the first `MOST_LINES` are logged."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Final

MOST_LINES: Final = 10_000
EXCERPT: Final = 300  # bytes of a payload that are logged


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


class Rejections:
    """Counter of rejections by reason; with a path it also writes the first `MOST_LINES` as JSON lines."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.counts: Counter[Reason] = Counter()
        self._lines = 0

    def add(self, reason: Reason, topic: str, raw: bytes, why: str = "") -> None:
        """Count one rejection, and log it unless `MOST_LINES` are logged already."""
        self.counts[reason] += 1
        if self.path is None or self._lines >= MOST_LINES:
            return
        self._lines += 1
        line = {
            "reason": reason.value,
            "why": why,
            "topic": topic[:EXCERPT],
            "bytes": len(raw),
            "payload": raw[:EXCERPT].decode(errors="replace"),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def __str__(self) -> str:
        """Return the counts as text, most frequent first."""
        return ", ".join(f"{count} {reason.value}" for reason, count in self.counts.most_common()) or "nothing"
