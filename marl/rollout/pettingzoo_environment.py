"""A scenario as a PettingZoo environment, so that other libraries can train in it: saying is part of the action.

    env = ParallelEnvironment({"arena": {"name": "lewis"}, "channel": [{"type": "loss", "p": 0.1}]})

The referee plays the episode on a bus of its own and in virtual time, with the channels, topologies, floors, prices,
latencies and interventions of the scenario. Whenever it asks agents, their replies come from `step`.

An observation holds what the agent heard in this episode, then its view: as text, as word ids (padded with 0; the
oldest words are left out if there are too many), and with a mask of the legal actions. Action i is the i-th reply that
the agent may give now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from typing_extensions import override

from arenas import ArenaError
from arenas.pettingzoo_base import TurnTaking, WordSpaces, reply_of
from arenas.spec import UNKNOWN, ReplySpec, Words
from marl.context.transcript import render
from marl.rollout.session import Session
from marl.scenario.world import World, load_world
from protocols.envelope import Kind
from protocols.floor import Floor


class _ScenarioSpaces(WordSpaces):
    """Base of both environments: the world, its session, and observations from the log.

    Args:
        scenario: a world, or the settings of `[scenario]` in a configuration.
        words: the most words of an observation; by default as many as the arena needs.
        text: whether observations hold the text too; some libraries know only tensors.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "name": "sabir_v0", "is_parallelizable": True}
    render_mode = "ansi"
    view_chars = 1 << 16
    _charset = "".join(map(chr, range(32, 127))) + "\n"

    def __init__(self, scenario: World | Mapping[str, Any], *, words: int = 0, text: bool = True) -> None:
        super().__init__()
        self.world = scenario if isinstance(scenario, World) else load_world(dict(scenario), "scenario")
        if self.world.box.configs or self.world.scenario.memory:
            raise ArenaError("PettingZoo's actions know neither tools nor memories: leave them out of the scenario")
        self.metadata = {**_ScenarioSpaces.metadata, "name": self.world.arena.metadata["name"]}  # type: ignore[misc]
        self.possible_agents = list(self.world.agents)
        self.agents: list[str] = []
        self.vocabulary = self.world.vocabulary
        self.view_words = words or self.world.arena.view_words
        self._with_text = text
        self.session = Session(self.world)
        finalize(self, self.session.close)
        self._seed = 0

    @override
    def _most_replies(self, agent: str) -> int:
        world, floor = self.world, self.world.scenario.floor
        specs = [world.reply_spec(agent, spec) for spec in world.arena.replies[agent]]
        sizes = [spec.size for spec in specs]
        if not isinstance(floor, Floor):  # agents may stay silent, call a speaker, or bid
            sizes += [world.or_silent(spec).size for spec in specs if spec.kind == "say"]
            sizes += [len(world.agents) + 1, len(getattr(floor, "levels", ()))]
        return max(sizes)

    @override
    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of the last `view_words` words of a text, padded with 0."""
        return self._padded_ids(text.split()[-self.view_words :], self._ids.get(UNKNOWN, 0))

    def observe(self, agent: str) -> dict[str, Any]:
        """Return an agent's observation: what it heard in this episode, and its view if it is asked now."""
        seat = self.session.seats[agent]
        heard = seat.transcript.heard
        messages = [render(envelope) for envelope in heard if envelope.kind is Kind.SAY]
        if seat.spec is None:
            idle = slice(-1, None) if self._idle_actions else slice(1)
            return self._observation(agent, " ".join(filter(None, messages)), idle)
        view = [envelope.body for envelope in heard if envelope.kind is Kind.VIEW][-1:]
        return self._observation(agent, " ".join(filter(None, [*messages, *view])), slice(seat.spec.size))

    def state(self) -> NDArray[np.int64]:
        """Return the hidden state as word ids, for a critic."""
        states = [envelope.body for envelope, _ in self.session.log.entries if envelope.kind is Kind.WORLD]
        return self.encode(states[-1])

    def _begin(self, seed: int | None, options: Mapping[str, Any] | None) -> None:
        """Begin an episode; without a seed, the one after the last."""
        self._seed = self._seed + 1 if seed is None else seed
        deal = {key: value for key, value in (options or {}).items() if key in ("case", "split")}
        self.agents = list(self.possible_agents)
        self.session.begin(self._seed, deal)
        self.session.paid()

    def render(self) -> str:
        """Return the log so far as text."""
        return "\n".join(f"{e.sender} {e.kind} {e.body}" for e, _ in self.session.log.entries)

    def close(self) -> None:
        """End the episode."""
        self.session.close()


class ParallelEnvironment(_ScenarioSpaces, ParallelEnv[str, dict[str, Any], int]):  # type: ignore[misc]
    """Parallel PettingZoo environment of a scenario; an agent that is not asked has one action, the last: no reply."""

    _idle_actions = 1

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Begin an episode; `options` may name a `case` or a `split`."""
        self._begin(seed, options)
        return {agent: self.observe(agent) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[Any, ...]:
        """Reply for all agents that are asked; an illegal action counts as no reply."""
        replies = {agent: reply_of(spec, actions.get(agent)) for agent, spec in self.session.asked().items()}
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in self.agents}
        infos |= {agent: {"illegal": True} for agent, reply in replies.items() if reply is None}
        self.session.answer({agent: " ".join(reply or ()) for agent, reply in replies.items()})
        rewards, episode = self.session.paid(), self.session.episode
        observations = {agent: self.observe(agent) for agent in self.agents}
        terminated = episode is not None and episode.stop == "terminated"
        truncated = episode is not None and not terminated
        ended = dict.fromkeys(self.agents, terminated), dict.fromkeys(self.agents, truncated)
        if episode is not None:
            self.agents = []
        return observations, rewards, *ended, infos


class AecEnvironment(_ScenarioSpaces, TurnTaking):
    """AEC environment of a scenario: agents that are asked at once act in seat order, and none hears the others."""

    metadata: ClassVar[dict[str, Any]] = {**_ScenarioSpaces.metadata, "is_parallelizable": False}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode; `options` may name a `case` or a `split`."""
        self._begin(seed, options)
        self._begin_turns()

    @override
    def _asked(self) -> list[str]:
        return list(self.session.asked())

    @override
    def spec(self, agent: str) -> ReplySpec:
        return self.session.asked()[agent]

    @override
    def _resolve_stage(self, replies: Mapping[str, Words | None]) -> None:
        self.session.answer({agent: " ".join(reply or ()) for agent, reply in replies.items()})
        episode = self.session.episode
        self._end_stage(
            self.session.paid(),
            terminated=episode is not None and episode.stop == "terminated",
            truncated=episode is not None and episode.stop != "terminated",
        )
