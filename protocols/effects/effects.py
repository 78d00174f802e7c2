"""What can happen to a message on its way: small effects, each seeded by coordinates, that a channel puts in a row.

An effect acts once when a message is *sent* (cut, priced, rewritten), or once for each listener as it is *carried*
(changed, delayed, doubled, lost). It also knows its law: what becomes of one symbol, with which probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from protocols.draws import below, key, uniform
from protocols.effects.message import Delivery, Message, Sent, Symbols, Usage
from protocols.settings import Settings

ERASED: Final = "_"
"""What stands where a symbol was erased."""
Rewriter = Callable[[Symbols, Symbols, int], Symbols]
"""(symbols, alphabet, seed) -> symbols. The alphabet is empty for free text; the seed is the message's own."""


def shuffled(symbols: Symbols, alphabet: Symbols, seed: int) -> Symbols:
    """Put the symbols in another order (Fisher-Yates)."""
    words = list(symbols)
    for i in range(len(words) - 1, 0, -1):
        j = below(i + 1, seed, i)
        words[i], words[j] = words[j], words[i]
    return tuple(words)


REWRITERS: Final[dict[str, Rewriter]] = {
    "shuffle": shuffled,
    "reverse": lambda symbols, alphabet, seed: symbols[::-1],
}
"""Name -> rewriting function. Add your own, such as a paraphraser: `protocols.effects.REWRITERS["mine"] = mine`."""


class Odds(NamedTuple):
    """What a symmetric effect does to a symbol: changed into another one, erased, or lost with its whole message."""

    changed: float = 0.0
    erased: float = 0.0
    lost: float = 0.0


Law = dict[Symbols, float]
"""What one copy of a symbol becomes (no copies, one, or several) -> with which probability."""


class Effect(Settings):
    """An identity to build on: override `send` (once per message) or `carry` (once per listener), and the law."""

    words: ClassVar[Symbols] = ()  # words that listeners may hear though nobody can say them

    def send(self, message: Message, seed: int) -> Message:
        """Change or price a message as it leaves its sender."""
        return message

    def copies(self, seed: int) -> int:
        """Return how many copies of a message go on from here."""
        return 1

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Change what one listener receives; `delivery.symbols` is not None here."""
        return delivery

    def odds(self, sent: Sent) -> Odds | None:
        """Return what happens to a symbol that leaves at a moment; None if that depends on the symbol."""
        return Odds()

    def law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law | None:
        """Return p(what one symbol becomes); None if that depends on the rest of the message."""
        odds = self.odds(sent)
        if odds is None:
            return None
        others = [other for other in alphabet if other != symbol] if symbol in alphabet else []
        changed = odds.changed if others else 0.0
        stays = (1 - odds.lost) * (1 - odds.erased)
        law: Law = {(): odds.lost, (symbol,): stays * (1 - changed)}
        law |= {(other,): stays * changed / len(others) for other in others if changed}
        law[ERASED,] = law.get((ERASED,), 0.0) + (1 - odds.lost) * odds.erased
        return law


class Budget(Effect):
    """At most `symbols` symbols and `messages` messages per message, turn or episode of a sender; the rest is cut off.

    A turn is one stage of the arena. A message that nothing is left of is silence.
    """

    type: Literal["budget"] = "budget"
    symbols: int | None = Field(default=None, ge=0)
    messages: int | None = Field(default=None, ge=0)
    per: Literal["message", "turn", "episode"] = "message"
    later = frozenset({"messages", "per"})

    @model_validator(mode="after")
    def _limits(self) -> Budget:
        if self.symbols is None and self.messages is None:
            raise ValueError("a budget needs a limit: give symbols or messages")
        if self.messages is not None and self.per == "message":
            raise ValueError('a budget of messages is per turn or per episode: give per = "turn" or per = "episode"')
        return self

    def send(self, message: Message, seed: int) -> Message:
        """Cut the message to what is left of the budget."""
        left = len(message.symbols)
        used = {"message": Usage(), "turn": message.sent.turn, "episode": message.sent.episode}[self.per]
        if self.symbols is not None:
            left = max(self.symbols - used.symbols, 0)
        if self.messages is not None and used.messages >= self.messages:
            left = 0
        return message if left >= len(message.symbols) else replace(message, symbols=message.symbols[:left])


class Price(Effect):
    """Every symbol sent costs its sender `per_symbol` of reward, and every non-empty message `per_message`."""

    type: Literal["price"] = "price"
    per_symbol: float = Field(default=0.0, ge=0)
    per_message: float = Field(default=0.0, ge=0)

    def send(self, message: Message, seed: int) -> Message:
        """Add the price of this message."""
        cost = self.per_symbol * len(message.symbols) + self.per_message * bool(message.symbols)
        return replace(message, price=message.price + cost)


class Rewrite(Effect):
    """Messages are rewritten before they go out: word by word from a `table`, or `by` a function of REWRITERS."""

    type: Literal["rewrite"] = "rewrite"
    by: str = ""
    table: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Rewrite:
        if bool(self.by) == bool(self.table):
            raise ValueError('a rewrite has either a table such as {m0 = "m1"}, or the name of a function in `by`')
        if self.by and self.by not in REWRITERS:
            raise ValueError(f"there is no rewriter {self.by!r}; there are {', '.join(REWRITERS)}")
        if spaced := [word for word in self.table.values() if word.split() != [word]]:
            raise ValueError(f"a rewrite gives one word for a word, not {spaced[0]!r}")
        return self

    def send(self, message: Message, seed: int) -> Message:
        """Rewrite the message, the same way for all its listeners."""
        if self.by:
            return replace(message, symbols=tuple(REWRITERS[self.by](message.symbols, message.alphabet, seed)))
        return replace(message, symbols=tuple(self.table.get(symbol, symbol) for symbol in message.symbols))

    def odds(self, sent: Sent) -> Odds | None:
        """It depends on the symbol."""
        return None

    def law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law | None:
        """Follow the table; what a function does to a symbol is not known."""
        return None if self.by else {(self.table.get(symbol, symbol),): 1.0}


class Loss(Effect):
    """The whole message is lost with probability `p`, for each listener independently."""

    type: Literal["loss"] = "loss"
    p: float = Field(ge=0, le=1)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Lose it or not."""
        return Delivery(None, delivery.delay) if uniform(seed) < self.p else delivery

    def odds(self, sent: Sent) -> Odds:
        """Lost with probability p."""
        return Odds(lost=self.p)


class Jam(Effect):
    """While a window [start, stop) is open, messages are lost with probability `p`.

    Windows are in seconds of the episode's clock at which a message passes here, or in rounds: stages of the arena.
    """

    type: Literal["jam"] = "jam"
    windows: tuple[tuple[float, float], ...] = Field(min_length=1)
    unit: Literal["seconds", "rounds"] = "seconds"
    p: float = Field(default=1.0, ge=0, le=1)

    @field_validator("windows")
    @classmethod
    def _ordered(cls, windows: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if wrong := [window for window in windows if not window[0] < window[1]]:
            raise ValueError(f"a window runs from a start to a later stop, not from {wrong[0][0]:g} to {wrong[0][1]:g}")
        return windows

    def _open(self, moment: float) -> bool:
        return any(start <= moment < stop for start, stop in self.windows)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Lose what comes while a window is open."""
        sent = message.sent
        moment = sent.round if self.unit == "rounds" else sent.time + delivery.delay
        return Delivery(None, delivery.delay) if self._open(moment) and uniform(seed) < self.p else delivery

    def odds(self, sent: Sent) -> Odds:
        """Lost with probability p while a window is open; delays on the way are left out of account."""
        return Odds(lost=self.p if self._open(sent.round if self.unit == "rounds" else sent.time) else 0.0)


class Noise(Effect):
    """Each symbol becomes another one of the alphabet with probability `p` (the q-ary symmetric channel)."""

    type: Literal["noise"] = "noise"
    p: float = Field(ge=0, le=1)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Replace symbols; a message of free text has no alphabet and passes unchanged."""
        alphabet = message.alphabet
        if len(set(alphabet)) < 2 or delivery.symbols is None:
            return delivery
        heard = list(delivery.symbols)
        for i, symbol in enumerate(heard):
            if symbol in alphabet and uniform(seed, 2 * i) < self.p:
                others = [other for other in alphabet if other != symbol]
                heard[i] = others[below(len(others), seed, 2 * i + 1)]
        return Delivery(tuple(heard), delivery.delay)

    def odds(self, sent: Sent) -> Odds:
        """Changed with probability p."""
        return Odds(changed=self.p)


class Erasure(Effect):
    """Each symbol is erased with probability `p`: the listener hears `_` in its place (the q-ary erasure channel)."""

    type: Literal["erasure"] = "erasure"
    p: float = Field(ge=0, le=1)
    words: ClassVar[Symbols] = (ERASED,)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Erase symbols."""
        heard = tuple(ERASED if uniform(seed, i) < self.p else s for i, s in enumerate(delivery.symbols or ()))
        return Delivery(heard, delivery.delay)

    def odds(self, sent: Sent) -> Odds:
        """Erased with probability p."""
        return Odds(erased=self.p)


class Delay(Effect):
    """The message arrives `seconds` later, plus up to `jitter` seconds drawn for each listener."""

    type: Literal["delay"] = "delay"
    seconds: float = Field(ge=0)
    jitter: float = Field(default=0.0, ge=0)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Add the delay."""
        return Delivery(delivery.symbols, delivery.delay + self.seconds + self.jitter * uniform(seed))


class Reorder(Effect):
    """With probability `p` a message is held back for `seconds`, so that those sent meanwhile overtake it."""

    type: Literal["reorder"] = "reorder"
    p: float = Field(ge=0, le=1)
    seconds: float = Field(gt=0)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Hold it back or not."""
        held = self.seconds if uniform(seed) < self.p else 0.0
        return Delivery(delivery.symbols, delivery.delay + held)


class Duplicate(Effect):
    """With probability `p` a listener gets the message twice; what follows in the channel happens to each copy."""

    type: Literal["duplicate"] = "duplicate"
    p: float = Field(ge=0, le=1)

    def copies(self, seed: int) -> int:
        """Double it or not."""
        return 2 if uniform(seed) < self.p else 1

    def odds(self, sent: Sent) -> Odds | None:
        """A second copy is another look, which no symmetric channel gives."""
        return None

    def law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law:
        """One copy or two."""
        return {(symbol,): 1 - self.p, (symbol, symbol): self.p}


class Eavesdrop(Effect):
    """`seat` overhears messages that are not for it, each with probability `p`, as they are at this place.

    What stands before this effect in the channel happens to what it overhears, what stands after it does not.
    """

    type: Literal["eavesdrop"] = "eavesdrop"
    seat: str
    p: float = Field(default=1.0, ge=0, le=1)

    def overhears(self, seed: int) -> bool:
        """Say whether this message is overheard."""
        return uniform(key(seed, "eavesdrop")) < self.p


EffectConfig = Annotated[
    Budget | Price | Rewrite | Loss | Jam | Noise | Erasure | Delay | Reorder | Duplicate | Eavesdrop,
    Field(discriminator="type"),
]
