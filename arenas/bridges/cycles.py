"""An episode of a PettingZoo environment, played in turn (AEC) or at once (parallel)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from arenas.bridges.rendering import Rendering
from arenas.bridges.replayed import Game
from arenas.core import Outcome
from arenas.spec import ReplySpec, Words, choose


def unmasked(observation: Any) -> tuple[Any, Any]:
    """Return what is observed, without a name if it is one thing, and the mask of legal actions, None without one."""
    if not isinstance(observation, Mapping) or "action_mask" not in observation:
        return observation, None
    rest = {name: part for name, part in observation.items() if name != "action_mask"}
    return rest["observation"] if rest.keys() == {"observation"} else rest, observation["action_mask"]


class Cycles(Game):
    """Base of both cycles: observations as words, masks as specs, replies as actions."""

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
        """Return the environment's own observation."""

    def view(self, agent: str) -> str:
        """The observation as words."""
        return self.renderings[agent].text(unmasked(self.observe(agent))[0])

    def spec(self, agent: str) -> ReplySpec:
        """The actions that the mask allows; all if it allows none, as the environment then has to bear any."""
        mask = unmasked(self.observe(agent))[1]
        if mask is None:
            mask = self.infos.get(agent, {}).get("action_mask")
        spec = self.specs[agent]
        if mask is None or not np.any(mask) or np.all(mask):
            return spec
        return choose(tuple(spec.words(int(i))[0] for i in np.flatnonzero(mask)))

    def hidden(self) -> str:
        """What every agent observes."""
        return " ".join(f"{agent} {self.view(agent)}" for agent in self.specs)

    def action(self, agent: str, words: Words) -> Any:
        """Return a reply as the environment's action."""
        space = self.environment.action_space(agent)
        if isinstance(space, spaces.MultiDiscrete):
            return np.array([int(word) for word in words], space.dtype)
        return int(space.start) + self.specs[agent].index(words)


class InTurn(Cycles):
    """An AEC environment: each stage is one agent's."""

    def begin(self, seed: int) -> None:
        """Reset the environment."""
        self.environment.reset(seed=seed)
        self.infos = self.environment.infos
        self.over = False

    def observe(self, agent: str) -> Any:
        """What the environment shows an agent now."""
        return self.environment.observe(agent)

    def acting(self) -> tuple[str, ...]:
        """Whom the environment has selected."""
        return () if self.over else (self.environment.agent_selection,)

    def play(self, replies: Mapping[str, Words]) -> Outcome:
        """Step the agent, and those that are out."""
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
    """A parallel environment: all its agents act in each stage."""

    def begin(self, seed: int) -> None:
        """Reset the environment."""
        observations, infos = self.environment.reset(seed=seed)
        self.seen, self.infos = dict(observations), dict(infos)

    def observe(self, agent: str) -> Any:
        """What an agent saw last."""
        return self.seen[agent]

    def acting(self) -> tuple[str, ...]:
        """Whoever is still in."""
        return tuple(agent for agent in self.specs if agent in self.environment.agents)

    def play(self, replies: Mapping[str, Words]) -> Outcome:
        """Step all agents."""
        actions = {agent: self.action(agent, words) for agent, words in replies.items()}
        observations, rewards, terminations, truncations, infos = self.environment.step(actions)
        self.seen |= observations
        self.infos = dict(infos)
        over = not self.environment.agents
        cut = any(truncations.values()) and not any(terminations.values())
        return Outcome({a: float(reward) for a, reward in rewards.items()}, done=over, truncated=over and cut)
