"""Interventions: what listeners hear is not what was said."""

from __future__ import annotations

from typing import NamedTuple


class Do(NamedTuple):
    """An intervention on the bus: the listeners of message `seq` hear `body` instead, or nothing (None)."""

    seq: int
    body: str | None
