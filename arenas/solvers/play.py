"""Scripted play in an arena without a bus: `play` one episode, `sample` many."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arenas.spec import PUBLIC, ReplySpec, Words

if TYPE_CHECKING:
    from arenas.core import Arena

from arenas.scripted import ARENA, Memory, Script, Seen, chances, uniform


def perceive(
    arena: Arena, seen: Mapping[str, Seen], replies: Mapping[str, Words], specs: Mapping[str, ReplySpec]
) -> dict[str, Seen]:
    """Extend every seat's perceptions by a stage: its own reply, and the messages it hears."""
    after = {agent: past + (((agent, replies[agent]),) if agent in replies else ()) for agent, past in seen.items()}
    for speaker, words in replies.items():
        channel, message = specs[speaker].route(words) if specs[speaker].kind == "say" else ("", ())
        near = arena.audience(speaker)
        for listener in arena.possible_agents if channel == PUBLIC else arena.channels.get(channel, ()):
            if listener != speaker and (near is None or listener in near):
                after[listener] += ((arena.heard_as or speaker, message),)
    return after


def ask(arena: Arena, seen: Mapping[str, Seen]) -> dict[str, Memory]:
    """Show every acting seat its view; return their memories."""
    return {
        agent: Memory(agent, arena.spec(agent), (*seen[agent], (ARENA, tuple(arena.view(agent).split()))))
        for agent in arena.acting()
    }


def play(
    arena: Arena, scripts: Mapping[str, Script], seed: int, case: int | None = None, split: str = "train"
) -> dict[str, float]:
    """Play one episode with a script on every seat; return each seat's return (the sum over the episode)."""
    arena.begin(seed, case=case, split=split)
    rng = np.random.default_rng((seed, 1))  # independent of the arena's own draws
    returns = dict.fromkeys(arena.possible_agents, 0.0)
    seen: dict[str, Seen] = dict.fromkeys(arena.possible_agents, ())
    while True:
        acting = ask(arena, seen)
        replies = {agent: _draw(scripts[agent], memory, rng) for agent, memory in acting.items()}
        specs = {agent: memory.spec for agent, memory in acting.items()}
        seen = perceive(arena, seen | {agent: memory.seen for agent, memory in acting.items()}, replies, specs)
        outcome = arena.advance(replies)
        for agent, reward in outcome.rewards.items():
            returns[agent] += reward
        if outcome.done:
            return returns


def _draw(script: Script, memory: Memory, rng: np.random.Generator) -> Words:
    if script is uniform:  # large reply spaces need not be listed
        return memory.spec.words(int(rng.integers(memory.spec.size)))
    probabilities = chances(script, memory)
    replies = list(probabilities)
    return replies[0] if len(replies) == 1 else replies[int(rng.choice(len(replies), p=list(probabilities.values())))]


def sample(arena: Arena, script: Script, episodes: int, seed: int = 0, split: str = "train") -> NDArray[np.float64]:
    """Return the scores (mean return of the seats) of `episodes` episodes with one script on every seat: [E]."""
    scripts = dict.fromkeys(arena.possible_agents, script)
    return np.array([fmean(play(arena, scripts, seed + i, split=split).values()) for i in range(episodes)])
