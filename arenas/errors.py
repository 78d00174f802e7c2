"""The one error of this package."""

from __future__ import annotations


class ArenaError(ValueError):
    """An arena was asked for, or described, in a way that cannot work; the message says how to mend it."""
