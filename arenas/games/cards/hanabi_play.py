"""Scripted Hanabi: what can be read from the views, blind play by counting cards, and a convention for hints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from arenas.scripted import Memory
from arenas.spec import Words

Card = tuple[str, str]
UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Table:
    """One view, read: its numbers, what is built of each color, and all hands, one's own as far as it is known."""

    lives: int
    built: dict[str, int]
    hands: dict[str, list[Card]]
    own: list[Card]

    def fits(self, card: Card) -> bool:
        """Whether a card is the next of its color."""
        return int(card[1]) == self.built[card[0]] + 1


def pairs(words: Sequence[str]) -> list[Card]:
    """Return two words at a time."""
    return list(zip(words[::2], words[1::2], strict=True))


def read(view: Words) -> Table:
    """Read a view of the arena."""
    start, built, you = view.index("lives"), view.index("built"), view.index("you")
    names = [i for i in range(built, you) if view[i].startswith("player_")]
    hands = {view[i]: pairs(view[i + 1 : j]) for i, j in zip(names, [*names[1:], you], strict=True)}
    fireworks = {color: int(rank) for color, rank in pairs(view[built + 1 : names[0]])}
    return Table(int(view[start + 1]), fireworks, hands, pairs(view[you + 1 :]))


def unseen(memory: Memory, pack: Sequence[Card], table: Table) -> Counter[Card]:
    """Return the cards that may be in one's own hand or the deck: not played, not discarded, in nobody else's hand."""
    left = Counter(pack)
    for view in memory.views:
        moves = view[: view.index("lives")]
        left.subtract((moves[i + 1], moves[i + 2]) for i, w in enumerate(moves) if w.startswith(("play_", "discard_")))
    left.subtract(card for hand in table.hands.values() for card in hand)
    return +left


def legal(memory: Memory, prefix: str) -> list[str]:
    """Return the legal moves that begin with `prefix`."""
    return [move for move in memory.spec.steps[0] if move.startswith(prefix)]


def waiting(memory: Memory) -> Words:
    """Discard the oldest card; if that is not allowed, hint; if neither is, play."""
    return memory.spec.words(0)


def worth_playing(left: Counter[Card], built: Mapping[str, int], lives: int, bomb: float) -> bool:
    """Whether the score s gains on average from playing any card of those left.

    With lives to spare, always; on the last life a miss turns s into `bomb` s: p (s + 1) + (1 - p) bomb s > s.
    """
    score = sum(built.values())
    p = sum(n for (color, rank), n in left.items() if int(rank) == built[color] + 1) / max(left.total(), 1)
    return lives > 1 or p * (score + 1) + (1 - p) * bomb * score > score


def alone(pack: Sequence[Card], bomb: float, memory: Memory) -> Words:
    """Play the oldest card while `worth_playing` after the cards played so far; use no hint and no other hand."""
    table, left = read(memory.view), Counter(pack)
    for view in memory.views:
        moves = view[: view.index("lives")]
        left.subtract((moves[i + 1], moves[i + 2]) for i, word in enumerate(moves) if word.startswith("play_"))
    return ("play_0",) if table.own and worth_playing(left, table.built, table.lives, bomb) else waiting(memory)


def alone_score(pack: Sequence[Card], lives: int, bomb: float, plays: int, shuffles: int = 2000) -> float:
    """Return the mean score of `alone` over shuffles with a fixed seed, at most `plays` cards being played.

    Whoever's oldest card is played, the cards come in the order of a shuffled pack. So no game need be played.
    """
    rng, total = np.random.default_rng(0), 0.0
    for _ in range(shuffles):
        left, built, lost = Counter(pack), dict.fromkeys((color for color, _ in pack), 0), 0
        for i in rng.permutation(len(pack))[:plays]:
            if lost == lives or not worth_playing(left, built, lives - lost, bomb):
                break
            color, rank = pack[i]
            left[pack[i]] -= 1
            if int(rank) == built[color] + 1:
                built[color] += 1
            else:
                lost += 1
        total += sum(built.values()) * (1.0 if lost < lives else bomb)
    return total / shuffles


def candidates(known: Card, left: Counter[Card]) -> list[Card]:
    """Return what a card may be, after what is known of it and what has been seen."""
    return [card for card in left if all(k in (UNKNOWN, word) for k, word in zip(known, card, strict=True))]


def told(memory: Memory, table: Table) -> int:
    """Return the place of the oldest card that the player before just hinted at, -1 if there was no such hint."""
    moves, me = memory.view[: memory.view.index("lives")], memory.agent.removeprefix("player_")
    if not moves or not moves[-1].startswith(f"hint_{me}_"):
        return -1
    word = moves[-1].rpartition("_")[2]
    return next((i for i, known in enumerate(table.own) if word in known), -1)


def convention(pack: Sequence[Card], memory: Memory) -> Words:
    """A hint to the next player means: play the oldest card of it. Else play what is sure, hint, or discard.

    What is discarded is a card that can no longer be built, else the oldest of which nothing is known.
    """
    table = read(memory.view)
    left = unseen(memory, pack, table)
    may_be = [candidates(known, left) for known in table.own]
    meant = told(memory, table)
    if meant >= 0 and any(map(table.fits, may_be[meant])):
        return (f"play_{meant}",)
    for place, cards in enumerate(may_be):
        if cards and all(map(table.fits, cards)):
            return (f"play_{place}",)
    players = len(table.hands) + 1
    following = (int(memory.agent.removeprefix("player_")) + 1) % players
    hand = table.hands[f"player_{following}"]
    hints = {move: move.rpartition("_")[2] for move in legal(memory, f"hint_{following}_")}
    first = {move: next(card for card in hand if word in card) for move, word in hints.items()}
    if good := [move for move, card in first.items() if table.fits(card)]:
        return (min(good, key=lambda move: first[move][1]),)
    if discards := legal(memory, "discard_"):
        dead = [i for i, cards in enumerate(may_be) if all(int(rank) <= table.built[color] for color, rank in cards)]
        fresh = [i for i, known in enumerate(table.own) if known == (UNKNOWN, UNKNOWN)]
        return (discards[(dead or fresh or [0])[0]],)
    harmless = [m for m, word in hints.items() if not any(map(table.fits, (c for c in left if word in c)))]
    others = [move for move in legal(memory, "hint_") if not move.startswith(f"hint_{following}_")]
    return ((harmless + others + ["play_0"])[0] if table.lives > 1 or harmless or others else waiting(memory)[0],)
