"""Hanabi: cooperative card game with scarce hints."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from statistics import fmean
from typing import Any, ClassVar, Final

import numpy as np
from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.games.cards.hanabi_play import alone, alone_score, convention
from arenas.scripted import Script
from arenas.spec import ReplySpec, Words, choose, symbols

COLORS: Final = ("red", "yellow", "green", "white", "blue")
UNKNOWN: Final = "?"
SIZES: Final = {  # colors, ranks, cards in hand, hints, lives; HLE's Hanabi-Very-Small, Hanabi-Small and Hanabi-Full
    "very_small": (1, 5, 2, 3, 1),
    "small": (2, 5, 2, 3, 1),
    "full": (5, 5, 5, 8, 3),
}
Card = tuple[str, str]
"""Color and rank; `?` where a player does not know its own."""
Hand = tuple[Card, ...]
"""Oldest card first."""


def copies(rank: int, ranks: int) -> int:
    """Return the number of copies of a rank in each color."""
    return 3 if rank == 1 else 1 if rank == ranks else 2


def revealed(hand: Hand, known: Hand, hint: str) -> Hand:
    """Return a player's knowledge of its hand after a hint: a color or a rank."""
    return tuple(
        (color if hint == color else k_color, rank if hint == rank else k_rank)
        for (color, rank), (k_color, k_rank) in zip(hand, known, strict=True)
    )


@lru_cache(maxsize=4096)
def _offer(moves: Words) -> ReplySpec:
    return choose(moves)


class Hanabi(Arena):
    """Hanabi in a `size` of HLE: very_small, small or full; each of its numbers can be overridden.

    `hand`: None for the size's; 5 cards in full, 4 from 4 players on.
    `bomb`: factor of the score once the last life is lost: 0 as in HLE, 1 to keep it.
    """

    rules = """
    Hanabi: all see the cards of the others and not their own; hints are scarce; the fireworks are built together.

    Each color has three cards of rank 1, one of the highest, two of each other. A turn: play a card (it must be the next of
    its color, or a life is lost; a finished color gives a hint back), discard one (gives a hint back; not while all hints
    are there), or hint: name a color or a rank to another player, who is shown all cards of it. Played and discarded cards
    are replaced from the deck; when that is empty, everyone has one more turn. It is over, too, when all is built or the
    last life is lost. All are paid what the score changes by: the cards in the fireworks; 0 after the last life.

    Bard et al. 2020, "The Hanabi challenge"; rules and numbers of the Hanabi Learning Environment (HLE), as in OpenSpiel's
    `hanabi`, with which the tests compare. Moves are public and views show them; nothing is said on a channel.

    HLE's `size` very_small, small or full; every number of it can be set apart (None: 5 in hand, from 4 players 4).

    `bomb`: what the fireworks are worth once the last life is lost: 0 as in HLE, or 1 to keep them.
    """
    metadata = Arena.metadata | {"name": "hanabi_v0"}
    tags = ("cooperative", "memory")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"players": (2, 5)}

    def __init__(
        self,
        size: str = "very_small",
        players: int = 2,
        colors: int | None = None,
        ranks: int | None = None,
        hand: int | None = None,
        hints: int | None = None,
        lives: int | None = None,
        bomb: float = 0.0,
    ) -> None:
        if size not in SIZES:
            raise ArenaError(f"no size {size!r} of hanabi: there are {', '.join(SIZES)}")
        overrides = (colors, ranks, hand, hints, lives)
        numbers = [a if b is None else b for a, b in zip(SIZES[size], overrides, strict=True)]
        if size == "full" and hand is None and players > 3:
            numbers[2] = 4
        self.colors, self.ranks, self.hand, self.most_hints, self.most_lives = numbers
        self.bomb, self.palette = bomb, COLORS[: self.colors]
        self.rank_words = tuple(map(str, range(1, self.ranks + 1)))
        self.pack = tuple(
            (color, rank)
            for color in self.palette
            for rank in self.rank_words
            for _ in range(copies(int(rank), self.ranks))
        )
        seats = symbols("player_", players)
        if not 2 <= players <= 5 or not 1 <= self.colors <= 5 or not 1 <= self.ranks <= 5 or not 1 <= self.hand <= 5:
            raise ArenaError(
                "hanabi needs 2 to 5 players, 1 to 5 colors and ranks, and 1 to 5 cards in hand, "
                f"not {players=}, {colors=}, {ranks=}, {hand=}"
            )
        if not 1 <= self.most_hints <= 8 or not 1 <= self.most_lives <= 3 or not 0 <= bomb <= 1:
            raise ArenaError(
                f"hanabi needs 1 to 8 hints, 1 to 3 lives and a bomb from 0 to 1, not {hints=}, {lives=}, {bomb=}"
            )
        if players * self.hand > len(self.pack):
            raise ArenaError(
                f"{players=} with {self.hand} cards each need more than the {len(self.pack)} cards that there are"
            )
        self.options = (size, players, colors, ranks, hand, hints, lives, bomb)
        card_moves = [f"{move}_{i}" for move in ("discard", "play") for i in range(self.hand)]
        hint_moves = [f"hint_{i}_{word}" for i in range(players) for word in (*self.palette, *self.rank_words)]
        numbers_shown = map(str, range(max(len(self.pack), self.most_hints) + 1))
        super().__init__(
            dict.fromkeys(seats, choose((*card_moves, *hint_moves))),
            words=(*numbers_shown, *self.palette, UNKNOWN, "lives", "hints", "deck", "built", "you"),
            view_words=4 * players + 7 + 2 * self.colors + players * (1 + 2 * self.hand),
        )

    @override
    def deal(self, rng: np.random.Generator, split: str) -> None:
        self.start(tuple(self.pack[i] for i in rng.permutation(len(self.pack))))

    def start(self, deck: Hand) -> None:
        """Begin with a shuffled pack: player 0's hand first, oldest card first, then player 1's."""
        players = len(self.possible_agents)
        self.hands = tuple(deck[i * self.hand : (i + 1) * self.hand] for i in range(players))
        self.known = (((UNKNOWN, UNKNOWN),) * self.hand,) * players
        self.deck = deck[players * self.hand :]
        self.built = (0,) * self.colors
        self.lives, self.hints, self.turns_left, self.player = self.most_lives, self.most_hints, players, 0
        self.events: tuple[Words, ...] = ()  # moves of the last round of turns

    @override
    def acting(self) -> tuple[str, ...]:
        return (self.possible_agents[self.player],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        # Legal moves, harmless ones first: the first one replaces a missing reply.
        player = self.possible_agents.index(agent)
        moves = [f"discard_{i}" for i in range(len(self.hands[player])) if self.hints < self.most_hints]
        for other, hand in enumerate(self.hands):
            if other != player and self.hints:
                held = {word for card in hand for word in card}
                moves += [f"hint_{other}_{word}" for word in (*self.palette, *self.rank_words) if word in held]
        moves += [f"play_{i}" for i in range(len(self.hands[player]))]
        return _offer(tuple(moves)) if moves else self.replies[agent][0]  # no move is left after the last turn

    @override
    def view(self, agent: str) -> str:
        # The moves since the agent's last one, that one included; the table; the others' hands; knowledge of its own.
        player = self.possible_agents.index(agent)
        hands = [
            word
            for other, hand in zip(self.possible_agents, self.hands, strict=True)
            if other != agent
            for word in (other, *(w for card in hand for w in card))
        ]
        own = (word for card in self.known[player] for word in card)
        return " ".join([*(w for turn in self.events for w in turn), *self._table(), *hands, "you", *own])

    def _table(self) -> list[str]:
        built = (word for color, rank in zip(self.palette, self.built, strict=True) for word in (color, str(rank)))
        return [*f"lives {self.lives} hints {self.hints} deck {len(self.deck)} built".split(), *built]

    @override
    def hidden(self) -> str:
        hands = zip(self.possible_agents, self.hands, strict=True)
        return " ".join(
            [*self._table(), *(w for name, hand in hands for w in (name, *(v for card in hand for v in card)))]
        )

    def score(self) -> float:
        """Number of cards in the fireworks, times `bomb` once the last life is lost."""
        return sum(self.built) * (1.0 if self.lives else self.bomb)

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # The reward is the change of the score.
        [(agent, (move,))] = replies.items()
        before, self.turns_left = self.score(), self.turns_left - (not self.deck)
        verb, _, what = move.partition("_")
        event: Words = (agent, move)
        if verb == "hint":
            self._hint(what)
        else:
            card = self._take(int(what))
            event = (*event, *card)
            if verb == "discard":
                self.hints += 1
            else:
                self._build(*card)
        self.events = (*self.events, event)[-len(self.possible_agents) :]
        self.player = (self.player + 1) % len(self.possible_agents)
        over = not self.lives or sum(self.built) == self.colors * self.ranks or not self.turns_left
        return Outcome(dict.fromkeys(self.possible_agents, self.score() - before), done=over)

    def _hint(self, what: str) -> None:
        other, _, word = what.partition("_")
        knowledge = list(self.known)
        knowledge[int(other)] = revealed(self.hands[int(other)], knowledge[int(other)], word)
        self.known, self.hints = tuple(knowledge), self.hints - 1

    def _take(self, place: int) -> Card:
        """Remove a card from the player's hand, and draw a new one."""
        hand, knowledge = self.hands[self.player], self.known[self.player]
        drawn, self.deck = self.deck[:1], self.deck[1:]
        unknown = ((UNKNOWN, UNKNOWN),) * len(drawn)
        hands, all_knowledge = list(self.hands), list(self.known)
        hands[self.player] = (*hand[:place], *hand[place + 1 :], *drawn)
        all_knowledge[self.player] = (*knowledge[:place], *knowledge[place + 1 :], *unknown)
        self.hands, self.known = tuple(hands), tuple(all_knowledge)
        return hand[place]

    def _build(self, color: str, rank: str) -> None:
        """Add a card to its firework, or lose a life."""
        i = self.palette.index(color)
        if int(rank) != self.built[i] + 1:
            self.lives -= 1
            return
        self.built = (*self.built[:i], int(rank), *self.built[i + 1 :])
        self.hints = min(self.most_hints, self.hints + (int(rank) == self.ranks))

    @override
    def anchors(self) -> Anchors:
        # Random and silent are estimates with fixed seeds; full, all cards, is a bound that not every deck allows.
        # Random: 600 games. Silent: `alone` of arenas/games/cards/hanabi_play.py, 2000 shuffles; it uses neither hints
        # nor the other hands, though silent play may look at hands and would gain a little.
        random, silent = estimates(*self.options)
        return Anchors(random, silent, float(self.colors * self.ranks))

    @override
    def scripts(self) -> Mapping[str, Script]:
        # `silent`: no hint is used. `best`: the convention of arenas/games/cards/hanabi_play.py.
        return {"silent": partial(alone, self.pack, self.bomb), "best": partial(convention, self.pack)}


@lru_cache(maxsize=256)
def estimates(*options: Any) -> tuple[float, float]:
    """Estimate the mean scores of random and of silent play."""
    arena, draws, scores = Hanabi(*options), np.random.default_rng(1), []
    for seed in range(600):
        arena.begin(seed)
        done = False
        while not done:
            [agent] = arena.acting()
            spec = arena.spec(agent)
            done = arena.resolve({agent: spec.words(int(draws.integers(spec.size)))}).done
        scores.append(arena.score())
    turns = len(arena.pack) - len(arena.possible_agents) * (arena.hand - 1)
    return fmean(scores), alone_score(arena.pack, arena.most_lives, arena.bomb, turns)
