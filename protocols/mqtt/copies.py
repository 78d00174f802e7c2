"""Further copies of a message: a broker may send one for each matching subscription of a connection."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from protocols import topics

EXPECTED: Final = 512
"""Messages whose further copies are still expected, at most."""


class Copies:
    """Counter of the copies that may still come."""

    def __init__(self) -> None:
        self._expected: OrderedDict[tuple[str, int, int], int] = OrderedDict()

    def is_copy(self, patterns: Collection[str], topic: str, raw: bytes) -> bool:
        """Return whether a message came before, under another of the patterns that this connection subscribes to."""
        matching = sum(topics.matches(pattern, topic) for pattern in patterns)
        if matching < 2:
            return False
        key = (topic, len(raw), hash(raw))  # not the payload, which may have a megabyte
        expected = self._expected.pop(key, 0)
        if expected > 1:
            self._expected[key] = expected - 1
        elif not expected:
            self._expected[key] = matching - 1
            if len(self._expected) > EXPECTED:
                self._expected.popitem(last=False)
        return expected > 0
