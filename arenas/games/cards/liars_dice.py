"""Liar's dice for two players."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import comb
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, symbols

PLAYERS: Final = ("player_0", "player_1")
LIAR: Final = "liar"
Roll = tuple[int, ...]


def bids(dice: int, faces: int) -> Words:
    """Return all bids for a total number of dice, from the lowest."""
    return tuple(f"{count}x{face}" for count in range(1, dice + 1) for face in range(1, faces + 1))


def matches(roll: Roll, face: int, faces: int) -> int:
    """Count the dice that show a face or the wild one."""
    return sum(die in (face, faces) for die in roll)


def chance(needed: int, dice: int, face: int, faces: int) -> float:
    """Return the probability that at least `needed` of some unknown dice show a face or the wild one."""
    p = (1 if face == faces else 2) / faces
    return sum(comb(dice, k) * p**k * (1 - p) ** (dice - k) for k in range(max(needed, 0), dice + 1))


class LiarsDice(Arena):
    """Liar's dice: `dice` dice per player with faces 1 to `faces`; a case is a roll of all dice."""

    rules = """
    Liar's dice for two: each rolls dice in secret; in turn they outbid each other, until one calls the other a liar.

    A bid 2x5 says: of all dice, at least two show a five; the highest face is wild and counts as any. A bid must have more
    dice than the last one, or as many and a higher face. player_0 bids first. When a player says "liar", the last bidder
    wins 1 if the bid is true, else the caller does; the other loses 1. (OpenSpiel's `liars_dice`, rule "reset-face".)

    `dice` dice for each player with faces 1 to `faces`. A case is a roll of all dice.
    """
    metadata = Arena.metadata | {"name": "liars_dice_v0"}
    tags = ("competitive", "memory")
    ranges: ClassVar = {"dice": (1, 5), "faces": (2, 6)}

    def __init__(self, dice: int = 1, faces: int = 6) -> None:
        if not (1 <= dice <= 5 and 2 <= faces <= 6):
            raise ArenaError(f"liars_dice needs 1 to 5 dice for each player and 2 to 6 faces, not {dice=}, {faces=}")
        self.dice, self.faces = dice, faces
        self.cases = faces ** (2 * dice)
        self.bids = bids(2 * dice, faces)
        super().__init__(
            dict.fromkeys(PLAYERS, choose((*self.bids, LIAR))), words=("dice", *symbols("", faces + 1)[1:], "rival")
        )

    @override
    def lay(self, case: int) -> None:
        digits = [case // self.faces**i % self.faces + 1 for i in reversed(range(2 * self.dice))]
        self.rolls: tuple[Roll, ...] = (tuple(sorted(digits[: self.dice])), tuple(sorted(digits[self.dice :])))
        self.bid: Words = ()

    @override
    def acting(self) -> tuple[str, ...]:
        return (PLAYERS[len(self.bid) % 2],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return _options(self.bids, self.bids.index(self.bid[-1]) + 1 if self.bid else 0)

    @override
    def view(self, agent: str) -> str:
        # One's own dice, sorted, and the rival's last bid.
        dice = map(str, self.rolls[PLAYERS.index(agent)])
        return " ".join(("dice", *dice, *(("rival", self.bid[-1]) if self.bid else ())))

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        ((said,),) = replies.values()
        if said != LIAR:
            self.bid = (*self.bid, said)
            return Outcome()
        count, face = map(int, self.bid[-1].split("x"))
        true = matches((*self.rolls[0], *self.rolls[1]), face, self.faces) >= count
        winner = (len(self.bid) + true) % 2  # a true bid's bidder moved last
        return Outcome({PLAYERS[winner]: 1.0, PLAYERS[1 - winner]: -1.0}, done=True)

    @override
    def hidden(self) -> str:
        return " ".join(("dice", *map(str, self.rolls[0]), "rival", *map(str, self.rolls[1]), *self.bid[-1:]))

    @override
    def anchors(self) -> Anchors:
        # Zero-sum, so every mean score is 0. The value is not known in closed form.
        return Anchors(random=0.0, silent=0.0, full=0.0, equilibrium=0.0)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # A rule of thumb, not an equilibrium (see `likely`).
        return {"best": self.likely}

    def likely(self, memory: Memory) -> Words:
        """Make the highest bid that is more likely true than not, if the last one is; else call it a lie.

        The rival's dice count as unknown, whatever it has bid. Without any such bid the lowest is made, or the lie is
        called.
        """
        roll = tuple(int(word) for word in memory.view[1 : 1 + self.dice])

        def true(bid: str) -> float:
            count, face = map(int, bid.split("x"))
            return chance(count - matches(roll, face, self.faces), self.dice, face, self.faces)

        options = memory.spec.steps[0]
        if LIAR in options and true(memory.view[-1]) < 0.5:
            return (LIAR,)
        sound = [bid for bid in options if bid != LIAR and true(bid) > 0.5]
        return (sound[-1] if sound else LIAR if LIAR in options else options[0],)


@cache
def _options(ladder: Words, passed: int) -> ReplySpec:
    """Return the replies once the first `passed` bids are no longer open."""
    return choose((*ladder[passed:], *((LIAR,) if passed else ())))
