"""Episodes of PettingZoo environments: turn-based (AEC) or simultaneous (parallel)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from typing_extensions import override

from arenas.bridges.rendering import Rendering
from arenas.bridges.replayed import Game
from arenas.core import Outcome
from arenas.spec import ReplySpec, Words, choose


def unmasked(observation: Any) -> tuple[Any, Any]:
    """Split an observation from its action mask, None without one; a single remaining entry loses its name."""
    if not isinstance(observation, Mapping) or "action_mask" not in observation:
        return observation, None
    rest = {name: part for name, part in observation.items() if name != "action_mask"}
    return rest["observation"] if rest.keys() == {"observation"} else rest, observation["action_mask"]


class Cycles(Game):
    """Base of both cycles: observations as words, action masks as reply specs, replies as actions."""

    def __init__(
        self, environment: Any, seed: int, specs: Mapping[str, ReplySpec], renderings: Mapping[str, Rendering]
    ) -> None:
        self.environment = environment
        self.specs = specs
        self.renderings = renderings
        self.infos: Mapping[str, Mapping[str, Any]] = {}
        self.begin(seed)

    @abstractmethod
    def begin(self, seed: int) -> None:
        """Reset the environment."""

    @abstractmethod
    def observe(self, agent: str) -> Any:
        """Return the environment's raw observation."""

    @override
    def view(self, agent: str) -> str:
        return self.renderings[agent].text(unmasked(self.observe(agent))[0])

    @override
    def spec(self, agent: str) -> ReplySpec:
        # A mask without legal actions allows all: the environment then has to handle any.
        mask = unmasked(self.observe(agent))[1]
        if mask is None:
            mask = self.infos.get(agent, {}).get("action_mask")
        spec = self.specs[agent]
        if mask is None or not np.any(mask) or np.all(mask):
            return spec
        return choose(tuple(spec.words(int(i))[0] for i in np.flatnonzero(mask)))

    @override
    def hidden(self) -> str:
        return " ".join(f"{agent} {self.view(agent)}" for agent in self.specs)

    def action(self, agent: str, words: Words) -> Any:
        """Convert a reply to the environment's action."""
        space = self.environment.action_space(agent)
        if isinstance(space, spaces.MultiDiscrete):
            return np.array([int(word) for word in words], space.dtype)
        return int(space.start) + self.specs[agent].index(words)


class InTurn(Cycles):
    """Turn-based (AEC) environment: one agent acts per stage."""

    @override
    def begin(self, seed: int) -> None:
        self.environment.reset(seed=seed)
        self.infos = self.environment.infos
        self.over = False

    @override
    def observe(self, agent: str) -> Any:
        return self.environment.observe(agent)

    @override
    def acting(self) -> tuple[str, ...]:
        return () if self.over else (self.environment.agent_selection,)

    @override
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        # Step the agent, then every agent that is out.
        environment = self.environment
        ((agent, words),) = replies.items()
        environment.step(self.action(agent, words))
        rewards = {a: float(reward) for a, reward in environment.rewards.items()}
        cut = any(environment.truncations.values()) and not any(environment.terminations.values())
        while environment.agents and self._out(environment.agent_selection):
            environment.step(None)
        self.infos = environment.infos
        self.over = not environment.agents
        return Outcome(rewards, done=self.over, truncated=self.over and cut)

    def _out(self, agent: str) -> bool:
        return bool(self.environment.terminations[agent] or self.environment.truncations[agent])


class AtOnce(Cycles):
    """Parallel environment: all its live agents act in each stage."""

    @override
    def begin(self, seed: int) -> None:
        observations, infos = self.environment.reset(seed=seed)
        self.seen, self.infos = dict(observations), dict(infos)

    @override
    def observe(self, agent: str) -> Any:
        # The observation of the agent's last step: one that is out keeps it.
        return self.seen[agent]

    @override
    def acting(self) -> tuple[str, ...]:
        return tuple(agent for agent in self.specs if agent in self.environment.agents)

    @override
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        actions = {agent: self.action(agent, words) for agent, words in replies.items()}
        observations, rewards, terminations, truncations, infos = self.environment.step(actions)
        self.seen |= observations
        self.infos = dict(infos)
        over = not self.environment.agents
        cut = any(truncations.values()) and not any(terminations.values())
        return Outcome({a: float(reward) for a, reward in rewards.items()}, done=over, truncated=over and cut)
