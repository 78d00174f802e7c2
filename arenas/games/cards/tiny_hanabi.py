"""Tiny Hanabi: cooperative matrix games with private cards and one action each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import Words, choose, symbols

PLAYERS: Final = ("player_0", "player_1")
PAYOFFS: Final = {  # [card of player_0][card of player_1][action of player_0][action of player_1]
    "A": [[[[0, 1], [0, 0]], [[0, 1], [3, 2]]], [[[3, 3], [3, 2]], [[2, 0], [3, 3]]]],
    "B": [[[[1, 0], [1, 0]], [[0, 1], [0, 1]]], [[[0, 1], [0, 0]], [[1, 0], [1, 0]]]],
    "C": [[[[3, 0], [0, 3]], [[2, 0], [3, 3]]], [[[2, 2], [3, 0]], [[0, 1], [0, 2]]]],
    "D": [[[[3, 0], [1, 3]], [[3, 0], [3, 0]]], [[[3, 2], [0, 2]], [[0, 1], [0, 0]]]],
    "E": [
        [[[10, 0, 0], [4, 8, 4], [10, 0, 0]], [[0, 0, 10], [4, 8, 4], [0, 0, 10]]],
        [[[0, 0, 10], [4, 8, 4], [0, 0, 0]], [[10, 0, 0], [4, 8, 4], [10, 0, 0]]],
    ],
    "F": [
        [[[0, 3], [3, 2]], [[0, 0], [0, 1]], [[3, 1], [2, 1]]],
        [[[0, 2], [0, 1]], [[1, 2], [1, 2]], [[0, 1], [0, 3]]],
        [[[1, 3], [1, 2]], [[0, 3], [2, 2]], [[3, 1], [3, 0]]],
    ],
}


def table(game: str) -> NDArray[np.float64]:
    """Return the payoffs of a game: [card, card, action, action]."""
    return np.array(PAYOFFS[game], np.float64)


@cache
def solve(game: str, heard: bool) -> tuple[float, tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Return the optimal score, player_0's action by card, and player_1's by card and action seen, by enumeration.

    Player_1 answers each (card, action) with what pays most over the cards that player_0 acts so with. If it has not
    `heard`, that is, ignores the action, it answers each card with what pays most over all cards of player_0.
    """
    pay = table(game)
    cards, actions = pay.shape[0], pay.shape[2]
    best: tuple[float, tuple[int, ...], tuple[tuple[int, ...], ...]] = (-np.inf, (), ())
    for plan in product(range(actions), repeat=cards):
        worth = np.zeros((pay.shape[1], actions, pay.shape[3]))  # by player_1's card, action seen, own action
        for card, action in enumerate(plan):
            worth[:, action] += pay[card, :, action]
        if not heard:
            worth[:] = worth.sum(1, keepdims=True)
        answers = worth.argmax(2)
        best_pay = np.take_along_axis(worth, answers[..., None], 2)[..., 0]
        value = float(best_pay.sum() if heard else best_pay[:, 0].sum()) / (cards * pay.shape[1])
        if value > best[0] + 1e-12:
            best = value, plan, tuple(map(tuple, answers.tolist()))
    return best


def player(game: str, heard: bool) -> Script:
    """Return the script of the optimal joint play of `solve`."""
    _, plan, answers = solve(game, heard)

    def play(memory: Memory) -> Words:
        card, *seen = (int(word[1:]) for word in memory.view if word[1:].isdigit())
        return (f"a{answers[card][seen[0]] if seen else plan[card]}",)

    return play


class TinyHanabi(Arena):
    """Tiny Hanabi; a case is a pair of cards."""

    rules = """
    Tiny Hanabi: two players get a card each; the first acts, the second sees it and acts; a table pays both the same.

    With nothing but its action to tell the card by, the first player must act so that the second one understands, at the
    least cost. Games A to F are the Tiny Hanabi Suite (Burch & Bard 2018; Sokota et al. 2021, Solving Common-Payoff Games
    with Approximate Policy Iteration; tables from the repository ssokota/tiny-hanabi). E is the game of the Bayesian Action
    Decoder (Foerster et al. 2019) and of OpenSpiel's `tiny_hanabi`: one action is safe and pays 8 where 10 can be had.

    A case is a pair of cards.
    """
    metadata = Arena.metadata | {"name": "tiny_hanabi_v0"}
    tags = ("cooperative",)

    def __init__(self, game: str = "E") -> None:
        if game not in PAYOFFS:
            raise ArenaError(f"no tiny_hanabi game {game!r}: there are {', '.join(PAYOFFS)}")
        self.game, self.payoffs = game, table(game)
        cards, actions = self.payoffs.shape[0], self.payoffs.shape[2]
        self.cases = cards**2
        self.hand, self.actions = symbols("c", cards), symbols("a", actions)
        super().__init__(dict.fromkeys(PLAYERS, choose(self.actions)), words=("card", *self.hand, "partner"))

    @override
    def lay(self, case: int) -> None:
        self.cards = divmod(case, len(self.hand))
        self.acted: Words = ()

    @override
    def acting(self) -> tuple[str, ...]:
        return (PLAYERS[len(self.acted) % 2],)

    @override
    def view(self, agent: str) -> str:
        # One's own card; player_1 also sees player_0's action.
        seen = ("partner", *self.acted) if self.acted else ()
        return " ".join(("card", self.hand[self.cards[PLAYERS.index(agent)]], *seen))

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        ((action,),) = replies.values()
        self.acted = (*self.acted, action)
        if len(self.acted) == 1:
            return Outcome()
        paid = float(self.payoffs[(*self.cards, *map(self.actions.index, self.acted))])
        return Outcome(dict.fromkeys(PLAYERS, paid), done=True)

    @override
    def hidden(self) -> str:
        return " ".join(("card", *(self.hand[card] for card in self.cards), *self.acted[:1]))

    @override
    def anchors(self) -> Anchors:
        # The table's mean, and optima by `solve`: in `silent`, player_1 ignores player_0's action; in `full` it may use
        # it, which is all the communication that the game has.
        return Anchors(float(self.payoffs.mean()), solve(self.game, heard=False)[0], solve(self.game, heard=True)[0])

    @override
    def scripts(self) -> Mapping[str, Script]:
        return {"silent": player(self.game, heard=False), "full": player(self.game, heard=True)}
