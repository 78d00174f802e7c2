"""Episodes of PettingZoo environments: turn-based (AEC) or simultaneous (parallel)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from typing_extensions import override

from arenas.bridges.rendering import Rendering
from arenas.bridges.replayed import Game
from arenas.core import Outcome
from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words, choose, fill


def unmasked(observation: Any) -> tuple[Any, Any]:
    """Split an observation from its action mask, None without one; a single remaining entry loses its name."""
    if not isinstance(observation, Mapping) or "action_mask" not in observation:
        return observation, None
    rest = {name: part for name, part in observation.items() if name != "action_mask"}
    return rest["observation"] if rest.keys() == {"observation"} else rest, observation["action_mask"]


def number(agent: str, reward: Any) -> float:
    """Return a reward as a float: any numeric type, or an array of one number. Raises ArenaError for anything else."""
    if isinstance(reward, (float, int)):
        return float(reward)
    try:
        if reward is None or isinstance(reward, str):
            raise TypeError
        return float(np.asarray(reward, dtype=np.float64).reshape(()))
    except (TypeError, ValueError):
        raise ArenaError(f"the environment pays {agent} {reward!r}: a reward is one number") from None


def places(agent: str, mask: Any, sizes: Sequence[int], spec: ReplySpec) -> list[Words]:
    """Return the words that a mask of MultiDiscrete actions allows at each place; all of them where it allows none.

    A mask is a row for each place, all rows one after another, or one entry for each joint action (in C order).
    Raises ArenaError for any other shape, and for a joint mask whose places depend on each other.
    """
    rows: list[Any] | None = None
    if np.ndim(mask[0]):
        rows = [np.asarray(row, bool).ravel() for row in mask]
    flat = np.asarray(mask if rows is None else np.concatenate(rows), bool).ravel()
    if rows is None and len(flat) == sum(sizes):
        rows = np.split(flat, np.cumsum(sizes)[:-1])
    elif rows is None and len(flat) == np.prod(sizes):
        joint = flat.reshape(sizes)
        axes = range(len(sizes))
        rows = [joint.any(axis=tuple(other for other in axes if other != axis)) for axis in axes]
        if joint.sum() != np.prod([row.sum() for row in rows]):
            raise ArenaError(f"the action mask of {agent} allows joint actions only: give a row for each place")
    if rows is None or [len(row) for row in rows] != list(sizes):
        raise ArenaError(f"the action mask of {agent} has {len(flat)} entries for places of {list(sizes)} choices")
    words = [tuple(place) for place in spec.steps]
    if not all(row.any() for row in rows):
        return words
    return [
        tuple(word for word, on in zip(place, row, strict=True) if on) for place, row in zip(words, rows, strict=True)
    ]


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
        observation = self.observe(agent)
        return "" if observation is None else self.renderings[agent].text(unmasked(observation)[0])

    @override
    def spec(self, agent: str) -> ReplySpec:
        # A mask without legal actions allows all: the environment then has to handle any.
        mask = unmasked(self.observe(agent))[1]
        if mask is None:
            mask = self.infos.get(agent, {}).get("action_mask")
        spec = self.specs[agent]
        space = self.environment.action_space(agent)
        if mask is not None and isinstance(space, spaces.MultiDiscrete):
            return fill(*places(agent, mask, [int(n) for n in space.nvec], spec))
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
        self.seen: dict[str, Any] = {}
        self.environment.reset(seed=seed)
        self.infos = self.environment.infos
        self.over = False

    @override
    def observe(self, agent: str) -> Any:
        # The environment need not know agents that are out, or not there yet: they keep what they saw last.
        try:
            self.seen[agent] = self.environment.observe(agent)
        except Exception:
            if agent in self.environment.agents:
                raise
        return self.seen.get(agent)

    @override
    def acting(self) -> tuple[str, ...]:
        return () if self.over else (self.environment.agent_selection,)

    @override
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        # Step the agent, then every agent that is out.
        environment = self.environment
        ((agent, words),) = replies.items()
        environment.step(self.action(agent, words))
        rewards = {a: number(a, reward) for a, reward in environment.rewards.items()}
        cut = any(environment.truncations.values()) and not any(environment.terminations.values())
        for _ in range(2 * len(self.specs)):  # an environment may forget to empty `agents`
            if not environment.agents or not self._out(environment.agent_selection):
                break
            environment.step(None)
        self.infos = environment.infos
        self.over = all(map(self._out, environment.agents))
        return Outcome(rewards, done=self.over, truncated=self.over and cut)

    def _out(self, agent: str) -> bool:
        environment = self.environment
        return bool(environment.terminations.get(agent) or environment.truncations.get(agent))


class AtOnce(Cycles):
    """Parallel environment: all its live agents act in each stage."""

    @override
    def begin(self, seed: int) -> None:
        try:
            observations, infos = self.environment.reset(seed=seed)
            self.seen, self.infos = dict(observations), dict(infos)
        except (TypeError, ValueError):
            raise ArenaError(
                f"reset() of {type(self.environment.unwrapped).__name__} must return observations and infos, as "
                "PettingZoo has it since version 1.23"
            ) from None
        self.out: set[str] = set()

    @override
    def observe(self, agent: str) -> Any:
        # The observation of the agent's last step: one that is out keeps it.
        return self.seen.get(agent)

    @override
    def acting(self) -> tuple[str, ...]:
        return tuple(agent for agent in self.specs if agent in self.environment.agents and agent not in self.out)

    @override
    def play(self, replies: Mapping[str, Words]) -> Outcome:
        actions = {agent: self.action(agent, words) for agent, words in replies.items()}
        observations, rewards, terminations, truncations, infos = self.environment.step(actions)
        self.seen |= observations
        self.infos = dict(infos)
        # An environment may forget to empty `agents`, and bring an agent back later.
        self.out = {a for ends in (terminations, truncations) for a, ended in ends.items() if ended}
        over = self.out.issuperset(self.environment.agents)
        cut = any(truncations.values()) and not any(terminations.values())
        return Outcome({a: number(a, reward) for a, reward in rewards.items()}, done=over, truncated=over and cut)
