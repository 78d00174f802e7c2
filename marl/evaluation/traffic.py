"""Channel traffic: messages, bits, losses, delays and prices, per channel and per edge from speaker to listener.

Counted from episodes alone, so from a log that is replayed. Bits are those of the message's width: a message that was
one of w which its reply spec allowed on that channel counts log2 w, however often it is said and whatever it means.
Beside it stands what the channel can carry of it (`Channel.capacity_per_message`). Of free talk neither is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log2, prod
from typing import Any

from arenas.spec import ReplySpec
from marl.episode import Episode, Turn
from marl.scenario.world import World
from protocols.channel import PUBLIC, Channel
from protocols.effects import Budget, Jam
from protocols.envelope import EVERYONE, NOBODY, Kind
from protocols.log import Entry, Heard


@dataclass(slots=True)
class Tally:
    """Traffic sums over the messages of a channel, or of one of its edges (speaker to listener)."""

    messages: int = 0
    symbols: int = 0
    """Words, as said."""
    bits: float | None = 0.0
    """log2 of the number of messages that could have been said instead, this one included; None where talk was free."""
    capacity: float | None = 0.0
    """Bits of it that can reach one listener; None where that is not known, or not the same for every message."""
    price: float = 0.0
    """Reward that its speakers paid. An edge counts an equal share for each listener that a message was meant for."""
    receptions: int = 0
    """Listeners that messages were meant for, each counted once a message; lost and altered are shares of these."""
    lost: int = 0
    """Receptions of which nothing arrived."""
    altered: int = 0
    """Receptions of which something arrived that is not what was said."""
    deliveries: int = 0
    """What arrived, further copies included."""
    copies: int = 0
    """Deliveries beyond the first of a reception."""
    late: int = 0
    """Deliveries that were due when the episode was over: nobody heard them."""
    overheard: int = 0
    """Messages that reached an eavesdropper; they count nowhere else."""
    delay: float = 0.0
    """Seconds from saying to delivery, summed over deliveries."""
    slowest: float = 0.0
    """The longest of these."""

    @property
    def latency(self) -> float | None:
        """Mean seconds from sending to delivery; None if nothing arrived."""
        return self.delay / self.deliveries if self.deliveries else None

    @property
    def disturbed(self) -> float | None:
        """Share of receptions that were lost or altered; None without receptions."""
        return (self.lost + self.altered) / self.receptions if self.receptions else None

    def received(self, said: str, time: float, end: float, copies: Sequence[Heard]) -> None:
        """Count the copies of one message that one listener received; `end` is the time of the episode's end."""
        self.receptions += 1
        arrived = intact = 0
        for _, at, body, _ in copies:
            if body is not None:
                arrived += 1
                intact += body == said
                self.late += at > end
                self.delay += at - time
                self.slowest = max(self.slowest, at - time)
        self.lost += not arrived
        self.altered += arrived > intact
        self.deliveries += arrived
        self.copies += max(arrived - 1, 0)

    def figures(self) -> dict[str, Any]:
        """Return everything as JSON values, the mean latency in place of its sum."""
        sums = {name: getattr(self, name) for name in self.__slots__ if name not in ("delay", "slowest")}
        return {**sums, "latency": self.latency, "latency_max": self.slowest if self.deliveries else None}


@dataclass(slots=True)
class Account:
    """The traffic of one channel: in total, and along each edge from a speaker to a listener."""

    total: Tally = field(default_factory=Tally)
    edges: dict[tuple[str, str], Tally] = field(default_factory=dict)


@dataclass(slots=True)
class Traffic:
    """The traffic of some episodes, by channel."""

    episodes: int = 0
    channels: dict[str, Account] = field(default_factory=dict)
    silences: int = 0
    """Replies that could have been a message and went over no channel: silence, nothing legal, nothing in time."""
    silence_price: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Return all sums as JSON values, by channel and by edge."""
        return {
            "episodes": self.episodes,
            "silences": self.silences,
            "silence_price": self.silence_price,
            "channels": {name: account.total.figures() for name, account in self.channels.items()},
            "edges": [
                {"channel": name, "speaker": speaker, "listener": listener, **tally.figures()}
                for name, account in self.channels.items()
                for (speaker, listener), tally in sorted(account.edges.items())
            ],
        }

    def metrics(self) -> dict[str, float]:
        """Return the totals of each channel as `channel/NAME/...`: sums over the episodes, and the mean latency."""
        names = ("messages", "symbols", "bits", "price", "lost", "altered", "copies", "late", "overheard")
        metrics: dict[str, float] = {}
        for name, account in self.channels.items():
            totals = {figure: getattr(account.total, figure) for figure in names}
            metrics |= {f"channel/{name}/{figure}": float(sum_) for figure, sum_ in totals.items() if sum_ is not None}
            if (latency := account.total.latency) is not None:
                metrics[f"channel/{name}/latency"] = latency
        return metrics


def count(world: World, episodes: Iterable[Episode]) -> Traffic:
    """Count the traffic of episodes of a world."""
    books = _Books(world)
    for episode in episodes:
        books.enter(episode)
    books.close()
    return books.traffic


def sizes(channel: Channel, spec: ReplySpec) -> tuple[float | None, float | None]:
    """Return the bits of a message (log2 of what its reply spec allows) and the channel's capacity for it.

    Both are None for free text; the capacity also where an effect changes from message to message.
    """
    if spec.free:
        return None, None
    routed = len(spec.channels) > 1  # then the first word is the channel's name
    least = max(spec.least - 1, 0) if routed else spec.least
    width = sum(prod(map(len, spec.places[:n])) for n in range(least, len(spec.places) + 1))
    changing = any(isinstance(e, Jam) or (isinstance(e, Budget) and e.per != "message") for e in channel.effects)
    capacity = None if changing else channel.capacity_per_message(spec.places, least, spec.symbols)
    return log2(width), capacity


class _Books:
    """Running totals. Reply specs are cached by identity, for speed; the episodes keep them alive meanwhile."""

    def __init__(self, world: World) -> None:
        self.traffic = Traffic()
        self._world = world
        self._sizes: dict[tuple[str, int], tuple[float | None, float | None]] = {}

    def enter(self, episode: Episode) -> None:
        """Add every message of an episode."""
        entries = episode.log.entries
        end = entries[-1].envelope.time
        self.traffic.episodes += 1
        for turn in episode.turns:
            entry = entries[turn.seq]
            if entry.envelope.kind is not Kind.SAY:
                continue
            if entry.envelope.to != NOBODY:
                self._message(entry, turn, end)
            else:
                self.traffic.silences += 1
                self.traffic.silence_price += entry.envelope.data.get("price", 0.0)

    def close(self) -> None:
        """Sum the edges of each channel into its total."""
        for account in self.traffic.channels.values():
            total = account.total
            for edge in account.edges.values():
                for name in ("receptions", "lost", "altered", "deliveries", "copies", "late", "overheard", "delay"):
                    setattr(total, name, getattr(total, name) + getattr(edge, name))
                total.slowest = max(total.slowest, edge.slowest)

    def _message(self, entry: Entry, turn: Turn, end: float) -> None:
        envelope, heard = entry
        name = PUBLIC if envelope.to == EVERYONE else envelope.to
        channel = self._world.channels[name]
        account = self.traffic.channels.setdefault(name, Account())
        place = (name, id(turn.spec))
        if place not in self._sizes:
            self._sizes[place] = sizes(channel, turn.spec)
        bits, capacity = self._sizes[place]
        said = " ".join(envelope.body.split())  # as it goes out on the channel
        symbols, price = len(said.split()), envelope.data.get("price", 0.0)
        _add(account.total, symbols, bits, capacity, price)
        speaker = envelope.sender
        uninvited: frozenset[str] = frozenset()
        if taps := channel.eavesdroppers(speaker, ()):
            uninvited = frozenset(taps).difference(channel.audience(speaker, turn.stage))
        received = list(_by_listener(heard))
        meant = sum(listener not in uninvited for listener, _ in received)
        for listener, copies in received:
            edge = account.edges.get((speaker, listener))
            if edge is None:
                edge = account.edges[speaker, listener] = Tally()
            if listener in uninvited:
                edge.overheard += any(copy.body is not None for copy in copies)
            else:
                _add(edge, symbols, bits, capacity, price / meant)
                edge.received(said, envelope.time, end, copies)


def _add(tally: Tally, symbols: int, bits: float | None, capacity: float | None, price: float) -> None:
    tally.messages += 1
    tally.symbols += symbols
    tally.bits = _sum(tally.bits, bits)
    tally.capacity = _sum(tally.capacity, capacity)
    tally.price += price


def _sum(total: float | None, more: float | None) -> float | None:
    return None if total is None or more is None else total + more


def _by_listener(heard: Sequence[Heard]) -> Iterator[tuple[str, Sequence[Heard]]]:
    """Yield each listener with its copies of a message; copies of one listener are adjacent."""
    start = 0
    for stop in range(1, len(heard) + 1):
        if stop == len(heard) or heard[stop].to != heard[start].to:
            yield heard[start].to, heard[start:stop]
            start = stop
