"""A world as a plain PettingZoo environment, so that other libraries can train in it: saying is part of the action.

    env = ParallelEnvironment({"arena": {"name": "lewis"}, "channel": [{"type": "loss", "p": 0.1}]})

Under it the referee plays the episode, on a bus of its own and in virtual time: channels, topologies, floors, prices,
latencies and interventions are those of the scenario. Here an agent is asked, and what `step` is given is its reply.

An observation holds what the agent has heard in this episode and then what it is shown: as text, as word ids (padded
with 0; the oldest words are left out where they are too many), and with a mask of the legal actions. Action i is the
i-th reply that the agent may give now.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final
from weakref import finalize

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv, ParallelEnv

from arenas import ArenaError
from arenas.core import MAX_ACTIONS
from arenas.spec import UNKNOWN, ReplySpec
from marl.context.transcript import render
from marl.rollout.session import Session
from marl.scenario.world import World, load_world
from protocols.envelope import Kind
from protocols.floor import Floor


class _Observed:
    """What both kinds of environment have in common: spaces, observations, the world and its log.

    Args:
        scenario: a world, or what `[scenario]` of a configuration holds.
        words: the most words of an observation; those of the arena unless given.
        text: whether observations hold the text too; some libraries know tensors only.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "name": "sabir_v0", "is_parallelizable": True}
    render_mode = "ansi"
    idle: ClassVar[int]
    """How many actions there are beside the replies: 1 where doing nothing is one."""

    def __init__(self, scenario: World | Mapping[str, Any], *, words: int = 0, text: bool = True) -> None:
        super().__init__()
        self.world = scenario if isinstance(scenario, World) else load_world(dict(scenario), "scenario")
        if self.world.box.configs or self.world.scenario.memory:
            raise ArenaError("PettingZoo's actions know neither tools nor memories: leave them out of the scenario")
        self.metadata = {**_Observed.metadata, "name": self.world.arena.metadata["name"]}  # type: ignore[misc]
        self.possible_agents = list(self.world.agents)
        self.agents: list[str] = []
        self.words = words or self.world.arena.view_words
        self.text = text
        self.session = Session(self.world)
        finalize(self, self.session.close)
        self._seeds = 0

    @cached_property
    def action_spaces(self) -> dict[str, spaces.Discrete]:
        """Action i is the i-th reply of what is asked; the last one of a parallel environment is to do nothing."""
        sizes = {agent: _most(self.world, agent) for agent in self.possible_agents}
        for agent, size in sizes.items():
            if size > MAX_ACTIONS:
                raise ArenaError(f"{agent} has {size} replies; PettingZoo's Discrete holds {MAX_ACTIONS}")
        return {agent: spaces.Discrete(size + self.idle) for agent, size in sizes.items()}

    @cached_property
    def observation_spaces(self) -> dict[str, spaces.Dict]:
        """Word ids, the mask of legal actions, and the text if it is wanted."""
        text = {"text": spaces.Text(min_length=0, max_length=1 << 16, charset=_CHARACTERS)} if self.text else {}
        return {
            agent: spaces.Dict(
                {"observation": self.state_space, "action_mask": spaces.Box(0, 1, (int(space.n),), np.int8), **text}
            )
            for agent, space in self.action_spaces.items()
        }

    @cached_property
    def state_space(self) -> spaces.Box:
        """The space of `state()`."""
        return spaces.Box(0, len(self._ids), (self.words,), np.int64)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.world.vocabulary, 1)}

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the space of an agent's actions."""
        return self.action_spaces[agent]

    def observation_space(self, agent: str) -> spaces.Dict:
        """Return the space of an agent's observations."""
        return self.observation_spaces[agent]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of the last words of a text, padded with 0."""
        ids = np.zeros(self.words, np.int64)
        unknown = self._ids.get(UNKNOWN, 0)
        found = [self._ids.get(word, unknown) for word in text.split()[-self.words :]]
        ids[: len(found)] = found
        return ids

    def observe(self, agent: str) -> dict[str, Any]:
        """Return what an agent has heard in this episode, and its view if it is asked now."""
        seat = self.session.seats[agent]
        heard = seat.transcript.heard
        said = [render(envelope) for envelope in heard if envelope.kind is Kind.SAY]
        views = [envelope.body for envelope in heard if envelope.kind is Kind.VIEW] if seat.spec is not None else []
        text = " ".join(filter(None, [*said, *views[-1:]]))
        mask = np.zeros(int(self.action_spaces[agent].n), np.int8)
        if seat.spec is not None:
            mask[: seat.spec.size] = 1
        else:
            mask[-1 if self.idle else 0] = 1
        return {"observation": self.encode(text), "action_mask": mask} | ({"text": text} if self.text else {})

    def state(self) -> NDArray[np.int64]:
        """Return the hidden state as word ids, for a critic."""
        worlds = [envelope.body for envelope, _ in self.session.log.entries if envelope.kind is Kind.WORLD]
        return self.encode(worlds[-1])

    def _begin(self, seed: int | None, options: Mapping[str, Any] | None) -> None:
        self._seeds = self._seeds + 1 if seed is None else seed
        deal = {key: value for key, value in (options or {}).items() if key in ("case", "split")}
        self.agents = list(self.possible_agents)
        self.session.begin(self._seeds, deal)
        self.session.paid()

    def render(self) -> str:
        """Return the log so far as text."""
        return "\n".join(f"{e.sender} {e.kind} {e.body}" for e, _ in self.session.log.entries)

    def close(self) -> None:
        """Leave the episode."""
        self.session.close()


class ParallelEnvironment(_Observed, ParallelEnv[str, dict[str, Any], int]):  # type: ignore[misc]
    """All agents act in each step; whoever is not asked can only do nothing, which is the last action."""

    idle = 1

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Begin an episode; `options` may name a `case` or a `split`."""
        self._begin(seed, options)
        return {agent: self.observe(agent) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        """Give the replies of all who are asked; an action that is not legal counts as none."""
        asked = self.session.asked()
        replies = {agent: _text(spec, actions.get(agent)) for agent, spec in asked.items()}
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        infos |= {agent: {"illegal": True} for agent, text in replies.items() if text is None}
        self.session.answer({agent: text or "" for agent, text in replies.items()})
        paid, episode = self.session.paid(), self.session.episode
        observations = {agent: self.observe(agent) for agent in self.agents}
        over = episode is not None and episode.stop == "terminated"
        cut = episode is not None and not over
        ended = dict.fromkeys(self.agents, over), dict.fromkeys(self.agents, cut)
        if episode is not None:
            self.agents = []
        return observations, paid, *ended, infos


class AecEnvironment(_Observed, AECEnv[str, dict[str, Any], int]):  # type: ignore[misc]
    """One agent acts at a time: of those who are asked at once, each in seat order, and none hears of the others."""

    metadata: ClassVar[dict[str, Any]] = {**_Observed.metadata, "is_parallelizable": False}
    idle = 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode; `options` may name a `case` or a `split`."""
        self._begin(seed, options)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        self._replies: dict[str, str] = {}
        self.agent_selection = next(iter(self.session.asked()))

    def step(self, action: int | None) -> None:
        """Take the selected agent's reply; the last of those asked lets the episode go on."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        asked = self.session.asked()
        text = _text(asked[agent], action)
        self.infos[agent] = {"illegal": True} if text is None else {}
        self._replies[agent] = text or ""
        waiting = [each for each in asked if each not in self._replies]
        if waiting:
            self.agent_selection = waiting[0]
        else:
            self._go_on()
        self._accumulate_rewards()

    def _go_on(self) -> None:
        replies, self._replies = self._replies, {}
        self.session.answer(replies)
        paid, episode = self.session.paid(), self.session.episode
        self.rewards = {agent: paid[agent] for agent in self.agents}
        if episode is None:
            self.agent_selection = next(iter(self.session.asked()))
        else:
            ended = self.terminations if episode.stop == "terminated" else self.truncations
            ended.update(dict.fromkeys(self.agents, True))
            self.agent_selection = self.agents[0]


_CHARACTERS: Final = "".join(map(chr, range(32, 127))) + "\n"


def _text(spec: ReplySpec, action: int | None) -> str | None:
    """Return the reply of that number; None if there is none."""
    return " ".join(spec.words(int(action))) if action is not None and 0 <= int(action) < spec.size else None


def _most(world: World, agent: str) -> int:
    """Return how many replies an agent may have to choose from at most: the arena's, or those of the floor."""
    sizes = [world.reply_spec(agent, spec).size for spec in world.arena.replies[agent]]
    floor = world.scenario.floor
    if isinstance(floor, Floor):
        return max(sizes)
    says = [world.reply_spec(agent, spec) for spec in world.arena.replies[agent] if spec.kind == "say"]
    free = [world.or_silent(spec).size for spec in says]
    return max([*sizes, *free, len(world.agents) + 1, len(getattr(floor, "levels", ()))])
