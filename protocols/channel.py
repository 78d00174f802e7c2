"""What happens to a message on its way: composable effects, each seeded by coordinates.

A message is a sequence of symbols (words). When it is *sent*, every effect may shorten it and price it; then, for each
listener apart, every effect may change, delay or lose it. The log keeps both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from protocols.draws import below, key, uniform


@dataclass(frozen=True, slots=True)
class Message:
    """What a sender puts on the channel."""

    symbols: tuple[str, ...]
    alphabet: tuple[str, ...] = ()  # the symbols the sender could have used; empty for free text
    price: float = 0.0  # charged to the sender's reward


class Delivery(NamedTuple):
    """What arrives at one listener: None for a message that was lost; `delay` in seconds."""

    symbols: tuple[str, ...] | None
    delay: float = 0.0


class Effect(BaseModel):
    """An identity to build on: override `send` (once per message) or `carry` (once per listener)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def send(self, message: Message) -> Message:
        """Change or price a message as it leaves its sender."""
        return message

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Change what one listener receives; `delivery.symbols` is not None here."""
        return delivery


class Budget(Effect):
    """At most `symbols` symbols a message; the rest is cut off."""

    type: Literal["budget"] = "budget"
    symbols: int = Field(ge=0)

    def send(self, message: Message) -> Message:
        """Cut the message to length."""
        return Message(message.symbols[: self.symbols], message.alphabet, message.price)


class Price(Effect):
    """Every symbol sent costs its sender `per_symbol` of reward, and every non-empty message `per_message`."""

    type: Literal["price"] = "price"
    per_symbol: float = Field(default=0.0, ge=0)
    per_message: float = Field(default=0.0, ge=0)

    def send(self, message: Message) -> Message:
        """Add the price of this message."""
        cost = self.per_symbol * len(message.symbols) + self.per_message * bool(message.symbols)
        return Message(message.symbols, message.alphabet, message.price + cost)


class Loss(Effect):
    """The whole message is lost with probability `p`, for each listener independently."""

    type: Literal["loss"] = "loss"
    p: float = Field(ge=0, le=1)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Lose it or not."""
        return Delivery(None, delivery.delay) if uniform(seed) < self.p else delivery


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
            if uniform(seed, 2 * i) < self.p:
                others = [other for other in alphabet if other != symbol]
                heard[i] = others[below(len(others), seed, 2 * i + 1)]
        return Delivery(tuple(heard), delivery.delay)


class Delay(Effect):
    """The message arrives `seconds` later, plus up to `jitter` seconds drawn for each listener."""

    type: Literal["delay"] = "delay"
    seconds: float = Field(ge=0)
    jitter: float = Field(default=0.0, ge=0)

    def carry(self, delivery: Delivery, message: Message, seed: int) -> Delivery:
        """Add the delay."""
        return Delivery(delivery.symbols, delivery.delay + self.seconds + self.jitter * uniform(seed))


EffectConfig = Annotated[Budget | Price | Loss | Noise | Delay, Field(discriminator="type")]


class Channel:
    """Effects in the order in which a message meets them; without any, the channel is perfect."""

    def __init__(self, effects: Sequence[Effect] = ()) -> None:
        self.effects = tuple(effects)

    def send(self, symbols: tuple[str, ...], alphabet: tuple[str, ...] = ()) -> Message:
        """Apply what happens to a message as it leaves."""
        message = Message(symbols, alphabet)
        for effect in self.effects:
            message = effect.send(message)
        return message

    def carry(self, message: Message, seed: int, listener: str) -> Delivery:
        """Apply what happens on the way to one listener; `seed` names the message, the effects add their own place."""
        delivery = Delivery(message.symbols)
        for place, effect in enumerate(self.effects):
            if delivery.symbols is None:
                break
            delivery = effect.carry(delivery, message, key(seed, listener, place))
        return delivery
