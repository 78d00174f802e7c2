"""ArenaError, the one error of this package."""

from __future__ import annotations


class ArenaError(ValueError):
    """An arena, or a request for one, is invalid; the sentence says why and how to fix it."""
