"""Scripted Hanabi: a parser of views, blind play by counting cards, and a hint convention."""

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
    """Parsed view: lives, fireworks by color, the others' hands, and the player's knowledge of its own."""

    lives: int
    built: dict[str, int]
    hands: dict[str, list[Card]]
    own: list[Card]

    def fits(self, card: Card) -> bool:
        """Say whether a card is the next of its color."""
        return int(card[1]) == self.built[card[0]] + 1


def pairs(words: Sequence[str]) -> list[Card]:
    """Group words into pairs."""
    return list(zip(words[::2], words[1::2], strict=True))


def read(view: Words) -> Table:
    """Parse a view of the arena."""
    start, built, you = view.index("lives"), view.index("built"), view.index("you")
    names = [i for i in range(built, you) if view[i].startswith("player_")]
    hands = {view[i]: pairs(view[i + 1 : j]) for i, j in zip(names, [*names[1:], you], strict=True)}
    fireworks = {color: int(rank) for color, rank in pairs(view[built + 1 : names[0]])}
    return Table(int(view[start + 1]), fireworks, hands, pairs(view[you + 1 :]))


def unseen(memory: Memory, pack: Sequence[Card], table: Table) -> Counter[Card]:
    """Count the cards that may be in one's own hand or the deck: neither played, discarded, nor in another hand."""
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
    """Say whether playing a random one of the cards left raises the expected score s.

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
    """Estimate the mean score of `alone` over shuffles with a fixed seed, with at most `plays` cards played.

    Whichever player's oldest card is played, the cards come in the order of a shuffled pack, so no game is simulated.
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
    """Return the cards that one's own card may be, from hints and from the cards not seen yet."""
    return [card for card in left if all(k in (UNKNOWN, word) for k, word in zip(known, card, strict=True))]


def told(memory: Memory, table: Table) -> int:
    """Return the index of the oldest card that the player before just hinted at; -1 without such a hint."""
    moves, me = memory.view[: memory.view.index("lives")], memory.agent.removeprefix("player_")
    if not moves or not moves[-1].startswith(f"hint_{me}_"):
        return -1
    word = moves[-1].rpartition("_")[2]
    return next((i for i, card in enumerate(table.own) if word in card), -1)


def convention(pack: Sequence[Card], memory: Memory) -> Words:
    """Hint convention: a hint to the next player means "play the oldest card hinted at".

    Otherwise the player plays a card that surely fits, hints, or discards: first a card that can no longer be built,
    else the oldest one without a hint.
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
