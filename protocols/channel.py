"""A channel: its audience, the effects on its messages, and its capacity.

A message is a sequence of symbols (words). When it is *sent*, every effect may shorten, price or rewrite it. Then every
effect may change, delay, duplicate or lose it, separately for each listener. The log records both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocols import topology
from protocols.draws import key
from protocols.effects import Budget, Eavesdrop, Effect, EffectConfig, Law, Odds, capacity
from protocols.effects.message import START, Delivery, Message, Sent, Symbols
from protocols.errors import ProtocolError
from protocols.settings import Settings
from protocols.topology import Named, Topology, TopologyConfig

PUBLIC: Final = "public"
"""The channel of messages that name no other."""


class ChannelConfig(Settings):
    """A channel beside the public one: private with two members, a group with more."""

    members: tuple[str, ...] = ()
    """The seats that speak and hear there, in order; empty: those of the arena's rules, or else all seats."""
    topology: TopologyConfig = Named()
    effects: tuple[EffectConfig, ...] = ()


class Channel:
    """Effects in the order in which they act on a message (none: a perfect channel), over a topology."""

    def __init__(self, effects: Sequence[Effect] = (), over: Topology | None = None, name: str = PUBLIC) -> None:
        self.name = name
        self.effects = tuple(effects)
        self.topology = over
        self._taps = {e.seat: place for place, e in reversed(list(enumerate(self.effects))) if isinstance(e, Eavesdrop)}

    def audience(self, speaker: str, round_: int = 0) -> tuple[str, ...]:
        """Return the listeners of a message by the topology."""
        return () if self.topology is None else self.topology.audience(speaker, round_)

    def eavesdroppers(self, speaker: str, audience: Sequence[str]) -> tuple[str, ...]:
        """Return the eavesdroppers that may overhear a message."""
        return tuple(seat for seat in self._taps if seat != speaker and seat not in audience)

    def send(self, symbols: Symbols, alphabet: Symbols = (), seed: int = 0, sent: Sent = START) -> Message:
        """Apply the effects on sending; `seed` is the message's key, to which each effect adds its index."""
        message = Message(symbols, alphabet, sent=sent)
        for place, effect in enumerate(self.effects):
            message = effect.send(message, key(seed, "send", place))
        return message

    def carry(self, message: Message, seed: int, listener: str) -> list[Delivery]:
        """Apply the effects on the way to one listener; return a delivery for each copy."""
        return self._carry(message, seed, listener, self.effects)

    def overhear(self, message: Message, seed: int, seat: str) -> list[Delivery]:
        """Apply the effects on the way to an eavesdropper; return nothing if it misses this message."""
        place = self._taps[seat]
        tap = self.effects[place]
        assert isinstance(tap, Eavesdrop)
        caught = tap.overhears(key(seed, seat, place))
        return self._carry(message, seed, seat, self.effects[:place]) if caught else []

    @staticmethod
    def _carry(message: Message, seed: int, listener: str, effects: Sequence[Effect]) -> list[Delivery]:
        copies = [Delivery(message.symbols)]
        for place, effect in enumerate(effects):
            for k in range(len(copies)):
                if copies[k].symbols is not None:
                    at = key(seed, listener, place, *(("copy", k) if k else ()))
                    copies[k] = effect.carry(copies[k], message, at)
                    copies += copies[k : k + 1] * (effect.copies(at) - 1)
        return copies

    @property
    def words(self) -> Symbols:
        """Words that listeners may hear but nobody can say."""
        written = [word for effect in self.effects for word in getattr(effect, "table", {}).values()]
        return tuple(dict.fromkeys([*(word for effect in self.effects for word in effect.words), *written]))

    # --- capacity --------------------------------------------------------------------------------

    def capacity(self, alphabet: Symbols, inputs: Symbols = (), sent: Sent = START) -> float | None:
        """Return the capacity to one listener in bits per symbol; None if symbols are not independent.

        In closed form where every effect is symmetric, else by Blahut-Arimoto.

        Args:
            alphabet: the symbols that noise may turn into each other.
            inputs: the symbols that may be sent, if not all of them.
            sent: the moment, for effects that change.
        """
        q = len(alphabet)
        if q < 1:
            return None
        if not inputs or set(inputs) == set(alphabet):
            odds = self._odds(q, sent)
            if odds is not None:
                return (1 - odds.lost) * (1 - odds.erased) * capacity.symmetric(q, odds.changed)
        laws = [self._law(symbol, alphabet, sent) for symbol in inputs or alphabet]
        known_laws = [law for law in laws if law is not None]
        return capacity.blahut_arimoto(known_laws)[0] if len(known_laws) == len(laws) else None

    def arrives(self, alphabet: Symbols, sent: Sent = START) -> float | None:
        """Return the probability that at least one copy of a message arrives at one listener; None if unknown."""
        law = self._law(alphabet[0], alphabet, sent) if alphabet else None
        return None if law is None else 1.0 - law.get((), 0.0)

    def capacity_per_message(
        self, places: Sequence[Symbols], least: int, alphabet: Symbols, sent: Sent = START
    ) -> float | None:
        """Return the capacity to one listener in bits per message, its length included; None if unknown.

        Args:
            places: the symbols that may be at each position.
            least: the shortest message.
            alphabet: as for `capacity`.
            sent: the moment, with what was sent before, for effects that are not always the same.
        """
        arrives = self.arrives(alphabet, sent)
        if arrives is None:
            return None
        longest = len(places)
        for effect in self.effects:
            if isinstance(effect, Budget):
                longest = len(effect.send(Message(("",) * longest, sent=sent), 0).symbols)
        by_inputs = {inputs: self.capacity(alphabet, inputs, sent) for inputs in dict.fromkeys(places[:longest])}
        symbols = [bits for inputs in places[:longest] if (bits := by_inputs[inputs]) is not None]
        lengths = {min(n, longest) for n in range(least, len(places) + 1)}
        return capacity.of_messages(symbols, sorted(lengths), arrives) if len(symbols) == longest else None

    def _odds(self, q: int, sent: Sent) -> Odds | None:
        """Return the joint odds of all effects; None if one of them is not symmetric."""
        changed = erased = lost = 0.0
        for effect in self.effects:
            odds = effect.odds(sent)
            if odds is None:
                return None
            changed = capacity.in_series(q, changed, odds.changed)
            erased += (1 - erased) * odds.erased
            lost += (1 - lost) * odds.lost
        return Odds(changed, erased, lost)

    def _law(self, symbol: str, alphabet: Symbols, sent: Sent) -> Law | None:
        """Return the law of one symbol with all its copies: p(copies | symbol)."""
        law: Law = {(symbol,): 1.0}
        for effect in self.effects:
            after: Law = {}
            for copies, p in law.items():
                joint: Law = {(): p}
                for copy in copies:
                    outcomes = effect.law(copy, alphabet, sent)
                    if outcomes is None:
                        return None
                    joint = _side_by_side(joint, outcomes)
                after = _either(after, joint)
            law = after
        return law


def _side_by_side(first: Law, second: Law) -> Law:
    """Return the joint law of two independent copies, the outcome of the first before that of the second."""
    both: Law = {}
    for a, p in first.items():
        for b, chance in second.items():
            if p * chance > 0:
                both[a + b] = both.get(a + b, 0.0) + p * chance
    return both


def _either(first: Law, second: Law) -> Law:
    """Return the sum of two laws, for exclusive cases."""
    return {outcome: first.get(outcome, 0.0) + second.get(outcome, 0.0) for outcome in {**first, **second}}


def build(name: str, config: ChannelConfig, seats: Sequence[str]) -> Channel:
    """Return the channel of a configuration; raises ProtocolError for an unknown seat.

    Args:
        name: of the channel.
        config: its effects, topology and members; members default to all seats.
        seats: every seat there is.
    """
    overhearing = [effect.seat for effect in config.effects if isinstance(effect, Eavesdrop)]
    for seat in (*config.members, *overhearing):
        if seat not in seats:
            raise ProtocolError(f"channel {name}: no seat {seat!r}; the seats are {', '.join(seats)}")
    if len(set(config.members)) != len(config.members):
        raise ProtocolError(f"channel {name}: a member is named twice in {', '.join(config.members)}")
    try:
        graph = topology.build(config.topology, config.members or seats)
    except ProtocolError as error:
        raise ProtocolError(str(error) if name == PUBLIC else f"channel {name}: {error}") from None
    return Channel(config.effects, graph, name)
