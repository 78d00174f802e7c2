"""Undercover: descriptions and a vote, as in the party game."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import ClassVar, Final

from typing_extensions import override

from arenas.core import Anchors, Arena, Outcome
from arenas.errors import ArenaError
from arenas.scripted import Memory, Script
from arenas.spec import ReplySpec, Words, choose, say, symbols

TRAITS: Final = (("small", "large"), ("land", "water"), ("fur", "feathers", "scales"))
ANIMALS: Final = {
    ("small", "land", "fur"): "mouse",
    ("small", "land", "feathers"): "hen",
    ("small", "land", "scales"): "lizard",
    ("small", "water", "fur"): "otter",
    ("small", "water", "feathers"): "duck",
    ("small", "water", "scales"): "herring",
    ("large", "land", "fur"): "bear",
    ("large", "land", "feathers"): "ostrich",
    ("large", "land", "scales"): "python",
    ("large", "water", "fur"): "seal",
    ("large", "water", "feathers"): "swan",
    ("large", "water", "scales"): "crocodile",
}
KINDS: Final = {animal: traits for traits, animal in ANIMALS.items()}
NAMES: Final = tuple(KINDS)
PAIRS: Final = tuple(
    (word, other)
    for word, other in product(NAMES, repeat=2)
    if sum(a != b for a, b in zip(KINDS[word], KINDS[other], strict=True)) == 1
)
"""Pairs (word of the others, word of the undercover) that differ in one trait."""
FREE: Final = 100


def found(votes: Iterable[str]) -> str | None:
    """Return the player with the most votes; None for a tie."""
    counts: dict[str, int] = {}
    for vote in votes:
        counts[vote] = counts.get(vote, 0) + 1
    first, *others = sorted(counts, key=lambda seat: -counts[seat])
    return None if others and counts[others[0]] == counts[first] else first


def names_an_animal(said: Words) -> bool:
    """Say whether a message contains the name of one of the animals, or its plural."""
    words = re.findall("[a-z]+", " ".join(said).lower())
    return any(word in KINDS or word.removesuffix("s") in KINDS or word == "mice" for word in words)


def conflicts(animal: str, said: Iterable[str]) -> int:
    """Count the words of a description that do not fit an animal."""
    foreign = {trait for values in TRAITS for trait in values} - set(KINDS[animal])
    return sum(word in foreign for word in said)


class Undercover(Arena):
    """Undercover for some players; in each round everyone says up to `words` words."""

    rules = """
    Undercover: everyone holds a word, one of them another; all describe theirs, then vote for who has the other one.

    Nobody is told who is the undercover. Words are animals of a closed world, told apart by size, place and cover; the two
    of an episode differ in one of these. In each round the players speak one after the other. Whoever has the most votes is
    found; if several do, nobody is. If the undercover is found, it pays 1 to every other player, else each of them pays 1
    to it. Who says an animal's name loses the game for its side at once. So what was said is judged by the rules alone.
    (The party game Undercover, or Who is the Spy; Liang et al. 2023, SpyGame, play it with large language models.)

    So many players; in each of so many rounds everyone says up to `words` words.
    """
    metadata = Arena.metadata | {"name": "undercover_v0"}
    tags = ("mixed", "communication")
    ranges: ClassVar[Mapping[str, tuple[int, int]]] = {"players": (3, 10), "rounds": (1, 5), "words": (1, 3)}

    def __init__(self, players: int = 5, rounds: int = 1, words: int = 1) -> None:
        if players < 3 or rounds < 1 or not 1 <= words <= 5:
            raise ArenaError(
                f"undercover needs players >= 3, rounds >= 1 and 1 to 5 words, not {players=}, {rounds=}, {words=}"
            )
        self.cases = len(PAIRS) * players
        self.turns = rounds * players
        seats = symbols("player_", players)
        self.talk = say(tuple(trait for values in TRAITS for trait in values), words, 0, free=FREE)
        self.votes = {seat: choose(tuple(other for other in seats if other != seat)) for seat in seats}
        super().__init__(
            {seat: (self.talk, self.votes[seat]) for seat in seats},
            ("word", "describe", "vote", "undercover", *NAMES),
            view_words=4 + self.turns * (2 + words),
        )

    @override
    def lay(self, case: int) -> None:
        pair, place = divmod(case, len(self.possible_agents))
        self.word, self.other = PAIRS[pair]
        self.undercover = self.possible_agents[place]
        self.turn = 0

    @override
    def acting(self) -> tuple[str, ...]:
        seats = self.possible_agents
        return tuple(seats) if self.turn == self.turns else (seats[self.turn % len(seats)],)

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.votes[agent] if self.turn == self.turns else self.talk

    @override
    def view(self, agent: str) -> str:
        # The seat's own word, when first asked.
        if self.turn >= len(self.possible_agents):
            return "vote" if self.turn == self.turns else "describe"
        return f"word {self.other if agent == self.undercover else self.word} describe"

    @override
    def resolve(self, replies: Mapping[str, Words]) -> Outcome:
        # Descriptions pay nothing, unless one names an animal; votes decide.
        if self.turn == self.turns:
            return self._won(found(vote for (vote,) in replies.values()) == self.undercover)
        ((speaker, description),) = replies.items()
        self.turn += 1
        return self._won(speaker == self.undercover) if names_an_animal(description) else Outcome()

    def _won(self, by_the_others: bool) -> Outcome:
        reward = 1.0 if by_the_others else -1.0
        paid = dict.fromkeys(self.possible_agents, reward)
        return Outcome(paid | {self.undercover: -reward * (len(paid) - 1)}, done=True)

    @override
    def hidden(self) -> str:
        return f"undercover {self.undercover} {self.other} word {self.word}"

    @override
    def anchors(self) -> Anchors:
        # Zero-sum between the sides: the mean is 0 whatever is played. `detection` tells plays apart.
        return Anchors(0.0, 0.0, 0.0, equilibrium=0.0)

    @override
    def scripts(self) -> Mapping[str, Script]:
        # Say nothing and vote for the next seat; or describe truly and vote for the worst-fitting description.
        return {"silent": self._deaf, "best": self._honest}

    def _deaf(self, memory: Memory) -> Words:
        if memory.spec.kind == "say":
            return ()
        seats = self.possible_agents
        return (seats[0] if memory.agent != seats[0] else seats[1],)

    def _honest(self, memory: Memory) -> Words:
        animal = memory.views[0][1]
        if memory.spec.kind == "say":
            place = self.possible_agents.index(memory.agent) + len(memory.replied)
            size = len(memory.spec.steps)
            return tuple(KINDS[animal][(place + k) % len(TRAITS)] for k in range(min(size, len(TRAITS))))
        misfits = dict.fromkeys(memory.spec.alphabet, 0)
        for speaker, said in memory.heard:
            misfits[speaker] += conflicts(animal, said)
        return (max(misfits, key=lambda seat: misfits[seat]),)


def detection(returns: Sequence[Sequence[float]]) -> float:
    """Return the share of episodes in which the undercover was voted out, or gave itself away.

    Args:
        returns: each seat's return, for each episode.
    """
    return sum(min(paid) < -1.0 for paid in returns) / len(returns)
