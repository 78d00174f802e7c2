"""Episodes as arrays (rewards, discounts, actors), and the credit of their decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marl.episode import Episode, Stop

Array = NDArray[np.float64]
Unit = Literal["round", "second"]
"""What gamma is paid for."""


@dataclass(frozen=True, slots=True)
class EpisodeArrays:
    """Rewards, discounts and actors of E episodes; nobody writes into them: `replace(arrays, rewards=...)`."""

    rewards: Array  # [E, K, N]
    discount: Array  # [E, K]
    actor: NDArray[np.int64]  # [E, K] index of the agent that decided; -1 pads
    stage: NDArray[np.int64]  # [E, K] stage of the arena; the padding counts on
    learner: NDArray[np.bool_]  # [E, N] False: a frozen version of the league plays the agent

    def __post_init__(self) -> None:
        check_shape("rewards", self.rewards, "E, K, N")
        size, count, agents = self.rewards.shape
        for name in ("discount", "actor", "stage"):
            check_shape(name, getattr(self, name), "E, K", (size, count))
        check_shape("learner", self.learner, "E, N", (size, agents))

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[E, K] True at decisions, False at padding."""
        return self.actor >= 0


@dataclass(frozen=True, slots=True)
class Credit:
    """Advantages and value targets, beside the episodes.

    NaN where nothing was scored: padding, agents without a value, and frozen opponents.
    """

    advantage: Array  # [E, K] of the agent that decided; or [E, K, J], one for each token of its reply
    target: Array  # [E, K, N] what V_i before decision k should have been


def check_shape(name: str, array: Array | NDArray[Any], axes: str, shape: tuple[int, ...] | None = None) -> None:
    """Raise ValueError unless the array has these axes, and this shape if one is passed."""
    if array.ndim != axes.count(",") + 1 or (shape is not None and array.shape != shape):
        wanted = f"[{axes}]" if shape is None else f"[{axes}] = {list(shape)}"
        raise ValueError(f"{name} must have the shape {wanted}, not {list(array.shape)}")


def episode_arrays(
    episodes: Sequence[Episode], gamma: float, sharing: float = 0.0, per: Unit = "round"
) -> EpisodeArrays:
    """Lay episodes out as read-only arrays, padded to the longest.

    gamma discounts once per round of the arena, never per agent, or per simulated second. With `sharing` s agents learn
    from r'_i = (1 - s) r_i + s mean_j r_j: 0 leaves each agent its own reward, 1 makes a team.
    """
    agents = episodes[0].agents
    index = {agent: i for i, agent in enumerate(agents)}
    size, longest = len(episodes), max(len(episode.turns) for episode in episodes)
    rewards = np.zeros((size, longest, len(agents)))
    discount = np.zeros((size, longest))
    actor = np.full((size, longest), -1, np.int64)
    stage = np.zeros((size, longest), np.int64)
    for e, episode in enumerate(episodes):
        count = len(episode.turns)
        rounds = [turn.stage for turn in episode.turns]
        rewards[e, :count] = episode.rewards
        actor[e, :count] = [index[turn.agent] for turn in episode.turns]
        stage[e, :count] = rounds
        stage[e, count:] = np.arange(longest - count) + rounds[-1] + 1
        durations = _rounds_between(rounds) if per == "round" else _seconds_between(episode)
        discount[e, :count] = [gamma**duration for duration in durations]
        if episode.stop is Stop.TERMINATED:
            discount[e, count - 1] = 0.0
    if sharing:
        rewards = (1 - sharing) * rewards + sharing * rewards.mean(-1, keepdims=True)
    learner = np.array([episode.learners for episode in episodes])
    for array in (rewards, discount, actor, stage, learner):
        array.flags.writeable = False
    return EpisodeArrays(rewards, discount, actor, stage, learner)


def _rounds_between(rounds: Sequence[int]) -> list[float]:
    """Return the rounds from each decision to the next; the last decision is one round from the end."""
    return [float(after - before) for before, after in pairwise([*rounds, rounds[-1] + 1])]


def _seconds_between(episode: Episode) -> list[float]:
    """Return the simulated seconds from each reply to the next, and from the last one to the end of the episode."""
    entries = episode.log.entries
    times = [*(entries[turn.seq].envelope.time for turn in episode.turns), entries[-1].envelope.time]
    return [max(after - before, 0.0) for before, after in pairwise(times)]


def decided(array: Array, actor: NDArray[np.int64]) -> Array:
    """Pick from [E, K, N] the column of the agent that decided: [E, K]."""
    check_shape("values of all agents", array, "E, K, N", (*actor.shape, *array.shape[2:3]))
    return np.take_along_axis(array, np.maximum(actor, 0)[..., None], -1)[..., 0]
