"""Trade Comm: exchange of items after one word each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, fill, say, symbols

PLAYERS: Final = ("player_0", "player_1")


class TradeComm(Arena):
    """Trade Comm with `items` kinds of items and `spare` more words; a case is a pair of items, maybe the same.

    `alone`: per cent of its pay that a player gets for its own offer, whatever the other one offers: easier to learn,
    with the same best play.
    """

    rules = """
    Trading with talk: both players hold an item that the other does not see, say one word each, then both offer a trade.

    player_0 speaks first and player_1 hears it. An offer is what to give and what to get, as in "i3 i5"; both offers are
    made at once. Both players are paid 1 if each gives the item it holds and gets the one the other holds, else 0.
    (OpenSpiel's `trade_comm`, there played in turn with the first offer unseen.)

    `items` kinds of items, and `spare` more words to say. A case is a pair of items; both may hold the same.

    `alone` is how many per cent of its pay a player gets for its own offer, whatever the other one offers: easier to
    learn, with the same best play.
    """
    metadata = Arena.metadata | {"name": "trade_comm_v0"}
    tags = ("cooperative", "communication")
    ranges: ClassVar = {"items": (2, 100), "alone": (0, 100)}

    def __init__(self, items: int = 10, spare: int = 0, alone: int = 0) -> None:
        if not 2 <= items <= 1000 or spare < 0 or not 0 <= alone <= 100:
            raise ArenaError(
                "trade_comm needs 2 to 1000 items, spare >= 0 and alone from 0 to 100, "
                f"not {items=}, {spare=}, {alone=}"
            )
        self.cases = items**2
        self.alone = alone / 100
        self.items = symbols("i", items)
        talk, offer = say(symbols("m", items + spare), 1), fill(self.items, self.items)
        super().__init__(dict.fromkeys(PLAYERS, (talk, offer)), words=("item", "trade"))

    @override
    def lay(self, case: int) -> None:
        self.held = tuple(self.items[number] for number in divmod(case, len(self.items)))
        self.said = 0

    @override
    def acting(self) -> tuple[str, ...]:
        return PLAYERS if self.said == 2 else (PLAYERS[self.said],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.replies[agent][self.said == 2]

    @override
    def view(self, agent: str) -> str:
        # One's own item, and then when it is time to trade.
        return "trade" if self.said == 2 else f"item {self.held[PLAYERS.index(agent)]}"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # Both are paid if the offers fit the items and each other, and each for an offer that fits the items.
        if self.said < 2:
            self.said += 1
            return Outcome()
        wanted = dict(zip(PLAYERS, (self.held, self.held[::-1]), strict=True))
        fits = {player: replies[player] == offer for player, offer in wanted.items()}
        both = (1 - self.alone) * all(fits.values())
        return Outcome({player: self.alone * fit + both for player, fit in fits.items()}, done=True)

    @override
    def hidden(self) -> str:
        return " ".join(("item", *self.held))

    @override
    def anchors(self) -> Anchors:
        # Random offers fit once in items^2 each; talk tells everything.
        # Without talk each of n items of player_0 goes with at most one item it asks for, so at most n of the n^2 pairs
        # are traded; if both ask for the item they hold, exactly the n equal pairs are. No offer alone fits more often.
        n = len(self.items)
        return Anchors(random=self.alone / n**2 + (1 - self.alone) / n**4, silent=1 / n, full=1.0)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # `silent`: ask for the item one holds. `full`: word k for item k, and ask for the one the other named.
        return {"silent": _silent, "full": _full}


def _silent(memory: Memory) -> Words:
    item = memory.views[0][1]
    return ("m0",) if memory.spec.kind == "say" else (item, item)


def _full(memory: Memory) -> Words:
    item = memory.views[0][1]
    if memory.spec.kind == "say":
        return (f"m{item[1:]}",)
    ((_, (said,)),) = memory.heard
    return (item, f"i{said[1:]}")
