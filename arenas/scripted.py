"""Scripted play: what a seat knows, a function from that to a reply, and what an arena pays for it.

Scripts prove anchors: `Arena.scripts()` names ways to play. `sample` plays them over drawn deals; where deals can be
counted and replies listed, `arenas.exact` gives their exact returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words

ARENA: Final = ""
"""Who says what a seat is shown."""
Seen = tuple[tuple[str, Words], ...]
"""What a seat has perceived and replied, in order: (who, words), who being ARENA for views, else the speaker."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What one seat has perceived and replied in an episode, in order, and what it is asked now."""

    agent: str
    spec: ReplySpec
    seen: Seen = ()

    @property
    def view(self) -> Words:
        """What the seat is shown now."""
        return next(words for who, words in reversed(self.seen) if who == ARENA)

    @property
    def views(self) -> list[Words]:
        """What the seat was shown whenever it was asked, the present view last."""
        return [words for who, words in self.seen if who == ARENA]

    @property
    def heard(self) -> list[tuple[str, Words]]:
        """(speaker, message) of every message of others, oldest first."""
        return [(who, words) for who, words in self.seen if who not in (ARENA, self.agent)]

    @property
    def replied(self) -> list[Words]:
        """The seat's own replies, oldest first."""
        return [words for who, words in self.seen if who == self.agent]


Script = Callable[[Memory], Words | Mapping[Words, float]]
"""A way to play every seat: a reply, or the chances of several. It knows only what the seat knows."""


def uniform(memory: Memory) -> Mapping[Words, float]:
    """Every legal reply is equally likely."""
    return {memory.spec.words(i): 1 / memory.spec.size for i in range(memory.spec.size)}


def first(memory: Memory) -> Words:
    """Always give the first legal reply: the shortest, so that nobody is told anything."""
    return memory.spec.words(0)


def chances(script: Script, memory: Memory) -> Mapping[Words, float]:
    """Return the chances of a script's replies; raises ArenaError for an illegal reply or a sum that is not 1."""
    answer = script(memory)
    given = {answer: 1.0} if isinstance(answer, tuple) else answer
    for words in given:
        if memory.spec.parse(" ".join(words)) is None:
            raise ArenaError(f"the script of {memory.agent} replied {' '.join(words)!r}; it {memory.spec.describe()}")
    if abs(sum(given.values()) - 1) > 1e-9 or min(given.values()) < 0:
        raise ArenaError(f"the chances of {memory.agent}'s replies are {list(given.values())}: they must sum to 1")
    return given
