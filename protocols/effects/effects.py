"""Effects of a channel on messages: budgets, prices, loss, noise, delays and more, each with keyed randomness.

An effect acts once when a message is *sent* (cut, priced, rewritten), or once for each listener as it is *carried*
(changed, delayed, doubled, lost). It also knows its law: the probabilities of what becomes of one symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from protocols.draws import below, key, uniform
from protocols.effects.message import Delivery, Message, Sent, Symbols, Usage
from protocols.settings import Settings

ERASED: Final = "_"
"""The symbol that listeners hear for an erased one."""
Rewriter = Callable[[Symbols, Symbols, int], Symbols]
"""(symbols, alphabet, seed) -> symbols. The alphabet is empty for free text; the seed is the message's key."""


def shuffled(symbols: Symbols, alphabet: Symbols, seed: int) -> Symbols:
    """Return the symbols in a random order (Fisher-Yates)."""
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
    """Probabilities that a symmetric effect changes a symbol to another, erases it, or loses the whole message."""

    changed: float = 0.0
    erased: float = 0.0
    lost: float = 0.0


Law = dict[Symbols, float]
"""What one copy of a symbol becomes (no, one or several copies) -> its probability."""


class Effect(Settings):
    """Base of effects, which changes nothing: override `send` (per message) or `carry` (per listener), and the law."""

    words: ClassVar[Symbols] = ()  # words that listeners may hear but nobody can say

    def send(self, message: Message, seed: int) -> Message:
        """Return the message as it is sent: changed or priced."""
        return message

    def copies(self, seed: int) -> int:
        """Return how many copies of a message the next effects get."""
        return 1

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Return what one listener receives; `delivery.symbols` is never None here."""
        return delivery

    def odds(self, sent: Sent) -> Odds | None:
        """Return the odds of a symbol sent at a moment; None if they depend on the symbol."""
        return Odds()

    def law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law | None:
        """Return the law of one symbol; None if it depends on the rest of the message."""
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

    A turn is one stage of the arena. A message of which no symbol is left is silence.
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

    @override
    def send(self, message: Message, seed: int) -> Message:
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

    @override
    def send(self, message: Message, seed: int) -> Message:
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

    @override
    def send(self, message: Message, seed: int) -> Message:
        if self.by:
            return replace(message, symbols=tuple(REWRITERS[self.by](message.symbols, message.alphabet, seed)))
        return replace(message, symbols=tuple(self.table.get(symbol, symbol) for symbol in message.symbols))

    @override
    def odds(self, sent: Sent) -> Odds | None:
        return None

    @override
    def law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law | None:
        return None if self.by else {(self.table.get(symbol, symbol),): 1.0}


class Loss(Effect):
    """The whole message is lost with probability `p`, for each listener independently."""

    type: Literal["loss"] = "loss"
    p: float = Field(ge=0, le=1)

    @override
    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        return Delivery(None, delivery.delay) if uniform(seed) < self.p else delivery

    @override
    def odds(self, sent: Sent) -> Odds:
        return Odds(lost=self.p)


class Jam(Effect):
    """While a window [start, stop) is open, messages are lost with probability `p`.

    Windows are in seconds of the episode's clock, when a message passes this effect, or in rounds: stages of the arena.
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

    @override
    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        sent = message.sent
        moment = sent.round if self.unit == "rounds" else sent.time + delivery.delay
        return Delivery(None, delivery.delay) if self._open(moment) and uniform(seed) < self.p else delivery

    @override
    def odds(self, sent: Sent) -> Odds:  # without the delays on the way
        return Odds(lost=self.p if self._open(sent.round if self.unit == "rounds" else sent.time) else 0.0)


class Noise(Effect):
    """Each symbol becomes another one of the alphabet with probability `p` (the q-ary symmetric channel)."""

    type: Literal["noise"] = "noise"
    p: float = Field(ge=0, le=1)

    @override
    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        alphabet = message.alphabet  # free text has none, and passes unchanged
        if len(set(alphabet)) < 2 or delivery.symbols is None:
            return delivery
        heard = list(delivery.symbols)
        for i, symbol in enumerate(heard):
            if symbol in alphabet and uniform(seed, 2 * i) < self.p:
                others = [other for other in alphabet if other != symbol]
                heard[i] = others[below(len(others), seed, 2 * i + 1)]
        return Delivery(tuple(heard), delivery.delay)

    @override
    def odds(self, sent: Sent) -> Odds:
        return Odds(changed=self.p)


class Erasure(Effect):
    """Each symbol is erased with probability `p`: the listener hears `_` in its place (the q-ary erasure channel)."""

    type: Literal["erasure"] = "erasure"
    p: float = Field(ge=0, le=1)
    words: ClassVar[Symbols] = (ERASED,)

    @override
    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        heard = tuple(ERASED if uniform(seed, i) < self.p else s for i, s in enumerate(delivery.symbols or ()))
        return Delivery(heard, delivery.delay)

    @override
    def odds(self, sent: Sent) -> Odds:
        return Odds(erased=self.p)


class Delay(Effect):
    """The message arrives `seconds` later, plus up to `jitter` seconds drawn for each listener."""

    type: Literal["delay"] = "delay"
    seconds: float = Field(ge=0)
    jitter: float = Field(default=0.0, ge=0)

    @override
    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        return Delivery(delivery.symbols, delivery.delay + self.seconds + self.jitter * uniform(seed))


class Reorder(Effect):
    """With probability `p` a message is delayed by `seconds`, so that later messages overtake it."""

    type: Literal["reorder"] = "reorder"
    p: float = Field(ge=0, le=1)
    seconds: float = Field(gt=0)

    @override
    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        held = self.seconds if uniform(seed) < self.p else 0.0
        return Delivery(delivery.symbols, delivery.delay + held)


class Duplicate(Effect):
    """With probability `p` a listener gets the message twice; later effects act on each copy separately."""

    type: Literal["duplicate"] = "duplicate"
    p: float = Field(ge=0, le=1)

    @override
    def copies(self, seed: int) -> int:
        return 2 if uniform(seed) < self.p else 1

    @override
    def odds(self, sent: Sent) -> Odds | None:
        return None

    @override
    def law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law:
        return {(symbol,): 1 - self.p, (symbol, symbol): self.p}


class Eavesdrop(Effect):
    """`seat` overhears messages that are not for it, each with probability `p`.

    Of the channel's effects, only those before this one act on what it overhears.
    """

    type: Literal["eavesdrop"] = "eavesdrop"
    seat: str
    p: float = Field(default=1.0, ge=0, le=1)

    def overhears(self, seed: int) -> bool:
        """Return whether the message with this seed is overheard."""
        return uniform(key(seed, "eavesdrop")) < self.p


EffectConfig = Annotated[
    Budget | Price | Rewrite | Loss | Jam | Noise | Erasure | Delay | Reorder | Duplicate | Eavesdrop,
    Field(discriminator="type"),
]
