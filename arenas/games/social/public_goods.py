"""Public goods game with talk before each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, say, symbols

FREE: Final = 200
TALK: Final = ("give", "keep", "each", "more", "less", "all", "yes", "no")


def payoffs(given: Sequence[int], endowment: int, multiplier: float) -> list[float]:
    """Return each player's payoff of a round, in endowments: what it kept, and its share of the pot."""
    part = multiplier * sum(given) / len(given)
    return [(endowment - own + part) / endowment for own in given]


class PublicGoods(Arena):
    """Public goods game; contributions are multiples of `step`; messages have up to `talk` words."""

    rules = """
    Public goods: players talk, and choose at once how much of an endowment to put into a pot that is shared equally.

    What is in the pot is multiplied by m, 1 < m < n, and every one of the n players gets the same of it: with endowment e
    and contributions c_i, player i is paid (e - c_i + m (c_1 + ... + c_n) / n) / e. So a token kept is worth more to its
    owner than one given, and a token given is worth more to all together. From the second round on everyone is shown what
    each gave. The number of rounds is known. (The linear game of Isaac & Walker 1988; the defaults are those of Fehr &
    Gächter 2000: 4 players, 20 tokens, a return of 0.4 for each token given, 10 rounds.)

    So many players and rounds; contributions are multiples of `step`; messages have up to `talk` words.
    """
    metadata = Arena.metadata | {"name": "public_goods_v0", "is_parallelizable": True}
    cases = 1  # no random draws
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"players": (2, 10), "rounds": (1, 20), "talk": (0, 3)}

    def __init__(
        self,
        players: int = 4,
        endowment: int = 20,
        multiplier: float = 1.6,
        rounds: int = 10,
        step: int = 5,
        talk: int = 1,
    ) -> None:
        if players < 2 or rounds < 1 or talk < 0:
            raise ArenaError(
                f"public_goods needs players >= 2, rounds >= 1 and talk >= 0, not {players=}, {rounds=}, {talk=}"
            )
        if not 1 < multiplier < players:
            raise ArenaError(f"public_goods needs 1 < multiplier < players, not {multiplier=}, {players=}")
        if step < 1 or endowment < 1 or endowment % step:
            raise ArenaError(
                f"public_goods needs an endowment that is a multiple of step, both >= 1, not {endowment=}, {step=}"
            )
        self.endowment, self.multiplier, self.rounds, self.talk = endowment, multiplier, rounds, talk
        self.tags = ("mixed", *(("communication",) if talk else ()))
        self.amounts = tuple(map(str, range(0, endowment + 1, step)))
        talks = (say((*self.amounts, *TALK), talk, 0, free=FREE),) if talk else ()
        super().__init__(
            dict.fromkeys(symbols("player_", players), (*talks, choose(self.amounts))),
            ("round", "gave", *map(str, range(1, rounds + 1))),
            view_words=rounds * (players - 1) * (2 + talk) + players + 8,
        )

    @override
    def lay(self, case: int) -> None:
        self.round, self.talking = 1, self.talk > 0
        self.gave: Words = ()

    @override
    def acting(self) -> tuple[str, ...]:
        return tuple(self.possible_agents)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][0 if self.talking else -1]

    @override
    def view(self, agent: str) -> str:
        # Everyone's contribution of the last round, in seat order, and the number of this one.
        if self.talk and not self.talking:
            return f"round {self.round}"
        return " ".join([*(("gave", *self.gave) if self.gave else ()), "round", str(self.round)])

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        if self.talking:
            self.talking = False
            return Outcome()
        self.gave = tuple(replies[agent][0] for agent in self.possible_agents)
        paid = payoffs([int(amount) for amount in self.gave], self.endowment, self.multiplier)
        over = self.round == self.rounds
        self.round, self.talking = min(self.round + 1, self.rounds), self.talk > 0
        return Outcome(dict(zip(self.possible_agents, paid, strict=True)), done=over)

    @override
    def hidden(self) -> str:
        # Nothing is hidden: all contributions of the last round.
        return " ".join(["gave", *self.gave]) if self.gave else ""

    @override
    def anchors(self) -> Anchors:
        # On average half, nothing, or all is contributed; to give can be settled in training, so silent = full.
        # To give nothing pays more than anything else whatever the others do, so it is where rational play ends, also
        # when repeated a known number of times (backward induction).
        n, full = len(self.possible_agents), self.rounds * self.multiplier
        greed = float(self.rounds)
        return Anchors((greed + full) / 2, full, full, greed, (greed,) * n)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Everyone gives all, or nothing; and nobody talks.
        return {"silent": self._give(-1), "full": self._give(-1), "equilibrium": self._give(0)}

    def _give(self, which: int) -> Script:
        def script(memory: Memory) -> Words:
            return () if memory.spec.kind == "say" else (self.amounts[which],)

        return script
