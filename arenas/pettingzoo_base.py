"""PettingZoo environments over words: spaces, observations, and the turn-taking of AEC."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv

from arenas.errors import ArenaError
from arenas.spec import ReplySpec, Words

MAX_ACTIONS: Final = 1 << 20
"""The most actions of an agent: larger Discrete spaces are refused."""


class WordSpaces:
    """Spaces and observations of an environment that shows words and whose actions number the legal replies.

    An observation is a dict: the ids of the words (`observation`, padded with 0), the same as `text`, and the
    `action_mask`. Action i is the i-th reply of the agent's present reply spec.
    """

    metadata: ClassVar[dict[str, Any]]
    possible_agents: list[str]
    vocabulary: Words
    """All words of observations and replies; word i has the id i + 1."""
    view_words: int
    """The most words of an observation."""
    view_chars: int
    """The most characters of an observation."""
    _charset: ClassVar[str]
    """The characters of an observation's text."""
    _with_text: bool = True
    """Whether observations hold the text."""
    _idle_actions: ClassVar[int] = 0
    """1 if every agent has one more action, the last one: to do nothing."""

    @abstractmethod
    def _most_replies(self, agent: str) -> int:
        """Return how many replies an agent chooses from at most."""

    @abstractmethod
    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text's words, padded with 0 to `view_words`."""

    @property
    def name(self) -> str:
        """The name without its version."""
        return str(self.metadata["name"]).rpartition("_v")[0]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary, 1)}

    @cached_property
    def action_spaces(self) -> dict[str, spaces.Discrete]:
        """The space of each agent's actions; raises ArenaError if one is larger than MAX_ACTIONS."""
        sizes = {agent: self._most_replies(agent) for agent in self.possible_agents}
        for agent, size in sizes.items():
            if size > MAX_ACTIONS:
                raise ArenaError(
                    f"{self.name}: {agent} has {size} different replies, and PettingZoo's Discrete holds "
                    f"{MAX_ACTIONS}; make its options, alphabet or length smaller"
                )
        return {agent: spaces.Discrete(size + self._idle_actions) for agent, size in sizes.items()}

    @cached_property
    def observation_spaces(self) -> dict[str, spaces.Dict]:
        """The space of each agent's observations."""
        parts: dict[str, spaces.Space[Any]] = {"observation": self.state_space}
        if self._with_text:
            parts["text"] = spaces.Text(min_length=0, max_length=self.view_chars, charset=self._charset)
        masks = {agent: spaces.Box(0, 1, (int(space.n),), np.int8) for agent, space in self.action_spaces.items()}
        return {agent: spaces.Dict({**parts, "action_mask": mask}) for agent, mask in masks.items()}

    @cached_property
    def state_space(self) -> spaces.Box:
        """The space of `state()`, and of the word ids in an observation."""
        return spaces.Box(0, len(self.vocabulary), (self.view_words,), np.int64)

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the space of an agent's actions."""
        return self.action_spaces[agent]

    def observation_space(self, agent: str) -> spaces.Dict:
        """Return the space of an agent's observations."""
        return self.observation_spaces[agent]

    def _padded_ids(self, words: Sequence[str], unknown: int | None) -> NDArray[np.int64]:
        """Return the ids of words, padded with 0; `unknown` stands for other words, which raise KeyError if None."""
        known = self._ids
        ids = np.zeros(self.view_words, np.int64)
        ids[: len(words)] = [known[word] if unknown is None else known.get(word, unknown) for word in words]
        return ids

    def _observation(self, agent: str, text: str, legal: slice) -> dict[str, Any]:
        """Return the observation of a text; `legal` selects the legal actions."""
        mask = np.zeros(int(self.action_spaces[agent].n), np.int8)
        mask[legal] = 1
        observation = {"observation": self.encode(text), "action_mask": mask}
        return {**observation, "text": text} if self._with_text else observation


def reply_of(spec: ReplySpec, action: int | None) -> Words | None:
    """Return the reply that an action numbers; None for an illegal action."""
    return spec.words(int(action)) if action is not None and 0 <= int(action) < spec.size else None


class TurnTaking(WordSpaces, AECEnv[str, dict[str, Any], int]):  # type: ignore[misc]
    """AEC bookkeeping of stages in which several agents reply: who is next, rewards, and the end."""

    @abstractmethod
    def _asked(self) -> Sequence[str]:
        """Return the agents that reply in this stage, in seat order."""

    @abstractmethod
    def spec(self, agent: str) -> ReplySpec:
        """Return what an agent of this stage may reply."""

    @abstractmethod
    def _resolve_stage(self, replies: Mapping[str, Words | None]) -> None:
        """Apply the replies of a stage (None: an illegal action), then call `_end_stage`."""

    def _begin_turns(self) -> None:
        """Reset the bookkeeping; call it when the first stage of an episode is set up."""
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self._replies: dict[str, Words | None] = {}
        self.agent_selection = self._asked()[0]

    def step(self, action: int | None) -> None:
        """Take the selected agent's action; the last one resolves the stage. Illegal actions count as no reply."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        self._replies[agent] = reply_of(self.spec(agent), action)
        self.infos[agent] = {"illegal": True} if self._replies[agent] is None else {}
        waiting = [other for other in self._asked() if other not in self._replies]
        if waiting:
            self.agent_selection = waiting[0]
        else:
            replies, self._replies = self._replies, {}
            self._resolve_stage(replies)
        self._accumulate_rewards()

    def _end_stage(self, rewards: Mapping[str, float], *, terminated: bool = False, truncated: bool = False) -> None:
        """Record the rewards of a stage, then select the next agent or end the episode."""
        self.rewards = {agent: float(rewards.get(agent, 0.0)) for agent in self.agents}
        if terminated or truncated:
            ended = self.terminations if terminated else self.truncations
            ended.update(dict.fromkeys(self.agents, True))
            self.agent_selection = self.agents[0]
        else:
            self.agent_selection = self._asked()[0]
