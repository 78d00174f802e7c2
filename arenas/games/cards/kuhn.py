"""Kuhn poker, with its equilibria and its value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose

PLAYERS: Final = ("player_0", "player_1")
CARDS: Final = ("jack", "queen", "king")  # from the lowest
DEALS: Final = tuple(permutations(CARDS, 2))
OPEN: Final = choose(("check", "bet"))
ANSWER: Final = choose(("fold", "call"))
VALUES: Final = (-1 / 18, 1 / 18)  # of the game to each player (Kuhn 1950)


def payment(cards: Words, moves: Words) -> int | None:
    """Return the first player's winnings once the game is over, else None."""
    higher = 1 if CARDS.index(cards[0]) > CARDS.index(cards[1]) else -1
    if moves[-1:] == ("fold",):
        return 1 if len(moves) == 2 else -1
    if moves[-1:] == ("call",):
        return 2 * higher
    return higher if moves == ("check", "check") else None


def equilibrium(alpha: float = 1 / 3) -> Script:
    """Return the equilibrium script in which the first player bets a jack with probability alpha, 0 to 1/3.

    It bets a king three times as often and never a queen; after a check and a bet it calls with a queen with
    probability alpha + 1/3. The second player bets a jack, and calls with a queen, with probability 1/3. (Kuhn 1950)
    """
    chances = {  # probability of bet or call, by card and by the moves so far
        ("jack", ()): alpha,
        ("queen", ()): 0.0,
        ("king", ()): 3 * alpha,
        ("queen", ("check", "bet")): alpha + 1 / 3,
        ("jack", ("check",)): 1 / 3,
        ("queen", ("check",)): 0.0,
        ("king", ("check",)): 1.0,
        ("queen", ("bet",)): 1 / 3,
    }

    def play(memory: Memory) -> Mapping[Words, float]:
        _, card, *last = memory.view
        moves = (*(word for words in memory.replied for word in words), *last[1:])
        call = chances.get((card, moves), float(card == "king"))
        no, yes = memory.spec.words(0), memory.spec.words(1)
        return {no: 1 - call, yes: call}

    return play


class Kuhn(Arena):
    """Kuhn poker; a case is one of the six deals."""

    rules = """
    Kuhn poker: a deck of a jack, a queen and a king; each of two players puts in one chip and gets one card.

    The first player checks or bets one chip more; the other checks, or bets, or answers a bet: fold, or call. A check
    that is met by a bet is answered last. Who folds loses the chip put in; else the higher card takes all. The return is
    the chips won.
    (Kuhn 1950; OpenSpiel's `kuhn_poker`, where check and fold are "Pass" and bet and call are "Bet".)

    A case is one of the six deals.
    """
    metadata = Arena.metadata | {"name": "kuhn_v0"}
    tags = ("competitive", "memory")
    cases = len(DEALS)

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(PLAYERS, (OPEN, ANSWER)), words=("card", *CARDS, "rival"))

    @override
    def lay(self, case: int) -> None:
        self.cards = DEALS[case]
        self.moves: Words = ()

    @override
    def acting(self) -> tuple[str, ...]:
        return (PLAYERS[len(self.moves) % 2],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return ANSWER if self.moves[-1:] == ("bet",) else OPEN

    @override
    def view(self, agent: str) -> str:
        # One's own card, and the rival's last move.
        last = (" rival", *self.moves[-1:]) if self.moves else ()
        return f"card {self.cards[PLAYERS.index(agent)]}" + " ".join(last)

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        for (move,) in replies.values():
            self.moves = (*self.moves, move)
        won = payment(self.cards, self.moves)
        if won is None:
            return Outcome()
        return Outcome(dict(zip(PLAYERS, (float(won), float(-won)), strict=True)), done=True)

    @override
    def hidden(self) -> str:
        return " ".join(("card", *self.cards, *self.moves))

    @override
    def anchors(self) -> Anchors:
        # Zero-sum, so every mean score is 0; the value is Kuhn's.
        return Anchors(random=0.0, silent=0.0, full=0.0, equilibrium=0.0, values=VALUES)

    @override
    def scripts(self) -> Mapping[str, Script]:
        return {"equilibrium": equilibrium()}
