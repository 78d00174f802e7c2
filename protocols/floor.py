"""Floors: the order in which the agents of a stage are asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from protocols.draws import below, key
from protocols.settings import Settings

CALL: Final = "floor"
"""The word in a moderator's or bidder's view that the floor is open, before the agents it is open to."""
DONE: Final = "done"
"""The moderator's reply when nobody else is to speak."""


class Floor(StrEnum):
    """The order of speaking within a stage."""

    SIMULTANEOUS = "simultaneous"  # all are asked at once; none hears another's reply of this stage before its own
    ROUNDS = "rounds"  # one after another in seat order; each hears those before it

    def turns(self, acting: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Split the acting agents into groups that are asked at once, in the order of asking."""
        if self is Floor.ROUNDS:
            return tuple((agent,) for agent in acting)
        return (acting,) if acting else ()


class Moderator(Settings):
    """One speaker after another: the one that `seat` calls, or without a seat in an order drawn for each stage.

    The seat is asked whom to call among the agents that have not spoken, until it replies `done`; the others do not
    speak in this stage. Only messages are moderated: moves are simultaneous.
    """

    words: ClassVar[tuple[str, ...]] = (CALL, DONE)
    type: Literal["moderator"] = "moderator"
    seat: str = ""

    def order(self, acting: tuple[str, ...], seed: int, episode: str, stage: int) -> tuple[str, ...]:
        """Return the random order of a stage (Fisher-Yates)."""
        drawn, place = list(acting), key(seed, episode, "floor", stage)
        for i in range(len(drawn) - 1, 0, -1):
            j = below(i + 1, place, i)
            drawn[i], drawn[j] = drawn[j], drawn[i]
        return tuple(drawn)


class Free(Settings):
    """Agents may speak at any time: an agent is asked when a stage begins and whenever it has heard something new.

    It may stay silent, which nobody hears. A stage ends when no agent has anything new to hear; after `limit` messages
    nobody is asked again. A message costs `speaking`, a silence `silence`.

    With `bids` above 0 there is one speaker at a time: all agents bid from bid0 (no bid) to the level `bids`. The
    highest bidder gets the floor and pays `speaking` per level, until nobody bids. Ties are broken by a draw.
    """

    type: Literal["free"] = "free"
    limit: int = Field(default=16, ge=1)
    speaking: float = Field(default=0.0, ge=0)
    silence: float = Field(default=0.0, ge=0)
    bids: int = Field(default=0, ge=0, le=64)

    @property
    def words(self) -> tuple[str, ...]:
        """Words that bidders hear and say."""
        return (CALL, *self.levels) if self.bids else ()

    @property
    def levels(self) -> tuple[str, ...]:
        """The bids, from none to the highest."""
        return tuple(f"bid{level}" for level in range(self.bids + 1))

    @staticmethod
    def winner(bids: dict[str, int], seed: int, episode: str, stage: int, turn: int) -> str | None:
        """Return the highest bidder; None if nobody bid."""
        top = max(bids.values(), default=0)
        best = [agent for agent, bid in bids.items() if bid == top]
        return best[below(len(best), key(seed, episode, "bid", stage, turn))] if top > 0 else None


NAMES: Final = (*(floor.value for floor in Floor), "moderator", "free")


def _kind(value: Any) -> str:
    return value.type if isinstance(value, Moderator | Free) else value["type"] if isinstance(value, dict) else "name"


def _named(value: Any) -> Any:
    """Replace a name by the floor of that name with its defaults; raises ValueError for an unknown one."""
    name = value.get("type") if isinstance(value, dict) else getattr(value, "type", value)
    if name not in NAMES:
        raise ValueError(f"Input should be {', '.join(map(repr, NAMES[:-1]))} or {NAMES[-1]!r}, not {name!r}")
    if isinstance(value, dict) and name in tuple(Floor):
        return name
    return {"type": name} if isinstance(value, str) and name in ("moderator", "free") else value


FloorConfig = Annotated[
    Annotated[Floor, Tag("name")] | Annotated[Moderator, Tag("moderator")] | Annotated[Free, Tag("free")],
    Discriminator(_kind),
    BeforeValidator(_named),
]
