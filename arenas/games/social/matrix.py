"""Matrix games: once or repeated, with or without cheap talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Script, uniform
from arenas.spec import ReplySpec, Words, choose, say, symbols

PLAYERS: Final = ("player_0", "player_1")
Payoffs = Sequence[Sequence[Sequence[float]]]


def common(rows: Sequence[Sequence[float]]) -> Payoffs:
    """Pay both players the same."""
    return [[(pay, pay) for pay in row] for row in rows]


def zero_sum(rows: Sequence[Sequence[float]]) -> Payoffs:
    """Pay the second player what the first one loses."""
    return [[(pay, -pay) for pay in row] for row in rows]


def classics(k: float = -100.0) -> dict[str, tuple[Words, Payoffs]]:
    """Return the actions and payoffs of the named games: payoffs[i][j] for player_0's action i and player_1's j.

    Sources: Axelrod 1984 (prisoners_dilemma); Skyrms 2004 (stag_hunt, with numbers that make hare the safe choice);
    OpenSpiel's matrix_cd and matrix_bos (chicken, battle_of_the_sexes); Claus & Boutilier 1998 (climbing, and penalty,
    where k <= 0 is the price of missing each other).
    """
    return {
        "prisoners_dilemma": (("cooperate", "defect"), [[(3, 3), (0, 5)], [(5, 0), (1, 1)]]),
        "stag_hunt": (("stag", "hare"), [[(4, 4), (0, 3)], [(3, 0), (3, 3)]]),
        "chicken": (("dare", "chicken"), [[(0, 0), (4, 1)], [(1, 4), (3, 3)]]),
        "battle_of_the_sexes": (("bach", "stravinsky"), [[(3, 2), (0, 0)], [(0, 0), (2, 3)]]),
        "matching_pennies": (("heads", "tails"), zero_sum([[1, -1], [-1, 1]])),
        "rock_paper_scissors": (("rock", "paper", "scissors"), zero_sum([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])),
        "climbing": (symbols("a", 3), common([[11, -30, 0], [-30, 7, 6], [0, 0, 5]])),
        "penalty": (symbols("a", 3), common([[10, 0, k], [0, 2, 0], [k, 0, 10]])),
    }


def kind(pay: NDArray[np.float64]) -> str:
    """Classify a game: common payoff (cooperative), constant sum (competitive), or mixed."""
    if np.array_equal(pay[..., 0], pay[..., 1]):
        return "cooperative"
    return "competitive" if np.ptp(pay.sum(2)) < 1e-9 else "mixed"


def survivors(pay: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and columns that survive iterated strict dominance.

    An action is removed if one of the player's other actions always pays more.
    """
    remaining = (np.arange(pay.shape[0]), np.arange(pay.shape[1]))
    while True:
        rows = ~(pay[:, None, :, 0] > pay[None, :, :, 0]).all(2).any(0)
        columns = ~(pay[:, :, None, 1] > pay[:, None, :, 1]).all(0).any(0)
        if rows.all() and columns.all():
            return remaining
        remaining = (remaining[0][rows], remaining[1][columns])
        pay = pay[rows][:, columns]


def equilibrium(pay: NDArray[np.float64]) -> float | None:
    """Return the players' mean equilibrium payoff, if it is one number that can be proved; else None.

    In a game of constant sum every cell has the same mean. Otherwise one cell must survive iterated strict dominance:
    it is then the only Nash equilibrium. A finite repetition of a game with a single equilibrium has no other (backward
    induction).
    """
    if kind(pay) == "competitive":
        return float(pay[0, 0].mean())
    rows, columns = survivors(pay)
    return float(pay[rows[0], columns[0]].mean()) if rows.size == columns.size == 1 else None


def mixes_evenly(pay: NDArray[np.float64]) -> bool:
    """Say whether uniform play is an equilibrium: every action then pays the same."""
    return bool(np.ptp(pay[..., 0].mean(1)) < 1e-9 and np.ptp(pay[..., 1].mean(0)) < 1e-9)


class Matrix(Arena):
    """Matrix game: one of `classics`, or your own `payoffs`: pairs, a row for each action of player_0."""

    rules = """
    Matrix games: two players choose at once, a table pays both; played once or for `rounds` rounds.

    From the second round on each player is shown what both did in the round before, its own action first. Nothing is said,
    so play is coordinated only by what was agreed in training; with `talk` above 0 both say so many symbols that mean
    nothing and bind nobody before they choose (cheap talk, Farrell & Rabin 1996).

    A game of `classics`, or your own `payoffs`: a table of pairs, a row for each action of player_0.
    """
    metadata = Arena.metadata | {"name": "matrix_v0", "is_parallelizable": True}
    cases = 1  # no random draws

    def __init__(
        self,
        game: str = "climbing",
        payoffs: Payoffs | None = None,
        rounds: int = 1,
        k: float = -100.0,
        talk: int = 0,
        alphabet: int = 4,
    ) -> None:
        if rounds < 1 or talk < 0 or alphabet < 1:
            raise ArenaError(f"matrix needs rounds >= 1, talk >= 0, alphabet >= 1, not {rounds=}, {talk=}, {alphabet=}")
        if payoffs is None and game not in classics():
            raise ArenaError(f"no matrix game {game!r}: there are {', '.join(classics())}; or give payoffs")
        actions, table = classics(k)[game] if payoffs is None else (symbols("a", len(payoffs)), payoffs)
        try:
            self.payoffs = np.array(table, np.float64)
        except (TypeError, ValueError):
            self.payoffs = np.empty(0)
        if self.payoffs.ndim != 3 or self.payoffs.shape[2] != 2 or not np.isfinite(self.payoffs).all():
            raise ArenaError("payoffs are rows of equal length of pairs of numbers, such as [[[3, 3], [0, 5]]]")
        self.rounds, self.talk = rounds, talk
        self.tags = (kind(self.payoffs), *(("communication",) if talk else ()))
        columns = actions if payoffs is None else symbols("a", self.payoffs.shape[1])
        words = ("round", *symbols("t", rounds + 1), "last")
        talks = (say(symbols("m", alphabet), talk),) if talk else ()
        specs = {player: (*talks, choose(own)) for player, own in zip(PLAYERS, (actions, columns), strict=True)}
        super().__init__(specs, words, view_words=32 + (talk and (talk + 2) * rounds))

    @override
    def lay(self, case: int) -> None:
        self.round = 0
        self.talking = self.talk > 0
        self.played: Words = ()

    @override
    def acting(self) -> tuple[str, ...]:
        return PLAYERS

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][0 if self.talking else -1]

    @override
    def view(self, agent: str) -> str:
        # The number of the round, and both actions of the last one, one's own first.
        played = self.played if agent == PLAYERS[0] else self.played[::-1]
        return " ".join(["round", f"t{self.round}", *(("last", *played) if played else ())])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if self.talking:
            self.talking = False
            return Outcome()
        self.talking = self.talk > 0
        cell = tuple(self.replies[player][-1].index(replies[player]) for player in PLAYERS)
        self.played = tuple(replies[player][0] for player in PLAYERS)
        self.round += 1
        return Outcome(dict(zip(PLAYERS, self.payoffs[cell].tolist(), strict=True)), done=self.round == self.rounds)

    @override
    def hidden(self) -> str:
        # What player_0 sees; nobody knows more.
        return self.view(PLAYERS[0])

    @override
    def anchors(self) -> Anchors:
        # The mean, the best cell (mean of both players) and `equilibrium`, times the rounds.
        # The cell to play can be settled in training, without a message: so silent = full, the best joint play.
        means = self.payoffs.mean(2) * self.rounds
        value = equilibrium(self.payoffs)
        best = float(means.max())
        return Anchors(float(means.mean()), best, best, None if value is None else value * self.rounds)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Always the best cell; and an equilibrium, if one cell survives dominance or uniform play is one.
        means = self.payoffs.mean(2)
        best = self._always(np.unravel_index(int(means.argmax()), means.shape))
        remaining = survivors(self.payoffs)
        if all(actions.size == 1 for actions in remaining):
            return {"silent": best, "full": best, "equilibrium": self._always([actions[0] for actions in remaining])}
        even = kind(self.payoffs) == "competitive" and mixes_evenly(self.payoffs)
        return {"silent": best, "full": best} | ({"equilibrium": uniform} if even else {})

    def _always(self, cell: Sequence[np.integer]) -> Script:
        numbers = dict(zip(PLAYERS, map(int, cell), strict=True))
        return lambda memory: memory.spec.words(numbers[memory.agent] if memory.spec.kind == "move" else 0)
