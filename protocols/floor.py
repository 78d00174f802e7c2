"""Who may speak when, among the agents that a stage of the arena asks."""

from __future__ import annotations

from enum import StrEnum


class Floor(StrEnum):
    """The order of speaking within a stage."""

    SIMULTANEOUS = "simultaneous"  # all are asked at once; none hears another's reply of this stage before its own
    ROUNDS = "rounds"  # one after another in seat order; each hears those before it

    def turns(self, acting: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Split the acting agents into groups that are asked at once, in the order of asking."""
        if self is Floor.ROUNDS:
            return tuple((agent,) for agent in acting)
        return (acting,) if acting else ()
