"""ProtocolError, the one error of this package."""

from __future__ import annotations


class ProtocolError(ValueError):
    """A request or a message from outside is invalid; the sentence says why and how to fix it."""
