"""Scripted play: what a seat knows, a function from that to a reply, and what an arena pays for it.

Scripts prove anchors: `Arena.scripts()` names ways to play. `sample` plays them over drawn deals; where deals can be
counted and replies listed, `arenas.exact` gives their exact returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from arenas.errors import ArenaError
from arenas.spec import PUBLIC, ReplySpec, Words

if TYPE_CHECKING:
    from arenas.core import Arena

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


def perceive(
    arena: Arena, seen: Mapping[str, Seen], replies: Mapping[str, Words], specs: Mapping[str, ReplySpec]
) -> dict[str, Seen]:
    """Return what every seat has perceived once a stage's replies are given: its own, and what it hears."""
    after = {agent: past + (((agent, replies[agent]),) if agent in replies else ()) for agent, past in seen.items()}
    for speaker, words in replies.items():
        channel, message = specs[speaker].route(words) if specs[speaker].kind == "say" else ("", ())
        near = arena.audience(speaker)
        for listener in arena.possible_agents if channel == PUBLIC else arena.channels.get(channel, ()):
            if listener != speaker and (near is None or listener in near):
                after[listener] += ((arena.heard_as or speaker, message),)
    return after


def ask(arena: Arena, seen: Mapping[str, Seen]) -> dict[str, Memory]:
    """Show every acting seat its view; return what each knows then."""
    return {
        agent: Memory(agent, arena.spec(agent), (*seen[agent], (ARENA, tuple(arena.view(agent).split()))))
        for agent in arena.acting()
    }


def play(
    arena: Arena, scripts: Mapping[str, Script], seed: int, case: int | None = None, split: str = "train"
) -> dict[str, float]:
    """Play one episode with a script for every seat; return each seat's return (the sum over the episode)."""
    arena.begin(seed, case=case, split=split)
    rng = np.random.default_rng((seed, 1))  # not the numbers that the arena draws
    returns = dict.fromkeys(arena.possible_agents, 0.0)
    seen: dict[str, Seen] = dict.fromkeys(arena.possible_agents, ())
    while True:
        asked = ask(arena, seen)
        replies = {agent: _draw(scripts[agent], memory, rng) for agent, memory in asked.items()}
        specs = {agent: memory.spec for agent, memory in asked.items()}
        seen = perceive(arena, seen | {agent: memory.seen for agent, memory in asked.items()}, replies, specs)
        outcome = arena.advance(replies)
        for agent, reward in outcome.rewards.items():
            returns[agent] += reward
        if outcome.done:
            return returns


def _draw(script: Script, memory: Memory, rng: np.random.Generator) -> Words:
    if script is uniform:  # large reply spaces need not be listed
        return memory.spec.words(int(rng.integers(memory.spec.size)))
    given = chances(script, memory)
    return next(iter(given)) if len(given) == 1 else list(given)[int(rng.choice(len(given), p=list(given.values())))]


def sample(arena: Arena, script: Script, episodes: int, seed: int = 0, split: str = "train") -> NDArray[np.float64]:
    """Return the scores (mean of the seats' returns) of `episodes` episodes in which a script has every seat: [E]."""
    scripts = dict.fromkeys(arena.possible_agents, script)
    return np.array([fmean(play(arena, scripts, seed + i, split=split).values()) for i in range(episodes)])
