"""Scripts: policies of an arena as functions from what an agent knows to its reply.

Scripts prove anchors: `Arena.scripts()` names them. `arenas.solvers.play.sample` plays them over drawn deals, and
`arenas.solvers.exact` gives their exact returns where deals can be counted and replies listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words

ARENA: Final = ""
"""The speaker of views in a memory."""
Seen = tuple[tuple[str, Words], ...]
"""(who, words) in order: views, whose `who` is ARENA, and messages and own replies, by their speaker."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What an agent has perceived and replied in an episode, in order, and what it may reply now."""

    agent: str
    spec: ReplySpec
    seen: Seen = ()

    @property
    def view(self) -> Words:
        """The present view."""
        return next(words for who, words in reversed(self.seen) if who == ARENA)

    @property
    def views(self) -> list[Words]:
        """All views, the present one last."""
        return [words for who, words in self.seen if who == ARENA]

    @property
    def heard(self) -> list[tuple[str, Words]]:
        """(speaker, message) for all messages of others, oldest first."""
        return [(who, words) for who, words in self.seen if who not in (ARENA, self.agent)]

    @property
    def replied(self) -> list[Words]:
        """The agent's own replies, oldest first."""
        return [words for who, words in self.seen if who == self.agent]


Script = Callable[[Memory], Words | Mapping[Words, float]]
"""A policy for every seat: returns a reply, or the probabilities of several, from what the agent knows."""


def uniform(memory: Memory) -> Mapping[Words, float]:
    """Every legal reply is equally likely."""
    return {memory.spec.words(i): 1 / memory.spec.size for i in range(memory.spec.size)}


def first(memory: Memory) -> Words:
    """Always give the first legal reply: the shortest, which carries no information."""
    return memory.spec.words(0)


def chances(script: Script, memory: Memory) -> Mapping[Words, float]:
    """Return the chances of a script's replies; raises ArenaError for an illegal reply or a sum that is not 1."""
    answer = script(memory)
    probabilities = {answer: 1.0} if isinstance(answer, tuple) else answer
    for words in probabilities:
        if memory.spec.parse(" ".join(words)) is None:
            raise ArenaError(f"the script of {memory.agent} replied {' '.join(words)!r}; it {memory.spec.describe()}")
    if abs(sum(probabilities.values()) - 1) > 1e-9 or min(probabilities.values()) < 0:
        raise ArenaError(
            f"the chances of {memory.agent}'s replies are {list(probabilities.values())}: they must sum to 1"
        )
    return probabilities
