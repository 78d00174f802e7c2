"""Leduc poker, with its computed value."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import permutations, takewhile
from typing import Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.scripted import Script
from arenas.solvers.solve import cfr_plus
from arenas.solvers.tree import extensive
from arenas.spec import ReplySpec, Words, choose, symbols

PLAYERS: Final = ("player_0", "player_1")
RANKS: Final = ("jack", "queen", "king")  # from the lowest
DEALS: Final = tuple(permutations(range(6), 3))  # player_0, player_1, public; card c has rank c // 2
RAISE: Final = (2, 4)
MOST_RAISES: Final = 2
CHIPS: Final = symbols("", 27)[2:]  # possible sizes of the pot
VALUE: Final = -0.085606424078
"""Value of the game to player_0. A linear programme over the sequence form gives it (tests/arenas/solvers/test_solve.py)."""
ITERATIONS: Final = 1000

Rounds = tuple[Words, ...]


def bets(rounds: Rounds) -> list[int]:
    """Return the chips that each player has put in."""
    chips = [1, 1]
    for size, moves in zip(RAISE, rounds, strict=False):
        for turn, move in enumerate(moves):
            if move == "raise":
                chips[turn % 2] = max(chips) + size
            elif move == "call":
                chips[turn % 2] = max(chips)
    return chips


def closed(moves: Words) -> bool:
    """Say whether a betting round is over: two checks, a call or a fold."""
    return moves[-1:] in (("call",), ("fold",)) or moves == ("check", "check")


def winner(ranks: tuple[int, int, int]) -> int | None:
    """Return the winner of a showdown by the ranks of both players and the public card; None for a tie."""
    first, second, public = ranks
    if first == second:
        return None
    if public in (first, second):
        return 0 if first == public else 1
    return 0 if first > second else 1


@lru_cache
def _computed() -> Script:
    tree = extensive(Leduc())
    return tree.script(cfr_plus(tree, ITERATIONS))


class Leduc(Arena):
    """Leduc poker; a case is one of the 120 deals of three cards."""

    rules = """
    Leduc poker: six cards, two each of jack, queen and king; two rounds of betting, a public card between them.

    Each of two players puts in one chip and gets one card. player_0 begins both rounds. A raise adds 2 chips in the first
    round and 4 in the second to what must be met, and there are at most two raises a round. Who folds loses what is put in.
    In the end a pair with the public card wins, else the higher card; equal cards share. Returns are chips won.
    (Southey et al. 2005, Bayes' Bluff; OpenSpiel's `leduc_poker`. Suits do not matter and are not shown.)

    A case is one of the 120 deals of three cards.
    """
    metadata = Arena.metadata | {"name": "leduc_v0"}
    tags = ("competitive", "memory")
    cases = len(DEALS)

    def __init__(self) -> None:
        specs = tuple(map(choose, (("check", "raise"), ("fold", "call", "raise"), ("fold", "call"))))
        super().__init__(dict.fromkeys(PLAYERS, specs), words=("card", *RANKS, "public", "pot", *CHIPS, "rival"))

    @override
    def lay(self, case: int) -> None:
        self.ranks = tuple(card // 2 for card in DEALS[case])
        self.rounds: Rounds = ((),)

    @override
    def acting(self) -> tuple[str, ...]:
        return (PLAYERS[len(self.rounds[-1]) % 2],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        moves = self.rounds[-1]
        if "raise" not in moves:
            return self.replies[agent][0]
        return self.replies[agent][1 if moves.count("raise") < MOST_RAISES else 2]

    @override
    def view(self, agent: str) -> str:
        # One's own card, the public one, the pot, and the rival's moves since one's last.
        public = f" public {RANKS[self.ranks[2]]}" if len(self.rounds) == 2 else ""
        did = "".join(f" rival {move}" for move in self._news(PLAYERS.index(agent)))
        return f"card {RANKS[self.ranks[PLAYERS.index(agent)]]}{public} pot {sum(bets(self.rounds))}{did}"

    def _news(self, player: int) -> Words:
        """Return the rival's moves since the player's last."""
        moves_made = [(turn % 2, move) for moves in self.rounds for turn, move in enumerate(moves)]
        return tuple(move for _, move in takewhile(lambda done: done[0] != player, reversed(moves_made)))[::-1]

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        for (move,) in replies.values():
            self.rounds = (*self.rounds[:-1], (*self.rounds[-1], move))
        moves = self.rounds[-1]
        if not closed(moves):
            return Outcome()
        if moves[-1] != "fold" and len(self.rounds) == 1:
            self.rounds = (*self.rounds, ())
            return Outcome()
        first, second, public = self.ranks
        best = len(moves) % 2 if moves[-1] == "fold" else winner((first, second, public))
        won = 0 if best is None else bets(self.rounds)[1 - best] * (1 if best == 0 else -1)
        return Outcome(dict(zip(PLAYERS, (float(won), float(-won)), strict=True)), done=True)

    @override
    def hidden(self) -> str:
        # Both cards, the public one once it is shown, the pot, and the moves of this round.
        shown = [RANKS[rank] for rank in self.ranks[: 1 + len(self.rounds)]]
        return " ".join(("card", *shown, "pot", str(sum(bets(self.rounds))), *self.rounds[-1]))

    @override
    def anchors(self) -> Anchors:
        # Zero-sum, so every mean score is 0; for the value see `VALUE`.
        return Anchors(random=0.0, silent=0.0, full=0.0, equilibrium=0.0, values=(VALUE, -VALUE))

    @override
    def scripts(self) -> Mapping[str, Script]:
        # CFR+ after `ITERATIONS` iterations, computed on first use (about two seconds).
        return {"best": lambda memory: _computed()(memory)}
